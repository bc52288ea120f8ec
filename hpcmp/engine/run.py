"""Running a program: what is asked is checked, bound, stepped, and made a `Result`."""

import sys
import time
from dataclasses import replace

import numpy as np

from hpcmp import pulse
from hpcmp.comm import collective, raise_together
from hpcmp.engine.asynchronous import AsyncLoop
from hpcmp.engine.bind import bind
from hpcmp.engine.buckets import Buckets
from hpcmp.engine.checkpoints import Keeper
from hpcmp.engine.fingerprint import fingerprint, names_used
from hpcmp.engine.frontier import MODES
from hpcmp.engine.history import peak_rss_bytes
from hpcmp.engine.loop import Loop
from hpcmp.engine.program import with_params
from hpcmp.engine.record import MessageRecorder, check_trace, refuse_large
from hpcmp.engine.result import Result
from hpcmp.engine.room import rates_of
from hpcmp.errors import HpcmpError, ProgramError
from hpcmp.graph import both_ways, digest_of, only_relations, reversed_edges
from hpcmp.io import room


@collective
def run(
    program,
    graph,
    steps=None,
    *,
    params=None,
    mode="auto",
    check=False,
    threads=1,
    overlap=True,
    step_digests=False,
    trace="off",
    trail=None,
    trace_steps=None,
    checkpoints=None,
    progress=None,
):
    """Run a program on a graph. Collective.

    Parameters
    ----------
    program : Program
    graph : Graph
    steps : int or None
        At most so many steps; None: as the program says, or until it ends by
        itself. With mode async: rounds of a rank over its rows, and more than
        so many are an error.
    params : dict, optional
        Replaces defaults of ``program.params``.
    mode : "auto", "step", "frontier" or "async"
        For ``only_changed`` programs: step looks at every row, frontier only
        at rows that hear a changed vertex; auto chooses each step. The
        results are the same bits. For ``monotone`` programs and for a
        ``contraction``: async lets no rank wait for another; the same bits,
        or the same answer within the tolerance.
    check : bool
        Run the same functions as plain Python, uncompiled: slow, debuggable,
        the same bits for arithmetic, comparisons and sqrt.
    threads : int
        Threads of this rank. Changes no bit.
    overlap : bool
        Compute interior rows while halos travel. Changes no bit.
    step_digests : bool
        Keep a fingerprint of the state after each step in ``result.steps``.
    trace : "off", "counts" or "headers"
        headers: a record of each message, for small graphs, by which
        ``result.trail_digest`` is made. The numbers of each step (messages,
        vertices that send, rows between ranks) are in ``result.steps`` in any case.
    trail : path, optional
        Folder for the records; without it only their digest is kept.
    trace_steps : (int, int), optional
        The first and last step of which messages are recorded.
    checkpoints : Checkpoints, optional
        Where and when the run is checkpointed, and whether it goes on from there.
    progress : callable (text) or None
        Called on rank 0 every few seconds.

    Returns
    -------
    Result

    Raises
    ------
    ProgramError
        The program does not fit the graph, does not compile, or one of its
        functions raised. Raised on every rank.
    MemoryLimitError
        Its arrays cannot fit in the memory that is free. Raised on every rank.
    Suspended
        It was told to leave, and has left a checkpoint. Raised on every rank.
    """
    comm = graph.comm
    error = None
    try:
        params = with_params(program, params)
        _check_request(program, graph, mode)
        check_trace(trace, trail, trace_steps, mode)
        _check_checkpoints(checkpoints, trace, mode)
        n_steps = _step_limit(program, steps, mode)
    except HpcmpError as caught:
        error = caught
    raise_together(comm, error)
    start = time.perf_counter()
    heard = _heard_graph(program, graph)
    ready = time.perf_counter()
    bound = _bind_together(program, heard, params, not check, graph)
    _refuse_what_cannot_fit(bound, graph, heard, mode, threads)
    compiled = time.perf_counter()
    with np.errstate(all="ignore"):  # numba's arithmetic is silent; plain Python's shall be too
        kind = AsyncLoop if mode == "async" else Loop
        loop = kind(bound, heard, mode, 1 if check else threads, overlap, step_digests, progress)
        try:
            if program.bucket is not None and mode == "auto" and n_steps is None:
                loop.buckets = Buckets(bound, heard, loop.threads)
            if trace == "headers":
                refuse_large(comm, heard.n_edges, program.only_changed, n_steps, trace_steps)
                loop.recorder = MessageRecorder(graph, heard, program.name or "program", trail, trace_steps)
            saved = None
            if checkpoints is not None:
                loop.keeper = Keeper(comm, checkpoints, _identity(program, bound.params, graph), progress or say)
                saved = loop.keeper.resume()
            digest = _recorded(loop, n_steps, saved)
            costs = loop.keeper.finish() if loop.keeper else None
        finally:
            loop.close()
    seconds = {"compile": compiled - ready, "run": time.perf_counter() - compiled + ready - start}
    found = _finish(loop, graph, heard, seconds, threads, step_digests)
    return replace(found, trail=trail, trail_digest=digest, checkpoints=costs)


def _check_checkpoints(asked, trace, mode):
    if asked is not None and mode == "async":
        raise ProgramError("mode async has no steps to be checkpointed between; use mode auto")
    if asked is not None and trace == "headers":
        raise ProgramError("a run that records each message is not checkpointed; use trace counts, or no checkpoints")


def _identity(program, params, graph):
    """What a run has in common with one that goes on from it. Collective."""
    return {
        "kind": "program",
        "program": program.name or "program",
        "params": {name: repr(value) for name, value in params.items()},
        "graph": graph.digest or digest_of(graph),
        "code": fingerprint(program),
    }


def _recorded(loop, n_steps, saved):
    """Do all steps; the digest of their messages, if those are recorded. Collective."""
    try:
        with pulse.telling(loop.where):
            loop.run(n_steps, saved)
    except HpcmpError as error:
        if loop.recorder and error.agreed:  # of all ranks: the records tell how it came to this
            loop.recorder.finish()
        raise
    return loop.recorder.finish()[1] if loop.recorder else ""


def _step_limit(program, steps, mode):
    if steps is None and mode != "async":
        steps = program.steps
    if steps is None and mode != "async" and not program.ends_by_itself:
        raise ProgramError(
            "this program has no rule to end by (until, only_changed); say how many steps: --steps N (steps=N)"
        )
    if steps is not None and steps < 0:
        raise ProgramError(f"steps = {steps} is negative")
    return steps


def _check_request(program, graph, mode):
    if mode not in MODES:
        raise ProgramError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    if mode == "frontier" and not program.only_changed:
        raise ProgramError(
            "mode frontier is for programs with only_changed=True; in this one every vertex sends in every step"
        )
    unknown = [r for r in program.messages if r not in graph.relations]
    if unknown:
        have = ", ".join(graph.relations) or "one relation without a name"
        raise ProgramError(f"messages names the relation {unknown[0]!r}, the graph has {have}")


def _heard_graph(program, graph):
    """The graph whose in-edges are what this program's vertices hear.

    Where it has to be built, only the fields that the program names come along:
    parallel edges are ordered by them, so others must not matter.
    """
    silent = set(graph.relations) - set(program.messages) if program.messages else set()
    if not silent and (program.neighbours == "in" or not graph.directed):
        return graph
    graph = _with_fields(graph, names_used(*program.functions))
    if program.messages and set(graph.relations) != set(program.messages):
        graph = only_relations(graph, [r for r in graph.relations if r in program.messages])
    if program.neighbours == "both":
        return both_ways(graph)
    return reversed_edges(graph) if program.neighbours == "out" else graph


def _with_fields(graph, names):
    def kept(fields):
        return {name: a for name, a in fields.items() if name in names}

    fields = {"vertex_fields": kept(graph.vertex_fields), "edge_fields": kept(graph.edge_fields)}
    return replace(graph, name=None, digest=None, **fields)


def _bind_together(program, heard, params, compiled, graph):
    bound, error = None, None
    try:
        bound = bind(program, heard, params, compiled, degrees=graph)
    except HpcmpError as caught:
        error = caught
    raise_together(graph.comm, error)
    return bound


def _refuse_what_cannot_fit(bound, graph, heard, mode, threads):
    counts = room.counts_of(heard)
    needed = room.bytes_of(rates_of(bound, heard, mode, threads), counts)
    graphs = [graph] if heard is graph else [graph, heard]
    held = sum(room.bytes_of(room.held_rates(g), room.counts_of(g)) for g in graphs)
    room.refuse_what_cannot_fit(graph.comm, f"running {bound.program.name or 'this program'} takes", needed, held)


def _finish(loop, graph, heard, seconds, threads, step_digests):
    comm, program = graph.comm, loop.program
    steps = loop.history.steps_table(comm, step_digests)
    ranks = loop.history.ranks_table(comm, heard)
    result = Result(
        graph=graph,
        program=program.name or "program",
        params=loop.bound.params,
        state=dict(loop.bound.state),
        values=dict(loop.values),
        n_steps=loop.step,
        converged=bool(loop.converged) if program.ends_by_itself else None,
        steps=steps,
        ranks=ranks,
        seconds=seconds,
        halo={
            "rows": int(steps["halo_rows"].sum()),
            "bytes": int(steps["halo_bytes"].sum()),
            "wait_s": float(ranks["wait_s"].max()),
        },
        threads=threads,
        mode=loop.mode,
        peak_rss_bytes=comm.allreduce(peak_rss_bytes()),
    )
    if heard is not graph:
        heard.close()
    return replace(result, digest=result.compute_digest())


def say(text):
    """Default way to show progress: a line on standard error. Local."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
