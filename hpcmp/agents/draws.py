"""Random numbers of agents, functions of (seed, agent, step, stream)."""

from hpcmp.jit import inlined
from hpcmp.random import uniform

STREAMS = 1 << 20  # the simulation's own draws come after those of agents


@inlined
def chance(me, ctx, stream=0):
    """A float in [0, 1) of this agent, step and stream. Local.

    The same on any rank, whenever it is asked for. Callable in the functions of
    an agent; different streams, below `STREAMS`, give different numbers.
    """
    return uniform(ctx.seed, ctx.step, stream, me.id)
