"""Threads and the cache of kernels."""

import threading

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


def test_the_cache_lock_may_be_nested():
    with jit._CACHE_LOCK, jit._CACHE_LOCK:
        assert jit._CACHE_LOCK.depth == 2
    assert jit._CACHE_LOCK.depth == 0
    assert jit._CACHE_LOCK.file is None


def test_a_cache_that_cannot_be_written_is_replaced_by_one_of_this_process(tmp_path):
    (tmp_path / "file").write_text("")
    found = jit._writable(tmp_path / "file" / "cache")
    assert found.name.startswith(jit.PRIVATE_CACHE)
    assert found.is_dir()
    found.rmdir()
    assert jit._writable(tmp_path / "cache") == tmp_path / "cache"
