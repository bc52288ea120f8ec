"""Agents that reach goals together: each model obeys its law, on any ranks."""

import numpy as np
import pytest
from agent_models import MARKET
from building import agreed_error, build, everywhere
from graphs import random as random_sample
from graphs import sample
from mpi4py import MPI
from thorough import IS_LONG

from hpcmp import Checkpoints, random
from hpcmp.agents.coordination import (
    allocation,
    auction,
    cascade,
    colouring,
    consensus,
    contract,
    election,
    epidemic,
    extremes,
    gossip,
    jobs,
    threshold,
)
from hpcmp.errors import ProgramError

PETERSEN = [(k, (k + 1) % 5) for k in range(5)] + [(k, k + 5) for k in range(5)]
PETERSEN += [(5 + k, 5 + (k + 2) % 5) for k in range(5)]
CUBE = [(v, v ^ (1 << bit)) for v in range(16) for bit in range(4) if v < v ^ (1 << bit)]
GRAPHS = {
    "ring of 16": (16, [(k, (k + 1) % 16) for k in range(16)], 0.926670, 0.949253, 60),
    "hypercube 4": (16, CUBE, 0.6, 0.6, 30),
    "path of 16": (16, [(k, k + 1) for k in range(15)], 0.980785, 0.987190, 240),
    "star of 16": (16, [(0, k) for k in range(1, 16)], 0.882353, 0.9375, 60),
    "Petersen": (10, PETERSEN, 0.428571, 0.5, 24),
    "K8": (8, [(i, j) for i in range(8) for j in range(i)], 0, 0, 12),
}
SAMPLES = {name: sample(range(n), pairs, directed=False) for name, (n, pairs, *_) in GRAPHS.items()}
PIECES = random_sample(70, 90, seed=3, directed=False, stride=3, first=-40)  # loops, repeats, vertices alone
CROWD = sample(range(90), [(i, j) for i in range(70) for j in range(i)] + [(i, i + 20) for i in range(70)], False)


ON_MANY = (  # those that also run on several ranks
    "test_gossip_keeps_both_sums_to_the_last_bit",
    "test_the_leader_is_the_largest_of_its_piece_and_followers_form_a_tree",
    "test_a_cascade_reaches_what_live_edges_reach",
    "test_each_task_is_awarded_once_to_a_bid_that_came_in_time",
    "test_every_task_is_done_once_after_those_it_needs_though_workers_fail",
)
ROADS = random_sample(90, 160, seed=8, stride=1)
ROADS = ROADS._replace(weight=ROADS.weight * 0.9)


@pytest.fixture(autouse=True)
def _quick_ones_on_many_ranks(comm, request):
    """Most take thousands of steps, each of which ranks that share cores wait for."""
    if comm.size > 1 and request.node.originalname not in ON_MANY and not IS_LONG:
        pytest.skip("minutes on ranks that share cores; HPCMP_LONG_TESTS=1 asks for it")


def needs(i):
    """Threshold of a vertex."""
    return (i * 29 % 10 + 1) / 10


def values_of(graph):
    """Numbers that depend on ids alone: multiples of 1/8."""
    return (graph.id[: graph.n_owned] * 37 % 101) / 8.0


def neighbours(of):
    """id -> set of ids."""
    near = {int(v): set() for v in of.ids}
    for u, v in zip(of.src.tolist(), of.dst.tolist()):
        if u != v:
            near[u].add(v)
            near[v].add(u)
    return near


def distances(near, sources):
    """id -> hops from the nearest source, -1 where there is no way."""
    hops, layer, step = dict.fromkeys(near, -1), set(sources), 0
    while layer:
        hops.update(dict.fromkeys(layer, step))
        layer, step = {j for i in layer for j in near[i] if hops[j] < 0}, step + 1
    return hops


def same_alone(comm, of, run, **options):
    """What ``run(graph)`` leaves on these ranks: (graph, the run), whose bits are those of one rank alone."""
    graph = build(comm, of, method="hash", **options)
    found = run(graph)
    assert comm.size == 1 or found.digest == run(build(MPI.COMM_SELF, of, **options)).digest
    return graph, found


# ---------------------------------------------------------------- consensus


@pytest.mark.parametrize("name", GRAPHS)
def test_consensus_comes_near_at_the_rate_of_the_law(comm, name):
    best, metropolis, steps = GRAPHS[name][2:]
    mark = steps * 2 // 3
    for weights, want in (("best", best), ("metropolis", metropolis)):
        _, found = same_alone(
            comm,
            SAMPLES[name],
            lambda graph: consensus.run(graph, values_of(graph), weights, steps=steps, tolerance=-1, mark=mark),  # noqa: B023
        )
        assert consensus.rate(found, mark) == pytest.approx(want, abs=5e-4)
    assert consensus.best_weight(build(comm, SAMPLES[name]))[1] == pytest.approx(best, abs=1e-6)


def test_consensus_is_the_mean_of_each_piece(comm):
    graph, found = same_alone(comm, PIECES, lambda graph: consensus.run(graph, values_of(graph), steps=9000))
    assert found.ended == "goal"
    near, x = neighbours(PIECES), everywhere(graph, found["x"])
    for i in near:
        piece = [j for j, hops in distances(near, [i]).items() if hops >= 0]
        assert x[i] == pytest.approx(np.mean([j * 37 % 101 / 8.0 for j in piece]), abs=1e-6)


@pytest.mark.parametrize("small", [2000, 0])  # without eigenvalues, values tell of it
@pytest.mark.parametrize("name", ["ring of 16", "hypercube 4"])
def test_weights_that_never_converge_are_refused(comm, monkeypatch, name, small):
    monkeypatch.setattr(consensus, "SMALL", small)
    graph = build(comm, SAMPLES[name])
    text = agreed_error(
        comm, ProgramError, lambda: consensus.run(graph, values_of(graph), "max_degree", steps=10**6)
    )  # fmt: skip
    assert "never reach the mean" in text and ("eigenvalue" if small else "swing") in text
    text = agreed_error(comm, ProgramError, lambda: consensus.run(graph, values_of(graph), 0.9, steps=99))
    assert "never reach the mean" in text


def test_weights_of_one_over_the_largest_degree_reach_the_mean_elsewhere(comm):
    graph = build(comm, SAMPLES["star of 16"])
    found = consensus.run(graph, values_of(graph), "max_degree", steps=5000)
    assert found.ended == "goal" and np.ptp(list(everywhere(graph, found["x"]).values())) < 1e-6


@pytest.mark.parametrize("which", ["max", "min"])
def test_all_of_a_piece_know_its_extreme_value(comm, which):
    graph, found = same_alone(comm, PIECES, lambda graph: extremes.run(graph, values_of(graph), which))
    near, x = neighbours(PIECES), everywhere(graph, found["x"])
    pick = max if which == "max" else min
    for i in near:
        assert x[i] == pick(j * 37 % 101 / 8.0 for j, hops in distances(near, [i]).items() if hops >= 0)
    assert found.ended == "quiet"


def test_gossip_keeps_both_sums_to_the_last_bit(comm):
    of = SAMPLES["hypercube 4"]
    for steps in (1, 7, 30):
        graph, found = same_alone(comm, of, lambda graph: gossip.run(graph, values_of(graph), steps=steps, seed=4))  # noqa: B023
        s, w = (list(everywhere(graph, found[name]).values()) for name in ("s", "w"))
        assert sum(s) == sum(k * 37 % 101 / 8.0 for k in range(16)) and sum(w) == 16
    mean = everywhere(graph, gossip.run(graph, values_of(graph), steps=150, seed=4)["mean"])
    assert list(mean.values()) == pytest.approx([np.mean([k * 37 % 101 / 8.0 for k in range(16)])] * 16, abs=1e-6)


# ---------------------------------------------------------------- leaders and colours


def test_the_leader_is_the_largest_of_its_piece_and_followers_form_a_tree(comm):
    graph, found = same_alone(comm, PIECES, election.run)
    leader, parent, hops = (everywhere(graph, found[name]) for name in ("leader", "parent", "hops"))
    near = neighbours(PIECES)
    for i in near:
        assert leader[i] == max(j for j, h in distances(near, [i]).items() if h >= 0)
        assert hops[i] == distances(near, [leader[i]])[i]
        assert parent[i] == i if i == leader[i] else (parent[i] in near[i] and hops[parent[i]] == hops[i] - 1)
    assert found.ended == "quiet"


@pytest.mark.parametrize("of", [PIECES, CROWD], ids=["pieces", "more colours than a window"])
def test_colours_are_proper_and_few(comm, of):
    graph, found = same_alone(comm, of, lambda graph: colouring.run(graph, seed=5))
    colour, near = everywhere(graph, found["colour"]), neighbours(of)
    assert all(colour[i] != colour[j] for i in near for j in near[i])
    assert all(0 <= colour[i] <= len(near[i]) for i in near)
    assert found.ended == "goal"


# ---------------------------------------------------------------- spreading


def first_ones(graph, every=23):
    return graph.id[: graph.n_owned] % every == 0


def test_a_certain_epidemic_is_breadth_first_search(comm):
    def spread(graph):
        return epidemic.run(graph, first_ones(graph), infection=1, recovery=1, steps=200)

    graph, found = same_alone(comm, PIECES, spread)
    near = neighbours(PIECES)
    want = distances(near, [i for i in near if i % 23 == 0])
    assert everywhere(graph, found["since"]) == everywhere(graph, found["until"]) == want
    assert found.ended == "quiet"


def test_an_epidemic_by_chance_is_never_ahead_of_breadth_first_search_and_dies_out(comm):
    def spread(graph):
        return epidemic.run(graph, first_ones(graph), infection=0.4, recovery=0.3, steps=500, seed=3)

    graph, found = same_alone(comm, PIECES, spread)
    near = neighbours(PIECES)
    want = distances(near, [i for i in near if i % 23 == 0])
    since, until = everywhere(graph, found["since"]), everywhere(graph, found["until"])
    caught = [i for i in near if since[i] >= 0]
    assert all(0 <= want[i] <= since[i] <= until[i] for i in caught)
    assert any(since[i] > want[i] for i in caught) and any(until[i] > since[i] for i in caught)
    assert sum(hops == 0 for hops in want.values()) < len(caught) < sum(hops >= 0 for hops in want.values())
    assert found.ended == "quiet"


def test_a_cascade_reaches_what_live_edges_reach(comm):
    near = {i: sorted(j for u, j in zip(ROADS.src.tolist(), ROADS.dst.tolist()) if u == i) for i in ROADS.ids.tolist()}
    seen = []
    for probability in (0.0, 0.35, 0.6, 1.0):

        def spread(graph, probability=probability):
            return cascade.run(graph, first_ones(graph, 40), probability, seed=9)

        graph, found = same_alone(comm, ROADS, spread)
        with np.errstate(over="ignore"):
            live = {
                i: {j for q, j in enumerate(near[i]) if random.uniform(9, cascade.COIN, q, i) < probability}
                for i in near
            }
        assert everywhere(graph, found["since"]) == distances(live, [i for i in near if i % 40 == 0])
        seen.append({i for i, t in everywhere(graph, found["since"]).items() if t >= 0})
    assert seen[0] < seen[1] < seen[2] <= seen[3]
    graph = build(comm, ROADS)
    by_field = cascade.run(graph, first_ones(graph, 40), "weight", seed=9)
    assert {0} < set(np.unique(list(everywhere(graph, by_field["since"]).values()))) - {-1}
    assert "outside [0, 1]" in agreed_error(comm, ProgramError, lambda: cascade.run(graph, True, 1.5))


def test_thresholds_leave_the_least_set_that_is_closed(comm):
    def spread(graph):
        return threshold.run(graph, first_ones(graph, 8), needs(graph.id[: graph.n_owned]))

    graph, found = same_alone(comm, ROADS, spread)
    assert found.ended == "quiet"
    since = everywhere(graph, found["since"])
    heard = {i: [] for i in ROADS.ids.tolist()}
    for u, v in zip(ROADS.src.tolist(), ROADS.dst.tolist()):
        heard[v].append(u)
    active = {i for i in heard if i % 8 == 0}
    while more := {
        i
        for i in heard
        if i not in active and heard[i] and sum(j in active for j in heard[i]) >= max(needs(i) * len(heard[i]), 1)
    }:
        active |= more
    assert {i for i, t in since.items() if t >= 0} == active
    assert 10 < len(active) < 55 and max(since.values()) > 1


# ---------------------------------------------------------------- assignment


def problems(sizes, seed, density=1.0):
    """Assignment problems side by side: (sample, list of benefit matrices, -1 where there is no edge)."""
    rng, edges, weight, tables, first = np.random.default_rng(seed), [], [], [], 0
    for n, m, largest in sizes:
        table = rng.integers(0, largest + 1, (n, m))
        keep = (rng.random((n, m)) < density) | (np.arange(m) == rng.permutation(m)[:n, None])
        table[~keep] = -1
        rows, columns = np.nonzero(keep)
        edges += zip((first + rows).tolist(), (first + n + columns).tolist())
        weight += table[keep].tolist()
        tables.append((first, table))
        first += n + m
    return sample(range(first), edges, weight=weight), tables


def is_object(graph, tables):
    out = np.zeros(graph.n_owned, np.bool_)
    ids = graph.id[: graph.n_owned]
    for first, table in tables:
        out |= (ids >= first + table.shape[0]) & (ids < first + sum(table.shape))
    return out


def check_assignment(comm, sizes, seed, density=1.0, epsilon=None, of_one=True):
    optimize = pytest.importorskip("scipy.optimize")
    of, tables = problems(sizes, seed, density)
    graph = build(comm, of)
    found = auction.run(graph, is_object(graph, tables), epsilon=epsilon)
    if of_one:
        alone = build(MPI.COMM_SELF, of)
        assert found.digest == auction.run(alone, is_object(alone, tables), epsilon=epsilon).digest
    thing, owner = everywhere(graph, found["object"]), everywhere(graph, found["owner"])
    for first, table in tables:
        n, m = table.shape
        mine = np.array([thing[first + i] - first - n for i in range(n)])
        assert len(set(mine.tolist())) == n and (table[np.arange(n), mine] >= 0).all()
        assert all(owner[first + n + j] == first + i for i, j in enumerate(mine.tolist()))
        best = optimize.linear_sum_assignment(np.where(table < 0, -(10**9), table), maximize=True)
        assert table[np.arange(n), mine].sum() == table[best].sum()


def test_an_auction_is_the_best_assignment(comm):
    check_assignment(
        comm,
        [(n, n, c) for n in ((1, 2, 5, 20) if comm.size == 1 else (1, 9)) for c in (10, 1000)],
        seed=1,
        epsilon=1 / 21,
    )


def test_an_auction_of_few_edges_or_more_objects_is_the_best_assignment(comm):
    check_assignment(comm, [(n, n, 50) for n in (4, 7, 12, 25)], seed=2, density=0.3)
    check_assignment(comm, [(n, n + 3, 20) for n in (3, 8, 13)], seed=3)


def test_fifty_auctions_are_the_best_assignments(comm):
    if comm.size > 1:
        pytest.skip("of one rank; other auctions are of many")
    sizes = [(2 + k % 19, 2 + k % 19, 10 ** (1 + k % 4)) for k in range(50)]
    check_assignment(comm, sizes, seed=4, epsilon=1 / 21, of_one=False)


@pytest.mark.slow
@pytest.mark.limit(900)
def test_fifty_auctions_of_up_to_two_hundred_are_the_best_assignments(comm):
    if comm.size > 1 or not IS_LONG:
        pytest.skip("half a minute on an idle core; HPCMP_LONG_TESTS=1 asks for it")
    for k, n in enumerate(np.linspace(2, 200, 50).astype(int).tolist()):
        check_assignment(comm, [(n, n, 10 ** (1 + k % 4))], seed=4 + k, of_one=False)


def test_an_auction_of_two_hundred_is_the_best_assignment(comm):
    check_assignment(comm, [(200, 200, 100)] if comm.size == 1 else [(30, 30, 100)], seed=5, of_one=False)


def test_persons_that_cannot_all_have_an_object_are_told_of(comm):
    of = sample(range(7), [(i, 4 + j) for i in range(4) for j in range(2 + (i == 3))], weight=[3.0] * 9)
    graph = build(comm, of)
    asked = Checkpoints("nowhere")
    text = agreed_error(
        comm, ProgramError, lambda: auction.run(graph, graph.id[: graph.n_owned] >= 4, checkpoints=asked)
    )
    assert "does not go on from a checkpoint" in text
    text = agreed_error(comm, ProgramError, lambda: auction.run(graph, graph.id[: graph.n_owned] >= 4))
    assert "cannot have an object" in text


# ---------------------------------------------------------------- contracts, shares, tasks


def work_of(graph):
    return 1.0 + graph.id[: graph.n_owned] * 13 % 7


@pytest.mark.parametrize("slowness", [1, 4])
def test_each_task_is_awarded_once_to_a_bid_that_came_in_time(comm, slowness):
    def trade(graph):
        return contract.run(
            graph, graph.id[: graph.n_owned] >= 20, work=work_of(graph), speed=work_of(graph) / 2,
            patience=4, slowness=slowness, rounds=30, steps=600, seed=2,
        )  # fmt: skip

    graph, found = same_alone(comm, MARKET, trade)
    names = ("winner", "price", "awarded", "done", "n_bids", "n_late", "n_awards", "n_won", "n_done", "n_rounds")
    of = {name: everywhere(graph, found[name]) for name in names}
    near = neighbours(MARKET)
    for i in range(19):
        assert of["n_awards"][i] == 1 and of["n_bids"][i] >= 1 and of["winner"][i] in near[i] - set(range(20))
        assert of["awarded"][i] % 4 == 0 and of["awarded"][i] == 4 * of["n_rounds"][i]  # at a deadline
        assert of["done"][i] == of["awarded"][i] + 3 + int(of["price"][i])
        assert of["price"][i] == (1.0 + i * 13 % 7) / ((1.0 + of["winner"][i] * 13 % 7) / 2)
    assert (of["n_awards"][19], of["awarded"][19], of["winner"][19]) == (0, -1, contract.NOBODY)
    assert found.ended == "goal"
    for c in range(20, 60):
        mine = sorted((of["awarded"][i], of["done"][i]) for i in range(19) if of["winner"][i] == c)
        assert of["n_won"][c] == of["n_done"][c] == len(mine)
        assert all(first[1] - 1 <= second[0] for first, second in zip(mine, mine[1:]))  # one at a time
    assert (sum(of["n_late"].values()) > 0) == (slowness > 1)


def test_shares_of_one_resource_are_in_proportion_to_weights(comm):
    of = sample(range(6), [(k, 5) for k in range(5)], directed=False)

    def share(graph):
        id = graph.id[: graph.n_owned]
        return allocation.run(graph, id == 5, capacity=12.0, weight=1.0 + id, rate=0.02, steps=20000)

    graph, found = same_alone(comm, of, share)
    amount = everywhere(graph, found["amount"])
    assert found.ended == "goal" and [amount[k] for k in range(5)] == pytest.approx(
        [12 * (1 + k) / 15 for k in range(5)]
    )


def test_shares_of_many_resources_obey_the_conditions_of_an_optimum(comm):
    pairs = [(i, 30 + (i * k + k) % 6) for i in range(30) for k in (1, 2)]
    of = sample(range(36), pairs, directed=False)

    def share(graph):
        id = graph.id[: graph.n_owned]
        return allocation.run(graph, id >= 30, capacity=2.0 + id % 4, rate=0.2, steps=5000, tolerance=1e-6)

    graph, found = same_alone(comm, of, share)
    amount, price, near = everywhere(graph, found["amount"]), everywhere(graph, found["price"]), neighbours(of)
    assert found.ended == "goal"
    assert all(amount[i] * sum(price[r] for r in near[i]) == pytest.approx(1, abs=1e-6) for i in range(30))
    slack = {r: 2.0 + r % 4 - sum(amount[i] for i in near[r]) for r in range(30, 36)}
    assert all(s > -1e-5 and abs(s * price[r]) < 1e-5 for r, s in slack.items())
    assert any(price[r] > 0.1 for r in slack)


@pytest.mark.parametrize("failure", [0.0, 0.4])
def test_every_task_is_done_once_after_those_it_needs_though_workers_fail(comm, failure):
    rng = np.random.default_rng(6)
    needs_ = [(int(i), j) for j in range(1, 40) for i in rng.choice(j, min(j, 2), replace=False)]
    of = sample(range(48), needs_ + [(j, 40 + (j + k) % 8) for j in range(40) for k in range(3)])

    def work(graph):
        id = graph.id[: graph.n_owned]
        return jobs.run(graph, id >= 40, work=1 + id % 3, failure=failure, steps=5000, seed=3)

    graph, found = same_alone(comm, of, work)
    names = ("ready", "done", "n_attempts", "n_failures", "n_done", "n_failed")
    ready, done, attempts, failures, n_done, n_failed = (everywhere(graph, found[name]) for name in names)
    assert found.ended == "goal"
    assert all(done[i] < ready[j] for i, j in needs_) and all(done[j] >= ready[j] + 3 + j % 3 for j in range(40))
    assert all(attempts[j] == 1 + failures[j] for j in range(40))
    assert sum(n_done.values()) == 40 and sum(n_failed.values()) == sum(failures.values())
    assert (sum(failures.values()) > 5) == (failure > 0)
