"""Slow, obvious, serial twins of the kernels and algorithms, in numpy and plain Python.

A graph is a `Sample` of `graphs`: ids, and one line an edge. Nothing here knows
ranks, parts or local rows; `in_edges` lists what a vertex hears in the canonical
order, by source and then by weight.
"""

import hashlib
import math
from collections import Counter, deque
from fractions import Fraction

import numpy as np

SEGMENT = 4096  # edges of a row that are summed before segments are joined
MASK = 2**64 - 1
DIGEST_ROWS = 16_384
UNREACHED = 2**63 - 1


# ---------------------------------------------------------------- aggregates of a row's messages


def total(messages, zero=0.0):
    """Left to right in segments, the segments left to right."""
    out = zero
    for lo in range(0, len(messages), SEGMENT):
        part = zero
        for message in messages[lo : lo + SEGMENT]:
            part += message
        out += part
    return out


def mean(messages):
    return total(messages) / len(messages) if messages else 0.0


def smallest(messages, none=math.inf):
    out = none
    for message in messages:
        if message < out or message != message:
            out = message
    return out


def largest(messages, none=-math.inf):
    out = none
    for message in messages:
        if message > out or message != message:
            out = message
    return out


def argmin(pairs):
    """(smallest key, smallest label among its); label -1 of no messages."""
    return min(pairs) if pairs else (math.inf, -1)


def argmax(pairs):
    """(largest key, smallest label among its); label -1 of no messages."""
    if not pairs:
        return (-math.inf, -1)
    top = max(key for key, _ in pairs)
    return (top, min(label for key, label in pairs if key == top))


def std(messages):
    """Population standard deviation, with exact sums."""
    if not messages:
        return 0.0
    values = [Fraction(m) for m in messages]
    middle = sum(values) / len(values)
    return math.sqrt(sum((v - middle) ** 2 for v in values) / len(values))


def softmax_sum(pairs):
    """Sum of values weighted by the softmax of their logits; a logit of -inf weighs nothing."""
    pairs = [(logit, value) for logit, value in pairs if logit != -math.inf]
    if not pairs:
        return 0.0
    top = max(logit for logit, _ in pairs)
    weights = [math.exp(logit - top) for logit, _ in pairs]
    return math.fsum(w * value for w, (_, value) in zip(weights, pairs)) / math.fsum(weights)


def mode(messages, none=-(2**63)):
    """The most frequent, of equally frequent ones the smallest."""
    return min(Counter(messages).items(), key=lambda item: (-item[1], item[0]))[0] if messages else none


AGGREGATES = {
    "sum": total,
    "mean": mean,
    "min": smallest,
    "max": largest,
    "any": lambda messages: any(bool(m) for m in messages),
    "all": lambda messages: all(bool(m) for m in messages),
    "count": len,
    "std": std,
    "argmin": argmin,
    "argmax": argmax,
    "softmax_sum": softmax_sum,
    "mode": mode,
}


# ---------------------------------------------------------------- graphs


def edges_of(sample):
    """All directed edges (src, dst, weight); an undirected edge gives two, an undirected loop one."""
    out = []
    for s, d, w in zip(sample.src.tolist(), sample.dst.tolist(), sample.weight.tolist()):
        out.append((s, d, w))
        if not sample.directed and s != d:
            out.append((d, s, w))
    return out


def in_edges(sample, neighbours="in"):
    """id -> [(source, weight), ...] in canonical order."""
    rows = {int(v): [] for v in sample.ids}
    for s, d, w in edges_of(sample):
        if neighbours == "in" or not sample.directed:
            rows[d].append((s, w))
        elif neighbours == "out":
            rows[s].append((d, w))
        else:
            rows[d].append((s, w))
            rows[s].append((d, w))
    return {v: sorted(row) for v, row in rows.items()}


def out_degree(sample):
    count = Counter(s for s, _, _ in edges_of(sample))
    return {int(v): count[int(v)] for v in sample.ids}


def neighbour_sets(sample):
    """Neighbours along and against edges, each once, without the vertex itself."""
    sets = {int(v): set() for v in sample.ids}
    for s, d, _ in edges_of(sample):
        if s != d:
            sets[s].add(d)
            sets[d].add(s)
    return sets


def propagate(sample, sent, message=lambda s, w: s, aggregate=total, neighbours="in"):
    """id -> aggregate of message(sent of the source, weight) over what it hears."""
    return {v: aggregate([message(sent[s], w) for s, w in row]) for v, row in in_edges(sample, neighbours).items()}


# ---------------------------------------------------------------- algorithms


def pagerank(sample, steps, damping=0.85, keeps_dangling=True, pregel=False, until=None):
    """Ranks after some steps; ends early once until(sum of changes) is true."""
    n, degree = len(sample.ids), out_degree(sample)
    rank = {int(v): 1.0 if pregel else 1 / n for v in sample.ids}
    for _ in range(steps):
        heard = propagate(sample, {v: r / degree[v] if degree[v] else 0.0 for v, r in rank.items()})
        lost = math.fsum(r for v, r in rank.items() if not degree[v]) if keeps_dangling else 0.0
        if pregel:
            new = {v: (1 - damping) + damping * heard[v] for v in rank}
        else:
            new = {v: (1 - damping) / n + damping * (heard[v] + lost / n) for v in rank}
        change, rank = math.fsum(abs(new[v] - rank[v]) for v in rank), new
        if until is not None and until(change):
            break
    return rank


def pagerank_variant(sample, variant):
    """The rule of a variant by name, with its own number of steps."""
    if variant == "ldbc":
        return pagerank(sample, 20)
    if variant == "networkx":
        return pagerank(sample, 100, until=lambda change: change < 1e-6 * len(sample.ids))
    if variant == "gap":
        return pagerank(sample, 20, keeps_dangling=False, until=lambda change: change < 1e-4)
    return pagerank(sample, 20, keeps_dangling=False, pregel=True)


def bfs(sample, source):
    """Edges from the source along edges; UNREACHED where there is no way."""
    out = {int(v): UNREACHED for v in sample.ids}
    ahead = {v: [] for v in out}
    for s, d, _ in edges_of(sample):
        ahead[s].append(d)
    out[source], queue = 0, deque([source])
    while queue:
        u = queue.popleft()
        for v in ahead[u]:
            if out[v] == UNREACHED:
                out[v] = out[u] + 1
                queue.append(v)
    return out


def sssp(sample, source):
    """Shortest distances, by relaxing every edge until nothing changes."""
    out = {int(v): math.inf for v in sample.ids}
    out[source] = 0.0
    is_done = False
    while not is_done:
        is_done = True
        for s, d, w in edges_of(sample):
            if out[s] + w < out[d]:
                out[d], is_done = out[s] + w, False
    return out


def wcc(sample):
    """Smallest id of each vertex's weak component."""
    near, out = neighbour_sets(sample), {}
    for v in sorted(near):
        if v in out:
            continue
        stack, out[v] = [v], v
        while stack:
            for u in near[stack.pop()]:
                if u not in out:
                    out[u] = v
                    stack.append(u)
    return out


def cdlp(sample, steps):
    """Label propagation: the most frequent label heard along and against edges."""
    label, rows = {int(v): int(v) for v in sample.ids}, in_edges(sample, "both")
    for _ in range(steps):
        label = {v: mode([label[s] for s, _ in row], none=label[v]) for v, row in rows.items()}
    return label


def lcc(sample):
    """Directed edges among a vertex's neighbours over those possible."""
    near = neighbour_sets(sample)
    edges = {(s, d) for s, d, _ in edges_of(sample) if s != d}
    out = {}
    for v, around in near.items():
        k = len(around)
        among = sum((a, b) in edges for a in around for b in around)
        out[v] = among / (k * (k - 1)) if k > 1 else 0.0
    return out


def triangles(sample):
    """Triangles at every vertex, edges taken as undirected."""
    near = neighbour_sets(sample)
    return {v: sum(b in near[a] for a in around for b in around if a < b) for v, around in near.items()}


def receptive_field(sample, targets, steps):
    """Edges from each vertex to the nearest target, -1 beyond that many steps."""
    out = {int(v): -1 for v in sample.ids}
    behind = {v: [] for v in out}
    for s, d, _ in edges_of(sample):
        behind[d].append(s)
    layer = set(targets)
    for hop in range(steps + 1):
        for v in layer:
            out[v] = hop
        layer = {u for v in layer for u in behind[v] if out[u] == -1}
    return out


# ---------------------------------------------------------------- sums, structure, partitions


def exact_sum(values):
    """The sum of doubles as a fraction, rounded once; inf and nan as IEEE has them."""
    special = [v for v in values if not math.isfinite(v)]
    if special:
        return sum(special)  # inf - inf is nan
    whole = sum((Fraction(v) for v in values), Fraction(0))
    try:
        return float(whole)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf


def transpose(in_ptr, in_src, n_local):
    """Rows that hear each source, ascending: list of lists."""
    out = [[] for _ in range(n_local)]
    for i in range(len(in_ptr) - 1):
        for e in range(int(in_ptr[i]), int(in_ptr[i + 1])):
            out[int(in_src[e])].append(i)
    return out


def deal(weights, size):
    """Bounds of runs of parts: the cuts nearest to even shares, the later of equally near ones."""
    before = [0.0]
    for w in weights:
        before.append(before[-1] + w)
    cuts = [0]
    for p in range(1, size):
        target = before[-1] * p / size
        left, right = None, None
        for k, b in enumerate(before):
            if b < target:
                left = k
            elif right is None:
                right = k
        right = len(weights) if right is None else right
        left = right if left is None else left
        nearest = left if target - before[left] < before[right] - target else right
        cuts.append(max(nearest, cuts[-1]))
    return [*cuts, len(weights)]


def partition_report(sample, part_of, n_parts):
    """Edge cut, halo rows and imbalance where each vertex (by id) has a part."""
    edges, rows = edges_of(sample), []
    weights = [0.0] * n_parts
    for v in sample.ids.tolist():
        weights[part_of[v]] += 1
    for _, d, _ in edges:
        weights[part_of[d]] += 1
    size = 2
    while size <= n_parts:
        cuts = deal(weights, size)
        rank = {q: p for p in range(size) for q in range(cuts[p], cuts[p + 1])}
        at = {v: rank[part_of[v]] for v in sample.ids.tolist()}
        cut = [(s, d) for s, d, _ in edges if at[s] != at[d]]
        heard = {(s, at[d]) for s, d in cut}
        received = Counter(p for _, p in heard)
        work = [sum(weights[cuts[p] : cuts[p + 1]]) for p in range(size)]
        rows.append(
            {
                "ranks": size,
                "edge_cut": len(cut),
                "cut_share": len(cut) / max(len(edges), 1),
                "halo_rows": len(heard),
                "halo_max": max(received.values(), default=0),
                "imbalance": max(work) / (sum(work) / size) if sum(work) else 1.0,
            }
        )
        size *= 2
    return rows


def halo_pairs(edges, owner):
    """Distinct (vertex, other rank that hears it), given every vertex's rank."""
    return {(s, owner[d]) for s, d in edges if owner[s] != owner[d]}


# ---------------------------------------------------------------- hashes and random numbers


def mix64(x):
    x &= MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def word(seed, step, stream, item):
    golden, x = 0x9E3779B97F4A7C15, 0
    x = mix64(seed + golden)
    for turn, value in enumerate((step, stream, item), 1):
        x = mix64(x + (value & MASK) * golden + turn)
    return x


def uniform(seed, step, stream, item):
    return (word(seed, step, stream, item) >> 11) / 2**53


def shuffled(x, scale, seed):
    mask, half = (1 << scale) - 1, (scale + 1) // 2
    for turn in range(4):
        key = mix64(seed * 4 + turn)
        x = (x * (key | 1) + (key >> 32)) & mask
        x ^= x >> half
    return x


def kronecker(scale, n_edges, probabilities, seed):
    """Edges of a stochastic Kronecker graph, one quadrant a bit."""
    a, b, c = probabilities
    edges = []
    for e in range(n_edges):
        u = v = 0
        for bit in range(scale):
            r = uniform(seed, bit, 1, e)
            quadrant = 0 if r < a else 1 if r < a + b else 2 if r < a + b + c else 3
            u, v = 2 * u + quadrant // 2, 2 * v + quadrant % 2
        edges.append((shuffled(u, scale, seed), shuffled(v, scale, seed)))
    return edges


def digest(ids, fields):
    """SHA-256 over (id, fields) in ascending id, in blocks."""
    by_id = np.argsort(ids)
    ids, fields = ids[by_id], {name: a[by_id] for name, a in fields.items()}
    blocks = b""
    for lo in range(0, len(ids), DIGEST_ROWS):
        text = ids[lo : lo + DIGEST_ROWS].tobytes()
        for name in sorted(fields):
            text += fields[name][lo : lo + DIGEST_ROWS].tobytes()
        blocks += hashlib.sha256(text).digest()
    layout = [(name, fields[name].dtype.str, fields[name].shape[1:]) for name in sorted(fields)]
    return hashlib.sha256(repr((len(ids), layout)).encode() + blocks).hexdigest()
