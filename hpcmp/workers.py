"""Threads that work beside the caller, and stay with the process for whoever needs some next.

Where a library watches the address space a thread that ends costs memory for
ever: UCX, of which MPICH's wheel is built, takes note of each stack that is
given back, some 300 bytes, and forgets none.
"""

import os
import weakref
from concurrent.futures import ThreadPoolExecutor, wait

_idle: dict = {}  # number of threads -> pools of so many that nobody uses
os.register_at_fork(after_in_child=_idle.clear)  # a child has none of these threads


class Workers:
    """A few threads, until `close` or the end of this object; started when there is work for them."""

    def __init__(self, n_threads=1):
        shelf = _idle.setdefault(n_threads, [])
        try:
            self._pool = shelf.pop()
        except IndexError:
            self._pool = ThreadPoolExecutor(n_threads)
        self._given = []  # of what may not be done yet
        self._give_back = weakref.finalize(self, shelf.append, self._pool)
        self._give_back.atexit = False

    def submit(self, call, *args):
        """Let one of them call ``call(*args)``: its Future. Local."""
        if not self._give_back.alive:
            raise RuntimeError("these workers were let go; make others")
        try:
            future = self._pool.submit(call, *args)
        except RuntimeError:  # no thread can be started, and yet the call waits for one: not for the next who asks
            self._give_back.detach()
            self._pool.shutdown(wait=False, cancel_futures=True)
            raise
        self._given = [given for given in self._given if not given.done()] + [future]
        return future

    def close(self):
        """Wait until they have done what they were given, and let them go. Local."""
        wait(self._given)
        self._given = []
        self._give_back()
