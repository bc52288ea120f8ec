"""Services that call each other, and a fault that runs up to the pages that users see.

A service calls its neighbours of a higher id, so that there are no circles; calls are answered in the next step. One
service, ``broken``, is hit by a fault in the step ``at``. A service that is down answers no more and tells its callers
(error); a caller waits a while for it to come back (time-out) and is down then as well. One that nobody calls is a
page: when it is down it raises an alarm.

    hpcmp generate erdos-renyi --vertices 10000 --edges 30000 -o shop.h5
    mpirun -n 2 hpcmp simulate examples/services.py:model shop.h5 --steps 100 --set broken=9990 --set at=20 --trail trail
    hpcmp trace find trail --type alarm --limit 3    # pages that are down, the first ones first
    hpcmp trace back trail 1416:6                    # why: error by error to the fault, the last line
    hpcmp trace forward trail 9990:3                 # all that the fault led to, and whom it reached
"""

from hpcmp import agents

Call = agents.MessageType("call")
Answer = agents.MessageType("answer")
Fault = agents.MessageType("fault")  # from outside: to oneself, caused by nothing
Error = agents.MessageType("error")
TimeOut = agents.MessageType("time-out")
Alarm = agents.MessageType("alarm")
CALLS = 0.2  # chance that a service calls another in a step
PATIENCE = 4  # a service waits 1 to so many steps

model = agents.Agent(
    "service", state={"down": "int64", "waits": "bool", "answers": "int64"}
)  # down: since when, -1: it is up


@model.begin
def start(me, ctx):
    me.down = -1


@model.on(Call)
def serve(me, msg, out, ctx):
    if me.down < 0:
        out.send(Answer, msg.sender)


@model.on(Answer)
def read(me, msg, out, ctx):
    me.answers += 1


@model.on(Error)
def wait(me, msg, out, ctx):
    if me.down < 0 and not me.waits:
        me.waits = True
        out.send_later(1 + me.id % PATIENCE, TimeOut, me.id)


@model.on(TimeOut)
def give_up(me, msg, out, ctx):
    fail(me, out, ctx)


@model.on(Fault)
def break_down(me, msg, out, ctx):
    fail(me, out, ctx)


@model.on(Alarm)
def ring(me, msg, out, ctx):
    pass  # somebody should look at this


@model.each_step
def work(me, out, ctx):
    if me.id == ctx.broken and ctx.step == ctx.at:
        out.send(Fault, me.id)
    if me.down < 0 and out.degree() > 0 and agents.chance(me, ctx) < CALLS:
        called = out.neighbour(int(agents.chance(me, ctx, 1) * out.degree()))
        if called > me.id:
            out.send(Call, called)


def fail(me, out, ctx):
    """Go down, and tell all callers, which have lower ids; or ring where there are none."""
    if me.down >= 0:
        return
    me.down = ctx.step
    q = 0
    while q < out.degree() and out.neighbour(q) < me.id:
        out.send(Error, out.neighbour(q))
        q += 1
    if q == 0:
        out.send(Alarm, me.id)
