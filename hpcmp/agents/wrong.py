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
from hpcmp.kernels.records import MOST

STATUS = {
    places.OVER_BUDGET: "sends more than {budget} messages in one step; `budget` allows more",
    places.OVER_NUMBER: f"has sent {MOST} messages, the most that can be numbered",
    places.TOO_LATE: f"sends a message that would be read after step {MOST}, the last that there can be",
    places.OVER_LIMIT: "gets more messages than its limit of {limits}; a policy would say what to do",
    places.UNREAD: "reads no message {title!r}, which agent {sender} sent it (its message {of})",
    places.BAD_DELAY: "sends a message that would be read before the next step: a delay is at least 1",
    places.NOT_NEAR: "sends {kind!r} (its message {number}) to {value}, which is neither a neighbour nor the sender of the "
    "message at hand; any_receiver=True allows every agent",
    places.NO_EDGE: "sends {kind!r} (its message {number}) to {value}, to which it has no edge of the relation {relation!r}",
    places.TOO_LARGE: "sends {kind!r} (its message {number}) with {field} = {value}, which {dtype} does not hold",
}
PLAIN = {"Context": "ctx", "Outbox": "out", "Edge": "the edge"}  # what Python calls by the names of our classes


def agent_at(model, at):
    """The type of the agent at hand. Local."""
    return model.agents[model.table.type[int(at[places.AGENT])]]


def who(model, step, at, message=True):
    """The agent at hand, and the message that it reads: text. Local."""
    name = f"agent {at[places.ID]} ({agent_at(model, at).name})"
    of = f"message {at[places.OF_NUMBER]} of agent {at[places.OF_SENDER]}"
    if at[places.DOING] == places.MERGES:
        return f"step {step}, policy of {name}, {of}"
    if at[places.DOING] == places.TESTS:
        return f"step {step}, goal of {name}"
    is_told = message and at[places.OF_NUMBER] != places.NOWHERE
    return f"step {step}: {name}" + (f", reading {of}," if is_told else "")


def told(model, step, at, budget):
    """The error of what an outbox says is wrong. Local."""
    status, kind, agent = int(at[places.STATUS]), model.kinds[int(at[places.BAD_KIND])], agent_at(model, at)
    field = kind.fields[int(at[places.BAD_FIELD])] if status == places.TOO_LARGE else None
    text = STATUS[status].format(
        budget=budget,
        kind=kind.name,
        title=kind.title,
        relation=kind.relation,
        number=at[places.NUMBER],
        value=at[places.BAD_VALUE],
        field=field,
        dtype=kind.dtypes.get(field),
        sender=at[places.OF_SENDER],
        of=at[places.OF_NUMBER],
        limits=", ".join(f"{v[0]} {k.title!r}" for k, v in agent.limits.items()),
    )
    return ProgramError(f"{who(model, step, at, message=status != places.UNREAD)} {text}")


@contextlib.contextmanager
def named(agents, where):
    """Tell what a user's function raises as one error of ours. Local.

    Parameters
    ----------
    agents : sequence of Agent
        One of them has the function.
    where : callable () -> str
        Step, agent and message at hand.
    """
    try:
        with np.errstate(over="ignore", divide="raise", invalid="log", call=_Invalid()):
            yield
    except ProgramError as error:  # of a function that was compiled
        raise ProgramError(f"{_whose(agents, str(error))}{error}") from error
    except NumbaError as error:
        text = _of_numba(agents, str(error))
        raise ProgramError(f"{_whose(agents, text)}{text}") from error
    except MemoryError as error:
        raise MemoryLimitError(f"{where().rstrip(',')}: {error}") from error
    except Exception as error:
        kind = "ZeroDivisionError" if isinstance(error, FloatingPointError) else type(error).__name__
        text = re.sub(r"'(Context|Outbox|Edge)\w*' object", lambda m: PLAIN[m[1]], str(error))
        raise ProgramError(f"{where().rstrip(',')}: {kind}: {text}{place_of(error)}") from error


class _Invalid:
    """Makes 0 / 0 fail in plain Python as it does compiled; other results that are no numbers pass."""

    def write(self, text):
        if "divide" in text or "remainder" in text:
            raise ZeroDivisionError(text.strip().removeprefix("Warning: "))


def _whose(agents, text):
    """The type of agents that has the function that a text names at its end, as a beginning of a sentence."""
    found = re.search(r" \((.*), line \d+, in (.*)\)$", text)
    for agent in agents:
        codes = [f.__code__ for f in helpers(*agent.functions)]
        if len(agents) == 1 or (found and any((c.co_filename, c.co_name) == found.groups() for c in codes)):
            return f"agent {agent.name!r}: "
    return ""


def _of_numba(agents, text):
    """What numba says of one of the functions of agents, and where. Local."""
    found = re.search(r" \(File \"(.*)\", line (\d+)\)$", what := telling(text))
    codes = [f.__code__ for agent in agents for f in helpers(*agent.functions)]
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
