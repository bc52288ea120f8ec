"""Running a model of agents: what is asked of a run, checked."""

from hpcmp import pulse
from hpcmp.agents import resume
from hpcmp.agents.kinds import whole
from hpcmp.agents.model import Model
from hpcmp.agents.record import Recorder
from hpcmp.agents.run import Run
from hpcmp.comm import collective, together
from hpcmp.engine.checkpoints import Keeper
from hpcmp.engine.run import say
from hpcmp.errors import ProgramError

LEAST_BUDGET = 1024  # messages of an agent in a step


@collective
def simulate(
    graph,
    agents,
    *,
    steps,
    seed=0,
    params=None,
    role="role",
    joins=None,
    any_receiver=False,
    unknown="error",
    budget=None,
    until=None,
    trace="off",
    trail=None,
    sample=1.0,
    threads=1,
    check=False,
    checkpoints=None,
    progress=None,
):
    """Run a model of agents on the vertices of a graph. Collective.

    Parameters
    ----------
    graph : Graph
        A message to a neighbour goes along an edge, from its source to its end.
    agents : list of Agent
        With several, the vertex field ``role`` tells which each vertex is: by
        name, or by the number in this list.
    steps : int
        At most so many.
    seed : int
        Of `chance`.
    params : dict, optional
        Numbers that functions read as ``ctx.NAME``.
    joins : str, optional
        Vertex field: the step in which an agent comes. What was sent to it
        before is not read.
    any_receiver : bool
        Let agents send to any id, not to neighbours and senders alone.
    unknown : "error" or "drop"
        What a message to an id that no agent has does, with ``any_receiver``:
        it ends the run, or is dropped, counted and recorded as such.
    budget : int, optional
        Most messages that an agent sends in a step. Default: 1024, or four
        times the largest number of neighbours.
    until : callable (values) -> bool, optional
        Asked after each step, of the measures by name: True ends the run.
    trace : "off", "counts", "headers" or "full"
        What is kept of messages: numbers of each step alone ("off" and
        "counts"), a record of each, or its payload too.
    trail : path, optional
        Folder for the records; without it only their digests are kept.
    sample : float
        Keep the records of this share of conversations, those whose hash of
        seed, sender and number of the first message is low: each whole or not
        at all. Counts stay those of all messages.
    threads : int
    check : bool
        Run functions as plain Python: slow, debuggable, the same bits for
        arithmetic. Conservation of messages is asserted in every step.
    checkpoints : Checkpoints, optional
        Where and when the run is checkpointed, and whether it goes on from
        there. With it a trail is that of the whole run, whatever was killed.
    progress : callable (text), optional
        Called on rank 0 every few seconds.

    Returns
    -------
    Simulation

    Raises
    ------
    ProgramError
        The model does not fit the graph or itself, a function fails, an inbox
        overflows, or a receiver does not exist; with agent, step and message.
        Raised on every rank.
    Suspended
        It was told to leave, and has left a checkpoint. Raised on every rank.
    """
    with together(graph.comm):
        if trail is not None and trace not in ("headers", "full"):
            raise ProgramError(f"a trail keeps records of messages; trace = {trace!r} makes none, headers and full do")
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= 1:
            raise ProgramError(f"sample = {sample!r} is no share of conversations; it is over 0 and at most 1")
        if sample < 1 and trace not in ("headers", "full"):
            raise ProgramError(f"a sample is one of records; trace = {trace!r} makes none, headers and full do")
        if unknown not in ("error", "drop"):
            raise ProgramError(f"unknown = {unknown!r} is none of error, drop")
        if unknown == "drop" and not any_receiver:
            raise ProgramError("unknown = 'drop' is for any_receiver=True: else agents write to those that they know")
        budget = None if budget is None else whole("budget", budget, least=1)
        steps, seed, threads = whole("steps", steps, least=0), whole("seed", seed), whole("threads", threads, least=1)
        if not isinstance(params, dict | None):
            raise ProgramError(f"params is a dict of name to number, not {params!r}")
        model = Model(graph, agents, params or {}, seed, role, joins, trace, check)
    budget = budget or max(LEAST_BUDGET, 4 * graph.comm.allreduce(int(graph.out_degree.max(initial=0)), _largest()))
    drops = unknown == "drop"
    how = {"any_receiver": bool(any_receiver), "unknown": unknown, "role": role if len(model.agents) > 1 else None}
    how |= {"joins": joins, "trace": trace, "sample": float(sample), "records": trail is not None}
    saved = keeper = recorder = None
    try:
        if checkpoints is not None:
            keeper = Keeper(graph.comm, checkpoints, resume.identity(model, **how), progress or say)
            saved = keeper.resume()
        if model.is_traced:
            earlier = saved and resume.earlier_trail(graph.comm, saved)
            replaces = checkpoints is None or checkpoints.force or not checkpoints.resume
            recorder = Recorder(model, trail, seed, float(sample), drops, earlier, replaces)
        run = Run(model, int(budget), bool(any_receiver), threads, progress, recorder, until, drops, keeper)
        with pulse.telling(run.where):
            return run.to_the_end(steps, saved)
    finally:
        if recorder is not None:
            recorder.trail.end()
        if keeper is not None:
            keeper.close()


def _largest():
    from mpi4py import MPI

    return MPI.MAX
