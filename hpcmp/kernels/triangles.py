"""Triangles of a graph whose edges point from lower to higher degree.

Every local row has a label: 0 for the highest degree, and so on, so an edge
points to the lower label, and u > v > w are the corners of a triangle, found
once, at u. Labels below that of the *core* also have a row of bits: whom of the
core they know. Most triangles of a graph with hubs have v and w in the core,
and there a word of bits tests 64 pairs at once. Everything is counted in
labels; lists need no order, but hold the rest first and then the core.

u, v, w: corners    p, q: places in the lists    k: word of bits
"""

import numpy as np

from hpcmp.dtypes import LID, PTR
from hpcmp.jit import inlined, kernel
from hpcmp.kernels.intrinsics import popcount

ONE = np.uint64(1)
SIX, LOW = np.uint64(6), np.uint64(63)  # word and bit of a label
BEGIN, CORE, END = np.uint64(0), np.uint64(1), np.uint64(2)  # columns of `bounds`: rest = [0, 1), core = [1, 2)
NOWHERE = np.uint32(0xFFFFFFFF)  # the label of a vertex that is not local


def load():
    """Compile the kernels of a count, or load them from the cache. Local."""
    ptr, bounds, rows = np.zeros(1, PTR), np.empty((0, 3), PTR), np.empty(0, LID)
    times, credits = np.empty(0, np.uint8), np.empty(0, np.int64)
    words, cores = np.empty(0, np.uint64), np.empty((2, 0, 0), np.uint64)
    distinct_degree(ptr, rows, credits, 0, 0)
    point_up(ptr, rows, rows, 0, bounds, rows, times, 0, 0)
    take_known(np.zeros(1, np.int64), rows, times, 0, bounds, rows, times)
    fill_core(bounds, rows, times, 1, cores[0])
    credit(bounds, rows, cores[0], rows, (words,) * 3, credits, 0, 0)
    credit_times(bounds, rows, times, cores, rows, (words,) * 5, credits, 0, 0)


@kernel
def distinct_degree(in_ptr, in_src, out, lo, hi):
    """out[i] = number of distinct sources of row i other than i"""
    for i in range(np.uint64(lo), np.uint64(hi)):
        last, n = np.int64(-1), 0
        for e in range(in_ptr[i], in_ptr[i + ONE]):
            j = np.int64(in_src[e])
            if j != last and j != np.int64(i):  # rows are sorted by source: repeats are neighbours
                n += 1
            last = j
        out[i] = n


@kernel
def point_up(in_ptr, in_src, label, n_core, bounds, lists, times, lo, hi):
    """Keep of rows [lo, hi) the distinct neighbours of lower label.

    Row i's lie in its own slot of ``lists``: from in_ptr[i] on. ``times`` tells
    whether a neighbour occurs once (1) or more often (2).
    """
    for i in range(np.uint64(lo), np.uint64(hi)):
        first, stop = in_ptr[i], in_ptr[i + ONE]
        rest, core = first, stop  # the rest grows from the front of the slot, the core from its end
        last, place = np.int64(-1), first
        for e in range(first, stop):
            j = in_src[e]
            if np.int64(j) == last:
                times[place] = np.uint8(2)
                continue
            to = label[j]
            if to < label[i]:
                last = np.int64(j)
                if to < n_core:
                    core -= ONE
                    place = core
                else:
                    place = rest
                    rest += ONE
                lists[place] = to
                times[place] = np.uint8(1)
        bounds[i, BEGIN], bounds[i, CORE] = first, rest
        for p in range(core, stop):
            lists[rest], times[rest] = lists[p], times[p]
            rest += ONE
        bounds[i, END] = rest


@kernel
def take_known(ptr, found, found_times, n_core, bounds, lists, times):
    """Lists of ghosts, of what is local here: rest first, then core."""
    end = np.uint64(0)
    for i in range(np.uint64(ptr.size - 1)):
        bounds[i, BEGIN] = end
        for of_core in range(2):
            for p in range(np.uint64(ptr[i]), np.uint64(ptr[i + ONE])):
                to = found[p]
                if to != NOWHERE and (to < n_core) == (of_core == 1):
                    lists[end], times[end] = to, found_times[p]
                    end += ONE
            bounds[i, CORE if of_core == 0 else END] = end
    return end


@kernel
def fill_core(bounds, lists, times, least, bits):
    """bits[a] holds b, and bits[b] a, for core edges of at least so many times."""
    for a in range(np.uint64(min(bits.shape[0], bounds.shape[0]))):
        for p in range(bounds[a, BEGIN], bounds[a, END]):
            if times[p] >= least:
                b = np.uint64(lists[p])
                bits[a, b >> SIX] |= ONE << (b & LOW)
                bits[b, a >> SIX] |= ONE << (a & LOW)


def is_marked(marks, label):
    """Bit of a label, 0 or 1. Local."""
    return marks[np.uint64(label) >> SIX] >> (np.uint64(label) & LOW) & ONE


def mark(marks, label):
    """Set the bit of a label; whether its word was 0. Local."""
    k = np.uint64(label) >> SIX
    was_empty = marks[k] == np.uint64(0)
    marks[k] |= ONE << (np.uint64(label) & LOW)
    return was_empty


is_marked, mark = inlined(is_marked), inlined(mark)


@kernel
def credit(bounds, lists, core, labels, scratch, credits, lo, hi):
    """Count triangles whose corner u is in labels[lo:hi]; credit all corners with 1.

    Inside the core all pairs are seen from both ends, so that v and w are
    credited alike without looking at single bits.

    Parameters
    ----------
    scratch : marks, at, words
        uint64, for as many bits as there are labels, all 0 before and after;
        and room for as many numbers as a row of the core has words.
    """
    marks, at, words = scratch
    n_triangles = np.uint64(0)
    for r in range(np.uint64(lo), np.uint64(hi)):
        u = labels[r]
        begin, split, end = bounds[u, BEGIN], bounds[u, CORE], bounds[u, END]
        if end - begin < np.uint64(2):
            continue
        n_words = np.uint64(0)
        for p in range(split, end):
            if mark(marks, lists[p]):
                at[n_words] = np.uint64(lists[p]) >> SIX
                n_words += ONE
        for k in range(n_words):
            words[k] = marks[at[k]]
        twice = np.uint64(0)
        for p in range(split, end):
            v, n = lists[p], np.uint64(0)
            for k in range(n_words):
                n += popcount(words[k] & core[v, at[k]])
            credits[v] += np.int64(n)
            twice += n
        of_u = twice >> ONE
        for p in range(begin, split):
            mark(marks, lists[p])
        for p in range(begin, split):
            v, n = lists[p], np.uint64(0)
            for q in range(bounds[v, BEGIN], bounds[v, END]):
                if is_marked(marks, lists[q]):
                    n += ONE
                    credits[lists[q]] += 1
            credits[v] += np.int64(n)
            of_u += n
        credits[u] += np.int64(of_u)
        n_triangles += of_u
        for p in range(begin, end):
            marks[np.uint64(lists[p]) >> SIX] = np.uint64(0)
    return np.int64(n_triangles)


@kernel
def credit_times(bounds, lists, times, cores, labels, scratch, credits, lo, hi):
    """As `credit`, but with how often the edge opposite to a corner occurs.

    That is 1 or 2. An edge is a bit of cores[0], and one of cores[1] too if it occurs twice.
    """
    once, often, at, words, more = scratch
    for r in range(np.uint64(lo), np.uint64(hi)):
        u = labels[r]
        begin, split, end = bounds[u, BEGIN], bounds[u, CORE], bounds[u, END]
        if end - begin < np.uint64(2):
            continue
        n_words = np.uint64(0)
        for p in range(split, end):
            if mark(once, lists[p]):
                at[n_words] = np.uint64(lists[p]) >> SIX
                n_words += ONE
            if times[p] > 1:
                mark(often, lists[p])
        for k in range(n_words):
            words[k], more[k] = once[at[k]], often[at[k]]
        twice = np.uint64(0)
        for p in range(split, end):
            v, n = lists[p], np.uint64(0)
            for k in range(n_words):
                shared = words[k] & cores[0, v, at[k]]
                n += popcount(shared) + popcount(more[k] & shared)  # v is opposite to u - w
                twice += popcount(shared) + popcount(shared & cores[1, v, at[k]])  # u to v - w
            credits[v] += np.int64(n)
        of_u = twice >> ONE
        for p in range(begin, split):
            mark(once, lists[p])
            if times[p] > 1:
                mark(often, lists[p])
        for p in range(begin, split):
            v, n = lists[p], np.uint64(0)
            for q in range(bounds[v, BEGIN], bounds[v, END]):
                if is_marked(once, lists[q]):
                    n += ONE + is_marked(often, lists[q])
                    credits[lists[q]] += times[p]
                    of_u += np.uint64(times[q])
            credits[v] += np.int64(n)
        credits[u] += np.int64(of_u)
        for p in range(begin, end):
            once[np.uint64(lists[p]) >> SIX] = np.uint64(0)
            often[np.uint64(lists[p]) >> SIX] = np.uint64(0)


@kernel
def common(ptr, values, first, second, out):
    """out[k] = how many values the ascending lists first[k] and second[k] share."""
    one = np.uint64(1)
    for k in range(first.size):
        a, a_end = ptr[first[k]], ptr[np.uint64(first[k]) + one]
        b, b_end = ptr[second[k]], ptr[np.uint64(second[k]) + one]
        n = 0
        while a < a_end and b < b_end:
            if values[a] == values[b]:
                n += 1
                a += one
                b += one
            elif values[a] < values[b]:
                a += one
            else:
                b += one
        out[k] = n
