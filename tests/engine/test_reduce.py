"""Global values: the same whatever rank holds what."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcmp
from hpcmp.engine.reduce import Totals, absorber, share_of

FLOATS = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, -1.0]), max_size=12)


def function(vertex, ctx):
    return 0.0


REDUCERS = {name: getattr(hpcmp, name)(function) for name in ("Sum", "Min", "Max", "Any", "All")}
REDUCERS["Change"] = hpcmp.Sum(lambda old, new, ctx: 0.0)


def total_of(comm, values):
    totals = Totals(REDUCERS)
    for name in REDUCERS:
        share = share_of(REDUCERS[name])
        for value in values:
            absorber(REDUCERS[name])(share, value)
        totals.add(name, share)
    totals.count(changed=len(values), halo_rows=1)
    return totals.reduce(comm)


@given(FLOATS)
def test_values_do_not_depend_on_who_holds_them(comm, values):
    expected = {
        "Min": math.nan if any(map(math.isnan, values)) else min(values, default=math.inf) + 0.0,
        "Max": math.nan if any(map(math.isnan, values)) else max(values, default=-math.inf) + 0.0,
        "Any": any(values),
        "All": all(values),
    }
    counts, found = total_of(comm, values[comm.rank :: comm.size])
    verdict = repr({k: found[k] for k in expected}) == repr(expected) and counts["changed"] == len(values)
    found_by = comm.allgather((verdict, counts["halo_rows"], repr(found)))
    assert set(found_by) == {(True, comm.size, repr(found))}


def test_reducers_know_whether_they_compare():
    assert [r.is_of_change for r in REDUCERS.values()] == [False] * 5 + [True]


@pytest.mark.parametrize("value, some, every", [(2.0, True, True), (-1.0, True, True), (0.0, False, False)])
def test_any_and_all_take_every_number_but_zero_as_true(comm, value, some, every):
    _, found = total_of(comm, [value])
    assert (found["Any"], found["All"]) == (some, every)
