"""Options of the verbs that checkpoint: where, how often, and whether to go on."""

DEFAULT_EVERY = "10m"


def add_checkpoints(parser):
    """Declare the options of checkpoints. Local."""
    parser.add_argument("--checkpoint", metavar="DIR", help="folder for checkpoints; the newest two are kept")
    parser.add_argument(
        "--checkpoint-every",
        metavar="N|TIME",
        help=f"steps (50) or time (60s, 5m) between two checkpoints (default {DEFAULT_EVERY})",
    )
    add_leaving(parser, "DIR/stop")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest good checkpoint in DIR; a fresh start if there is none",
    )
    parser.add_argument(
        "--changed-code", action="store_true", help="with --resume: even if the code of the program has changed"
    )


def add_leaving(parser, stop_file):
    """Declare the options by which a run leaves to be started again. Local."""
    import argparse

    parser.add_argument(
        "--checkpoint-on-signal",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"SIGTERM or SIGUSR1 to any rank, or a file {stop_file}, end the run with a checkpoint and exit code 85 "
        "(default)",
    )
    parser.add_argument(
        "--max-walltime",
        metavar="TIME",
        help="so does this time (3600, 55m, 1:30:00) since the process began, less what a step and a checkpoint take",
    )
    parser.add_argument(
        "--survive",
        action="store_true",
        help="when a rank dies the others take its parts and go on from the last checkpoint (Open MPI 5, "
        "mpirun --with-ft ulfm)",
    )


def prepare_to_survive(comm, args):
    """Refuse --survive where nothing could; make room for copies in memory. Local.

    Raises
    ------
    LaunchError
    """
    from hpcmp.comm import may_lose_ranks
    from hpcmp.engine.partners import Partners
    from hpcmp.errors import LaunchError

    if not hasattr(args, "partners"):  # not on the ranks that are left
        args.partners = Partners()
    if comm.size > 1 and not may_lose_ranks(comm):
        raise LaunchError(
            "--survive needs an MPI that lets a job live when a rank dies: Open MPI 5, started by "
            "`mpirun --with-ft ulfm`; with others the job ends, and --resume goes on in the next"
        )


def without_the_dead(comm, args):
    """A communicator of the ranks that live, which go on. Collective."""
    from hpcmp.cli.output import note

    left = comm.Shrink()
    note(
        left, f"{comm.size - left.size} of {comm.size} ranks died; the other {left.size} go on from the last checkpoint"
    )
    args.resume = True
    return left


def leave_without_the_dead(comm, code):
    """End without MPI's farewell, which may wait for the dead. Collective."""
    import contextlib
    import os
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(Exception):  # one more has died
        comm.Barrier()
    os._exit(code)


def checkpoints_of(args, folder, every=DEFAULT_EVERY, wanted="--checkpoint DIR"):
    """What the options ask for: Checkpoints, or None without a folder. Local.

    Parameters
    ----------
    every : str or None
        What holds where ``args.checkpoint_every`` says nothing.
    wanted : str
        How the folder is named.

    Raises
    ------
    ProgramError
        They do not fit together.
    """
    from hpcmp.engine.checkpoints import Checkpoints
    from hpcmp.errors import ProgramError

    if folder is None:
        for name in ("checkpoint_every", "max_walltime", "resume", "changed_code", "survive"):
            if getattr(args, name):
                raise ProgramError(f"--{name.replace('_', '-')} needs {wanted}, the folder of the checkpoints")
        return None
    return Checkpoints(
        folder,
        args.checkpoint_every or every,
        on_signal=args.checkpoint_on_signal,
        max_walltime=args.max_walltime,
        resume=args.resume,
        force=args.force,
        changed_code=args.changed_code,
        partners=getattr(args, "partners", None),
    )


def costs_of(checkpoints):
    """What checkpoints cost, in words. Local."""
    return "{written} checkpoints, {bytes} bytes; the run waited {stall_s:.3g} s for them".format(**checkpoints)
