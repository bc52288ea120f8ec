"""hpcmp and its rivals on the same graphs, in one run, against the targets.

    python benchmarks/run.py                                 (every row, scale 20: about half an hour)
    python benchmarks/run.py --quick                         (scale 14, to see that all of it works)
    python benchmarks/run.py --only pagerank,bfs             (rows whose name begins so)
    python benchmarks/run.py --only sssp --scale 18 --repeat 5
    python benchmarks/run.py --list

The rivals: pip install '.[bench,pyg]'; a row whose rival is missing says so. Each row
that was measured is put into results.json beside this file at once, and
RESULTS.md is written anew from it: an interruption loses nothing, and rows that
were not asked for keep what they had.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from rows import ROWS
from timing import HERE, MissingError, Pool, measure

RIVALS = (
    "python-graphblas",
    "suitesparse-graphblas",
    "networkit",
    "igraph",
    "scipy",
    "torch",
    "torch_geometric",
    "mesa",
)
PACKAGES = ("numpy", "numba", "mpi4py", "mpich", *RIVALS)
HEADER = "| row | what | measured | figure | target | met |\n|---|---|---|---|---|---|"


def main():
    """Measure the chosen rows and write the results."""
    args = parse()
    rows = [row for row in ROWS if not args.only or any(row.key.startswith(name) for name in args.only.split(","))]
    if args.list or not rows:
        print("\n".join(f"{row.key:18} {row.text}" for row in (rows or ROWS)))
        return 0 if args.list else 2
    folder, output = Path(args.data), Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    if not args.quick:
        output.mkdir(parents=True, exist_ok=True)
    pool = Pool(rows, folder, args.scale, args.limit)
    for row in rows:
        facts = one_row(row, args, pool)
        print(line(facts), flush=True)
        if not args.quick:
            write({row.key: facts}, output)
    return 0


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="rows whose name begins with one of these, with commas between")
    parser.add_argument(
        "--scale", type=int, default=20, help="log2 of the vertices of the Kronecker graph (default 20)"
    )
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of each contestant (default 5)")
    parser.add_argument("--quick", action="store_true", help="scale 14, 2 repetitions, results only printed")
    parser.add_argument("--limit", type=float, default=600, metavar="S", help="give a contestant up after so long")
    parser.add_argument("--data", default=str(Path(tempfile.gettempdir()) / "hpcmp-bench"), help="folder for graphs")
    parser.add_argument("--output", default=str(HERE), help="folder of results.json and RESULTS.md")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    args = parser.parse_args()
    if args.quick:
        args.scale, args.repeat = 14, 2
    return args


def one_row(row, args, pool):
    """Measure a row: what goes into results.json."""
    facts = {"key": row.key, "text": row.text, "target": row.target, "unit": row.unit, "is_least": row.is_least}
    facts |= {"scale": args.scale, "date": datetime.date.today().isoformat(), "commit": commit()}
    is_broken = True
    try:
        medians = measure(row, pool, args.repeat, at_most=4 if args.quick else None)
        is_broken, value = False, row.figure(medians)
        return facts | {"medians": medians, "value": value, "met": row.is_met(value)}
    except MissingError as error:
        return facts | {"missing": str(error)}
    except (RuntimeError, subprocess.CalledProcessError) as error:
        return facts | {"failed": str(error).splitlines()[-1][:200]}
    finally:
        pool.done_with(row, is_broken)


def commit():
    """The commit that is measured, with a mark where files differ from it."""
    argv = ["git", "-C", HERE, "describe", "--always", "--dirty=+"]
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()


def line(facts):
    """A row of the table."""
    least = "at least" if facts["is_least"] else "at most"
    target = f"none; {facts['unit']}" if facts["target"] is None else f"{least} {facts['target']:.3g} {facts['unit']}"
    if "value" not in facts:
        why = f"missing: {facts['missing']}" if "missing" in facts else f"failed: {facts['failed']}"
        return f"| {facts['key']} | {facts['text']} | {why.replace('|', '/')} | - | {target} | - |"
    measured = ", ".join(f"{label} {value:.4g}" for label, value in facts["medians"].items())
    met = {True: "yes", False: "**no**", None: "-"}[facts["met"]]
    return f"| {facts['key']} | {facts['text']} | {measured} | {facts['value']:.3g} | {target} | {met} |"


def write(results, folder):
    """Put rows into results.json, and write RESULTS.md from all that is in it."""
    path = folder / "results.json"
    known = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    known["rows"] |= results
    known["machine"] = machine()
    replace(path, json.dumps(known, indent=1) + "\n")
    rows = [known["rows"][row.key] for row in ROWS if row.key in known["rows"]]
    made = sorted({(facts["date"], facts["commit"], facts["scale"]) for facts in rows})
    text = ["# Results", "", "Written by `python benchmarks/run.py`; seconds unless the target says otherwise.", ""]
    text += [f"* {name}: {value}" for name, value in known["machine"].items()]
    text += ["* measured: " + "; ".join(f"{date}, commit {c}, scale {scale}" for date, c, scale in made), "", HEADER]
    replace(folder / "RESULTS.md", "\n".join(text + [line(facts) for facts in rows]) + "\n")


def replace(path, text):
    """Write a file that is never seen half written."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def machine():
    """What the figures depend on."""
    cpu = next(
        (s.split(":")[1].strip() for s in _lines("/proc/cpuinfo") if s.startswith("model name")), platform.machine()
    )
    memory = next((int(s.split()[1]) for s in _lines("/proc/meminfo") if s.startswith("MemTotal")), 0) / 2**20
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    caches = ", ".join(f"{name} {size}" for name, size in cache_sizes().items()) or "unknown"
    return {
        "machine": f"{cpu}, caches {caches}; {cores} cores, {memory:.0f} GiB; {system}",
        "versions": ", ".join(versions),
    }


def cache_sizes(folder="/sys/devices/system/cpu/cpu0/cache"):
    """Sizes of the caches that ratios depend on, as one core sees them: {"L2": "1024K", ...}."""
    found = {f"L{_word(path / 'level')}": _word(path / "size") for path in sorted(Path(folder).glob("index*"))}
    return {name: size for name, size in found.items() if name in ("L2", "L3") and size}


def _word(path):
    return "".join(_lines(path)[:1]).strip()


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
