"""A command never replaces what it reads."""

import launch as launching
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs")
    (path / "edges.tsv").write_text("0 1\n1 2\n")
    (path / "headless.tsv").write_text("1.0 2.0\n3 4\n")
    done = hpcmp(path, "convert", "edges.tsv", "-o", "g.h5")
    assert done.returncode == 0, done.stderr
    return path


def hpcmp(folder, *argv):
    return launching.run(launching.command(None, "-m", "hpcmp", *argv), folder, launching.environment(), 120)


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "degrees", "g.h5", "-o", "g.h5"),
        ("partition", "g.h5", "-o", "./g.h5"),
        ("convert", "edges.tsv", "-o", "edges.tsv"),
    ],
    ids=lambda argv: argv[0],
)
def test_output_over_an_input_is_refused(folder, argv):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = hpcmp(folder, *argv)
    assert done.returncode == 2 and "is an input of this command" in done.stderr
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_line_of_numbers_is_no_header(folder):
    done = hpcmp(folder, "convert", "headless.tsv", "-o", "h.h5")
    assert done.returncode == 2 and "line 1" in done.stderr
