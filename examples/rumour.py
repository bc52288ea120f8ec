"""A rumour: who has heard it tells one neighbour a step, and stops when three in a row knew it already.

    hpcmp generate ring --vertices 1000 -o town.h5
    mpirun -n 2 hpcmp simulate examples/rumour.py:model town.h5 --steps 2000 --seed 7 --trail trail
    hpcmp trace cone trail --agent 960 --step 300    # over whom it came to 960; 500 never hears of it

Source: D. Daley and D. Kendall, Nature 204 (1964).
"""

from hpcmp import agents

Tell = agents.MessageType("tell", hops="int64")
Known = agents.MessageType("known")

model = agents.Agent("person", state={"knows": "bool", "hops": "int64", "bored": "int64"})


@model.on(Tell)
def hear(me, msg, out, ctx):
    if me.knows:
        out.send(Known, msg.sender)
    else:
        me.knows, me.hops = True, msg.hops


@model.on(Known)
def lose_interest(me, msg, out, ctx):
    me.bored += 1


@model.each_step
def talk(me, out, ctx):
    if ctx.step == 0 and me.id == 0:
        me.knows = True
    if me.knows and me.bored < 3 and out.degree() > 0:
        listener = out.neighbour(int(agents.chance(me, ctx) * out.degree()))
        out.send(Tell, listener, me.hops + 1)
