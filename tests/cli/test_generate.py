"""`hpcmp generate`: the same graph on any ranks, as a graph file and as text."""

import functools
import json

import jobs
import pytest

RANKS = (1, 3)
KINDS = {
    "kronecker": ["--scale", 6, "--seed", 3],
    "kronecker-weights": ["--scale", 5, "--weights", "0.1:2"],
    "kronecker-int": ["--scale", 5, "--weights", "1:255:int", "--edge-factor", 4],
    "erdos-renyi": ["--vertices", 50, "--edges", 300, "--weights=-1:1"],
    "erdos-renyi-directed": ["--vertices", 50, "--edges", 300, "--directed"],
    "grid": ["--height", 5, "--width", 7, "--weights", "0:1"],
    "ring": ["--vertices", 11],
    "ring-directed": ["--vertices", 11, "--directed"],
}
SIZES = {"grid": (35, 2 * (5 * 6 + 4 * 7)), "ring": (11, 22), "ring-directed": (11, 11)}
TINY = {"A": "3\n0 1\n1 2\n0 2\n", "B": "2\n0 1\n"}  # a triangle and an edge


def kind_of(name):
    return (
        name
        if name in ("erdos-renyi",)
        else name.removesuffix("-weights").removesuffix("-int").removesuffix("-directed")
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``made(ranks)``: name -> what was printed; and the folder of the files."""

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"P{ranks}-")
        commands = {}
        for name, options in KINDS.items():
            kind, path = kind_of(name), folder / name
            commands[name] = ["generate", kind, *options, "--json", "-o", f"{path}.h5"]
            commands[f"{name} tsv"] = ["generate", kind, *options, "--json", "-o", f"{path}.tsv"]
            commands[f"{name} csv"] = ["generate", kind, *options, "-o", f"{path}.csv"]
            direction = "--directed" if "--directed" in options else "--undirected"
            n = {"kronecker": 1 << options[1], "erdos-renyi": 50}.get(kind)
            if n:  # text does not tell vertices without edges
                (folder / f"{name}.ids").write_text("id\n" + "".join(f"{v}\n" for v in range(n)))
            again = ["--vertices", f"{path}.ids"] if n else []
            for ending in ("tsv", "csv"):
                commands[f"{name} again {ending}"] = [
                    "convert", f"{path}.{ending}", direction, *again, "--drop-loops", "--drop-duplicates",
                    "--json", "-o", f"{path}-{ending}.h5",
                ]  # fmt: skip
        for name, text in TINY.items():
            (folder / f"{name}.edges").write_text(text)
        commands["product"] = [
            "generate",
            "product",
            folder / "A.edges",
            folder / "B.edges",
            "--json",
            "-o",
            folder / "product.h5",
        ]
        commands["loops"] = ["generate", "kronecker", "--scale", 5, "--multigraph", "--json", "-o", folder / "loops.h5"]
        commands["parts"] = ["generate", "ring", "--vertices", 11, "--parts", 3, "--json", "-o", folder / "parts.h5"]
        commands["triangles"] = ["run", "triangles", folder / "product.h5", "--json"]
        texts = jobs.run_commands(ranks, list(commands.values()), folder)
        return {k: json.loads(t) if t.startswith("{") else t for k, t in zip(commands, texts, strict=True)}, folder

    return on


ranks = pytest.mark.parametrize("ranks", RANKS, ids=lambda ranks: f"P{ranks}")


@pytest.mark.parametrize("name", KINDS)
def test_graph_and_text_do_not_depend_on_ranks(made, name):
    digests = {made(ranks)[0][name]["digest"] for ranks in RANKS}
    texts = {(made(ranks)[1] / f"{name}.tsv").read_bytes() for ranks in RANKS}
    assert len(digests) == len(texts) == 1


@ranks
@pytest.mark.parametrize("ending", ["tsv", "csv"])
@pytest.mark.parametrize("name", KINDS)
def test_text_converted_is_the_graph(made, name, ending, ranks):
    said, _ = made(ranks)
    graph, again = said[name], said[f"{name} again {ending}"]
    for key in ("n_vertices", "n_edges", "directed", "digest"):
        assert graph[key] == again[key], key
    assert again["n_lines"] == said[f"{name} tsv"]["n_lines"]


@pytest.mark.parametrize("name", SIZES)
def test_sizes(made, name):
    said = made(3)[0][name]
    assert (said["n_vertices"], said["n_edges"]) == SIZES[name]


@ranks
def test_product_of_triangle_and_edge_is_a_ring_of_six(made, ranks):
    said = made(ranks)[0]
    assert (said["product"]["n_vertices"], said["product"]["n_edges"]) == (6, 12)
    assert said["triangles"]["values"]["triangles"] == 0


@ranks
def test_multigraph_keeps_loops_and_repeats(made, ranks):
    said = made(ranks)[0]["loops"]
    assert said["dropped"] == [] and said["n_loops"] > 0 and said["n_duplicates"] > 0
    assert said["n_edges"] == 2 * said["n_lines"] - said["n_loops"]


@ranks
def test_parts_are_as_many_as_asked(made, ranks):
    assert made(ranks)[0]["parts"]["n_parts"] == 3


def test_seed_changes_the_graph(made, tmp_path):
    commands = [
        ["generate", "kronecker", "--scale", 6, "--seed", s, "--json", "-o", tmp_path / f"{s}.h5"] for s in (3, 4)
    ]
    three, four = (json.loads(text)["digest"] for text in jobs.run_commands(1, commands, tmp_path))
    assert three == made(1)[0]["kronecker"]["digest"] != four
