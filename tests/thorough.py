"""How much is tested: what continuous integration has time for, or all, for which hours may pass."""

import os

IS_LONG = bool(os.environ.get("HPCMP_LONG_TESTS"))
