"""The command for agents: the same states and trail on any ranks, what is said, what is refused."""

import json

import jobs
import pytest

from hpcmp import analysis

RANKS = (1, 3)
RUMOUR = "rumour.py:model"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import launch as launching

    folder = tmp_path_factory.mktemp("simulate")
    (folder / "rumour.py").write_text((launching.ROOT / "examples" / "rumour.py").read_text())
    jobs.run_commands(1, [["generate", "ring", "--vertices", "50", "--parts", "5", "-o", folder / "g.h5"]], folder)
    return folder


def simulate(files, *options, model=RUMOUR):
    return ["simulate", files / model, files / "g.h5", "--steps", "40", "--seed", "3", "--json", *options]


def test_states_and_trail_are_the_same_on_any_ranks(files, tmp_path):
    said = {}
    for ranks in RANKS:
        trail = tmp_path / f"trail-{ranks}"
        options = ["--trace", "full", "--trail", trail, "-o", tmp_path / f"{ranks}.h5"]
        said[ranks] = json.loads(jobs.run_commands(ranks, [simulate(files, *options)], tmp_path)[0])
    first, then = said[1], said[3]
    assert first["digest"] == then["digest"] and first["trail_digest"] == then["trail_digest"] != ""
    assert first["values"] == then["values"] and first["values"]["sent"] > 40
    assert analysis.open(tmp_path / "3.h5")["knows"].sum() > 5
    (outcome,) = jobs.outcomes_of(1, [["trace", "diff", tmp_path / "trail-1", tmp_path / "trail-3"]], tmp_path)
    assert outcome["code"] == 0, outcome
    (text,) = jobs.run_commands(1, [["trace", "flow", tmp_path / "trail-3", "--json"]], tmp_path)
    assert json.loads(text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--set", "steps=3"], None),
        (["--trace", "all"], "is none of off"),
        (["--joins", "arrives"], "no vertex field 'arrives'"),
        (["--trace", "off", "--trail", "t"], "headers and full do"),
        (["--budget", "0"], "budget = 0 is below 1"),
        (["--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(files, tmp_path, options, text):
    outcomes = jobs.outcomes_of(3, [simulate(files, *options)], tmp_path)
    if text is None:
        assert outcomes[0]["code"] == 0
    else:
        assert outcomes[0]["code"] == 2 and text in outcomes[0]["stderr"][0], outcomes


@pytest.mark.parametrize(("name", "text"), [("Tell", "is no Agent"), ("nobody", "has no 'nobody'")])
def test_what_is_no_model_is_refused(files, tmp_path, name, text):
    outcomes = jobs.outcomes_of(1, [simulate(files, model=f"rumour.py:{name}")], tmp_path)
    assert outcomes[0]["code"] == 2 and text in outcomes[0]["stderr"][0], outcomes
