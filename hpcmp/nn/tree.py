"""A binary tree over the parts of a graph, whose shape does not depend on who owns them.

Node ``(level, k)`` is the sum of the nodes 2k and 2k + 1 one level below, or the
last one there alone; leaves are parts. A rank joins what it can; what is left,
at most two nodes a level, goes to all ranks, and each ends alike.
"""


def joined(nodes, n_parts):
    """Nodes that cannot be joined further: dict of (level, k) to array. Local.

    Takes what it is given apart, and adds in place.
    """
    level, size = 0, n_parts
    while size > 1:
        here = sorted(k for at, k in nodes if at == level)
        for k in here:
            if k % 2:
                continue
            if (level, k + 1) in nodes:
                left, right = nodes.pop((level, k)), nodes.pop((level, k + 1))
                left += right
                nodes[level + 1, k // 2] = left
            elif k + 1 == size:
                nodes[level + 1, k // 2] = nodes.pop((level, k))
        level, size = level + 1, (size + 1) // 2
    return nodes


def names(first, end, n_parts):
    """What `joined` leaves of the parts [first, end): list of (level, k). Local."""
    found, level, size = [], 0, n_parts
    while first < end:
        if size == 1:
            return [*found, (level, 0)]
        if first % 2:
            found.append((level, first))
            first += 1
        if end % 2 and end != size and first < end:
            found.append((level, end - 1))
            end -= 1
        first, end, size, level = first // 2, (end + 1) // 2, (size + 1) // 2, level + 1
    return found
