"""Accuracy on the citation graph Cora: the configurations in examples/, on the public split."""

import json
from pathlib import Path

import jobs
import launch as launching
import pytest
from thorough import IS_LONG

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = {  # kind -> (epochs of one seed, least test accuracy in percent)
    "gcn": (100, 78.0),
    "gat": (60, 78.0),
    "sage": (60, 75.0),
}
WHOLE = {"gcn": (80.8, 82.2), "gat": (82.5, 84.0), "sage": (80.0, 83.0)}  # bounds of the mean of ten seeds, in percent


@pytest.fixture(scope="module")
def cora(data, tmp_path_factory):
    folder, texts = tmp_path_factory.mktemp("cora"), data / "cora"
    more = ["--vertices", texts / "cora.vertices.tsv", "--features", texts / "cora.features.tsv"]
    jobs.run_commands(
        1, [["convert", texts / "cora.edges.tsv", "--undirected", *more, "-o", folder / "cora.h5"]], folder
    )
    return folder / "cora.h5"


def accuracy(cora, kind, *settings, timeout=launching.HANG_S):
    """Mean test accuracy that the command tells, in percent."""
    more = [part for setting in settings for part in ("--set", setting)]
    command = ["train", EXAMPLES / f"cora-{kind}.toml", cora, "--json", *more]
    (text,) = jobs.run_commands(1, [command], cora.parent, timeout=timeout)
    return 100 * json.loads(text)["metrics"]["test_accuracy"]["mean"]


@pytest.mark.parametrize("kind", SHORT if IS_LONG else ["gcn"])
def test_a_short_training_of_one_seed_learns(cora, kind):
    epochs, least = SHORT[kind]
    assert accuracy(cora, kind, f"train.epochs={epochs}") > least


@pytest.mark.skipif(not IS_LONG, reason="ten seeds take minutes; HPCMP_LONG_TESTS=1")
@pytest.mark.limit(1000)
@pytest.mark.parametrize("kind", WHOLE)
def test_ten_seeds_reach_the_papers(cora, kind):
    least, most = WHOLE[kind]
    assert least <= accuracy(cora, kind, "train.seeds=10", timeout=900) <= most
