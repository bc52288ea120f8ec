"""The command line: `hpcmp VERB ...`, alone or under mpirun.

A verb is a module of this package with ``HELP``, ``EXAMPLES``,
``add_arguments(parser)`` and either ``run(comm, args)`` (all ranks) or
``run_on_rank_0(args)`` (files only, no MPI needed). Modules import what they
need inside these functions, so that ``--help`` is quick.
"""

import argparse
import contextlib
import importlib
import os
import sys

from hpcmp import __version__
from hpcmp.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER, HpcmpError, RankLost, Suspended

WATCHED = ("generate", "convert", "partition", "run", "train", "simulate", "infer", "bench")
VERBS = (
    "doctor",
    "generate",
    "convert",
    "partition",
    "info",
    "check",
    "run",
    "train",
    "simulate",
    "infer",
    "digest",
    "diff",
    "export",
    "trace",
    "bench",
)
WATCHDOG = (
    "end the job, exit code 86, once no rank has got on for so long; tell where each rank is and whom it waits for "
    "(default: never)"
)


class UsageError(HpcmpError, ValueError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises, so that rank 0 alone speaks."""

    def error(self, message):
        """Raise what argparse would print. Local."""
        raise UsageError(f"{message} (see {self.prog} --help)")

    def print_help(self, file=None):
        """Print on rank 0 only. Local."""
        if _rank() == 0:
            super().print_help(file)


def main(argv=None):
    """Run one command and leave with its exit code. Collective."""
    os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")  # no file makes HDF5 load plugins
    for stream in (sys.stdout, sys.stderr):  # names of vertices and files may be anything, terminals not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = make_parser().parse_args(argv)
        verb = importlib.import_module(f"hpcmp.cli.{args.verb}")
    except HpcmpError as error:
        _say_error(error)
        sys.exit(error.exit_code)
    try:
        code = _on_rank_0(verb, args) if hasattr(verb, "run_on_rank_0") else _on_all_ranks(verb, args)
    except KeyboardInterrupt:
        _complain("interrupted")
        code = EXIT_INTERRUPTED
    sys.stdout.flush()
    sys.exit(code or EXIT_DONE)


def make_parser():
    """The parser of all verbs. Local."""
    parser = Parser(
        prog="hpcmp",
        description="Message passing on graphs across MPI ranks. Every verb works alone and under `mpirun -n P`.",
        epilog="Exit codes: 0 done, 2 a mistake in input or arguments, 3 diff found a difference, 85 left after a checkpoint "
        "and wants to be started again, 86 ended by --watchdog, 1 a fault of hpcmp.",
    )
    parser.add_argument("--version", action="version", version=f"hpcmp {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        module = importlib.import_module(f"hpcmp.cli.{name}")
        added = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(added)
        for parser_of_verb in _innermost(added) if name in WATCHED else ():
            parser_of_verb.add_argument("--watchdog", type=float, metavar="SECONDS", help=WATCHDOG)
    return parser


def _innermost(parser):
    """The parsers of a verb's kinds, or its own."""
    kinds = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return kinds[0].values() if kinds else [parser]


def _on_all_ranks(verb, args):
    from hpcmp.cli import checkpointing
    from hpcmp.comm import abort, world

    try:
        comm = first = world()
    except (ImportError, RuntimeError) as error:
        _complain(f"no MPI library was found ({error}); install one, for example: pip install 'hpcmp[mpich]'")
        return EXIT_USER
    while True:
        try:
            code = _run_verb(comm, verb, args)
            break
        except RankLost as error:
            if not getattr(args, "survive", False):
                abort(comm, error)
            comm = checkpointing.without_the_dead(comm, args)
    if comm is not first:
        checkpointing.leave_without_the_dead(comm, code or EXIT_DONE)
    return code


def _run_verb(comm, verb, args):
    """The exit code of a verb on the ranks that there are. Collective."""
    from hpcmp.cli import checkpointing
    from hpcmp.comm import ends_all_ranks, refuse_singleton_trap, together

    try:
        with ends_all_ranks(comm):
            with together(comm):
                if args.verb != "doctor":  # it explains the trap instead
                    refuse_singleton_trap(comm)
                if getattr(args, "survive", False):
                    checkpointing.prepare_to_survive(comm, args)
            with _watched(comm, getattr(args, "watchdog", None)):
                return verb.run(comm, args)
    except RankLost:
        raise
    except HpcmpError as error:
        if comm.rank == 0:
            _complain(error)
        return error.exit_code


def _watched(comm, seconds):
    if seconds is None:
        return contextlib.nullcontext()
    from hpcmp.watchdog import Watchdog

    return Watchdog(comm, seconds)


def _on_rank_0(verb, args):
    """Ranks other than 0 have nothing to do and leave with its code."""
    if _rank() != 0:
        return _agree_on_code(None)
    try:
        code = verb.run_on_rank_0(args)
    except HpcmpError as error:
        _complain(error)
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output (head) has seen enough
        sys.stderr.close()
        code = EXIT_DONE
    except BaseException as error:
        if _rank_is_shared():  # the others wait for our code
            from hpcmp.comm import abort, world

            abort(world(), error)
        raise
    return _agree_on_code(code)


def _rank_is_shared():
    return "mpi4py.MPI" in sys.modules and sys.modules["mpi4py.MPI"].COMM_WORLD.size > 1


def _agree_on_code(code):
    if "mpi4py.MPI" not in sys.modules:
        return code
    return sys.modules["mpi4py.MPI"].COMM_WORLD.bcast(code)


def _rank():
    """Rank of this process; 0 without MPI or outside mpirun."""
    launched = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PALS_RANKID", "MV2_COMM_WORLD_RANK", "SLURM_STEP_ID")
    if not any(name in os.environ for name in launched):
        return 0  # no launcher: starting MPI would only cost time
    try:
        from hpcmp.comm import world

        return world().rank
    except (ImportError, RuntimeError):
        return 0


def _say_error(error):
    if _rank() == 0:
        _complain(error)


def _complain(error):
    from hpcmp.cli.output import printable

    kind = "" if isinstance(error, Suspended) else "error: "
    sys.stderr.write(f"hpcmp: {kind}{printable(str(error))}\n")
    sys.stderr.flush()
