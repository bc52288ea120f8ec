"""`hpcmp trace`: what became of the messages of a run, and why."""

import argparse

HELP = "read the trail of a run of agents, or of a log: causes, effects, traffic, reach, reports"
EXAMPLES = (
    "hpcmp trace import mails.csv --columns sender,receiver,time -o mails",
    "hpcmp trace find trail --type alarm          (messages to start from)",
    "hpcmp trace back trail 17:3                  (why was message 3 of agent 17 sent?)",
    "hpcmp trace forward trail --agent 17         (all that its messages led to)",
    "hpcmp trace cone trail --agent 17 --step 40  (all that could have led to its state)",
    "hpcmp trace diff trail other",
    "hpcmp trace report trail -o report.html      (each WHAT has its own --help)",
)
DEFAULT_PAIR = "query:reply"


def add_arguments(parser):
    """Declare the arguments. Local."""
    asked = parser.add_subparsers(dest="asked", metavar="WHAT", required=True)
    for name, (text, examples, declare) in QUESTIONS.items():
        added = asked.add_parser(
            name,
            help=text,
            description=text,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == "import":
            added.add_argument("log", metavar="LOG", help="csv, tsv, blanks, or a JSON object a line; gz too")
        elif name != "diff":
            added.add_argument("trail", metavar="DIR", help="folder of a trail")
        declare(added)
        added.add_argument("--json", action="store_true", help="print one JSON object")


def run_on_rank_0(args):
    """Answer what is asked. Local."""
    from hpcmp.cli import tracing

    return tracing.answer(args)


def _import(parser):
    parser.add_argument(
        "--columns",
        default="sender,receiver,time",
        metavar="ROLES",
        help="what each column is: sender, receiver, time, type, id, cause, or - to skip it; ROLE=NAME takes a column of "
        "the header or a key of JSON (default: sender,receiver,time)",
    )
    parser.add_argument(
        "--separator", choices=("csv", "tsv", "space", "jsonl"), help="default: by the name, else the first line"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the trail; replaces a trail only"
    )


def _find(parser):
    parser.add_argument("--type", metavar="T", help="only messages of this type")
    parser.add_argument(
        "--status",
        metavar="S",
        help="only messages of this fate: delivered, 'in flight', expired, ... or dropped, for any loss",
    )
    _choice(parser)
    _limit(parser)


def _history(parser):
    parser.add_argument("agent", nargs="?", metavar="AGENT", help="id or name: what it got and sent, in order")
    parser.add_argument(
        "--conversation", metavar="S:N", help="instead: all messages of the conversation of this message"
    )
    _limit(parser)


def _back(parser):
    parser.add_argument("message", metavar="S:N", help="sender's id, and its number among the sender's messages")


def _forward(parser):
    parser.add_argument("message", nargs="?", metavar="S:N", help="what this message led to")
    parser.add_argument("--agent", metavar="A", help="what all messages of this agent led to")
    parser.add_argument("--step", type=int, metavar="T", help="what all messages sent in this step led to")
    _limit(parser)


def _cone(parser):
    _place(parser)
    _limit(parser)


def _diff(parser):
    parser.add_argument("trail", metavar="A", help="folder of a trail")
    parser.add_argument("other", metavar="B", help="another")


def _bottlenecks(parser):
    parser.add_argument("--top", type=int, default=10, metavar="K", help="agents shown (default: 10; 0: all)")
    parser.add_argument(
        "--sources",
        type=int,
        metavar="N",
        help="count shortest ways from N agents (default: all, or as many as take some seconds; the answer says how many)",
    )


def _flow(parser):
    parser.add_argument("--bins", type=int, default=20, metavar="N", help="runs of steps (default: 20; 0: each step)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="pairs of agents shown (default: 10; 0: all)")


def _unanswered(parser):
    parser.add_argument(
        "--pair",
        action="append",
        metavar="QUERY:REPLY",
        help=f"types of messages, may be repeated (default: {DEFAULT_PAIR})",
    )
    _limit(parser)


def _patterns(parser):
    parser.add_argument("--loops", type=int, default=3, metavar="N", help="loops of N messages or more (default: 3)")
    parser.add_argument(
        "--starving", type=int, default=100, metavar="K", help="agents that got nothing for K steps (default: 100)"
    )
    parser.add_argument("--top", type=int, default=10, metavar="K", help="of each kind shown (default: 10; 0: all)")


def _reach(parser):
    parser.add_argument("--top", type=int, default=10, metavar="K", help="agents shown (default: 10; 0: all)")


def _export(parser):
    from hpcmp.cli.output import add_output

    parser.add_argument("--format", required=True, choices=("chrome", "otel", "ocel", "dot", "graphml", "edges"))
    _choice(parser)
    _place(parser, "only the cone of ")
    add_output(parser, "file to write (default: standard output)", metavar="OUT")


def _report(parser):
    from hpcmp.cli.output import add_output

    parser.add_argument(
        "--top", type=int, default=2000, metavar="K", help="agents drawn and listed (default and most: 2000)"
    )
    add_output(parser, "page to write", metavar="OUT", required=True)


def _choice(parser):
    parser.add_argument("--steps", metavar="A:B", help="only messages sent in steps A to B, both included")
    parser.add_argument("--agents", metavar="X,Y", help="only messages that these agents sent or got")


def _place(parser, text=""):
    parser.add_argument("--message", metavar="S:N", help=f"{text}what could have led to this message")
    parser.add_argument("--agent", metavar="A", help=f"{text}what could have led to this agent's state,")
    parser.add_argument("--step", type=int, metavar="T", help="at the end of this step (default: the last)")
    parser.add_argument(
        "--by",
        choices=("time", "cause"),
        default="time",
        help="time: all that could have arrived in time; cause: only what is recorded as a cause (default: time)",
    )


def _limit(parser):
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="messages shown (default: 50; 0: all)")


QUESTIONS = {
    "import": (
        "make a trail of a log of messages",
        (
            "hpcmp trace import mails.csv --columns sender,receiver,time -o mails",
            "hpcmp trace import log.jsonl --columns sender=from,receiver=to,time=ts,type=kind -o mails",
        ),
        _import,
    ),
    "find": (
        "messages by type, fate, step and agent: where to start from",
        ("hpcmp trace find trail --type alarm --limit 5", "hpcmp trace find trail --status dropped --steps 10:20"),
        _find,
    ),
    "history": (
        "what an agent got and sent, or all of a conversation",
        ("hpcmp trace history trail 17", "hpcmp trace history trail --conversation 17:3 --json"),
        _history,
    ),
    "back": ("the chain of causes of a message, up to its root", ("hpcmp trace back trail 17:3",), _back),
    "forward": (
        "all messages that a message, an agent or a step led to, and whom they reached",
        ("hpcmp trace forward trail 17:3", "hpcmp trace forward trail --step 12 --limit 0"),
        _forward,
    ),
    "cone": (
        "the messages that could have led to a message, or to an agent's state at a step",
        ("hpcmp trace cone trail --message 17:3", "hpcmp trace cone trail --agent 17 --step 40 --by cause"),
        _cone,
    ),
    "diff": (
        "the first message in which two runs differ (exit code 0: none, 3: there is one)",
        ("hpcmp trace diff trail other",),
        _diff,
    ),
    "bottlenecks": (
        "agents by load: queues, senders, and the shortest ways that pass them",
        ("hpcmp trace bottlenecks trail --top 20",),
        _bottlenecks,
    ),
    "flow": ("messages by step, type, fate and pair of agents", ("hpcmp trace flow trail --bins 50",), _flow),
    "unanswered": (
        "queries to which no reply came back",
        ("hpcmp trace unanswered trail --pair task:result",),
        _unanswered,
    ),
    "patterns": (
        "loops, messages sent again and again, and agents that got nothing",
        ("hpcmp trace patterns trail --starving 20",),
        _patterns,
    ),
    "reach": (
        "whom news from each agent can have reached, along messages in the order of time",
        ("hpcmp trace reach trail --json",),
        _reach,
    ),
    "export": (
        "write a timeline (chrome), spans (otel), an event log (ocel), causes as a graph (dot, graphml), or who wrote to "
        "whom how often (edges)",
        (
            "hpcmp trace export trail --format chrome --steps 0:100 -o timeline.json",
            "hpcmp trace export trail --format dot --message 17:3 --by cause -o why.dot",
            "hpcmp trace export trail --format edges -o who.tsv",
        ),
        _export,
    ),
    "report": ("one page of HTML, without a network", ("hpcmp trace report trail -o report.html",), _report),
}
