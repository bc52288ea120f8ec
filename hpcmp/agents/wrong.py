"""What goes wrong in a run, in words: which agent in which step, reading which message, and where in whose file."""

import contextlib
import re
from pathlib import Path

import numpy as np
from numba.core.errors import NumbaError

from hpcmp.engine.explain import place_of, telling
from hpcmp.engine.fingerprint import helpers
from hpcmp.errors import MemoryLimitError, ProgramError
from hpcmp.kernels import places

STATUS = {
    places.OVER_BUDGET: "sends more than {budget} messages in one step; `budget` allows more",
    places.BAD_DELAY: "sends a message that would be read before the next step: a delay is at least 1",
    places.NOT_NEAR: "sends {kind!r} (its message {number}) to {value}, which is neither a neighbour nor the sender of the "
    "message at hand; any_receiver=True allows every agent",
    places.NO_EDGE: "sends {kind!r} (its message {number}) to {value}, to which it has no edge of the relation {relation!r}",
    places.TOO_LARGE: "sends {kind!r} (its message {number}) with {field} = {value}, which {dtype} does not hold",
}


def who(model, step, agent, at):
    """The agent at hand, and the message that it reads: text. Local."""
    text = f"step {step}: agent {model.graph.id[int(at[places.ROW])]} ({agent.name})"
    if at[places.OF_NUMBER] != places.NOWHERE:
        text += f", reading message {at[places.OF_NUMBER]} of agent {at[places.OF_SENDER]},"
    return text


def told(model, step, agent, out, budget):
    """The error of what an outbox says is wrong. Local."""
    at = out.at
    kind = model.kinds[int(at[places.BAD_KIND])]
    field = kind.fields[int(at[places.BAD_FIELD])] if at[places.STATUS] == places.TOO_LARGE else None
    text = STATUS[int(at[places.STATUS])].format(
        budget=budget,
        kind=kind.name,
        relation=kind.relation,
        number=out.numbers[int(at[places.ROW])],
        value=at[places.BAD_VALUE],
        field=field,
        dtype=kind.dtypes.get(field),
    )
    return ProgramError(f"{who(model, step, agent, at)} {text}")


@contextlib.contextmanager
def named(agent, where):
    """Tell what a user's function raises as one error of ours. Local.

    Parameters
    ----------
    where : callable () -> str
        Step, agent and message at hand.
    """
    try:
        with np.errstate(over="ignore", divide="raise", invalid="log", call=_Invalid()):
            yield
    except ProgramError as error:  # of a function that was compiled
        raise ProgramError(f"agent {agent.name!r}: {error}") from error
    except NumbaError as error:
        raise ProgramError(f"agent {agent.name!r}: {_of_numba(agent, str(error))}") from error
    except MemoryError as error:
        raise MemoryLimitError(f"{where()}: {error}") from error
    except Exception as error:
        kind = "ZeroDivisionError" if isinstance(error, FloatingPointError) else type(error).__name__
        text = re.sub(r"'(Context\w*|Outbox)' object", lambda m: "out" if m[1] == "Outbox" else "ctx", str(error))
        raise ProgramError(f"{where()}: {kind}: {text}{place_of(error)}") from error


class _Invalid:
    """Makes 0 / 0 fail in plain Python as it does compiled; other results that are no numbers pass."""

    def write(self, text):
        if "divide" in text or "remainder" in text:
            raise ZeroDivisionError(text.strip().removeprefix("Warning: "))


def _of_numba(agent, text):
    """What numba says of one of an agent's functions, and where. Local."""
    found = re.search(r" \(File \"(.*)\", line (\d+)\)$", what := telling(text))
    codes = [f.__code__ for f in helpers(*agent.functions)]
    if found:  # numba tells of the file from where it lies itself
        line, name = int(found[2]), Path(found[1]).name
        codes = [c for c in codes if Path(c.co_filename).name == name and c.co_firstlineno <= line]
        code = max(codes, key=lambda c: c.co_firstlineno, default=None)
    else:
        code = next((c for c in codes if re.search(rf"<function (\S*\.)?{c.co_name} at ", text)), None)
        line = code and code.co_firstlineno
    if code is None:
        return what
    return f"{what[: found.start()] if found else what} ({code.co_filename}, line {line}, in {code.co_name})"
