"""Every verb explains itself, with examples, on rank 0 only."""

import importlib
import os
import re

import pytest

from hpcmp import cli


def printed(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        cli.main(list(argv))
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_a_verb_has_examples(capsys, verb):
    text = printed(capsys, verb, "--help")
    assert "examples:" in text
    module = importlib.import_module(f"hpcmp.cli.{verb}")
    assert module.EXAMPLES
    for example in module.EXAMPLES:
        assert example in text
        assert f"hpcmp {verb}" in example


@pytest.mark.parametrize("verb", cli.VERBS)
def test_examples_of_a_verb_are_commands_it_understands(verb):
    parser = cli.make_parser()
    for example in importlib.import_module(f"hpcmp.cli.{verb}").EXAMPLES:
        for command in re.findall(r"hpcmp ([^()|\]\"]*)", example):
            assert parser.parse_args(command.split()).verb == verb


def test_commands_load_no_plugins_of_hdf5(monkeypatch, capsys):
    monkeypatch.setenv("HDF5_PLUGIN_PRELOAD", "")  # to be taken back afterwards
    monkeypatch.delenv("HDF5_PLUGIN_PRELOAD")
    printed(capsys, "--version")
    assert os.environ["HDF5_PLUGIN_PRELOAD"] == "::"


def test_help_names_every_verb(capsys):
    text = printed(capsys, "--help")
    for verb in cli.VERBS:
        assert re.search(rf"^ +{verb}\s", text, re.MULTILINE), f"{verb} is not in the help"
    assert "Exit codes" in text


def test_verbs_of_the_design_are_there():
    designed = {"doctor", "generate", "convert", "partition", "info", "run", "digest", "diff", "export"}
    assert designed <= set(cli.VERBS)


def test_version(capsys):
    from hpcmp import __version__

    assert printed(capsys, "--version").strip() == f"hpcmp {__version__}"


def test_help_is_printed_once_on_several_ranks(launch):
    done = launch(3, "run", "--help")
    assert done.returncode == 0
    assert done.stdout.count("examples:") == 1
    assert not done.stderr


def test_help_needs_no_mpi_and_no_numba():
    import launch as launching

    code = (
        "import sys; from hpcmp import cli; cli.make_parser(); print({'mpi4py.MPI', 'numba', 'h5py'} & {*sys.modules})"
    )
    done = launching.run(launching.command(None, "-c", code), env=launching.environment())
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
