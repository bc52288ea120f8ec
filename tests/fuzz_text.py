"""Texts made by coverage, for each reader of text: python tests/fuzz_text.py --seconds 60 [--reader NAME]

Needs the package atheris. It sees the branches of Python code only, so that loops over bytes run as plain Python, where a
read out of bounds is an IndexError too. A reader is a format of tests/fuzz.py, or one of its good texts by name, which are
what it starts from; what counts as right is the same. Each text has so many seconds, a process of its own, and limits of
memory and time for an input. With --folder the inputs are kept: new runs go on from them, and what went wrong lies beside.
"""

import argparse
import importlib.util
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

import fuzz

MAX_BYTES = 1024  # of an input: some tens of lines
SHOWN = 6000  # characters of what is told of a text that went wrong
BLOCK_BYTES = 64  # read at once, so that an input has several blocks
# of packed texts checksums refuse nearly all that is made
UNPACKED = {name: text for name, text in fuzz.texts().items() if not name.endswith(".gz")}


def search(name, folder, seconds, seed):
    """Make texts for one reader until one goes wrong or time is over; ends the process. Local."""
    import atheris

    warnings.simplefilter("ignore")
    good, held, corpus = folder / "good", folder / "held", folder / "corpus"
    for path in (good, held, corpus):
        path.mkdir(parents=True, exist_ok=True)
    for other, text in UNPACKED.items():
        (good / other).write_bytes(text)
    with atheris.instrument_imports(include=["hpcmp", "tomllib"]):
        for other in UNPACKED:  # imports what readers need, where they need it
            fuzz.read(other, good / other)
    import hpcmp.io.text
    from hpcmp.errors import HpcmpError

    hpcmp.io.text.BLOCK_BYTES = BLOCK_BYTES
    for other in (name, *fuzz.HELD.get(name, ())):
        (held / other).write_bytes(UNPACKED[other])
    for other in UNPACKED:
        if fuzz.format_of(other) == fuzz.format_of(name):
            (corpus / other).write_bytes(UNPACKED[other])
    words = "\n".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in fuzz.WORDS if word)
    (folder / "words").write_text(words + "\n")

    def one(content):
        (held / name).unlink(missing_ok=True)  # a file cut to nothing is written through to the disk: five times slower
        (held / name).write_bytes(content)
        try:
            fuzz.read(name, held / name)
        except HpcmpError as error:
            if fuzz.is_clean(error):
                return
            (folder / "wrong-message").write_bytes(content)
            raise AssertionError(f"no clean message: {str(error)[:2000]}") from error
        except BaseException:
            (folder / "wrong-error").write_bytes(content)
            raise

    told = {"max_total_time": seconds, "timeout": fuzz.TIME_S, "max_len": MAX_BYTES, "seed": seed}
    told |= {"rss_limit_mb": fuzz.HARD_MEMORY >> 20, "dict": folder / "words", "artifact_prefix": f"{folder}/wrong-"}
    flags = [f"-{key}={value}" for key, value in told.items()]
    atheris.Setup([__file__, *flags, "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


def run(name, folder, seconds, seed):
    """Executions, branches seen, and what went wrong (else None), of one text. Local."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("wrong-*"):  # of a run before
        path.unlink()
    log = folder / "log"
    pid = os.fork()
    if pid == 0:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        os.environ |= fuzz.ENVIRONMENT | {"NUMBA_DISABLE_JIT": "1"}
        try:
            search(name, folder, seconds, seed)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    text = log.read_text(errors="replace")
    n_runs = re.findall(r"number_of_executed_units: *(\d+)", text) or re.findall(r"^#(\d+)", text, re.M) or [0]
    n_branches = re.findall(r"cov: (\d+)", text) or [0]
    return int(n_runs[-1]), int(n_branches[-1]), text if status else None


def main():
    """Search for each text, and print what came of it. Local."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each text")
    parser.add_argument("--reader", help="a format such as metis, or a text such as header.csv; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where inputs are kept")
    args = parser.parse_args()
    names = [name for name in UNPACKED if args.reader in (None, name, fuzz.format_of(name))]
    if not names:
        formats = ", ".join(sorted({fuzz.format_of(name) for name in UNPACKED}))
        parser.error(f"there is no reader {args.reader}; there are {formats}, and the texts {', '.join(UNPACKED)}")
    if importlib.util.find_spec("atheris") is None:
        sys.exit("this needs the package atheris, which is not installed; run: pip install atheris")
    n_wrong = 0
    print(f"{'text':18}{'executions':>12}{'branches':>10}  outcome")
    with tempfile.TemporaryDirectory() as top:
        for name in names:
            folder = Path(args.folder or top).absolute() / name
            n_runs, n_branches, wrong = run(name, folder, args.seconds, args.seed)
            print(f"{name:18}{n_runs:12}{n_branches:10}  {'fine' if wrong is None else 'wrong'}", flush=True)
            if wrong is not None:
                n_wrong += 1
                print("\n".join(line for line in wrong.splitlines() if not line.startswith(("#", "INFO")))[-SHOWN:])
                for path in sorted(folder.glob("wrong-*")):
                    print(f"{path.name}: {path.read_bytes()!r}", flush=True)
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
