"""Threads and the cache of kernels."""

import json
import pickle
import subprocess
import threading
import time

import launch as launching
import pytest

from hpcmp import jit


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n_chunks", [0, 1, 2, 17, 100])
def test_every_chunk_is_run_exactly_once(n_threads, n_chunks):
    threads, done, lock = jit.Threads(n_threads), [], threading.Lock()

    def work(lo, hi):
        with lock:
            done.append((lo, hi))

    chunks = [(k, k + 1) for k in range(n_chunks)]
    threads.run(work, chunks)
    threads.close()
    assert sorted(done) == chunks


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_in_any_chunk_is_raised(n_threads):
    threads = jit.Threads(n_threads)

    def work(lo, hi):
        if lo == 7:
            raise ValueError("chunk 7")

    with pytest.raises(ValueError, match="chunk 7"):
        threads.run(work, [(k, k + 1) for k in range(20)])
    threads.run(work, [(1, 2), (2, 3)])  # and they may be used again
    threads.close()


def test_the_cache_folder_names_the_library_it_was_compiled_from(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCMP_CACHE_DIR", str(tmp_path))
    assert jit._cache_folder() == tmp_path / jit._library_key()
    monkeypatch.delenv("HPCMP_CACHE_DIR")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "other"))
    assert jit._cache_folder().parent == tmp_path / "other"


def test_flags_that_would_change_bits_are_off():
    import numba

    assert jit.FLAGS["fastmath"] is False
    assert jit.FLAGS["error_model"] == "numpy"
    assert numba.config.DISABLE_JIT or not numba.config.USING_SVML


def test_a_process_holds_the_lock_of_one_kernel_only():
    # Or one that compiles B inside A, and one that compiles A inside B, would wait for each other.
    locks = jit._LOCKS
    assert not locks.compile_alone("outside")
    with locks.compiling():
        assert locks.compile_alone("outer")
        outer = locks.held
        with locks.compiling():
            assert not locks.compile_alone("inner")
        assert locks.held == outer
    assert (locks.depth, locks.held) == (0, None)


# Kernels of one factory, which share the files of numba's cache. While one is compiled it waits for a file, or dies.
COMPILING = """
import fcntl, json, os, sys, time
from pathlib import Path
import numpy as np
from numba.extending import overload
from hpcmp import jit

folder, name, factor, end = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]

def one():
    return 1.0

@overload(one)
def compile_one():
    (folder / f"{name} compiles").touch()
    if end == "die":
        os._exit(3)
    limit = time.monotonic() + 60
    while end and not (folder / end).exists():
        if time.monotonic() > limit:
            os._exit(4)
        time.sleep(0.01)
    return one

def scaled(factor):
    def loop(out):
        for i in range(len(out)):
            out[i] = factor * one()
    return jit.kernel(loop)

set_lock = jit._LOCKS._set

def told(what, byte):
    if what == fcntl.LOCK_EX and byte:
        (folder / f"{name} found none").touch()
    set_lock(what, byte)

jit._LOCKS._set = told
kernel, out = scaled(factor), np.zeros(3)
kernel(out)
(folder / f"{name} is done").touch()
print(json.dumps([out.tolist(), *jit.is_cached(kernel)]))
"""


@pytest.fixture
def compile_in_a_process(tmp_path):
    """``start(name, factor, end)`` compiles a kernel in a process that ``said(process)`` waits for."""
    script, processes = tmp_path / "compiling.py", []
    script.write_text(COMPILING)
    env = launching.environment({"HPCMP_CACHE_DIR": tmp_path / "cache"})

    def start(name, factor, end=""):
        argv = launching.command(None, script, tmp_path, name, factor, end)
        processes.append(subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for(path):
    while not path.exists():  # the limit of a test ends it
        time.sleep(0.01)


def said(process):
    assert process.wait(launching.HANG_S) == 0
    return json.loads(process.stdout.read())


def test_processes_compile_different_kernels_at_once_and_lose_none(tmp_path, compile_in_a_process):
    first = compile_in_a_process("first", 2.0, "second is done")
    wait_for(tmp_path / "first compiles")
    second = compile_in_a_process("second", 3.0)
    assert said(second) == [[3.0] * 3, 0, 1]
    assert said(first) == [[2.0] * 3, 0, 1]
    for factor in (2.0, 3.0):  # each finds its own
        assert said(compile_in_a_process("later", factor)) == [[factor] * 3, 1, 0]


def test_one_process_compiles_a_kernel_and_those_that_ask_meanwhile_load_it(tmp_path, compile_in_a_process):
    first = compile_in_a_process("first", 2.0, "others wait")
    wait_for(tmp_path / "first compiles")
    second, third = compile_in_a_process("second", 2.0), compile_in_a_process("third", 2.0)
    wait_for(tmp_path / "second found none")
    wait_for(tmp_path / "third found none")
    (tmp_path / "others wait").touch()
    assert said(first) == [[2.0] * 3, 0, 1]
    assert said(second) == said(third) == [[2.0] * 3, 1, 0]
    assert not (tmp_path / "second compiles").exists()
    assert not (tmp_path / "third compiles").exists()


TRIES = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    for how in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        try:
            fcntl.lockf(file, how | fcntl.LOCK_NB, 1, 0)
            print("taken")
        except BlockingIOError:
            print("refused")
"""


def test_processes_read_the_cache_at_once_and_write_it_alone(tmp_path):
    locks, how = jit._LOCKS, []
    argv = launching.command(None, "-c", TRIES, jit.CACHE_FOLDER / "locks")

    class Unlocked:
        def load(self, key):
            how.append(subprocess.check_output(argv, text=True).split())

        save = flush = lambda self, *entry: self.load(None)

    files = jit._SharedFiles(Unlocked())
    with locks.within_process:
        files.load("key")
        files.save("key", "entry")
        files.flush()
    assert how == [["taken", "refused"], ["refused", "refused"], ["refused", "refused"]]


def test_a_process_that_dies_while_it_compiles_leaves_nothing_locked(tmp_path, compile_in_a_process):
    assert compile_in_a_process("first", 2.0, "die").wait() == 3
    assert said(compile_in_a_process("second", 2.0)) == [[2.0] * 3, 0, 1]


def test_a_cache_that_cannot_be_written_is_replaced_by_one_of_this_process(tmp_path):
    (tmp_path / "file").write_text("")
    found = jit._writable(tmp_path / "file" / "cache")
    assert found.name.startswith(jit.PRIVATE_CACHE)
    assert found.is_dir()
    found.rmdir()
    assert jit._writable(tmp_path / "cache") == tmp_path / "cache"


# A user's function whose module cannot be imported, as of a file that was run by hand.
UNKNOWN = """
import importlib.util, json, sys
import numpy as np
from hpcmp import jit

spec = importlib.util.spec_from_file_location(sys.argv[1], sys.argv[2])
module = importlib.util.module_from_spec(spec)
if len(sys.argv) > 3:
    sys.modules[sys.argv[1]] = module
spec.loader.exec_module(module)
jit.inlined(module.doubled)

def make(doubled):
    def loop(out):
        for i in range(len(out)):
            out[i] = doubled(i)
    return jit.kernel(loop)

kernel, out = make(module.doubled), np.zeros(3)
kernel(out)
print(json.dumps([out.tolist(), *jit.is_cached(kernel)]))
"""


def test_a_function_of_a_module_that_cannot_be_imported_is_kept(tmp_path):
    (tmp_path / "run.py").write_text(UNKNOWN)
    (tmp_path / "user.py").write_text("def doubled(x):\n    return 2.0 * x\n")
    env = launching.environment({"HPCMP_CACHE_DIR": tmp_path / "cache", "PYTHONDONTWRITEBYTECODE": ""})

    def start(*told):
        argv = launching.command(None, tmp_path / "run.py", "no_such_module", tmp_path / "user.py", *told)
        done = launching.run(argv, tmp_path, env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert [start(), start()] == [[[0, 2, 4], 0, 1], [[0, 2, 4], 1, 0]]
    assert start("known")[0] == start()[0] == [0, 2, 4]  # what one process can import and another cannot


def test_a_function_that_was_never_compiled_may_be_marked_again():
    def one(x):
        return x

    jit.inlined(one, "with this")
    assert jit.inlined(one, "with that")(3) == 3


def test_a_pickle_is_known_by_what_it_tells_and_not_by_which_texts_are_one_object():
    one, same = "a text", "".join(["a ", "text"])
    box = [0]

    def digest(*values):
        return jit._digest_of(pickle.dumps(values, protocol=4))

    assert one is not same
    assert digest(one, box, one, b"x") == digest(one, box, same, b"x") != digest(one, box, same, "x")
    different = [(one, box, box), (one, box, [0]), (one, box, one), (one, box, "a tex"), (box, one, one)]
    assert len({digest(*values) for values in different}) == 5


BLAS = """
import sys
import numpy as np
from hpcmp import jit

@jit.kernel
def twice(x):
    for i in range(len(x)):
        x[i] *= 2

@jit.kernel
def product(x, y):
    return np.dot(x, y)

x = np.ones(3)
twice(x)
early = "scipy.linalg" in sys.modules
print(early, product(x, x), "scipy.linalg" in sys.modules)
"""


def test_scipy_is_loaded_for_the_first_kernel_that_calls_it(tmp_path):
    pytest.importorskip("scipy")
    (tmp_path / "blas.py").write_text(BLAS)
    argv = launching.command(None, tmp_path / "blas.py")
    done = launching.run(argv, tmp_path, launching.environment({"HPCMP_CACHE_DIR": tmp_path / "cache"}))
    assert done.stdout.split() == ["False", "12.0", "True"], done.stderr
