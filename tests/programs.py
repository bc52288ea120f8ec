"""Programs that together use every feature of the engine, few enough to compile in a minute.

Their functions are of this module, so that compiled kernels are kept between
runs; those that differ in the aggregate only share all kernels but one.
"""

import math

import numpy as np

import hpcmp

SCALARS = ("sum", "mean", "min", "max", "any", "all", "count", "std")


def small_start(vertex, ctx):
    return (vertex.id % 7) - 2.5


def send_value(vertex, ctx):
    return vertex.value


def weighted(sent, receiver, edge, ctx):
    return sent * edge.weight


def blend(vertex, total, ctx):
    return 0.5 * vertex.value + 0.125 * total


def take(vertex, total, ctx):
    return total


def of(aggregate, update=take, **more):
    """A weighted sum of neighbours, or whatever the aggregate makes of it."""
    parts = {"state": {"value": "float64"}, "init": small_start, "send": send_value, "message": weighted}
    return hpcmp.Program(**(parts | {"aggregate": aggregate, "update": update} | more))


AGGREGATES = {name: of(name) for name in SCALARS}


def key_and_label(sent, receiver, edge, ctx):
    return math.floor(sent), edge.sender + receiver.id % 3


def logit_and_value(sent, receiver, edge, ctx):
    return edge.weight - receiver.value, sent


def take_pair(vertex, total, ctx):
    return 0.25 * total[0] + total[1] % 11 if total[1] != -1 else vertex.value


def first_of_two(a, b):
    return a if a[0] != 0 else b


def with_rank(sent, receiver, edge, ctx):
    return edge.sender % 4, sent


def take_second(vertex, total, ctx):
    return total[1] + vertex.out_degree


def digits(a, b):
    return a * 0.5 + b


def middle(messages):
    if messages.size == 0:
        return -1.0
    messages.sort()
    return messages[messages.size // 2] + messages[0] / 8


PAIRS = {
    "argmin of the sender": of("argmin", take_pair),
    "argmax of a label": of("argmax", take_pair, message=key_and_label),
    "softmax_sum": of("softmax_sum", message=logit_and_value),
    "monoid of pairs": of(hpcmp.Monoid((0, 0.0), first_of_two), take_second, message=with_rank),
    "monoid": of(hpcmp.Monoid(0.0, digits), blend),
    "collect": of(hpcmp.Collect(middle), blend),
}


# ---------------------------------------------------------------- several fields, several kinds


def start_three(vertex, ctx):
    return vertex.id % 100 - 50, 1 / (1 + vertex.in_degree), vertex.id % 2 == 0


def send_three(vertex, ctx):
    return vertex.level, vertex.share, vertex.flag


def message_three(sent, receiver, edge, ctx):
    level, share, flag = sent
    return level + receiver.level // 2 if flag else level, share * edge.weight


def sum_of_two(a, b):
    return a[0] + b[0], a[1] + b[1]


def update_three(vertex, total, ctx):
    return (vertex.level + total[0]) % 100, 0.5 * vertex.share + 0.1 * total[1] / ctx.scale, total[0] % 2 == 1


FIELDS = hpcmp.Program(
    state={"level": "int16", "share": "float32", "flag": "bool"},
    init=start_three,
    send=send_three,
    message=message_three,
    aggregate=hpcmp.Monoid((0, 0.0), sum_of_two),
    update=update_three,
    params={"scale": 2.0},
)


# ---------------------------------------------------------------- vectors


def start_channels(vertex, ctx):
    return vertex.pull + 1 / (1 + abs(vertex.id) % 10)


def send_channel(vertex, ctx):
    return vertex.h * vertex.mass


def update_channel(vertex, total, ctx):
    return 0.5 * vertex.h + 0.25 * total - vertex.pull


CHANNELS = hpcmp.Program(
    state={"h": ("float32", 8)},
    init=start_channels,
    send=send_channel,
    message=weighted,
    aggregate="sum",
    update=update_channel,
    reduce={"norm": hpcmp.Sum(lambda vertex, ctx: (vertex.h * vertex.h).sum())},
)


def start_colours(vertex, ctx):
    return vertex.id % 1000


def send_colours(vertex, ctx):
    return vertex.c


def larger_one(vertex, best, ctx):
    return max(vertex.c, best)


COLOURS = hpcmp.Program(
    state={"c": ("int32", 3)},
    init=start_colours,
    send=send_colours,
    aggregate="max",
    update=larger_one,
    only_changed=True,
)


def start_rows(vertex, ctx, out):
    h, norm = out
    for k in range(h.size):
        h[k] = (vertex.id + k) % 5
    norm[0] = 1.0


def send_rows(vertex, ctx, out):
    for k in range(out.size):
        out[k] = vertex.h[k] / (1 + vertex.norm)


def turned(sent, receiver, edge, ctx, out):
    for k in range(out.size):
        out[k] = sent[(k + 1) % sent.size] * edge.weight - receiver.h[0]


def update_rows(vertex, total, ctx, out):
    h, norm = out
    square = 0.0
    for k in range(h.size):
        h[k] = 0.25 * vertex.h[k] + 0.125 * total[k % total.size]
        square += h[k] * h[k]
    norm[0] = math.sqrt(square)


ROWS = hpcmp.Program(
    state={"h": ("float64", 3), "norm": "float64"},
    init=start_rows,
    send=send_rows,
    message=turned,
    aggregate="sum",
    update=update_rows,
    sent=("float32", 3),
    received=("float64", 3),
)


# ---------------------------------------------------------------- relations, directions, changes


def cites(sent, receiver, edge, ctx):
    return 2.0 * sent


def writes(sent, receiver, edge, ctx):
    return sent - edge.weight


RELATIONS = of("sum", blend, message=None, messages={"cites": cites, "writes": writes})
OUTWARDS = of("sum", blend, neighbours="out")
BOTH_WAYS = of("mean", blend, neighbours="both")


def smaller_id(vertex, smallest, ctx):
    return min(vertex.label, smallest)


SPREAD = hpcmp.Program(
    state={"label": "int64"},
    init=lambda vertex, ctx: vertex.id,
    send=lambda vertex, ctx: vertex.label,
    aggregate="min",
    update=smaller_id,
    only_changed=True,
)
FROM_SOME = hpcmp.Program(
    state={"label": "int64"},
    init=lambda vertex, ctx: vertex.id % 10,
    send=lambda vertex, ctx: vertex.label + 1,
    aggregate="sum",  # not idempotent: who hears whom in which step matters
    update=lambda vertex, total, ctx: (vertex.label + total) % 64 // 2,
    only_changed=True,
    active=lambda vertex, ctx: vertex.id % 3 == 0,
    steps=8,
)


# ---------------------------------------------------------------- aggregates that take messages in any order


def odd_start(vertex, ctx):
    kind = vertex.id % 6
    return math.nan if kind == 5 and ctx.with_nan else -0.0 if kind == 4 else 0.0 if kind == 3 else 4.5 - kind


def low_of_two(vertex, heard, ctx):
    return min(vertex.value, heard) if vertex.value == vertex.value else heard


def exact_of(aggregate, update, state="float64", **more):
    """A program in which few vertices send first, and those that changed after them."""
    parts = {"state": {"value": state}, "init": odd_start, "send": send_value, "params": {"with_nan": False}}
    parts |= {"only_changed": True, "active": lambda vertex, ctx: vertex.id % 3 == 0, "steps": 6}
    return hpcmp.Program(**(parts | {"aggregate": aggregate, "update": update} | more))


def small_id(vertex, ctx):
    return vertex.id % 10


def hashed(vertex, total, ctx):
    return (vertex.value * 5 + total) % 64 // 2


def either_or(vertex, heard, ctx):
    return vertex.value + 1 if heard and vertex.value < 3 else vertex.value


def most(a, b):
    return max(a, b)


def take_label(vertex, best, ctx):
    return (best[1] + best[0]) % 13 if best[1] >= 0 else vertex.value


EXACT = {
    "min": exact_of("min", low_of_two),
    "max": exact_of("max", take),
    "min with nan": exact_of("min", low_of_two, params={"with_nan": True}),
    "sum": exact_of("sum", hashed, "int64", init=small_id),
    "count": exact_of("count", hashed, "int64", init=small_id),
    "any": exact_of("any", either_or, "int64", init=small_id, send=lambda vertex, ctx: vertex.value % 2 == 0),
    "all": exact_of("all", either_or, "int64", init=small_id, send=lambda vertex, ctx: vertex.value % 3 != 0),
    "argmin": exact_of("argmin", take_label, "int64", init=small_id),
    "monoid": exact_of(hpcmp.Monoid(0, most, exact=True), hashed, "int64", init=small_id),
    "deaf": exact_of("sum", hashed, "int64", init=small_id, listens=lambda vertex, ctx: vertex.value % 4 != 1),
    "edges": exact_of("max", take, message=lambda sent, receiver, edge, ctx: sent / 2 + edge.weight + edge.sender % 3),
}


def over(sent, receiver, edge, ctx):
    return sent + edge.weight


def near_first(vertex, ctx):
    return vertex.value // ctx.width


NEAR = hpcmp.Program(
    state={"value": "float64"},
    init=lambda vertex, ctx: 0.0 if vertex.id % 17 == 3 else math.inf,
    send=send_value,
    message=over,
    aggregate="min",
    update=lambda vertex, best, ctx: min(vertex.value, best),
    only_changed=True,
    active=lambda vertex, ctx: vertex.value == 0.0,
    bucket=near_first,
    params={"width": 0.5},
)


# ---------------------------------------------------------------- global values


REDUCED = hpcmp.Program(
    state={"value": "float64"},
    init=small_start,
    send=send_value,
    message=weighted,
    aggregate="mean",
    update=lambda vertex, total, ctx: 0.5 * (vertex.value + total) - ctx.low / 1024,
    reduce={
        "total": hpcmp.Sum(lambda vertex, ctx: vertex.value),
        "low": hpcmp.Min(lambda vertex, ctx: vertex.value),
        "high": hpcmp.Max(lambda vertex, ctx: vertex.value),
        "some": hpcmp.Any(lambda vertex, ctx: vertex.value > 2),
        "every": hpcmp.All(lambda vertex, ctx: vertex.value < 1e9),
        "change": hpcmp.Max(lambda old, new, ctx: abs(new.value - old.value)),
        "moved": hpcmp.Sum(lambda old, new, ctx: 1 if old.value != new.value else 0),
    },
    until=lambda ctx: ctx.change < ctx.tolerance or ctx.step >= 6,
    params={"tolerance": 0.25, "verbose": False, "times": 3, "table": np.array([1.0, 2.0])},
)

EVERY = {
    **AGGREGATES,
    **PAIRS,
    "fields": FIELDS,
    "channels": CHANNELS,
    "colours": COLOURS,
    "rows": ROWS,
    "outwards": OUTWARDS,
    "both ways": BOTH_WAYS,
    "spread": SPREAD,
    "from some": FROM_SOME,
    "reduced": REDUCED,
}
