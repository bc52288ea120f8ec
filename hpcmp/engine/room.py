"""What a run takes of memory beside its graph, from sizes alone.

Told as rates, as `hpcmp.io.room` tells those of a graph: bytes for each of a
rank's vertices and edges, and of the rows it sends and receives. The steps'
arrays, and what the digest needs at the end to bring rows into ascending id.
"""

from hpcmp.engine.bind import accumulators
from hpcmp.engine.program import type_of_field
from hpcmp.engine.push import turned_edges
from hpcmp.io.room import row_width

LIST_BYTES = 4  # of a row number
FLAG_BYTES = 1
DIGEST_BYTES = 48  # of a row at the end: its rank, three permutations, the id, and a column on its way


def least_row_bytes(program=None):
    """Bytes of a vertex that any run takes, or any of a program. Local."""
    types = [] if program is None else [type_of_field(what, name) for name, what in program.state.items()]
    return DIGEST_BYTES + sum(dtype.itemsize * (width or 1) for dtype, width in types)


def run_rates(state_bytes, sent_bytes, *, n_sent=1, kept_bytes=0, listed_bytes=0):
    """Bytes of a run in which everybody sends: dict of str to int. Local.

    Parameters
    ----------
    state_bytes, sent_bytes : int
        Of a row of all state fields, and of what is sent.
    n_sent : int
        Arrays that are sent; the ghosts of a single one are received in place.
    kept_bytes, listed_bytes : int
        Of an owned row's other arrays, and of any local row's.
    """
    own = 2 * state_bytes + DIGEST_BYTES + LIST_BYTES + kept_bytes  # state twice: as it is, and by id for the digest
    ghost = sent_bytes + FLAG_BYTES + listed_bytes
    received = ghost + (sent_bytes if n_sent > 1 else 0)
    return {"vertices": own + ghost, "edges": 0, "received": received, "sent": sent_bytes}


def rates_of(bound, graph, mode="auto", threads=1):
    """Bytes of a run of a bound program: dict of str to int. Local."""
    program, state = bound.program, sum(row_width(a) for a in bound.state.values())
    sent = sum(row_width(a) for a in bound.sent)
    compares = any(compares for _, compares in bound.reducers.values())
    kept = state if compares else 0  # the state before the step
    if not program.only_changed:
        return run_rates(state, sent, n_sent=len(bound.sent), kept_bytes=kept)
    kept += 2 * LIST_BYTES  # rows that changed, and those before
    kept += 0 if program.bucket is None else FLAG_BYTES + 2 * LIST_BYTES
    edges = listed = 0
    if mode != "step":
        kept += FLAG_BYTES + LIST_BYTES * threads  # rows that hear something
        if bound.push is not None:
            kept += sum(row_width(a) for a in accumulators(bound.fold, 0))
        turned = turned_edges(bound, graph, threads)
        if turned != "none":
            edges = 2 * LIST_BYTES + (sum(row_width(a) for a in bound.edges) if bound.push is not None else 0)
            edges += 3 * LIST_BYTES if turned == "all" else 0  # while they are made; of few sources about as much less
            listed = 8  # pointer
    rates = run_rates(state, sent, n_sent=len(bound.sent), kept_bytes=kept, listed_bytes=listed)
    # Messages of changed rows are made anew in each step: at most all of them, twice where they are packed.
    return rates | {"edges": edges, "received": rates["received"] + sent, "sent": 2 * sent}
