"""A small graph whose vertices have features, classes and splits; configurations and models to train on it."""

import jobs
import numpy as np

N, WIDTH, CLASSES = 60, 12, 3
SPLITS = ("train", "train", "val", "test", "none")

CONFIG = """[data]
normalize = "rows"

[model]
kind = "gcn"
hidden = [5]
dropout = 0.25

[train]
epochs = 12
checkpoint_every = 4
"""
MODELS = """from hpcmp import nn


class Net(nn.Module):
    def __init__(self, n_in, n_out):
        self.first, self.last = nn.Linear(n_in, 4), nn.SAGE(4, n_out)

    def __call__(self, graph, x):
        return self.last(graph, nn.dropout(nn.relu(self.first(x)), 0.5))


def deep(n_in, n_out):
    return Net(n_in, n_out)


def broken(n_in, n_out):
    raise ValueError("no such width")


def nothing(n_in, n_out):
    return 3


number = 4
"""


def write_inputs(folder, seed=0):
    """Texts of the graph, config.toml and models.py in a folder."""
    rng = np.random.default_rng(seed)
    label = np.arange(N) % CLASSES
    src = rng.integers(0, N, 4 * N)
    dst = np.where(rng.random(4 * N) < 0.7, (src + CLASSES * rng.integers(1, N // CLASSES, 4 * N)) % N, (src + 1) % N)
    lines = [f"{a}\t{b}\n" for a, b in zip(src, dst) if a != b]
    for name, some in {"g": lines, "near": lines[::2], "far": lines[1::2]}.items():
        (folder / f"{name}.tsv").write_text("".join(some))
    rows = (f"{i}\t{label[i] if i % 13 else -1}\t{SPLITS[i // CLASSES % len(SPLITS)]}\n" for i in range(N))
    (folder / "g.vertices.tsv").write_text("id\tlabel\tsplit\n" + "".join(rows))
    marks = ((i, c) for i in range(N) for c in range(WIDTH) if rng.random() < (0.7 if c % CLASSES == label[i] else 0.3))
    (folder / "g.features.tsv").write_text("".join(f"{i}\t{c}\t1\n" for i, c in marks))
    (folder / "config.toml").write_text(CONFIG)
    (folder / "models.py").write_text(MODELS)


def convert(folder, name="g.h5", parts=8, edges=("@g.tsv",)):
    """Command that makes the graph file of `write_inputs`."""
    texts = ["--vertices", folder / "g.vertices.tsv", "--features", folder / "g.features.tsv"]
    options = ["--undirected", "--drop-duplicates", "--parts", parts, "-o", folder / name]
    return ["convert", *(file.replace("@", f"{folder}/") for file in edges), *texts, *options]


def make(folder):
    """All of it in a folder, and the graph file."""
    write_inputs(folder)
    kinds = convert(folder, "kinds.h5", edges=("near=@near.tsv", "far=@far.tsv"))  # with relations
    jobs.run_commands(1, [convert(folder), convert(folder, "five.h5", 5), kinds], folder)
    return folder
