"""Threads that stay with the process for the next."""

import os
import threading

from hpcmp import workers
from hpcmp.workers import Workers


def idents(pool, n=1):
    """Threads that do n calls which wait for each other."""
    meet = threading.Barrier(n)

    def work():
        meet.wait(30)
        return threading.get_native_id()

    return {future.result() for future in [pool.submit(work) for _ in range(n)]}


def test_threads_that_were_let_go_are_taken_by_the_next():
    first = Workers(2)
    known = idents(first, 2)
    first.close()
    first.close()  # again changes nothing
    second = Workers(2)
    assert len(known) == 2 and idents(second, 2) == known
    third = Workers(2)  # while the second has them
    assert not idents(third, 2) & known
    second.close()
    third.close()


def test_closing_waits_for_what_was_given():
    pool, gate, done = Workers(), threading.Event(), []
    pool.submit(lambda: (gate.wait(30), done.append(1)))
    threading.Timer(0.05, gate.set).start()
    pool.close()
    assert done == [1]


def test_an_error_is_told_to_who_asks_and_the_thread_lives_on():
    pool = Workers()
    known = idents(pool)
    assert isinstance(pool.submit(int, "x").exception(), ValueError)
    assert idents(pool) == known
    pool.close()


def test_a_child_process_starts_its_own():
    pool = Workers(3)
    pool.close()
    child = os.fork()
    if child == 0:
        os._exit(0 if not workers._idle else 1)
    assert os.waitpid(child, 0)[1] == 0
