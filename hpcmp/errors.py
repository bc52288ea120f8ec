"""The errors hpcmp raises on purpose, and the exit code each one ends with.

Every class is also the built-in exception that fits, so that a caller may
catch either. A message says what is wrong with the value, the rule it breaks,
where, and what to do.
"""

EXIT_DONE = 0
EXIT_BUG = 1  # ours: an exception nobody foresaw
EXIT_USER = 2  # the user's: input, program, arguments, files
EXIT_INTERRUPTED = 130  # by Ctrl-C
EXIT_RESUBMIT = 85  # checkpointed; wants to be started again
EXIT_HANG = 86  # ended by --watchdog: no rank got on


class HpcmpError(Exception):
    """Base of all errors that are the user's to mend.

    ``agreed`` is set once all ranks of a communicator raise the same error
    together (``comm.raise_together``); such an error may be caught and the
    communicator used again.
    """

    exit_code = EXIT_USER
    agreed = False


class InputError(HpcmpError, ValueError):
    """A text or table that was read holds something that breaks its rules."""


class GraphError(HpcmpError, ValueError):
    """Arrays or a request do not fit the graph."""


class PartitionError(HpcmpError, ValueError):
    """A graph cannot be cut as asked."""


class ProgramError(HpcmpError, TypeError):
    """A user's program does not fit its contract, or one of its functions failed."""


class FileError(HpcmpError, OSError):
    """A file cannot be opened, read or written."""


class FormatError(HpcmpError, ValueError):
    """A file is not what its format says."""


class VerifyError(HpcmpError, ValueError):
    """A verifier found an answer that breaks a law of its algorithm."""


class LaunchError(HpcmpError, RuntimeError):
    """The job was started in a way that cannot be what was meant."""


class MemoryLimitError(HpcmpError, MemoryError):
    """What was asked for cannot fit in the memory that is free."""


class HangError(HpcmpError, TimeoutError):
    """No rank got on for too long."""

    exit_code = EXIT_HANG


class MissingExtraError(HpcmpError, ImportError):
    """An optional package is needed and absent."""


class RemoteError(RuntimeError):
    """Another rank failed with an exception that is not an HpcmpError."""

    agreed = True


class RankLost(HpcmpError, RuntimeError):
    """A rank has died, and the MPI library lets the others go on without it."""

    exit_code = EXIT_BUG
    agreed = True  # every rank that lives learns of it, since the communicator is revoked


class Suspended(HpcmpError, RuntimeError):
    """A run has left after a checkpoint, to be started again."""

    exit_code = EXIT_RESUBMIT


def require(package, extra, why):
    """Import an optional package or say which extra brings it. Local."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{why} needs the package {package}, which is not installed; run: pip install 'hpcmp[{extra}]'"
        ) from error
