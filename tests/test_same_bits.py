"""One digest for each program on any ranks, threads, partition, input order, with and without overlap."""

import functools

import pytest
import same_bits_job as job
from thorough import IS_LONG

SHARE = 1 if IS_LONG else 2
N_SETTINGS = len(job.METHODS) * len(job.THREADS) * len(job.ORDERS) * len(job.OVERLAPS) // SHARE


@functools.cache
def digests(ranks):
    return job.digests_on(ranks, SHARE)


@pytest.mark.parametrize("ranks", job.RANKS, ids=lambda ranks: f"P{ranks}")
def test_every_run_of_a_program_has_one_digest(ranks):
    for name, by_digest in digests(ranks).items():
        assert len(by_digest) == 1, f"{name}: {by_digest}"
        (settings,) = by_digest.values()
        assert len({tuple(s) for s in settings}) == N_SETTINGS


@pytest.mark.parametrize("name", job.ROWS)
def test_digest_does_not_depend_on_ranks(name):
    found = {ranks: sorted(digests(ranks)[name]) for ranks in job.RANKS}
    assert len({tuple(d) for d in found.values()}) == 1, found


@pytest.mark.parametrize("name", job.ROWS)
def test_documented_digest_is_the_computed_one(name):
    if name == "softmax_sum" and job.machine() not in job.DOCUMENT.read_text():
        pytest.skip(f"docs/same-bits.md was made with another exp than that of {job.machine()}")
    assert [job.documented()[name]] == sorted(digests(job.RANKS[0])[name])


def test_document_is_as_the_job_writes_it():
    text = job.table(job.documented())
    without_machine = [line for line in job.DOCUMENT.read_text().splitlines() if "its digest holds for" not in line]
    assert without_machine == [line for line in text.splitlines() if "its digest holds for" not in line]
