"""Where a file came from: what every hpcmp file says of its making."""

import json
import sys
import time
from pathlib import Path

from hpcmp import __version__


def _program(path):
    return "hpcmp" if Path(path).name in ("hpcmp", "__main__.py") else path


def provenance(command=None, sources=()):
    """Attributes that say how a file came to be: dict. Local."""
    return {
        "hpcmp_version": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command if command is not None else " ".join([_program(sys.argv[0]), *sys.argv[1:]]),
        "sources": json.dumps(list(sources)),
    }
