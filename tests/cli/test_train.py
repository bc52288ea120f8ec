"""`hpcmp train` and `hpcmp infer`: the same weights on any ranks, after any stop, and mistakes told."""

import functools
import json
import re
import signal
import subprocess
import time
import uuid

import h5py
import jobs
import launch as launching
import learning
import numpy as np
import pytest

from hpcmp import analysis, cli
from hpcmp.cli import learning as command
from hpcmp.cli import train as cli_train
from hpcmp.comm import world
from hpcmp.errors import FormatError, ProgramError

RANKS = (1, 3)
LONG = 100_000  # epochs that no test waits for
VARIED = {  # name -> settings
    "gcn": ["--set", "train.seeds=2"],
    "threads": ["--set", "train.seeds=2", "--threads", 2],
    "sage": ["--set", "model.kind=sage", "--set", "train.optimizer=adamw"],
    "pool": ["--set", "model.kind=sage", "--set", "model.aggregate=pool", "--set", "model.hidden=[5, 4]"],
    "gin": ["--set", "model.kind=gin", "--set", "train.optimizer=sgd", "--set", "train.momentum=0.9"],
    "gat": ["--set", "model.kind=gat", "--set", "model.heads=2"],
    "gatv2": ["--set", "model.kind=gatv2", "--set", "model.heads=2"],
    "rgcn": ["--set", "model.kind=rgcn", "--set", "model.bases=2"],
    "rgcn, blocks": ["--set", "model.kind=rgcn", "--set", "model.blocks=3", "--set", "model.hidden=6"],
    "rgcn, rows": ["--set", "model.kind=rgcn", "--set", "data.features=", "--set", "train.select=best"],
    "rgcn, rows, bases": ["--set", "model.kind=rgcn", "--set", "data.features=", "--set", "model.bases=2"],
    "links": ["--set", "train.loss=links", "--set", "train.metrics=['mrr', 'roc_auc']", "--set", "model.width=4"],
    "rgcn, links": ["--set", "model.kind=rgcn", "--set", "data.features=", "--set", "train.loss=links"],
    "own": ["--set", "model.kind=@models.py:Net"],
    "function": ["--set", "model.kind=@models.py:deep"],
    "plateau": [
        *("--set", "train.schedule=plateau", "--set", "train.decay_patience=1", "--set", "train.clip=0.5"),
        *("--set", "train.metrics=['f1_macro', 'loss']", "--set", "train.monitor=val_loss", "--set", "train.lr=0.1"),
        *("--set", "train.groups={'convs.1.*' = {weight_decay = 0.0}}", "--set", "train.class_weights=balanced"),
    ],
    "best": ["--set", "train.select=best", "--set", "train.patience=3", "--set", "train.lr=0.2"],
}
KEYS = {
    *("program", "params", "n_vertices", "n_edges", "ranks", "threads", "steps", "converged", "seconds", "halo"),
    *("peak_rss_bytes", "metrics", "values", "digest", "output"),
}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return learning.make(tmp_path_factory.mktemp("learning"))


def graph_of(name):
    """The file of a training's graph."""
    return "kinds.h5" if name.startswith("rgcn") else "g.h5"


def train(files, output, *options, graph="g.h5"):
    options = [str(option).replace("@", f"{files}/") for option in options]
    return ["train", files / "config.toml", files / graph, "-o", output, *options]


@pytest.fixture(scope="session")
def said(files, tmp_path_factory):
    """``said(ranks)``: folder, and name -> what `hpcmp train --json` printed."""

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"train-{ranks}-")
        commands = [
            train(files, folder / name, *options, "--json", graph=graph_of(name)) for name, options in VARIED.items()
        ]
        texts = jobs.run_commands(ranks, commands, folder)
        return folder, dict(zip(VARIED, map(json.loads, texts), strict=True))

    return on


@pytest.mark.parametrize("name", VARIED)
def test_weights_have_the_same_bits_on_any_ranks(said, name):
    one, three = (said(ranks)[1][name] for ranks in RANKS)
    assert one["digest"] == three["digest"]
    assert one["values"] == three["values"]
    assert one["metrics"] == three["metrics"]
    assert one["halo"]["bytes"] == 0 < three["halo"]["bytes"]


def test_threads_change_no_bit_and_seeds_do(said):
    _, printed = said(1)
    assert printed["threads"]["digest"] == printed["gcn"]["digest"]
    assert len(set(printed["gcn"]["values"]["digests"])) == 2
    assert printed["own"]["digest"] == printed["function"]["digest"]


@pytest.mark.parametrize("ranks", RANKS)
def test_json_tells_what_was_trained(said, ranks):
    _, printed = said(ranks)
    for facts in printed.values():
        assert set(facts) == KEYS
        assert facts["ranks"] == ranks and set(facts["seconds"]) == {"read", "run", "write"}
        assert min(facts["seconds"].values()) > 0
    assert printed["gcn"]["steps"] == 24 and printed["gcn"]["params"]["train"]["seeds"] == 2
    assert set(printed["gcn"]["metrics"]) == {f"{k}_accuracy" for k in ("train", "val", "test")} | {"loss"}


@pytest.mark.parametrize("ranks", RANKS)
def test_the_history_has_a_row_an_epoch_and_seed(said, ranks):
    folder, printed = said(ranks)
    found = analysis.open(folder / "gcn" / "history.h5")
    assert found["seed"].tolist() == [0] * 12 + [1] * 12
    assert found["epoch"].tolist() == [*range(12), *range(12)]
    last = found["test_accuracy"][[11, 23]]
    assert printed["gcn"]["metrics"]["test_accuracy"] == {"mean": last.mean(), "std": last.std()}
    assert found["loss"][0] > found["loss"][11]
    assert found["halo_bytes"].sum() == printed["gcn"]["halo"]["bytes"]
    assert len(found.to_pandas()) == 24
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(found.path, engine="h5netcdf") as seen:
        assert seen["loss"].dims == ("row",)


@pytest.mark.parametrize("ranks", RANKS)
def test_the_best_epoch_is_what_is_reported_and_kept(said, files, ranks, tmp_path):
    folder, printed = said(ranks)
    found, best = analysis.open(folder / "best" / "history.h5"), printed["best"]["values"]["best_epochs"][0]
    values = found["val_accuracy"]
    assert best == values.argmax() and printed["best"]["metrics"]["val_accuracy"]["mean"] == values.max()
    assert len(values) in (12, best + 4)
    infer = ["infer", folder / "best", files / "g.h5", "-o", tmp_path / "c.h5"]
    jobs.run_commands(ranks, [infer], tmp_path)
    assert accuracy(files, tmp_path / "c.h5", "test") == pytest.approx(found["test_accuracy"][best])


def accuracy(files, path, split):
    """Share of the labelled vertices of a split whose class is their label."""
    rows = [line.split("\t") for line in (files / "g.vertices.tsv").read_text().splitlines()[1:]]
    given = analysis.open(path)["class"]
    right = [int(given[int(i)]) == int(label) for i, label, where in rows if where == split and int(label) >= 0]
    return np.mean(right)


INFERRED = ("gcn", "own", "gat", "rgcn", "rgcn, rows", "rgcn, rows, bases", "rgcn, links")
STOPPED = ("gcn", "gin", "best", "plateau", "rgcn, rows", "rgcn, links")
MONITORED = {"plateau": "val_loss", "rgcn, links": "val_mrr"}  # of others val_accuracy


@pytest.fixture(scope="session")
def inferred(said, files, tmp_path_factory):
    """``inferred(ranks)``: folder, and name -> what `hpcmp infer --json` printed."""

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"infer-{ranks}-")
        words = [["infer", said(3)[0] / name, files / graph_of(name), "--logits", "--json"] for name in INFERRED]
        words[INFERRED.index("own")] += ["--model", f"{files}/models.py:Net"]
        commands = [[*w, "-o", folder / f"{name}.h5"] for w, name in zip(words, INFERRED, strict=True)]
        texts = jobs.run_commands(ranks, commands, folder)
        return folder, dict(zip(INFERRED, map(json.loads, texts), strict=True))

    return on


@pytest.mark.parametrize("name", INFERRED)
def test_infer_gives_the_classes_that_training_ended_with(said, inferred, files, name):
    folder, printed = said(3)
    history = analysis.open(folder / name / "history.h5")
    best = printed[name]["values"]["best_epochs"][0] if name == "rgcn, rows" else 11
    for ranks in RANKS:
        out = inferred(ranks)[0] / f"{name}.h5"
        found = analysis.open(out)
        assert set(inferred(ranks)[1][name]["seconds"]) == {"read", "run", "write"}
        if name == "rgcn, links":
            assert found["output"].shape == (learning.N, 16) and np.isfinite(found["output"]).all()
            continue
        assert np.array_equal(found["class"], found["logits"].argmax(axis=1))
        assert accuracy(files, out, "test") == pytest.approx(history["test_accuracy"][best])
    assert len({inferred(ranks)[1][name]["digest"] for ranks in RANKS}) == 1


@pytest.fixture(scope="session")
def resumed(files, tmp_path_factory):
    """``resumed(first, then)``: folder, and name -> what was printed, twice, by those that went on."""

    @functools.cache
    def on(first, then):
        folder = tmp_path_factory.mktemp(f"resumed-{first}-{then}-")
        # stopped in the midst of a period of checkpoints; with two seeds, in the second
        told = {
            name: functools.partial(train, files, folder / name, *VARIED[name], graph=graph_of(name))
            for name in STOPPED
        }
        begun = [told[name]("--set", "train.epochs=5") for name in STOPPED]
        jobs.run_commands(first, begun, folder)
        for path in (folder / "gcn").glob("checkpoint-1.*"):
            path.unlink()
        again = [told[name]("--resume", "--json") for name in STOPPED]
        outcomes = iter(jobs.outcomes_of(then, [command for command in again for _ in range(2)], folder))
        found = {name: [next(outcomes) for _ in range(2)] for name in STOPPED}
        assert all("seed 0: going on from" in outcome["stderr"][0] for twice in found.values() for outcome in twice)
        return folder, {name: [json.loads(outcome["stdout"]) for outcome in twice] for name, twice in found.items()}

    return on


@pytest.mark.parametrize("name", STOPPED)
@pytest.mark.parametrize("first, then", [(1, 3), (3, 1)])
def test_a_stopped_training_goes_on_with_the_same_bits(said, resumed, name, first, then):
    folder, printed = resumed(first, then)
    for facts in printed[name]:  # the second time there is nothing left to do
        assert facts["values"]["digests"] == said(1)[1][name]["values"]["digests"]
        assert facts["metrics"] == said(1)[1][name]["metrics"]
    whole = analysis.open(said(1)[0] / name / "history.h5")
    found = analysis.open(folder / name / "history.h5")
    for column in ("seed", "epoch", "loss", MONITORED.get(name, "val_accuracy")):
        assert np.array_equal(found[column], whole[column])


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": lambda path: flip(path, first_weight(path)),
    "says": lambda path: flip(path, path.read_bytes().index(b'"epochs"') + len('"epochs": ')),
}


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(said, files, tmp_path, damage):
    run = tmp_path / "run"
    jobs.run_commands(1, [train(files, run, "--set", "train.seeds=2")], tmp_path)
    path, kept = run / "checkpoint-1.h5", run / "checkpoint-1.before.h5"
    assert (analysis.open(path).n_epochs, analysis.open(kept).n_epochs) == (12, 8)
    DAMAGES[damage](path)
    again = train(files, run, "--set", "train.seeds=2", "--resume", "--json")
    (outcome,) = jobs.outcomes_of(3, [again], tmp_path)
    assert outcome["code"] == 0 and "going on from" in outcome["stderr"][0] and "checkpoint-1" in outcome["stderr"][0]
    assert json.loads(outcome["stdout"])["digest"] == said(1)[1]["gcn"]["digest"]
    analysis.open(path).check()
    assert analysis.open(kept).n_epochs == 8  # not the damaged one
    for bad in (path, kept):
        DAMAGES[damage](bad)
    bytes_before = {bad.name: bad.read_bytes() for bad in (path, kept)}
    (outcome,) = jobs.outcomes_of(3, [again], tmp_path)
    assert outcome["code"] == 0 and "there is no other to go on from" in outcome["stderr"][0]
    assert "seed 1: it begins anew" in outcome["stderr"][0] and "seed 0: going on" in outcome["stderr"][0]
    assert json.loads(outcome["stdout"])["digest"] == said(1)[1]["gcn"]["digest"]
    assert {name: (run / f"damaged-{name}").read_bytes() for name in bytes_before} == bytes_before
    assert (analysis.open(path).n_epochs, analysis.open(kept).n_epochs) == (12, 8)


def test_a_training_that_begins_anew_takes_the_weights_it_was_given(files, tmp_path):
    run, weights = tmp_path / "run", tmp_path / "w.safetensors"
    short = ["--set", "train.seeds=1", "--set", "train.epochs=2", "--json"]
    first, _ = jobs.run_commands(3, [train(files, run, *short), ["export", run, "-o", weights]], tmp_path)
    given = [*short, "--weights", weights]
    (path,) = run.glob("checkpoint-*.h5")
    DAMAGES["flipped"](path)
    commands = [train(files, run, *given, "--resume"), train(files, tmp_path / "other", *given)]
    anew, other = (json.loads(text)["digest"] for text in jobs.run_commands(3, commands, tmp_path))
    assert anew == other != json.loads(first)["digest"]


def test_a_file_of_others_is_not_replaced_by_a_training_that_goes_on(files, tmp_path):
    run = tmp_path / "run"
    jobs.run_commands(1, [train(files, run, "--set", "train.seeds=1", "--set", "train.epochs=1")], tmp_path)
    with h5py.File(run / "checkpoint-1.h5", "w") as other:
        other["weights"] = [1.0]
    theirs = (run / "checkpoint-1.h5").read_bytes()
    more = ["--set", "train.seeds=2", "--set", "train.epochs=1", "--resume"]
    (outcome,) = jobs.outcomes_of(3, [train(files, run, *more)], tmp_path)
    assert outcome["code"] == 2 and "checkpoint-1.h5 exists and is no file of hpcmp" in outcome["stderr"][0]
    assert (run / "checkpoint-1.h5").read_bytes() == theirs


def test_other_code_of_a_model_is_refused_unless_it_does_not_matter(files, tmp_path):
    own, run = tmp_path / "own.py", tmp_path / "run"
    own.write_text(learning.MODELS)
    options = ["--set", f"model.kind={own}:deep", "--set", "train.epochs=2"]
    jobs.run_commands(1, [train(files, run, *options)], tmp_path)
    again = train(files, run, *options, "--resume", "--json")
    own.write_text("# a remark\n" + learning.MODELS)
    jobs.run_commands(1, [again], tmp_path)
    own.write_text(learning.MODELS.replace("nn.relu", "nn.elu"))
    outcomes = jobs.outcomes_of(3, [again, [*again, "--changed-code"]], tmp_path)
    assert [outcome["code"] for outcome in outcomes] == [2, 0]
    assert "other code of the model" in outcomes[0]["stderr"][0]


@pytest.mark.parametrize("name, first, then", [("gcn", 3, 1), ("rgcn, rows", 1, 3)])
def test_a_killed_training_goes_on_with_the_same_bits(files, tmp_path, name, first, then):
    run, job = tmp_path / "run", uuid.uuid4().hex
    told = functools.partial(train, files, graph=graph_of(name))
    options = [*VARIED[name], "--set", "train.seeds=1"]
    argv = told(run, *options, "--set", f"train.epochs={LONG}")
    env = launching.environment({launching.JOB: job})
    command = launching.command(None if first == 1 else first, "-m", "hpcmp", *argv)
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        path, end = run / "checkpoint-0.h5", time.monotonic() + 60
        while not (path.exists() and analysis.open(path).n_epochs >= 8) and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        launching.kill(job)
        process.wait()
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL, 137, 9)
    epochs = analysis.open(path).n_epochs + 6
    more = [*options, "--set", f"train.epochs={epochs}", "--json"]
    (resumed,) = jobs.outcomes_of(then, [told(run, *more, "--resume")], tmp_path)
    assert f"going on from the checkpoint after {epochs - 6} epochs" in resumed["stderr"][0]
    whole = jobs.run_commands(then, [told(tmp_path / "whole", *more)], tmp_path)
    assert json.loads(resumed["stdout"])["digest"] == json.loads(whole[0])["digest"]
    assert not list(run.glob(".*"))


# ---------------------------------------------------------------- mistakes

REFUSED = {  # name -> (options of a train, what the message says)
    "an unknown key": (["--set", "train.epoch=3"], "'train.epoch' is not a key", "train.epochs"),
    "a value of another type": (["--set", "train.epochs=many"], "train.epochs = 'many' is no whole number"),
    "no value": (["--set", "train.epochs"], "has no value"),
    "an unknown model": (["--set", "model.kind=gnn"], "'gnn' is neither one of gcn, sage, gin, gat"),
    "a model file that is not there": (["--set", "model.kind=@none.py:Net"], r"none\.py does not exist"),
    "a model that is not there": (["--set", "model.kind=@models.py:Nut"], "has no 'Nut'; its models: Net"),
    "a model that fails": (["--set", "model.kind=@models.py:broken"], "ValueError: no such width"),
    "what gives no model": (["--set", "model.kind=@models.py:nothing"], "gives a int"),
    "what is no model": (["--set", "model.kind=@models.py:number"], "is a int; a Module class"),
    "an unknown field": (["--set", "data.features=y"], "no vertex field 'y'", "label", 'features = ""'),
    "labels that are no classes": (["--set", "data.labels=x"], "'x' are float32 x 12; one class number"),
    "a field that is no split": (["--set", "data.split=x"], "the split 'x' is no field of the texts train, val, test"),
    "no relations": (["--set", "model.kind=rgcn"], "RGCN needs a graph with relations, this one has none"),
    "no features": (["--set", "data.features="], "'gcn' needs features; name a vertex field in data.features, or use"),
    "no features for a model of one's own": (
        ["--set", "data.features=", "--set", "model.kind=@models.py:Net"],
        r"\(n_in, n_out\) = \(None, 3\)",
    ),
    "no threads": (["--threads", "0"], "--threads 0"),
    "a folder that holds a training": ([], "--resume", "--force"),
    "another model": (["--resume", "--set", "model.hidden=[6]"], r"model\.hidden is \[5\] there and \[6\] here"),
    "another rate": (["--resume", "--set", "train.lr=0.5"], r"train\.lr is 0\.01 there and 0\.5 here"),
    "a rate that goes by all epochs": (
        ["--set", "train.schedule=cosine", "--resume"],
        r"train\.epochs is 1 there and 12 here",
    ),
    "a metric of another loss": (
        ["--set", "train.loss=mse", "--set", "train.metrics=f1_macro"],
        "does not fit the loss mse",
    ),
    "labels that are not 0 or 1": (["--set", "train.loss=bce"], r"vertex \d+ has the label 2 in 'label'"),
    "a metric of vertices for links": (["--set", "train.loss=links", "--set", "train.metrics=accuracy"], "loss links"),
    "shares that are too large": (["--set", "train.loss=links", "--set", "data.held_out=[0.5, 0.5]"], "below 1"),
    "a metric that is not watched": (
        ["--set", "train.monitor=val_f1_macro"],
        "none of the metrics accuracy of a split",
    ),
    "weights that are not there": (["--weights", "@none.safetensors"], r"none\.safetensors does not exist"),
    "weights that are none": (["--weights", "@config.toml"], "no safetensors file"),
    "a loss that is no number": (
        ["--set", "train.lr=1e37", "--set", "train.groups={'convs.*.weight' = {weight_decay = 0}}"],
        "epoch 1",
        r"gradient of convs\.\d\.weight \(group 'convs\.\*\.weight'\)",
        "smaller learning rate",
    ),
    "such a loss with threads": (["--set", "train.lr=1e37", "--threads", "2"], "epoch 1", "gradient of convs"),
}


@pytest.fixture(scope="session")
def refused(files, tmp_path_factory):
    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"refused-{ranks}-")
        runs = {name: folder / f"run-{k}" for k, name in enumerate([*REFUSED, "parts", "graph", "infer", "rows"])}
        short = ["--set", "train.epochs=1"]
        known = (
            "a folder that holds a training",
            "another model",
            "another rate",
            "a rate that goes by all epochs",
            "parts",
            "graph",
        )
        jobs.run_commands(ranks, [train(files, runs[name], *short) for name in known], folder)
        rows = [*VARIED["rgcn, rows"], *short]
        jobs.run_commands(ranks, [train(files, runs["rows"], *rows, graph="kinds.h5")], folder)
        (folder / "other").mkdir()
        learning.write_inputs(folder / "other", seed=1)
        jobs.run_commands(ranks, [learning.convert(folder / "other")], folder)
        commands = {name: train(files, runs[name], *options) for name, (options, *_) in REFUSED.items()}
        commands["parts"] = train(files, runs["parts"], "--resume", graph="five.h5")
        commands["graph"] = ["train", files / "config.toml", folder / "other" / "g.h5", "-o", runs["graph"], "--resume"]
        commands["infer"] = ["infer", folder, files / "g.h5", "-o", folder / "out.h5"]
        commands["rows"] = ["infer", runs["rows"], files / "five.h5", "-o", folder / "out.h5"]
        outcomes = jobs.outcomes_of(ranks, list(commands.values()), folder)
        return runs, dict(zip(commands, outcomes, strict=True))

    return on


def first_weight(path):
    """Where in a checkpoint the bytes of a weight begin."""
    with h5py.File(path) as handle:
        return next(iter(handle["weights"].values())).id.get_offset()


MORE = {
    "parts": ("cut into other parts", "--force"),
    "graph": (r"graph with digest \w{12}\.\.\., this one has",),
    "rows": ("learned rows of the vertices of the graph it was trained on; this is another",),
    "infer": ("holds no checkpoint", "hpcmp train"),
}


@pytest.mark.parametrize("name", [*REFUSED, *MORE])
def test_a_mistake_is_told_once_on_all_ranks(refused, name):
    outcome = refused(RANKS[-1])[1][name]
    assert outcome["code"] == 2, outcome
    (message,) = [line for line in outcome["stderr"][0].splitlines() if not line.startswith(("note:", "seed "))]
    assert message.startswith("hpcmp: error: ")
    for pattern in REFUSED[name][1:] if name in REFUSED else MORE[name]:
        assert re.search(pattern, message), f"the message lacks {pattern!r}: {message}"
    assert not any(outcome["stderr"][1:])


@pytest.mark.parametrize("option", ["--resume", "--changed-code", "--survive", "--max-walltime=5m"])
def test_options_of_checkpoints_want_a_folder(option):
    args = cli.make_parser().parse_args(["train", "c.toml", "g.h5", option])
    with pytest.raises(ProgramError, match=option.partition("=")[0] + " needs -o RUN"):
        cli_train.run(world(), args)


def test_a_checkpoint_alone_runs_no_python_file():
    with pytest.raises(ProgramError, match=r"a\.h5 is of the model net\.py:Net, .* say so: --model net\.py:Net"):
        command.trusted("a.h5", "net.py:Net", None)
    assert command.trusted("a.h5", "net.py:Net", "moved/net.py:Net") == "moved/net.py:Net"
    assert command.trusted("a.h5", "gcn", None) == "gcn"
    with pytest.raises(ProgramError, match=r"--model net\.py:Net: a\.h5 is of the model gcn"):
        command.trusted("a.h5", "gcn", "net.py:Net")


def test_weights_that_overflow_keep_the_last_good_checkpoint(files, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out.h5"
    # each step multiplies the weights by about -1e12: those of the fourth are beyond float32, its loss is not
    grow = ["train.optimizer=sgd", "train.lr=1", "train.weight_decay=1e12", "model.hidden=[]", "model.dropout=0"]
    grow = [word for key in grow for word in ("--set", key)]
    every = ["--set", "train.checkpoint_every=1"]
    commands = [train(files, run, *grow, *every, "--set", f"train.epochs={n}") for n in (4, 3)]
    commands[1].append("--resume")
    commands.append(["infer", run, files / "g.h5", "-o", out, "--logits"])
    died, went_on, inferred = jobs.outcomes_of(1, commands, tmp_path)
    assert died["code"] == 2, died
    for part in (
        "the loss is ",
        " in epoch 3; convs.0.weight after the optimiser's step is not finite",
        "learning rate",
    ):
        assert part in died["stderr"][0]
    found = analysis.open(run / "checkpoint-0.h5")
    found.check()
    assert found.n_epochs == 3
    assert went_on["code"] == inferred["code"] == 0, (went_on, inferred)
    assert np.isfinite(analysis.open(out)["logits"]).all()


BLOCKING = """import pathlib

from hpcmp import nn


class Net(nn.Module):
    def __init__(self, n_in, n_out):
        self.only, self.n_calls = nn.GCN(n_in, n_out), 0

    def __call__(self, graph, x):
        self.n_calls += 1  # each epoch goes forward twice
        folder = pathlib.Path(FOLDER, "checkpoint-0.before.h5")  # in the way of a file
        if graph.comm.rank == 0 and self.n_calls == 11:
            folder.mkdir()
        if graph.comm.rank == 0 and self.n_calls == 17:
            folder.rmdir()
        return self.only(graph, x)
"""


def test_a_checkpoint_that_cannot_be_written_is_told_and_the_training_goes_on(files, tmp_path):
    own, run = tmp_path / "own.py", tmp_path / "run"
    own.write_text(BLOCKING.replace("FOLDER", repr(str(run))))
    (outcome,) = jobs.outcomes_of(2, [train(files, run, "--set", f"model.kind={own}:Net")], tmp_path)
    assert outcome["code"] == 0, outcome
    assert outcome["stderr"][0].count("no checkpoint of epoch") == outcome["stderr"][0].count("epoch 8 of seed 0:") == 1
    assert analysis.open(run / "checkpoint-0.h5").n_epochs == 12
    assert analysis.open(run / "checkpoint-0.before.h5").n_epochs == 4


def test_a_new_training_replaces_the_old_one_by_force_alone(files, tmp_path):
    pytest.importorskip("safetensors")
    run, weights = tmp_path / "run", tmp_path / "w.safetensors"
    short = ["--set", "train.epochs=1"]
    jobs.run_commands(
        1, [train(files, run, *short, "--set", "train.seeds=3"), ["export", run, "-o", weights]], tmp_path
    )
    old = {path: path.read_bytes() for path in run.iterdir()}
    assert len(old) == 4
    wrong = ["data.labels=mood"], ["train.monitor=val_f1_macro"], ["model.hidden=[7]", "--weights", weights]
    commands = [train(files, run, *short, "--force", "--set", *words) for words in wrong]
    for outcome in jobs.outcomes_of(1, commands, tmp_path):
        assert outcome["code"] == 2, outcome
        assert {path: path.read_bytes() for path in run.iterdir()} == old, outcome
    jobs.run_commands(1, [train(files, run, *short, "--force")], tmp_path)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-0.h5", "history.h5"]


def test_files_of_training_are_known_to_info_and_refused_elsewhere(said):
    folder, _ = said(1)
    run = folder / "gcn"
    texts = jobs.run_commands(
        1, [["info", run / "history.h5", "--json"], ["info", run / "checkpoint-1.h5", "--check"]], folder
    )
    assert json.loads(texts[0])["n_epochs"] == 24
    assert "convs.0.weight 12 x 5" in texts[1]
    with pytest.raises(FormatError, match="hpcmp-history"):
        analysis.open(run / "history.h5", analysis.ROWS)


# ---------------------------------------------------------------- the data folder


def test_people_of_aifb_are_told_apart(data, tmp_path):
    graph, inputs = tmp_path / "aifb.h5", data / "aifb"
    words = ["--reverse-relations", "--train", inputs / "trainingSet.tsv", "--test", inputs / "testSet.tsv"]
    convert = ["convert", inputs / "aifb_stripped.nt.gz", *words, "--key", "person", "--label", "label_affiliation"]
    learn = ["train", launching.ROOT / "examples" / "aifb.toml", graph, "--set", "train.seeds=10", "--json"]
    said = jobs.run_commands(2, [[*convert, "-o", graph], learn], tmp_path)[1]
    facts = json.loads(said)
    assert facts["steps"] == 500 and facts["metrics"]["test_accuracy"]["mean"] >= 0.94
