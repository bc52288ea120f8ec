"""What an outbox remembers of the agent at hand: places of numbers in `Outbox.at`.

k: place in the buffer
"""

import numpy as np

from hpcmp.jit import inlined

FILLED, LEFT, ROW, STEP, STATUS, ASKED, OF_SENDER, OF_NUMBER, OF_HOME, OF_ROOT_SENDER, OF_ROOT_NUMBER, LEAVES = range(
    12
)
ANYBODY, BAD_KIND, BAD_FIELD, BAD_VALUE = range(12, 16)  # may one send to anybody; what was wrong with which value
N_AT = 16
# what may be wrong in Outbox.at[STATUS]
FINE, OVER_BUDGET, BAD_DELAY, NOT_NEAR, NO_EDGE, TOO_LARGE = range(6)
NOWHERE = -1  # gid of a receiver that has to be looked up; number of a cause that is not there
ZERO, ONE = np.uint64(0), np.uint64(1)


@inlined
def fail(out, status, number, field, value):
    """Remember what is wrong with a value, if nothing was before. Local."""
    if out.at[STATUS] == FINE:
        out.at[STATUS], out.at[BAD_KIND], out.at[BAD_FIELD] = status, number, field
        out.at[BAD_VALUE] = np.int64(value)
