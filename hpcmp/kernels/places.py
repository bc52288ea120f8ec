"""What an outbox remembers of the agent at hand: places of numbers in `Outbox.at`."""

import numpy as np

from hpcmp.jit import inlined

(
    STATUS,
    STEP,
    RANK,  # this one
    N_BLOCKS,  # lists of blocks; those of ranks follow, and one for receivers that have to be looked up
    BLOCK_BITS,  # a block is 2**BLOCK_BITS agents
    ANYBODY,  # may one send to anybody
    BUDGET,
    AGENT,  # whose turn it is: its row among the agents
    ROW,  # its row in the graph
    ID,
    NUMBER,  # of its next message
    LAST,  # number that it may not reach in this turn
    LEAVES,
    DOING,  # what its function does
    SEEN,  # row in the graph of the neighbour whose id was asked for last
    SEEN_ID,
    SEEN_IN,  # of which list of neighbours
    OF_SENDER,  # the message at hand
    OF_NUMBER,
    OF_HOME,
    OF_ROOT_SENDER,
    OF_ROOT_NUMBER,
    ASKED,  # messages to receivers that have to be looked up
    N_SENT,
    N_LATER,  # messages that are not for the next step
    LONGEST,  # most steps that one waits
    BAD_KIND,  # what was wrong with which value
    BAD_FIELD,
    BAD_VALUE,
    N_AT,
) = range(30)
ACTS, MERGES, TESTS = range(3)  # Outbox.at[DOING]
# what may be wrong in Outbox.at[STATUS]
FINE, OVER_BUDGET, OVER_NUMBER, BAD_DELAY, TOO_LATE, NOT_NEAR, NO_EDGE, TOO_LARGE, UNREAD, OVER_LIMIT = range(10)
NOWHERE = -1  # address of a receiver that has to be looked up; number of a cause that is not there
ZERO, ONE = np.uint64(0), np.uint64(1)


class Stopped(Exception):
    """Ends a function that sends what it may not: it might go on for ever. The status says what was wrong."""


@inlined
def fail(out, status, number, field, value):
    """Remember what is wrong with a value, if nothing was before. Local."""
    if out.at[STATUS] == FINE:
        out.at[STATUS], out.at[BAD_KIND], out.at[BAD_FIELD] = status, number, field
        out.at[BAD_VALUE] = np.int64(value)
