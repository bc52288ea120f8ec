"""What verbs that read files share: printing without a communicator."""

import json
import math
import sys

from hpcmp.cli.output import plain, printable


def emit(*lines):
    """Print lines of the result. Local."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def remark(line):
    """Print a line that is no part of the result, to standard error. Local."""
    sys.stderr.write(f"{printable(line)}\n")


def emit_json(values):
    """Print one JSON object; infinity and NaN, which JSON lacks, as text. Local."""
    settled = json.loads(json.dumps(values, default=plain))
    sys.stdout.write(json.dumps(_finite(settled), allow_nan=False) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
