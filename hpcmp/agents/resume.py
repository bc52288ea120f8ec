"""The state of a run of agents as a checkpoint holds it, and back, on any ranks and parts.

agents     order, number (messages sent), has_left, state/FIELD: 0 for types that have it not
messages   all on their way: words (bytes of the record), receiver (id)
steps      counts of messages and measures of the steps so far, on rank 0
digests    with a trail: of each step digest and counts by type of message, on rank 0
timing     with a trail: seconds of steps and ranks
"""

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import FormatError
from hpcmp.graph import digest_of
from hpcmp.id_order import in_order
from hpcmp.io.trail import COUNTS

AGENTS, MESSAGES, STEPS, DIGESTS, TIMING = "agents", "messages", "steps", "digests", "timing"


def identity(model, **asked):
    """What a run has in common with one that goes on from it. Collective.

    ``asked`` is what else its history depends on, as json can hold it.
    """
    return {
        "kind": "agents",
        "states": {agent.name: {name: d.str for name, d in agent.state.items()} for agent in model.agents},
        "messages": {kind.title: {name: d.str for name, d in kind.dtypes.items()} for kind in model.kinds},
        "measures": sorted(model.measures),
        "params": {name: repr(value) for name, value in model.params.items()},
        "seed": int(model.seed),
        "graph": model.graph.digest or digest_of(model.graph),
        **asked,
        "code": model.code,
    }


def take(run):
    """(facts, tables) of a run between two steps. Collective.

    Raises
    ------
    MemoryLimitError
        A rank has no memory for them. Raised on every rank.
    FileError
        The trail cannot be written. Raised on every rank.
    """
    found, post = run.found, run.post
    facts = {"longest": max(run.comm.allgather(post.longest))}
    mine = slice(None if run.comm.rank == 0 else 0)
    with together(run.comm):
        steps = {name: np.array([row[name] for row in found.counts], np.int64)[mine] for name in COUNTS}
        steps |= {f"value/{name}": np.array(values)[mine] for name, values in found.measures.items()}
        tables = {AGENTS: _agents(run.model, post.numbers), MESSAGES: post.on_their_way(), STEPS: steps}
    if run.recorder:
        facts["trail"], tables[DIGESTS], tables[TIMING] = run.recorder.so_far(post)
    for columns in tables.values():
        for a in columns.values():
            a.flags.writeable = False  # all are new, or never change
    return facts, tables


def _agents(model, numbers):
    def by_vertex(a):
        out = np.empty_like(a)
        out[model.row] = a
        return out

    rows = {"order": model.graph.order.view(), "number": by_vertex(numbers)}
    rows["has_left"] = by_vertex(model.table.has_left)
    return rows | {f"state/{name}": a for name, a in model.columns().items()}


def earlier_trail(comm, saved):
    """What a trail needs to know to go on. Collective."""
    if DIGESTS not in saved.tables:
        return None
    return {**saved.facts["trail"], "steps": saved.whole(comm, DIGESTS), "timing": saved.tables[TIMING]}


def give(run, saved):
    """Let a run go on from what `take` gave. Collective.

    Raises
    ------
    FormatError
        The checkpoint has other agents or messages than the model. Raised on
        every rank.
    """
    model, post, found, what = run.model, run.post, run.found, f"the checkpoint of step {saved.step}"
    rows = in_order(model.graph, saved.tables.pop(AGENTS), what)
    with together(run.comm):
        for agent, state, places in zip(model.agents, model.states, model.places, strict=True):
            for name, dtype in agent.state.items():
                state[name] = _column(rows, f"state/{name}", dtype, what)[model.row[places]]
        post.numbers[:] = _column(rows, "number", post.numbers.dtype, what)[model.row]
        model.table.has_left[:] = _column(rows, "has_left", np.dtype(np.bool_), what)[model.row]
    messages = saved.tables.pop(MESSAGES)
    with together(run.comm):
        _check_messages(model, messages["words"], saved.step, what)
    post.take_up(messages["words"], messages["receiver"], int(saved.facts["longest"]), what)
    steps = {name: column.tolist() for name, column in saved.whole(run.comm, STEPS).items()}
    found.steps = saved.step
    found.counts = [dict(zip(COUNTS, row, strict=True)) for row in zip(*(steps[name] for name in COUNTS), strict=True)]
    found.measures = {name: steps[f"value/{name}"] for name in found.measures}
    run.sent, run.ended = sum(steps["sent"]), sum(steps["delivered"]) + sum(steps["dropped"])


def _column(rows, name, dtype, what):
    if name not in rows or rows[name].dtype != dtype:
        raise FormatError(f"{what} has no column {name!r} of {dtype} for each agent")
    return rows[name]


def _check_messages(model, words, step, what):
    """Refuse what loops would take as places that there are not."""
    if words.dtype != np.uint64 or words.shape[1:] != (model.width // words.itemsize,):
        raise FormatError(f"{what} has messages of another form than the model's")
    head = words.reshape(-1).view(model.records[0])
    wrong = (head["kind"] >= len(model.kinds)) | (head["due"] < step) | (head["number"] < 0)
    if model.is_traced:
        wrong |= (head["sent"] < 0) | (head["sent"] >= step)
    if wrong.any():
        raise FormatError(f"{what} has a message that the model cannot have sent: {head[np.argmax(wrong)]}")
