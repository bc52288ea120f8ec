"""A team: managers assign tickets to developers, who build them and hand them over to testers, who send back what is broken.

What a ticket means depends on the relation over which it comes: build it, test it, build it again, it is done.

    python examples/team.py team    # who works with whom, as tables
    hpcmp convert assigns=team/assigns.tsv hands_over=team/hands_over.tsv reports_to=team/reports_to.tsv \
        tells=team/tells.tsv --vertices team/roles.tsv -o team.h5
    mpirun -n 2 hpcmp simulate examples/team.py:model team.h5 --steps 1000 --seed 7 --trace full --trail trail
    hpcmp trace flow trail --bins 10                    # messages by type and relation
    hpcmp trace history trail --conversation 0:3        # all that became of one ticket

The law: each ticket passes the test once, after its last build, and its manager hears of it once.
"""

import sys
from pathlib import Path

from hpcmp import agents

Ticket = agents.MessageType("ticket", id="int64")
Assigned, HandedOver, Broken, Done = (Ticket.over(r) for r in ("assigns", "hands_over", "reports_to", "tells"))
Passed = agents.MessageType("passed", relation="reports_to", id="int64")
Built = agents.MessageType("built", id="int64")  # to oneself, when the work is over
Tested = agents.MessageType("tested", id="int64", developer="int64")
TICKETS = 20  # of each manager: those of manager m are m * TICKETS and so on
WORK = 6  # building and testing take 1 to so many steps
FAULTS = 0.3  # chance that a build is broken

manager = agents.Agent("manager", state={"given": "int64", "done": "int64"})
developer = agents.Agent("developer", state={"builds": "int64"})
tester = agents.Agent("tester", state={"tests": "int64", "broken": "int64"})
model = [manager, developer, tester]


@manager.each_step
def assign(me, out, ctx):
    if me.given < TICKETS:
        q = int(agents.chance(me, ctx) * out.degree(Assigned))
        out.send(Assigned, out.neighbour(q, Assigned), me.id * TICKETS + me.given)
        me.given += 1


@manager.on(Done)
def close(me, msg, out, ctx):
    me.done += 1


@manager.goal
def has_all(me, ctx):
    return me.done == TICKETS


@developer.on(Assigned)
def build(me, msg, out, ctx):
    me.builds += 1
    out.send_later(1 + int(agents.chance(me, ctx, msg.id) * WORK), Built, me.id, msg.id)


@developer.on(Broken)
def build_again(me, msg, out, ctx):
    build(me, msg, out, ctx)


@developer.on(Built)
def hand_over(me, msg, out, ctx):
    q = int(agents.chance(me, ctx, msg.id) * out.degree(HandedOver))
    out.send(HandedOver, out.neighbour(q, HandedOver), msg.id)


@developer.on(Passed)
def tell(me, msg, out, ctx):
    out.send(Done, msg.id // TICKETS, msg.id)


@tester.on(HandedOver)
def test(me, msg, out, ctx):
    me.tests += 1
    out.send_later(1 + int(agents.chance(me, ctx, msg.id) * WORK), Tested, me.id, msg.id, msg.sender)


@tester.on(Tested)
def report(me, msg, out, ctx):
    if agents.chance(me, ctx, msg.id) < FAULTS:
        me.broken += 1
        out.send(Broken, msg.developer, msg.id)
    else:
        out.send(Passed, msg.developer, msg.id)


def write(folder, managers=4, developers=20, testers=8):
    """Tables of a team: ids and roles, and an edge list for each relation. Local."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    end = managers + developers
    roles = ["manager"] * managers + ["developer"] * developers + ["tester"] * testers
    (folder / "roles.tsv").write_text("id\trole\n" + "".join(f"{id}\t{role}\n" for id, role in enumerate(roles)))
    builders = range(managers, end)
    given = [(m, d) for m in range(managers) for d in builders if (m + d) % managers < 2]
    over = [(d, end + (d * 3 + k) % testers) for d in builders for k in range(2)]
    tables = {"assigns": given, "tells": given, "hands_over": over, "reports_to": over}
    for name, pairs in tables.items():
        ways = [(b, a) for a, b in pairs] if name in ("tells", "reports_to") else pairs
        (folder / f"{name}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in ways))


if __name__ == "__main__":
    write(sys.argv[1])
