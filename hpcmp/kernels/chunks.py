"""Messages on their way: one buffer, cut into chunks, which are handed out to lists.

A list holds the messages for one block of receivers on this rank, or for one other rank, in the order in which they
were sent. It takes a chunk whenever its last one is full. So messages are written once, where those who read them
find them together; memory is what is sent and one chunk for each list; and a chunk that has been read is written
again while it is still in the cache.

k: place in the buffer    c: chunk, places [c * CHUNK, (c + 1) * CHUNK)    d: list
"""

from typing import NamedTuple

import numpy as np

from hpcmp.jit import inlined, kernel

CHUNK_BITS = np.uint64(7)
CHUNK = np.uint64(1 << 7)  # messages; 5 kB of the narrowest
IN_CHUNK, ZERO, ONE = CHUNK - np.uint64(1), np.uint64(0), np.uint64(1)
ROW_BITS = np.uint64(32)  # an address is the rank of an agent, and its row there in as many bits
ROW_MASK = np.uint64((1 << 32) - 1)


class Lists(NamedTuple):
    """Lists that one thread appends to."""

    head: np.ndarray  # uint32 (n_lists,) first chunk, if the list is not empty
    tail: (
        np.ndarray
    )  # uint64 (n_lists,) place of the next message; a multiple of CHUNK: it needs a chunk, 0: it is empty
    link: np.ndarray  # uint32 (n_chunks,) the chunk after each
    free: np.ndarray  # uint32 (n_chunks,) chunks of no list
    n_free: np.ndarray  # int64 (1,) how many those are


@inlined
def claim(lists, d):
    """Place of the next message of a list. Local."""
    k = lists.tail[d]
    if k & IN_CHUNK == ZERO:
        k = _begin_chunk(lists, d, k)
    lists.tail[d] = k + ONE
    return k


@inlined
def _begin_chunk(lists, d, k):
    lists.n_free[0] -= 1
    c = lists.free[np.uint64(lists.n_free[0])]
    if k == ZERO:
        lists.head[d] = c
    else:
        lists.link[(k >> CHUNK_BITS) - ONE] = c
    return np.uint64(c) << CHUNK_BITS


@inlined
def end_of(c, tail):
    """Place after the last message of chunk c of a list with a tail. Local."""
    return min((c + ONE) << CHUNK_BITS, tail) if c == (tail - ONE) >> CHUNK_BITS else (c + ONE) << CHUNK_BITS


@inlined
def free_list(head, tail, lists):
    """Give the chunks of a list back. Local."""
    if tail != ZERO:
        c, last = np.uint64(head), (tail - ONE) >> CHUNK_BITS
        while True:
            lists.free[np.uint64(lists.n_free[0])] = c
            lists.n_free[0] += 1
            if c == last:
                break
            c = np.uint64(lists.link[c])


@inlined
def append(lists, d, words, n_words, source, k):
    """Copy message k of other words to the end of a list. Local."""
    n = np.uint64(n_words)
    to, at = claim(lists, d) * n, k * n
    for w in range(n):
        words[to + w] = source[at + w]


@kernel
def count(head, tail, link, counts):
    """counts[d] = messages of the lists d of all writers: (n_writers, n_lists)."""
    for d in range(np.uint64(head.shape[1])):
        n = ZERO
        for s in range(np.uint64(head.shape[0])):
            t = tail[s, d]
            if t != ZERO:
                c, last = np.uint64(head[s, d]), (t - ONE) >> CHUNK_BITS
                while c != last:
                    n += CHUNK
                    c = np.uint64(link[c])
                n += t - (last << CHUNK_BITS)
        counts[d] = n


@kernel
def pack(head, tail, lists, words, n_words, first, last, out):
    """Copy the lists [first, last) of all writers to out, and free their chunks."""
    at, n = ZERO, np.uint64(n_words)
    for d in range(np.uint64(first), np.uint64(last)):
        for s in range(np.uint64(head.shape[0])):
            t = tail[s, d]
            if t == ZERO:
                continue
            c = np.uint64(head[s, d])
            while True:
                lo, hi = (c << CHUNK_BITS) * n, end_of(c, t) * n
                for w in range(lo, hi):
                    out[at + w - lo] = words[w]
                at += hi - lo
                if c == (t - ONE) >> CHUNK_BITS:
                    break
                c = np.uint64(lists.link[c])
            free_list(head[s, d], t, lists)
            tail[s, d] = ZERO


@kernel
def unpack(source, to, words, n_words, block_bits, lists):
    """Append messages that came to the lists of their receivers' blocks."""
    for k in range(np.uint64(to.size)):
        append(lists, np.uint64(to[k]) >> block_bits, words, n_words, source, k)
