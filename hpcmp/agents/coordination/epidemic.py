"""SIR epidemic: the infected meet all neighbours every step, pass it on by chance, and recover by chance.

A susceptible agent catches it from each meeting with the probability ``infection``; an infected one recovers after each
step with the probability ``recovery``, and then never catches it again. With both certain the time of infection is the
distance of breadth-first search from the first infected; and whatever they are, nobody is infected before that. Ends
when nobody is infected.

Kermack and McKendrick, Proc. R. Soc. A 115 (1927); on graphs: Newman, Phys. Rev. E 66, 016128 (2002).
"""

from hpcmp import Sum, agents
from hpcmp.agents.coordination.stage import refuse, stage

Contact = agents.MessageType("contact")
Day = agents.MessageType("day")  # to oneself, while infected: the run goes on
SUSCEPTIBLE, INFECTED, RECOVERED = range(3)


def model():
    """Agents with a ``status``, infected from ``since`` to ``until``. Local.

    Both are steps, -1 for never. The measure ``infected`` counts those that are.
    """
    one = agents.Agent("person", {"status": "int64", "since": "int64", "until": "int64", "met": "int64"})

    @one.begin
    def start(me, ctx):
        me.since = 0 if me.status == INFECTED else -1
        me.until = -1

    @one.on(Contact)
    def meet(me, msg, out, ctx):
        if me.status == SUSCEPTIBLE and agents.chance(me, ctx, 1 + me.met) < ctx.infection:
            me.status = INFECTED
            me.since = ctx.step
        me.met += 1  # a draw of its own for each

    @one.on(Day)
    def wake(me, msg, out, ctx):
        pass

    @one.each_step(alone=False)
    def go_on(me, out, ctx):
        me.met = 0
        if me.status == INFECTED:
            out.to_neighbours(Contact)
            if agents.chance(me, ctx) < ctx.recovery:
                me.status = RECOVERED
                me.until = ctx.step
            else:
                out.send(Day, me.id)

    @one.measure(Sum)
    def infected(me, ctx):
        return me.status == INFECTED

    return [one]


def run(graph, infected, *, infection, recovery, steps, seed=0, **more):
    """Let an infection spread along edges. Collective.

    Parameters
    ----------
    graph : Graph
    infected : bool (n_owned,) or name of a vertex field
        Who is at first.
    infection, recovery : float
        Probabilities: of a meeting, of a step.
    steps, seed : int
    more
        Options of `simulate`.
    """
    for name, p in (("infection", infection), ("recovery", recovery)):
        refuse(graph, not 0 <= p <= 1, f"{name} = {p} is no probability")
    params = {"infection": float(infection), "recovery": float(recovery)}
    return agents.simulate(stage(graph, status=infected), model(), steps=steps, seed=seed, params=params, **more)
