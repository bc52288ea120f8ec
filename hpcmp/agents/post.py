"""Messages between steps: out of the buffers of agents, to the ranks of receivers, into inboxes.

`open` what is due, `outbox` for each thread, `close` them, `deliver`.
"""

import numpy as np

from hpcmp.agents.near import neighbour_lists
from hpcmp.comm import alltoallv, exchange_counts, raise_together, together
from hpcmp.errors import ProgramError
from hpcmp.kernels import inbox, outbox, places
from hpcmp.memory import Pool

WORD = 8  # bytes


class Post:
    """The mail of one rank. Collective to make."""

    def __init__(self, graph, model, any_receiver):
        self.graph, self.model, self.comm, self.any_receiver = graph, model, graph.comm, any_receiver
        self.pool = Pool()
        turned, *self.heard_by, self.edges = neighbour_lists(graph, model.relations)
        self.id, self.gid = turned.id, turned.local_gids()
        self.bounds = graph.gid_bounds
        self.arrived, self.waiting = self._buffer(0), self._buffer(0)
        self.ptr, self.slots = np.zeros(graph.n_owned + 1, np.uint64), np.zeros(0, np.int64)
        self.status = np.zeros(0, np.uint8)

    def _buffer(self, n):
        return self.pool.empty((n * self.model.width,), np.uint8).view(f"V{self.model.width}")

    @property
    def n_waiting(self):
        """Messages that have come and are not due, or will be sent on."""
        return len(self.waiting) + len(self.arrived)

    def open(self, step):
        """Put what is due in the order of rows; the rest waits. Local."""
        buffer = np.concatenate((self.waiting, self.arrived)) if len(self.waiting) else self.arrived
        head = buffer.view(self.model.records[0])
        n, first = self.graph.n_owned, self.graph.first_gid
        counts = np.zeros(n, np.int64)
        n_later = inbox.count_by_row(head["to"], head["due"], first, step, counts)
        ptr = np.zeros(n + 1, np.int64)
        np.cumsum(counts, out=ptr[1:])
        slots, later = np.empty(len(head) - n_later, np.int64), np.empty(n_later, np.int64)
        inbox.place_by_row(head["to"], head["due"], first, step, 0, ptr[:-1].copy(), slots, later)
        self.ptr, self.slots, self.status = ptr.view(np.uint64), slots, np.zeros(len(head), np.uint8)
        self.buffer, self.waiting, self.arrived = buffer, buffer[later], self._buffer(0)
        self.as_sent, self.sent = buffer, self._buffer(0)
        return self.model.views(buffer, merges=True)

    def keep_as_sent(self, is_needed):
        """Remember messages as they are now, if functions may merge them. Local."""
        self.as_sent = self.buffer.copy() if is_needed else self.buffer

    def drop_absent(self, is_there):
        """Mark what is due at agents that are not there; how many. Local."""
        head = self.buffer.view(self.model.records[0])
        rows = head["to"][self.slots] - self.graph.first_gid
        gone = ~is_there[rows]
        self.status[self.slots[gone]] = inbox.RECEIVER_LEFT
        return int(gone.sum())

    def refuse_unread(self, agent, rows, reads, step):
        """Refuse messages of kinds that their receiver has no function for. Local."""
        if reads.all() or not len(self.slots):
            return
        head = self.buffer.view(self.model.records[0])
        is_of = np.zeros(self.graph.n_owned, np.bool_)
        is_of[rows] = True
        wrong = is_of[head["to"][self.slots] - self.graph.first_gid] & ~reads[head["kind"][self.slots]]
        wrong &= self.status[self.slots] == 0
        if wrong.any():
            m = head[self.slots[np.flatnonzero(wrong)[0]]]
            raise ProgramError(
                f"step {step}: agent {self.graph.id[m['to'] - self.graph.first_gid]} ({agent.name}) reads no message "
                f"{self.model.kinds[m['kind']].title!r}, which agent {m['sender']} sent it (its message {m['number']})"
            )

    def outbox(self, room, numbers, step):
        """An empty outbox and its buffer. Local."""
        buffer = self._buffer(room)
        at = np.zeros(places.N_AT, np.int64)
        at[places.STEP], at[places.OF_NUMBER], at[places.OF_HOME] = step, places.NOWHERE, places.NOWHERE
        at[places.ANYBODY] = self.any_receiver
        asked = np.zeros((room, 2), np.int64)
        views = self.model.views(buffer)
        return outbox.Outbox(views, at, asked, numbers, *self.heard_by, self.id, self.gid, self.edges), buffer

    def close(self, outboxes):
        """Join what was sent; (how many, places and ids that were asked for). Local."""
        asked, first, parts = [], 0, []
        for out, buffer in outboxes:
            n = int(out.at[places.FILLED])
            a = out.asked[: out.at[places.ASKED]]
            asked.append(a + np.array([first, 0]))
            parts.append(buffer[:n])
            first += n
        if len(parts) == 1:
            self.sent = parts[0]
        else:
            self.sent = self._buffer(first)
            np.concatenate([part.view(np.uint8) for part in parts], out=self.sent.view(np.uint8)) if parts else None
        return first, np.concatenate(asked) if asked else np.zeros((0, 2), np.int64)

    def deliver(self, asked, step):
        """Send what was sent to the ranks of its receivers; an error or None. Collective."""
        head = self.sent.view(self.model.records[0])
        error = self._look_up(head, asked, step)
        raise_together(self.comm, error)
        if self.comm.size == 1:
            self.arrived = self.sent
            return
        counts = np.zeros(self.comm.size, np.int64)
        to = head["to"]
        inbox.count_by_rank(to, self.bounds, counts)
        ordered = self._buffer(len(head))
        at = np.concatenate(([0], np.cumsum(counts)[:-1]))
        n_words = self.model.width // WORD
        inbox.place_by_rank(self.sent.view(np.uint64), n_words, to, self.bounds, at, ordered.view(np.uint64))
        words = ordered.view(np.uint64).reshape(len(head), n_words)
        there = alltoallv(self.comm, words, counts, exchange_counts(self.comm, counts))
        self.arrived = there.reshape(-1).view(self.sent.dtype)
        return

    def _look_up(self, head, asked, step):
        """Fill in the gids of receivers that are not near; the error of one that there is not, or None. Collective."""
        if not self.any_receiver or not self.comm.allreduce(len(asked)):
            return None
        gids = self._gids_of(asked[:, 1])
        head["to"][asked[:, 0]] = gids
        wrong = np.flatnonzero(gids < 0)
        return self._unknown(head, asked[wrong[0]], step) if len(wrong) else None

    def _gids_of(self, ids):
        """Gid of each id, -1 where there is none. Collective."""
        with together(self.comm):
            mine = self.graph.id[: self.graph.n_owned]
        every = np.concatenate(self.comm.allgather(ids))
        rows = np.full(len(every), -1, np.int64)
        by_id = np.argsort(mine)
        if len(mine):
            at = np.minimum(np.searchsorted(mine[by_id], every), len(mine) - 1)
            found = mine[by_id][at] == every
            rows[found] = by_id[at[found]] + self.graph.first_gid
        from mpi4py import MPI

        self.comm.Allreduce(MPI.IN_PLACE, rows, MPI.MAX)
        first = sum(self.comm.allgather(len(ids))[: self.comm.rank])
        return rows[first : first + len(ids)]

    def _unknown(self, head, asked, step):
        m = head[asked[0]]
        return ProgramError(
            f"step {step}: agent {m['sender']} sends {self.model.kinds[m['kind']].title!r} (its message {m['number']}) "
            f"to {asked[1]}, which does not exist"
        )
