"""Fixtures, and what makes one test session out of the sessions of all ranks.

The same test runs on 1, 2, 3 and 4 ranks: ``comm`` splits the world, so that
one ``mpiexec -n 4 python -m pytest`` covers all sizes but one rank alone, with
some cases of each test. In a world of several ranks only the tests that
use ``comm`` run, a failure on any rank ends the job with its report, and only
rank 0 prints progress.

With pytest-xdist, ``pytest -n 2`` shares the tests among two processes, file by
file: first what compiles most kernels, then the files that start jobs, and last the
sessions of many ranks, which need both cores.
"""

import faulthandler
import functools
import gc
import hashlib
import os
import re
import sys
import threading
import time
from pathlib import Path

import hypothesis
import launch as launching
import pytest
from hypothesis.internal.conjecture import providers as hypothesis_providers
from thorough import IS_LONG

from hpcmp.comm import wait_asleep, world

ROOT = Path(__file__).resolve().parent.parent
WORLD = world()
# One rank alone has a session of its own.
SIZES = [size for size in (1, 2, 3, 4) if size <= WORLD.size and (size > 1 or WORLD.size == 1)]
LONG = ("kernels_obey_the_laws_uncompiled", "test_exact_at_size")  # they calculate, most of it in one process
# Of the sizes above one these run on three alone: they take long, some because numba tries for seconds in vain.
ON_THREE = (
    "tests/agents/",
    "tests/nn/test_room.py",
    "test_plain_python_may_do_what_numba_cannot",
    "test_functions_that_do_not_fit_are_refused",
    "test_a_function_that_does_not_compile",
)
IS_COMPILED = os.environ.get("NUMBA_DISABLE_JIT") != "1"
LIMIT_S = 3 * launching.HANG_S  # for one test; @pytest.mark.limit(seconds) for another
stderr = 2  # file descriptor; pytest_configure sets it
GRACE_S = 2  # between the first rank's report and the end of the job, for the others' reports

# Every rank must draw the same examples, and none may stop early because it is slow.
hypothesis.settings.register_profile(
    "ranks",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50 if WORLD.size == 1 else 10,  # ranks that share cores are slow
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
        hypothesis.HealthCheck.filter_too_much,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("ranks")
# It also draws numbers seen in the modules imported so far, and a rank may have imported more than another.
if hasattr(hypothesis_providers, "_get_local_constants"):
    no_constants = hypothesis_providers._local_constants
    hypothesis_providers._get_local_constants = lambda: no_constants


# ---------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def _splits():
    # Two communicators for each size, made once: splitting in every test would use up MPI's context numbers.
    return {size: WORLD.Split(color=int(WORLD.rank >= size), key=WORLD.rank) for size in SIZES}


@pytest.fixture(params=SIZES, ids=lambda size: f"P{size}")
def comm(request, _splits):
    """A communicator; the test runs on every rank of it.

    The first ``param`` ranks form one and the rest of the world another, which
    runs the same test, unless it is one rank alone: ask ``comm.size`` how many
    ranks there are.
    """
    if WORLD.size > 1 and _splits[request.param].size == 1 and not hypothesis.is_hypothesis_test(request.node.obj):
        pytest.skip("one rank alone has a session of its own")
    return _splits[request.param]


@pytest.fixture
def shared_tmp(comm, tmp_path_factory):
    """A new folder, the same path on every rank of ``comm``."""
    return comm.bcast(tmp_path_factory.mktemp("shared") if comm.rank == 0 else None)


@pytest.fixture(scope="session")
def data():
    """The folder of test data, which is not part of the repository."""
    folder = Path(os.environ.get("HPCMP_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; HPCMP_TEST_DATA names the folder")
    return folder


@pytest.fixture
def on_disk(monkeypatch):
    """What is flushed to the disk (a path) or gets its name (a pair of them), in turn."""
    done, fsync = [], os.fsync

    def flush(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def named(change):
        def with_note(old, new):
            done.append((str(old), str(new)))
            change(old, new)

        return with_note

    monkeypatch.setattr(os, "fsync", flush)
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, named(getattr(os, name)))
    return done


@pytest.fixture
def launch(tmp_path):
    """``launch(n, *args)`` runs ``hpcmp args`` on n ranks, or alone with n=None.

    Returns a CompletedProcess with ``returncode``, ``stdout`` and ``stderr``;
    ``launching.still_running`` tells what it left behind. ``cwd`` is
    ``tmp_path`` unless given; ``env`` adds to the environment. After
    ``timeout`` seconds all is killed and the test fails with the ranks' stacks.
    """

    def start(n, *args, cwd=None, env=None, timeout=launching.HANG_S):
        argv = launching.command(n, "-m", "hpcmp", *args)
        return launching.run(argv, cwd or tmp_path, launching.environment(env), timeout)

    return start


# ---------------------------------------------------------------- one session of many ranks


@pytest.hookimpl(trylast=True)  # after the reporter was made
def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): the test may take so long before it is ended as a hang")
    global stderr
    stderr = os.dup(2)  # pytest does not capture here; it does while tests run
    if WORLD.rank > 0:
        silence = open(os.devnull, "w")  # to the end of the process
        config.pluginmanager.getplugin("terminalreporter")._tw._file = silence


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "kernels" in item.path.relative_to(ROOT).parts:
            item.add_marker("kernel")
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: _turn(item.nodeid)[0])
    kept = items
    if WORLD.size > 1:
        kept = [item for item in items if "comm" in item.fixturenames and "launch" not in item.fixturenames]
    if not IS_LONG and WORLD.size == 4:
        kept = _cases_on_many_ranks(kept)
    elif not IS_LONG and not IS_COMPILED:
        kept = _cases_uncompiled(kept)
    if len(kept) < len(items):
        chosen = set(map(id, kept))
        config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
        items[:] = kept


def _laws(items):
    """The cases of each test: list of lists. Local."""
    laws = {}
    for item in items:
        laws.setdefault((item.parent.nodeid, item.originalname), []).append(item)
    return list(laws.values())


def _cases_uncompiled(items):
    """Of each test the last case, mostly of the graph that has something of all. Local."""
    chosen = {id(cases[-1]) for cases in _laws(items)}
    return [item for item in items if id(item) in chosen]


def _cases_on_many_ranks(items):
    """Of each test a case on 3 ranks, which have several peers, and another on 2 or 4 by turns. Local.

    One rank runs all cases, and with HPCMP_LONG_TESTS=1 any number of ranks. Of Hypothesis's tests all cases run: what it
    draws depends on whether this rank drew for the same test before, so all ranks must have.
    """
    chosen = set()
    for number, law in enumerate(_laws(items)):
        is_drawn, is_short = hypothesis.is_hypothesis_test(law[0].obj), not any(p in law[0].nodeid for p in ON_THREE)
        for size in (3, (2, 4)[number % 2]) if is_short else (3,):
            cases = [item for item in law if item.callspec.params["comm"] == size]
            chosen.update(map(id, cases if is_drawn else [cases[-1] if size == 3 else cases[(len(cases) - 1) // 2]]))
    return [item for item in items if id(item) in chosen]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByTurn(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _turn(nodeid)[1]

    return ByTurn(config, log)


def _turn(nodeid):
    """When a test runs if several processes share them, and the name of all that one of them runs. Local."""
    name = nodeid.partition("::")[0]
    for long in LONG:
        if long in nodeid:
            return 0, long
    if not _starts_jobs(name):
        # These share a model which takes a minute to compile at all levels; two processes would wait for each other.
        return 1, "agents" if name.startswith("tests/agents/") and "coordination" not in name else name
    return (3 if name == "tests/test_sessions.py" else 2), name


@functools.cache
def _starts_jobs(name):
    return re.search(r"\b(launch|import jobs|same_bits_job)\b", (ROOT / name).read_text()) is not None


def pytest_collection_finish(session):
    """All ranks must run the same tests in the same order, or they wait for each other forever. Collective."""
    names = "\n".join(item.nodeid for item in session.items)
    digests = WORLD.allgather(hashlib.sha256(names.encode()).hexdigest())
    if len(set(digests)) > 1:
        _end_all_ranks(f"collected {len(session.items)} tests, not those of the other ranks:\n{names}")
    # Thousands of tests are there to stay. Looked at again and again while numba makes objects by the million, they take
    # an eighth of the time it needs to compile.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_runtest_logreport(report):
    if WORLD.size > 1 and report.failed:
        sections = "".join(f"\n--- {title}\n{text}" for title, text in report.sections)
        _end_all_ranks(f"{report.nodeid} failed in {report.when}:\n{report.longreprtext}{sections}")


def pytest_internalerror(excrepr):
    if WORLD.size > 1:
        _end_all_ranks(f"pytest itself failed:\n{excrepr}")


def _end_all_ranks(text):
    """Say what is wrong on this rank, then end the job: the others may be waiting for this one."""
    sys.stdout.flush()
    os.write(stderr, f"\nrank {WORLD.rank} of {WORLD.size}: {text}\n".encode())
    time.sleep(GRACE_S)
    WORLD.Abort(1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """End a test that hangs: the stacks of all ranks first, then the job."""
    marker = item.get_closest_marker("limit")
    limit_s = marker.args[0] if marker else LIMIT_S

    def end():
        os.write(stderr, f"\nrank {WORLD.rank} of {WORLD.size}: {item.nodeid} not done after {limit_s} s\n".encode())
        faulthandler.dump_traceback(stderr, all_threads=True)
        time.sleep(GRACE_S)
        os._exit(1)  # without MPI's farewell: the launcher ends the others

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()
        if WORLD.size > 1:  # a rank that had no part in this test would take a core while it waits in the next
            wait_asleep(WORLD)
