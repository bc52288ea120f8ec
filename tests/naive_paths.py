"""Slow, obvious twins of the algorithms on cores and shortest paths; as `naive`, on samples."""

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
