"""Memory for arrays that come and go in every epoch.

The system clears the pages of each large array it gives out, which for rows costs as much as an elementwise operation.
So a view lends blocks, and has them back when nothing looks at them any more.
"""

import threading

import numpy as np

LEAST = 1 << 20  # bytes; smaller arrays are the allocator's own
SPARE = 0.25  # of the most ever lent at once; when another size is asked for, more than that is not left lying free
FIT = 1.25  # a block is lent for no less than its size over this
LINE = 64  # bytes of a cache line, where blocks start


class Pool:
    """Blocks of memory that are lent as arrays. Any thread may ask."""

    def __init__(self):
        self.free, self.lent, self.most = [], 0, 0
        self.lock = threading.RLock()  # a loan may end while its own thread holds it

    def empty(self, shape, dtype):
        """An array of numbers left from before. Local."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        if size < LEAST:
            return np.empty(shape, dtype)
        with self.lock:
            loan = _Loan(self, self._block(size))
        return np.asarray(loan)[:size].view(dtype).reshape(shape)

    def _block(self, size):
        fitting = [k for k, b in enumerate(self.free) if size <= b.nbytes <= FIT * size]
        if fitting:
            return self.free.pop(min(fitting, key=lambda k: self.free[k].nbytes))
        self.most = max(self.most, self.lent + size)
        while self.free and self.lent + size + sum(b.nbytes for b in self.free) > (1 + SPARE) * self.most:
            del self.free[0]
        raw = np.empty(size + LINE, np.uint8)
        start = -raw.ctypes.data % LINE
        return raw[start : start + size]


class _Loan:
    """Owner of an array's memory, which goes back to the pool with it."""

    def __init__(self, pool, block):
        self.pool, self.block, self.__array_interface__ = pool, block, block.__array_interface__
        pool.lent += block.nbytes

    def __del__(self):
        with self.pool.lock:
            self.pool.lent -= self.block.nbytes
            self.pool.free.append(self.block)
