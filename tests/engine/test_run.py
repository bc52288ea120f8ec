"""Programs: the same bits compiled and plain, on any ranks, threads, parts and orders."""

import math
from dataclasses import replace

import naive
import numpy as np
import programs as p
import pytest
from building import agreed_error, build, everywhere, same_on_all
from graphs import GRAPHS, NAMES, ZOO, hub, sample

import hpcmp
from hpcmp.errors import ProgramError
from hpcmp.graph import with_vertex_field

FOUND = {}  # what ranks of another number found, this session
HUB = hub()


def graph_for(comm, one, method=None, **options):
    """A graph with all that the programs read."""
    graph = build(comm, one, method=method, **options)
    owned = graph.id[: graph.n_owned]
    graph = with_vertex_field(graph, "mass", (owned % 5 + 1) / 4)
    pull = np.stack([(owned % (k + 2)) / 8 for k in range(8)], axis=1).astype(np.float32)
    return with_vertex_field(graph, "pull", pull)


def agree(key, digest):
    """Whether all runs of this name, on whatever ranks, had one digest."""
    return FOUND.setdefault(key, digest) == digest


def steps_for(program):
    return None if program.ends_by_itself or program.steps else 2


# ---------------------------------------------------------------- compiled, plain, and on any ranks


MIXED = ("sum", "argmin of the sender", "monoid of pairs", "fields", "channels", "colours", "rows", "reduced")
CASES = [("zoo", name) for name in p.EVERY] + [("fewer_vertices_than_ranks", name) for name in MIXED]


@pytest.mark.parametrize("on, name", [*CASES, *[("empty", name) for name in MIXED[::2]], ("empty", "collect")])
def test_compiled_and_plain_functions_give_the_same_bits_on_any_ranks(comm, name, on):
    program, graph = p.EVERY[name], graph_for(comm, GRAPHS[on], method="hash")
    compiled = hpcmp.run(program, graph, steps_for(program), step_digests=True)
    plain = hpcmp.run(program, graph, steps_for(program), check=True, step_digests=True)
    assert plain.digest == compiled.digest
    assert plain.values == compiled.values
    assert plain.steps["digest"].tolist() == compiled.steps["digest"].tolist()
    assert all(a.dtype == b.dtype for a, b in zip(plain.state.values(), compiled.state.values()))
    assert same_on_all(comm, (compiled.digest, compiled.steps["digest"].tolist(), compiled.values))
    assert agree((name, on), (compiled.digest, compiled.steps["digest"].tolist(), repr(compiled.values)))


@pytest.mark.parametrize("name", ["std", "softmax_sum", "channels", "rows"])
def test_threads_overlap_parts_and_the_order_of_edges_change_no_bit(comm, name):
    program, digests = p.EVERY[name], set()
    for method in ("block", "hash"):
        graph = graph_for(comm, ZOO, method)
        digests.add(hpcmp.run(program, graph, 3).digest)
        digests.add(hpcmp.run(program, graph, 3, threads=2, overlap=False).digest)
    digests.add(hpcmp.run(program, graph_for(comm, ZOO, deal="shuffled"), 3, threads=2).digest)
    assert len(digests) == 1
    assert agree(("invariance", name), digests.pop())


@pytest.mark.parametrize("name", ["mean", "std", "monoid", "channels"])
def test_rows_longer_than_a_segment_have_the_same_bits(comm, name):
    program = p.EVERY[name]
    graph = graph_for(comm, HUB, method="hash")
    digests = {hpcmp.run(program, graph, 1, threads=t).digest for t in (1, 2)}
    if name in ("mean", "channels") and comm.size < 3:
        digests.add(hpcmp.run(program, graph, 1, check=True).digest)
    assert len(digests) == 1
    assert agree(("hub", name), digests.pop())


# ---------------------------------------------------------------- equal to the naive twins


def starts(one):
    return {v: (v % 7) - 2.5 for v in one.ids.tolist()}


@pytest.mark.parametrize("on, name", [("hub", "sum"), ("hub", "std"), *[("zoo", name) for name in p.SCALARS]])
def test_an_aggregate_of_messages_is_the_naive_one(comm, name, on):
    one = HUB if on == "hub" else ZOO
    result = hpcmp.run(p.AGGREGATES[name], graph_for(comm, one, method="hash"), 1)
    expected = naive.propagate(one, starts(one), lambda s, w: s * w, naive.AGGREGATES[name])
    found = everywhere(result.graph, result["value"])
    if name == "std":
        assert all(math.isclose(found[v], expected[v], rel_tol=1e-9, abs_tol=1e-9) for v in expected)
    else:
        assert found == {v: float(x) for v, x in expected.items()}


def test_argmin_names_the_sender_of_the_smallest_message(comm):
    result = hpcmp.run(p.PAIRS["argmin of the sender"], graph_for(comm, ZOO, method="hash"), 1)
    start, expected = starts(ZOO), {}
    for v, row in naive.in_edges(ZOO).items():
        key, label = naive.argmin([(start[s] * w, s) for s, w in row])
        expected[v] = 0.25 * key + label % 11 if label != -1 else start[v]
    assert everywhere(result.graph, result["value"]) == expected


def test_softmax_weighs_values_by_their_logits(comm):
    result = hpcmp.run(p.PAIRS["softmax_sum"], graph_for(comm, ZOO), 1)
    start, found = starts(ZOO), everywhere(result.graph, result["value"])
    for v, row in naive.in_edges(ZOO).items():
        assert math.isclose(
            found[v], naive.softmax_sum([(w - start[v], start[s]) for s, w in row]), rel_tol=1e-12, abs_tol=1e-12
        )


def test_collected_messages_are_the_row_in_canonical_order(comm):
    def ordered(messages):
        out = 0.0
        for m in messages:
            out = out * 0.5 + m
        return out

    result = hpcmp.run(p.of(hpcmp.Collect(ordered)), graph_for(comm, ZOO, method="hash"), 1, check=True)
    assert everywhere(result.graph, result["value"]) == naive.propagate(
        ZOO, starts(ZOO), lambda s, w: s * w, lambda row: ordered(row)
    )


@pytest.mark.parametrize("neighbours", ["in", "out", "both"])
def test_vertices_hear_whom_they_should(comm, neighbours):
    for name in ("zoo", "undirected"):
        one = GRAPHS[name]
        program = p.of("sum", neighbours=neighbours)
        result = hpcmp.run(program, graph_for(comm, one), 1, check=True)
        expected = naive.propagate(one, starts(one), lambda s, w: s * w, naive.total, neighbours)
        assert everywhere(result.graph, result["value"]) == expected


def test_degrees_are_those_of_the_graph_whoever_is_heard(comm):
    degrees = {
        name: p.of("count", init=lambda vertex, ctx: vertex.in_degree + 1000.0 * vertex.out_degree, neighbours=name)
        for name in ("in", "out", "both")
    }
    graph = build(comm, ZOO)
    for program in degrees.values():
        result = hpcmp.run(program, graph, 0, check=True)
        assert np.array_equal(result["value"], graph.in_degree + 1000.0 * graph.out_degree)


def test_vectors_are_computed_channel_by_channel(comm):
    graph = graph_for(comm, ZOO, method="hash")
    result = hpcmp.run(p.CHANNELS, graph, 1)
    pull = {v: [np.float32((v % (k + 2)) / 8) for k in range(8)] for v in ZOO.ids.tolist()}
    h = {v: [np.float32(float(x) + 1 / (1 + abs(v) % 10)) for x in pull[v]] for v in pull}
    sent = {v: [float(np.float32(float(x) * ((v % 5 + 1) / 4))) for x in h[v]] for v in h}
    found, rows = everywhere(graph, result["h"]), naive.in_edges(ZOO)
    for v, row in rows.items():
        for k in range(8):
            heard = naive.total([sent[s][k] * w for s, w in row])
            assert found[v][k] == float(np.float32(0.5 * float(h[v][k]) + 0.25 * heard - float(pull[v][k])))


# ---------------------------------------------------------------- relations


def related(comm, method=None):
    relation = np.arange(len(ZOO.src)) % 3
    return build(comm, ZOO, relation=relation, relations=("knows", "cites", "writes"), method=method), relation


def test_every_relation_has_its_message_and_others_are_silent(comm):
    graph, relation = related(comm, "hash")
    compiled = hpcmp.run(p.RELATIONS, graph, 1)
    rows = {v: [] for v in ZOO.ids.tolist()}
    for s, d, w, kind in zip(ZOO.src.tolist(), ZOO.dst.tolist(), ZOO.weight.tolist(), relation.tolist()):
        rows[d].append((kind, s, w))
    start = starts(ZOO)
    messages = {1: lambda s, w: 2.0 * start[s], 2: lambda s, w: start[s] - w}
    expected = {
        v: 0.5 * start[v] + 0.125 * naive.total([messages[k](s, w) for k, s, w in sorted(row) if k in messages])
        for v, row in rows.items()
    }
    assert everywhere(graph, compiled["value"]) == expected
    assert hpcmp.run(p.RELATIONS, graph, 1, check=True).digest == compiled.digest
    assert agree("relations", compiled.digest)
    assert compiled.steps["messages"].tolist() == [int((relation > 0).sum())]


def test_vertices_of_silent_relations_are_no_ghosts(comm):
    graph, _ = related(comm, "hash")
    silent = hpcmp.run(p.of("sum", message=None, messages={"cites": p.cites}), graph, 1, check=True)
    full = hpcmp.run(
        p.of("sum", message=None, messages=dict.fromkeys(("knows", "cites", "writes"), p.cites)), graph, 1, check=True
    )
    assert silent.halo["rows"] <= full.halo["rows"]
    if comm.size > 1:
        assert silent.halo["rows"] < full.halo["rows"]


def test_edges_read_the_number_of_their_relation_and_their_sender(comm):
    graph, relation = related(comm)
    program = p.of("sum", message=lambda sent, receiver, edge, ctx: edge.relation * 1000 + edge.sender % 7)
    result = hpcmp.run(program, graph, 1, check=True)
    expected = dict.fromkeys(ZOO.ids.tolist(), 0)
    for s, d, kind in zip(ZOO.src.tolist(), ZOO.dst.tolist(), relation.tolist()):
        expected[d] += kind * 1000 + s % 7
    assert everywhere(graph, result["value"]) == expected


# ---------------------------------------------------------------- frontiers


@pytest.mark.parametrize("on, name", [("zoo", "from some"), ("zoo", "colours"), ("undirected", "spread")])
def test_all_modes_give_the_same_bits_and_the_same_account(comm, name, on):
    graph = build(comm, GRAPHS[on], method="hash")
    runs = [
        hpcmp.run(p.EVERY[name], graph, 30, mode=mode, step_digests=True, overlap=overlap)
        for mode, overlap in (("step", True), ("frontier", True), ("frontier", False), ("auto", True))
    ]
    assert len({r.digest for r in runs}) == 1
    for column in ("active", "messages", "halo_rows", "digest"):
        assert len({tuple(r.steps[column].tolist()) for r in runs}) == 1, column
    assert agree(("modes", name, on), (runs[0].digest, runs[0].steps["messages"].tolist()))


def test_only_changed_is_the_naive_frontier(comm):
    graph, ids = build(comm, ZOO, method="hash"), ZOO.ids.tolist()
    rows, label, changed = naive.in_edges(ZOO), {v: v % 10 for v in ids}, {v for v in ids if v % 3 == 0}
    active, messages = [], []
    for _ in range(30):
        if not changed:
            break
        heard = {v: [label[s] + 1 for s, _ in row if s in changed] for v, row in rows.items()}
        new = {v: (label[v] + sum(m)) % 64 // 2 if m else label[v] for v, m in heard.items()}
        active.append(len(changed))
        messages.append(sum(map(len, heard.values())))
        changed, label = {v for v in ids if new[v] != label[v]}, new
    for mode in ("step", "frontier"):
        result = hpcmp.run(p.FROM_SOME, graph, 30, mode=mode)
        assert everywhere(graph, result["label"]) == label
        assert result.steps["active"].tolist() == active
        assert result.steps["messages"].tolist() == messages
        assert result.converged == (not changed)


@pytest.mark.parametrize("name", p.EXACT)
@pytest.mark.parametrize("on", ["zoo", "undirected"])
def test_pushing_gives_the_bits_of_pulling(comm, name, on):
    graph = build(comm, GRAPHS[on], method="hash")
    ways = [{"mode": "step"}, {"mode": "frontier"}, {"mode": "frontier", "threads": 2}, {"check": True}]
    runs = [hpcmp.run(p.EXACT[name], graph, step_digests=True, **how) for how in ways]
    assert runs[0].steps["active"].sum() > 0
    for column in ("active", "messages", "digest"):
        assert len({tuple(r.steps[column].tolist()) for r in runs}) == 1, column
    assert len({r.digest for r in runs}) == 1
    assert agree(("push", name, on), runs[0].digest)


def test_pushing_by_many_threads_gives_the_bits_of_pulling(comm, monkeypatch):
    monkeypatch.setattr("hpcmp.engine.push.MIN_PUSHED_EDGES", 0)
    monkeypatch.setattr("hpcmp.kernels.csr.CHUNK_WORK", 1)
    for name in ("sum", "argmin"):
        graph = build(comm, GRAPHS["undirected"], method="hash")
        digests = {hpcmp.run(p.EXACT[name], graph, mode="frontier", threads=t).digest for t in (1, 2, 3, 6)}
        assert digests == {hpcmp.run(p.EXACT[name], graph, mode="step").digest}


def test_vertices_that_do_not_listen_hear_nothing(comm):
    graph, rows = build(comm, ZOO, method="hash"), naive.in_edges(ZOO)
    program = p.of("sum", p.blend, listens=lambda vertex, ctx: vertex.id % 3 != 1)
    start = starts(ZOO)
    heard = naive.propagate(ZOO, start, lambda s, w: s * w, naive.total)
    expected = {v: start[v] if v % 3 == 1 else 0.5 * start[v] + 0.125 * heard[v] for v in rows}
    for check in (False, True):
        assert everywhere(graph, hpcmp.run(program, graph, 1, check=check)["value"]) == expected


def test_buckets_change_the_way_and_not_the_end(comm):
    graph = build(comm, GRAPHS["zoo"], method="hash")
    plain = hpcmp.run(p.NEAR, graph, mode="step")
    assert everywhere(graph, plain["value"]) == naive_distances(ZOO)
    for width in (1e-3, 0.25, 1.0, 1e9):  # of the first, bins do not reach all that wait
        runs = [hpcmp.run(p.NEAR, graph, params={"width": width}, check=check) for check in (False, True)]
        assert {r.digest for r in runs} == {plain.digest}
        assert agree(("buckets", width), runs[0].steps["active"].tolist())
        assert runs[0].steps["active"].tolist() == runs[1].steps["active"].tolist()
        assert all(r.converged for r in runs)
        if width == 1e9:
            assert runs[0].steps["active"].tolist() == plain.steps["active"].tolist()


def test_threads_part_what_changed_and_change_no_step(comm, monkeypatch):
    for name in ("engine.push.MIN_PUSHED_EDGES", "engine.buckets.MIN_SPLIT_ROWS", "kernels.csr.CHUNK_WORK"):
        monkeypatch.setattr(f"hpcmp.{name}", 1)
    graph = build(comm, GRAPHS["undirected"], method="hash")
    program = replace(p.NEAR, monotone=True)
    runs = [hpcmp.run(program, graph, params={"width": 0.1}, threads=t) for t in (1, 2, 5)]
    assert {r.digest for r in runs} == {hpcmp.run(p.NEAR, graph, mode="step").digest}
    assert len({tuple(r.steps["active"].tolist()) for r in runs}) == 1


def test_a_bucket_that_is_no_number_does_not_wait(comm):
    graph = build(comm, GRAPHS["random"])
    program = replace(p.NEAR, bucket=lambda vertex, ctx: math.nan if vertex.id % 2 else math.inf)
    assert hpcmp.run(program, graph).digest == hpcmp.run(p.NEAR, graph, mode="step").digest


def test_a_bucket_that_asks_for_the_step_is_refused(comm):
    program = replace(p.NEAR, bucket=lambda vertex, ctx: vertex.value - ctx.step)
    error = agreed_error(comm, ProgramError, lambda: hpcmp.run(program, build(comm, GRAPHS["random"])))
    assert "bucket asks for ctx.step" in error


def test_sums_are_never_remembered_whatever_is_promised(comm):
    graph = build(comm, GRAPHS["undirected"], method="hash")
    program = replace(p.FROM_SOME, monotone=True)
    steps = hpcmp.run(program, graph, mode="step").n_steps
    digests = {hpcmp.run(program, graph, mode=mode).digest for mode in ("auto", "step", "frontier")}
    assert digests == {hpcmp.run(p.FROM_SOME, graph, steps, mode="step").digest}


def test_a_monotone_run_to_the_end_hears_no_message_twice(comm):
    graph, n_updates = build(comm, GRAPHS["undirected"], method="hash"), []

    def counted(vertex, smallest, ctx):
        n_updates.append(vertex.id)
        return min(vertex.label, smallest)

    runs, counts = {}, {}
    for monotone, steps in ((True, None), (False, None), (True, 100)):
        n_updates.clear()
        program = replace(p.SPREAD, update=counted, monotone=monotone)
        runs[monotone, steps] = hpcmp.run(program, graph, steps, mode="frontier", check=True)
        counts[monotone, steps] = comm.allreduce(len(n_updates))
    assert len({r.digest for r in runs.values()}) == 1
    assert counts[True, None] < counts[False, None] == counts[True, 100]


def naive_distances(one):
    distance = {v: 0.0 if v % 17 == 3 else math.inf for v in one.ids.tolist()}
    for _ in distance:
        for v, row in naive.in_edges(one).items():
            distance[v] = min([distance[v], *(distance[s] + w for s, w in row)])
    return distance


def test_a_run_ends_when_nothing_changes(comm):
    graph = build(comm, GRAPHS["two_components"])
    result = hpcmp.run(p.SPREAD, graph)
    assert result.converged is True
    assert result.steps["active"][-1] > 0
    again = hpcmp.run(p.SPREAD, graph, result.n_steps - 1)
    assert again.converged is False
    assert again.n_steps == result.n_steps - 1


# ---------------------------------------------------------------- global values and until


def test_global_values_are_those_of_the_state(comm):
    graph = graph_for(comm, ZOO, method="hash")
    for steps in (0, 1, 3):
        result = hpcmp.run(p.REDUCED, graph, steps)
        state = list(everywhere(graph, result["value"]).values())
        values = result.values
        assert values["total"] == math.fsum(state)
        assert (values["low"], values["high"]) == (min(state), max(state))
        assert (values["some"], values["every"]) == (max(state) > 2, max(state) < 1e9)
        if steps:
            before = everywhere(graph, hpcmp.run(p.REDUCED, graph, steps - 1)["value"])
            after = everywhere(graph, result["value"])
            assert values["change"] == max(abs(after[v] - before[v]) for v in after)
            assert values["moved"] == sum(after[v] != before[v] for v in after)


def test_functions_read_the_values_a_step_starts_from(comm):
    graph, one = graph_for(comm, ZOO), ZOO
    result = hpcmp.run(p.REDUCED, graph, 1)
    start = starts(one)
    heard = naive.propagate(one, start, lambda s, w: s * w, naive.mean)
    low = min(start.values())
    assert everywhere(graph, result["value"]) == {v: 0.5 * (start[v] + heard[v]) - low / 1024 for v in start}


def test_until_ends_the_run(comm):
    graph = graph_for(comm, ZOO)
    result = hpcmp.run(p.REDUCED, graph)
    assert result.converged is True
    history = result.steps["value_change"]
    assert len(history) == result.n_steps <= 6
    assert np.all(history[:-1] >= 0.25)
    assert result.n_steps == 6 or history[-1] < 0.25
    assert hpcmp.run(p.REDUCED, graph, params={"tolerance": 1e9}).n_steps == 1
    assert hpcmp.run(p.REDUCED, graph, 1, params={"tolerance": 0.0}).converged is False


def test_extremes_with_nan_and_signs_of_zeros_do_not_depend_on_ranks(comm):
    def odd(vertex, ctx):
        return math.nan if vertex.id % 13 == 5 else -0.0 if vertex.id % 2 else 0.0

    value = {"low": hpcmp.Min(odd), "high": hpcmp.Max(odd), "sum": hpcmp.Sum(odd)}
    low = {"low": hpcmp.Min(lambda vertex, ctx: -0.0 if vertex.id % 2 else 0.0)}
    graph = build(comm, ZOO, method="hash")
    found = repr(hpcmp.run(p.of("sum", reduce=value), graph, 0, check=True).values)
    assert same_on_all(comm, found)
    assert found == "{'low': nan, 'high': nan, 'sum': nan}"
    assert agree("signs of zeros", repr(hpcmp.run(p.of("sum", reduce=low), graph, 0, check=True).values))


def test_global_values_of_no_vertices_are_identities(comm):
    values = hpcmp.run(p.REDUCED, graph_for(comm, GRAPHS["empty"]), 0).values
    assert values["total"] == 0.0
    assert (values["low"], values["high"]) == (math.inf, -math.inf)
    assert (values["some"], values["every"]) == (False, True)


# ---------------------------------------------------------------- steps, parameters, account


def test_no_steps_leave_the_first_state(comm):
    for name in NAMES:
        result = hpcmp.run(p.AGGREGATES["sum"], build(comm, GRAPHS[name]), 0)
        assert everywhere(result.graph, result["value"]) == starts(GRAPHS[name])
        assert result.n_steps == 0
        assert len(result.steps["active"]) == 0


def test_steps_are_those_asked_for_or_the_programs_own(comm):
    graph = build(comm, GRAPHS["random"])
    own = p.of("sum", p.blend, steps=3)
    assert hpcmp.run(own, graph, check=True).n_steps == 3
    assert hpcmp.run(own, graph, 1, check=True).n_steps == 1
    assert hpcmp.run(own, graph, check=True).digest == hpcmp.run(p.of("sum", p.blend), graph, 3, check=True).digest


def test_parameters_reach_the_functions_in_their_own_types(comm):
    def stamp(vertex, ctx):
        return ctx.whole // 2 + ctx.part + (100.0 if ctx.flag else 0.0) + ctx.table[1]

    params = {"whole": 7, "part": 0.25, "flag": False, "table": np.array([1.0, 20.0])}
    program = p.of("sum", init=stamp, params=params)
    graph = build(comm, GRAPHS["random"])
    for given, expected in (
        ({}, 3 + 0.25 + 20),
        ({"whole": np.int32(9), "part": 3}, 4 + 3 + 20),
        ({"flag": True, "table": [5, 6]}, 3 + 0.25 + 100 + 6),
    ):
        result = hpcmp.run(program, graph, 0, params=given, check=True)
        assert np.all(result["value"] == expected)
        assert type(result.params["part"]) is float
    assert type(hpcmp.run(program, graph, 0, params={"part": 3}, check=True).params["part"]) is float


def test_what_crosses_the_network_is_what_send_returns(comm):
    for name, row_bytes in (("sum", 8), ("channels", 4 * 8), ("rows", 4 * 3), ("fields", None)):
        graph = graph_for(comm, ZOO, method="hash")
        result = hpcmp.run(p.EVERY[name], graph, 2)
        n_rows = comm.allreduce(graph.halo.n_send)
        assert result.steps["halo_rows"].tolist() == [n_rows] * 2
        if row_bytes is not None:
            assert result.steps["halo_bytes"].tolist() == [n_rows * row_bytes] * 2
        assert result.halo["rows"] == 2 * n_rows == int(result.ranks["halo_rows"].sum())
        assert result.halo["bytes"] == int(result.ranks["halo_bytes"].sum())


def test_the_history_counts_messages_and_active_vertices(comm):
    graph = graph_for(comm, ZOO)
    result = hpcmp.run(p.REDUCED, graph, 3, params={"tolerance": 0.0}, step_digests=True)
    steps = result.steps
    assert steps["step"].tolist() == [0, 1, 2]
    assert steps["active"].tolist() == [graph.n_vertices] * 3
    assert steps["messages"].tolist() == [graph.n_edges] * 3
    assert {f"value_{name}" for name in p.REDUCED.reduce} <= set(steps)
    assert {f"{phase}_s" for phase in ("send", "interior", "wait", "boundary", "reduce", "total")} <= set(steps)
    assert all(len(column) == 3 for column in steps.values())
    assert "digest" not in hpcmp.run(p.REDUCED, graph, 1).steps
    assert steps["value_total"][-1] == result.values["total"]
    ranks = result.ranks
    assert ranks["rank"].tolist() == list(range(comm.size))
    assert ranks["n_owned"].sum() == graph.n_vertices
    assert ranks["n_in_edges"].sum() == graph.n_edges
    assert same_on_all(comm, {k: v.tolist() for k, v in steps.items()})
    assert same_on_all(comm, {k: v.tolist() for k, v in ranks.items()})


def test_a_step_digest_is_of_the_state_after_the_step(comm):
    graph = graph_for(comm, ZOO)
    long = hpcmp.run(p.CHANNELS, graph, 3, step_digests=True).steps["digest"].tolist()
    for n in (1, 2):
        assert hpcmp.run(p.CHANNELS, graph, n, step_digests=True).steps["digest"].tolist() == long[:n]
    assert len(set(long)) == 3


def test_results_are_gathered_in_ascending_id(comm):
    result = hpcmp.run(p.AGGREGATES["sum"], graph_for(comm, ZOO, method="hash"), 0)
    ids, values = result.gather("id"), result.gather("value")
    if comm.rank == 0:
        assert ids.tolist() == ZOO.ids.tolist()
        assert values.tolist() == [starts(ZOO)[v] for v in ids.tolist()]
    else:
        assert ids is None and values is None
    with pytest.raises(hpcmp.errors.GraphError, match="'speed' is not a field of this result .it has: value"):
        result["speed"]


def test_the_digest_is_the_naive_one(comm):
    graph = graph_for(comm, ZOO, method="hash")
    result = hpcmp.run(p.CHANNELS, graph, 1)
    by_id = everywhere(graph, result["h"])
    column = np.array([by_id[v] for v in ZOO.ids.tolist()], np.float32)
    assert result.digest == naive.digest(ZOO.ids, {"h": column})


def test_the_same_run_twice_has_the_same_bits_and_leaves_the_first_alone(comm):
    graph = graph_for(comm, ZOO)
    first = hpcmp.run(p.AGGREGATES["sum"], graph, 2)
    kept = first["value"].copy()
    second = hpcmp.run(p.AGGREGATES["sum"], graph, 2)
    assert np.array_equal(first["value"], kept)
    assert second.digest == first.digest == first.compute_digest()


def test_a_user_sees_wide_numbers(comm):
    def widths(vertex, ctx):
        return vertex.small * 100, vertex.single * vertex.single

    program = hpcmp.Program(
        state={"big": "int64", "exact": "float64"},
        init=widths,
        update=lambda vertex, total, ctx: (vertex.big, vertex.exact),
        send=lambda vertex, ctx: vertex.big,
    )
    graph = build(comm, sample(range(5), [(0, 1)]))
    graph = with_vertex_field(graph, "small", np.full(graph.n_owned, 100, np.int8))
    graph = with_vertex_field(graph, "single", np.full(graph.n_owned, 0.1, np.float32))
    for check in (False, True):
        result = hpcmp.run(program, graph, 0, check=check)
        assert np.all(result["big"] == 10_000)
        assert np.all(result["exact"] == float(np.float32(0.1)) ** 2)
