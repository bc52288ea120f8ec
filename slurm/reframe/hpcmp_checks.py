"""Checks of hpcmp for ReFrame: the same digest on any ranks, and how fast programs run.

With hpcmp and ReFrame 4 (pip install ReFrame-HPC) installed, from the top of the clone:

    reframe -C slurm/reframe/settings.py -c slurm/reframe/hpcmp_checks.py -r --performance-report
    reframe ... --system cluster -S scale=24 -S hpcmp_speed.n_ranks=128     (larger, on a cluster)
    reframe ... -n hpcmp_same_bits                                             (only these)

Figures have no reference here, since they are a machine's: a site sets it with ``reference`` in a class of its own, or
compares runs with ``--performance-compare``.
"""

import json
import os

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import (
    fixture,
    parameter,
    performance_function,
    run_after,
    run_before,
    sanity_function,
    variable,
)

PROGRAMS = {"pagerank": ["--steps", "20"], "bfs": ["--source", "0"], "wcc": []}
SPEED = ("pagerank", "bfs", "sssp", "wcc")  # of `hpcmp bench`
ALONE = "alone.json"


class Hpcmp(rfm.RunOnlyRegressionTest):
    """One command of hpcmp that prints a JSON object as the last line of its output."""

    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    executable = "hpcmp"
    scale = variable(int, value=14)  # log2 of the vertices

    @sn.deferrable
    def facts(self, name=None):
        """The object that a command printed, this test's own if no file is named. Local."""
        with open(os.path.join(self.stagedir, name or self.stdout.evaluate())) as out:
            return json.loads(out.read().splitlines()[-1])


class Graph(Hpcmp):
    """A Kronecker graph, made once for all."""

    num_tasks = 1

    @run_before("run")
    def generate(self):
        """Options of the command. Local."""
        self.executable_opts = ["generate", "kronecker", "--scale", str(self.scale), "-o", "graph.h5"]

    @sanity_function
    def is_written(self):
        """The graph is there. Local."""
        return sn.path_exists(f"{self.stagedir}/graph.h5")


@rfm.simple_test
class hpcmp_same_bits(Hpcmp):
    """A program on several ranks ends with the digest of one rank."""

    graph = fixture(Graph, scope="environment")
    program = parameter(PROGRAMS)
    n_ranks = parameter([2, 4])

    @run_after("init")
    def choose(self):
        """Ranks of this case. Local."""
        self.num_tasks = self.n_ranks

    @run_before("run")
    def run_program(self):
        """The command, and the same before it without a launcher. Local."""
        options = ["run", self.program, f"{self.graph.stagedir}/graph.h5", *PROGRAMS[self.program], "--json"]
        self.executable_opts = options
        self.prerun_cmds = [f"HPCMP_ALLOW_SINGLETON=1 hpcmp {' '.join(options)} > {ALONE}"]

    @sanity_function
    def same_digest(self):
        """Ranks were as many as asked for, and the digests are equal. Local."""
        facts, alone = self.facts(), self.facts(ALONE)
        return sn.all(
            [
                sn.assert_eq((alone["ranks"], facts["ranks"]), (1, self.n_ranks)),
                sn.assert_eq(facts["digest"], alone["digest"], "other bits than on one rank: {0} for {1}"),
            ]
        )

    @performance_function("edges/s")
    def edges_per_s(self):
        """Edges of the graph times steps, by the seconds of the loop. Local."""
        facts = self.facts()
        return facts["n_edges"] * facts["steps"] / facts["seconds"]["run"]

    @performance_function("steps/s")
    def steps_per_s(self):
        """Steps by the seconds of the loop. Local."""
        facts = self.facts()
        return facts["steps"] / facts["seconds"]["run"]


@rfm.simple_test
class hpcmp_speed(Hpcmp):
    """`hpcmp bench`: programs on a generated graph, and messages between ranks."""

    n_ranks = variable(int, value=2)

    @run_before("run")
    def bench(self):
        """Options of the command. Local."""
        self.executable_opts = ["bench", "--scale", str(self.scale), "--programs", ",".join(SPEED), "--json"]

    @run_after("init")
    def choose(self):
        """Ranks of this case. Local."""
        self.num_tasks = self.n_ranks

    @sanity_function
    def all_ran(self):
        """All ranks and programs took part. Local."""
        facts = self.facts()
        return sn.all([sn.assert_eq(facts["ranks"], self.n_ranks), sn.assert_eq(sn.len(facts["programs"]), len(SPEED))])

    @run_before("performance")
    def rates(self):
        """Edges a second of each program. Local."""
        for place, program in enumerate(SPEED):
            rate = sn.make_performance_function(self.facts()["programs"][place]["edges_per_s"], "edges/s")
            self.perf_variables[program] = rate
