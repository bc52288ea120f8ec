"""A record of every message of a program, for a close look at a small graph.

The value of a vertex that sends crosses each of its out-edges: a message, sent in step t to be read in t + 1, when the
state it led to is there. It has no single cause, as all that its sender heard in the step before led to it; `cone` by time
finds them. Messages are told from the graph and from who sends, after each step and outside its loops, whichever way
these took.

Names hold on any ranks and for any partition: the message along the q-th out-edge of a vertex with d of them, by id of the
receiver, has the number step * d + q.
"""

import time

import numpy as np

from hpcmp.comm import Route, owner_of, raise_together, together
from hpcmp.errors import ProgramError
from hpcmp.io.trail_ranks import TrailWriter
from hpcmp.io.trail_segment import STORED, narrowed
from hpcmp.kernels.trail import Messages, add_sums

TRACES = ("off", "counts", "headers")
MAX_RECORDS = 50_000_000  # of all ranks: some 1.5 GB
EDGES_AT_ONCE = 1 << 20  # that are made records together
ACT, EXCHANGE = ("send", "interior", "boundary"), ("wait", "reduce")  # phases of a step, as the timing has them


def check_trace(trace, trail, window, mode):
    """Refuse what cannot be asked of a trace. Local.

    Raises
    ------
    ProgramError
    """
    if trace not in TRACES:
        raise ProgramError(f"trace = {trace!r} is none of {', '.join(TRACES)}")
    if trace != "off" and mode == "async":
        raise ProgramError("mode async has no steps, of which a trace tells; trace a run of mode step or auto")
    if trail is not None and trace != "headers":
        raise ProgramError(f"a trail keeps records of messages; trace = {trace!r} makes none, headers does")
    if window is None:
        return
    if trace != "headers":
        raise ProgramError(f"trace_steps tell which steps are recorded; trace = {trace!r} records none, headers does")
    if not 0 <= window[0] <= window[1]:
        raise ProgramError(f"trace_steps = {tuple(window)}: the first step is 0 or more, and at most the last")


def refuse_large(comm, n_edges, only_changed, n_steps, window):
    """Refuse a trace of which it is known that it is too large. Collective.

    Parameters
    ----------
    n_steps : int or None
        At most so many; None: not known.
    """
    first, last = window or (0, None)
    least = 1 if n_steps is None or only_changed else max(n_steps - first, 0)
    n_recorded = least if last is None or only_changed else min(least, last - first + 1)
    n = 0 if only_changed else n_recorded * n_edges
    raise_together(comm, _too_large(n, n_edges) if n > MAX_RECORDS else None)


def _too_large(n, n_edges):
    fit = MAX_RECORDS // max(n_edges, 1)
    more = f"; all messages of {fit} steps would fit" if fit else ""
    return ProgramError(
        f"a record of each message is for small graphs: {n} records are more than {MAX_RECORDS}; "
        f"--trace-steps A:B (trace_steps=(A, B)) records some steps{more}, --trace counts tells their numbers"
    )


class MessageRecorder:
    """Records of what this rank's vertices hear. Collective to make.

    Parameters
    ----------
    graph, heard : Graph
        As it was opened, and that whose in-edges are heard.
    name : str
        Of the program: the type of all messages.
    folder : path or None
        Of the trail; None: digests alone.
    window : (int, int) or None
        The first and last step that are recorded.
    """

    def __init__(self, graph, heard, name, folder, window):
        self.graph, self.comm, self.window = heard, heard.comm, window or (0, None)
        about = {"level": "headers", "message_types": [(name, np.dtype([]))], "agent_types": ["vertex"], "seed": None}
        self.trail = TrailWriter(self.comm, folder, about | {"first_step": self.window[0]})
        if self.trail.keeps_records:
            self.trail.write_agents(graph.id[: graph.n_owned], names=graph.name)
        self.rows = heard.in_rows()
        self.place, self.out_degree = _places(heard, self.rows)
        self.n_records, self.n_before = 0, 0  # of all ranks; of this rank, in the step before

    def after_step(self, loop):
        """Record the messages of the step that a loop has just done. Collective."""
        step, last = loop.step, self.window[1]
        if step < self.window[0] or (last is not None and step > last):
            return
        start = time.perf_counter()
        n_all = loop.history.columns["messages"][-1]
        self.n_records += n_all
        raise_together(self.comm, _too_large(self.n_records, self.graph.n_edges) if self._is_too_large else None)
        n, changed = 0, loop.frontier.changed if loop.program.only_changed else None
        with together(self.comm):
            for lo in range(0, self.graph.n_in, EDGES_AT_ONCE):
                n += self._record(step, slice(lo, lo + EDGES_AT_ONCE), changed)
        seconds = loop.history.seconds
        act, exchange = (sum(seconds[name][-1] for name in names) for names in (ACT, EXCHANGE))
        self._end_step(n, [act, exchange, time.perf_counter() - start], n_all)

    @property
    def _is_too_large(self):
        return self.n_records > MAX_RECORDS

    def _end_step(self, n, seconds, n_all):
        """Close a step in which n messages were sent to this rank, and those before delivered."""
        is_full = self.trail.end_step(np.array([[n], [self.n_before], [0], [n]]), seconds, n_all)
        self.n_before = n
        if is_full:
            self.trail.close(len(self.trail.counts))

    def _record(self, step, edges, changed):
        """Records of some in-edges of which the source sends; how many."""
        g, (src, rows) = self.graph, (self.graph.in_src[edges], self.rows[edges])
        number = step * self.out_degree[edges] + self.place[edges]
        if changed is not None:
            sends = changed[src]
            src, rows, number = src[sends], rows[sends], number[sends]
        n = len(src)
        if n == 0:
            return 0
        varying = {"sender": g.id[src], "number": number, "receiver": g.id[rows]}
        varying |= {"conversation_sender": varying["sender"], "conversation_number": number}
        same = {"step_sent": step, "step_delivered": step + 1, "type": 0, "cause_sender": 0, "cause_number": -1}
        same |= {"status": 0, "payload_offset": 0, "payload_length": 0}
        full = {name: np.full(n, value, STORED.get(name, np.int64)) for name, value in same.items()}
        full["payload_length"] = full["payload_length"].astype(np.int32)
        sums = self.trail.sums(step - self.window[0] + 1)
        add_sums(Messages(**varying, **full), np.zeros(8, np.uint8), self.window[0], sums)
        if self.trail.keeps_records:
            narrow = {name: narrowed(a) for name, a in varying.items()}
            self.trail.add(n, {name: narrow.get(name, same.get(name)) for name in STORED})
        return n

    def finish(self):
        """Write what there is; digests of steps, and of all. Collective."""
        self._end_step(0, [0.0, 0.0, 0.0], 0)  # in which the last messages are read
        return self.trail.finish()


def _places(graph, rows):
    """Place of each in-edge among the out-edges of its source, and how many those are: two int64 (n_in,). Collective."""
    src = graph.local_gids()[graph.in_src]
    route = Route(graph.comm, owner_of(graph.gid_bounds, src))
    in_row = np.arange(graph.n_in) - graph.in_ptr.view(np.int64)[rows]
    source, receiver, turn = (route.there(column) for column in (src, graph.order[rows], in_row))
    by_source = np.lexsort((turn, receiver, source))
    first = np.flatnonzero(np.diff(source[by_source], prepend=-1))
    count = np.diff(np.append(first, len(source)))
    place, total = np.empty(len(source), np.int64), np.empty(len(source), np.int64)
    place[by_source] = np.arange(len(source)) - np.repeat(first, count)
    total[by_source] = np.repeat(count, count)
    return route.back(place), route.back(total)
