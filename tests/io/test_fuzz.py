"""Some hundred damaged files of all formats: read or refused in words, nothing else (tests/fuzz.py makes thousands)."""

import subprocess
import sys

import launch as launching


def test_damaged_files_are_read_or_refused(tmp_path):
    argv = [sys.executable, launching.ROOT / "tests" / "fuzz.py", "--n", "300", "--seed", "7", "--workers", "1"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=launching.environment(None))
    assert done.returncode == 0, done.stdout + done.stderr
    total = next(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("all "))
    fine, refused, *others = map(int, total)
    assert fine > 30 and refused > 150 and sum(others) <= 15, done.stdout
