"""Threads that stay with the process for the next."""

import gc
import os
import threading

import pytest

from hpcmp import workers
from hpcmp.workers import Workers


@pytest.fixture(autouse=True)
def no_others():
    """Without threads that other tests have left, until the end of this one."""
    others = dict(workers._idle)
    workers._idle.clear()
    yield
    workers._idle.clear()
    workers._idle.update(others)


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
    with pytest.raises(RuntimeError, match="let go"):
        first.submit(int)
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


def test_threads_of_a_pool_that_was_forgotten_are_taken_too():
    known = idents(Workers())
    gc.collect()
    assert idents(Workers()) == known


def test_what_no_thread_could_be_started_for_is_not_done_for_the_next(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    done, pool = [], Workers(5)
    with monkeypatch.context() as here, pytest.raises(RuntimeError, match="start new thread"):
        here.setattr(threading.Thread, "start", refuse)
        pool.submit(done.append, 1)
    pool.close()
    assert idents(Workers(5)) and not done


def test_a_child_process_starts_its_own():
    pool = Workers()
    pool.submit(int).result()
    pool.close()
    child = os.fork()
    if child == 0:
        os._exit(Workers().submit(int, "7").result(30))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
