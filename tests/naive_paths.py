"""Slow, obvious twins of the algorithms on cores and shortest paths; as `naive`, on samples."""

import math
from collections import Counter
from fractions import Fraction

import naive


def coreness(sample):
    """Take the vertex of fewest remaining neighbours away, again and again."""
    near = {v: set(around) for v, around in naive.neighbour_sets(sample).items()}
    out, k = {}, 0
    while near:
        v = min(near, key=lambda u: (len(near[u]), u))
        k = max(k, len(near[v]))
        out[v] = k
        for u in near.pop(v):
            near[u].discard(v)
    return out


def reversed_sample(sample):
    return sample._replace(src=sample.dst, dst=sample.src)


def closeness(sample, sources=None, incoming=False):
    """Sum of 1 / d over what a vertex reaches, from near to far; nan for others."""
    one = reversed_sample(sample) if incoming else sample
    out = {}
    for v in sample.ids.tolist():
        depths = Counter(d for d in naive.bfs(one, v).values() if 0 < d < naive.UNREACHED)
        total = 0.0
        for d in sorted(depths):
            total += depths[d] / d
        out[v] = total if sources is None or v in sources else math.nan
    return out


def betweenness(sample, sources=None):
    """Shares of shortest paths through every vertex, from path counts of all pairs, as fractions."""
    ids = sample.ids.tolist()
    depth = {s: naive.bfs(sample, s) for s in ids}
    edges = naive.edges_of(sample)
    paths = {}
    for s in ids:
        paths[s] = dict.fromkeys(ids, 0)
        paths[s][s] = 1
        for d in range(1, len(ids)):
            for a, b, _ in edges:
                if depth[s][b] == d and depth[s][a] == d - 1:
                    paths[s][b] += paths[s][a]
    out = dict.fromkeys(ids, Fraction(0))
    for s in ids if sources is None else sources:
        for t in ids:
            if t == s or depth[s][t] == naive.UNREACHED:
                continue
            for v in ids:
                if v not in (s, t) and depth[s][v] + depth[v][t] == depth[s][t]:
                    out[v] += Fraction(paths[s][v] * paths[v][t], paths[s][t])
    return {v: float(b) for v, b in out.items()}
