"""Messages between steps: from agents into lists of chunks, to the ranks of receivers, to the blocks that read them.

The blocks of rows are shared out in segments, which threads take; each writes lists of its own. Senders are walked
in the order of their ids, so on one rank a block finds its messages in the order of reading.
"""

import numpy as np

from hpcmp.agents.near import neighbour_lists
from hpcmp.comm import MAX_COUNT, Route, alltoallv, owner_of, raise_together, together
from hpcmp.dtypes import LID
from hpcmp.errors import FormatError, HpcmpError, MemoryLimitError, ProgramError
from hpcmp.id_order import at_ids
from hpcmp.io.free import free_bytes, shown
from hpcmp.kernels import chunks, inbox, outbox, places, recording
from hpcmp.kernels.records import WORD, payload_word
from hpcmp.memory import Pool

MOST_BLOCK_BITS, LEAST_BLOCK_BITS = 11, 6  # 2048 rows: with ten messages each they fit the second cache
SEGMENTS = 4  # of a thread, so that a slow one leaves some to the others
LEAST_DONE, MOST_GROWTH = 0.01, 7  # share of a step to judge the rest by; times as many chunks at once
LEAST_WORK = 1 << 14  # rows and messages of a step that are worth a second thread
CHUNK, CHUNK_BITS = int(chunks.CHUNK), int(chunks.CHUNK_BITS)
MOST_CHUNKS = (1 << 32) // CHUNK


class Post:
    """The mail of one rank. Collective to make."""

    def __init__(self, model, any_receiver, drops_unknown, budget, n_threads):
        self.model, self.graph, self.comm, self.any_receiver = model, model.graph, model.graph.comm, any_receiver
        self.drops_unknown = drops_unknown
        self.pool, self.n_threads = Pool(), n_threads
        n = self.graph.n_owned
        self.block_bits = MOST_BLOCK_BITS
        while self.block_bits > LEAST_BLOCK_BITS and n >> self.block_bits < 2 * SEGMENTS * n_threads > 2 * SEGMENTS:
            self.block_bits -= 1
        self.n_blocks = -(-n >> self.block_bits)
        self.n_lists = self.n_blocks + self.comm.size + 1
        self.n_writers = 1 + (SEGMENTS * n_threads if n_threads > 1 else 1)  # the last: what comes from other ranks
        self.need = min(budget, self.n_lists) + (budget >> CHUNK_BITS) + 1  # chunks that one agent may take
        self.budget, self.n_words = budget, model.width // WORD
        self._neighbours()
        self.numbers = np.zeros(n, np.int32)
        self.reads, self.writes = self._lists(), self._lists()
        self.counts = np.zeros(self.n_lists, np.int64)  # messages of each list that will be read in the next step
        self.asked = [np.empty(0, np.int64)] * self.n_writers
        self.scratch = [_scratch(0)] * self.n_writers
        self.words, self.link = np.empty(0, np.uint64), np.empty(0, np.uint32)
        self.free = np.empty((self.n_writers, 0), np.uint32)
        self.n_free = np.zeros((self.n_writers, 1), np.int64)
        self.longest = 1  # steps that a message of this rank waited
        self.lost = np.empty(0, np.uint64), np.empty(0, np.int64)  # sent in a step to receivers that there are not; ids
        self.is_sorted = True  # whether all messages of a block are written in the order of reading
        self.step = 0

    def _neighbours(self):
        """Who hears whom, and where those agents are. Collective."""
        graph, row = self.graph, self.model.row
        turned, ptr, heard_by, edges = neighbour_lists(graph, self.model.relations)
        agent = np.zeros(turned.n_local, LID)
        agent[row] = np.arange(len(row), dtype=LID)
        turned.halo.forward(agent)
        ghost_rank = owner_of(graph.gid_bounds, turned.ghosts)
        self.near = graph.id[row], row, agent, ghost_rank, turned.id, ptr, heard_by, edges

    def _lists(self):
        return np.zeros((self.n_writers, self.n_lists), np.uint32), np.zeros((self.n_writers, self.n_lists), np.uint64)

    # ------------------------------------------------------------ chunks

    def _grow(self, n_more):
        """Have so many chunks more. Local."""
        n, per_chunk = len(self.link), CHUNK * self.n_words
        n_chunks = n + n_more
        room, needed, free = n_chunks * CHUNK, n_chunks * per_chunk * WORD, free_bytes()
        text = (
            f"step {self.step}: room for {room} messages of {self.model.width} bytes takes {shown(needed)} on one rank"
        )
        if n_chunks > MOST_CHUNKS:
            raise MemoryLimitError(f"{text}; there is none for more than {MOST_CHUNKS * CHUNK}, use more ranks")
        if free is not None and needed > free:
            raise MemoryLimitError(f"{text}, {shown(free)} are free")
        words = self.pool.empty(n_chunks * per_chunk, np.uint64)
        words[: n * per_chunk] = self.words
        self.words, self.link = words, np.append(self.link, np.zeros(n_more, np.uint32))
        free = np.empty((self.n_writers, n_chunks), np.uint32)
        free[:, :n] = self.free
        free[0, self.n_free[0, 0] : self.n_free[0, 0] + n_more] = np.arange(n, n_chunks)
        self.free = free
        self.n_free[0] += n_more
        self.views, self.merged = self.model.views(words), self.model.views(words, merges=True)

    def deal(self, writers, need, left=0.0):
        """Share free chunks out evenly, to each at least so many. Local.

        Where there are too few, some more are had: what the rest of the step, a share ``left`` of all, will take.
        """
        if len(writers) == 1 and need <= self.n_free[writers[0], 0] == self.n_free.sum():
            return
        free = np.concatenate([self.free[s, : self.n_free[s, 0]] for s in range(self.n_writers)])
        short = need * len(writers) - len(free)
        if short > 0:
            self.free[0, : len(free)] = free
            self.n_free[:] = 0
            self.n_free[0] = len(free)
            n, in_use = len(self.link), len(self.link) - len(free)
            for_the_rest = int(in_use * left / max(1 - left, LEAST_DONE)) - len(free)
            self._grow(max(short, n // 2, min(for_the_rest, MOST_GROWTH * n)))
            free = self.free[0, : self.n_free[0, 0]].copy()
        self.n_free[:] = 0
        ends = np.arange(len(writers) + 1) * len(free) // len(writers)
        for s, lo, hi in zip(writers, ends[:-1], ends[1:], strict=True):
            self.free[s, : hi - lo] = free[lo:hi]
            self.n_free[s] = hi - lo

    def writer(self, s):
        """Lists that writer s appends to. Local."""
        head, tail = self.writes
        return chunks.Lists(head[s], tail[s], self.link, self.free[s], self.n_free[s])

    # ------------------------------------------------------------ a step

    def open(self, step):
        """Begin a step, which reads what was written: segments of blocks. Local.

        Returns
        -------
        list of (first, end)
        """
        self.step = step
        self.reads, self.writes = self.writes, self.reads
        self.writes[1][:] = 0
        work = self.counts[: self.n_blocks] + (1 << self.block_bits)
        if self.n_writers == 2 or self.n_blocks < 2 or work.sum() < LEAST_WORK:
            segments = [(0, self.n_blocks)]
        else:
            so_far = np.cumsum(work)
            cuts = np.searchsorted(so_far, so_far[-1] * np.arange(1, self.n_writers - 1) // (self.n_writers - 1))
            ends = np.unique(np.concatenate(([0], cuts, [self.n_blocks])))
            segments = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        self.deal(list(range(len(segments))), self.need)
        return segments

    def boxes(self, s, blocks, step, log):
        """Inbox and outbox of a segment of blocks, which records into a log. Local."""
        most = int(self.counts[blocks[0] : blocks[1]].max(initial=0))
        if len(self.scratch[s][0]) < most:
            self.scratch[s] = _scratch(most + most // 4)
        at = np.zeros(inbox.N_AT, np.int64)
        at[inbox.BLOCK], at[inbox.END], at[inbox.NEED] = blocks[0], blocks[1], self.need
        at[inbox.N_WORDS], at[inbox.IS_SORTED] = self.n_words, self.is_sorted
        at[inbox.PAYLOAD] = payload_word(self.model.is_traced)
        as_sent = np.empty(most * self.n_words if self.model.changes else 0, np.uint64)
        ptr = np.empty((1 << self.block_bits) + 2, np.uint32)
        counts, tally = np.zeros(inbox.N_STATUS, np.int64), np.zeros((3, len(self.model.kinds)), np.int64)
        into = inbox.Inbox(
            at,
            *self.reads,
            self.words,
            self.merged,
            *self.scratch[s],
            ptr,
            counts,
            tally,
            log,
            (as_sent, as_sent.view(self.model.records[0])),
        )
        at = np.zeros(places.N_AT, np.int64)
        at[places.STEP], at[places.RANK], at[places.N_BLOCKS] = step, self.comm.rank, self.n_blocks
        at[places.BLOCK_BITS], at[places.ANYBODY], at[places.BUDGET] = self.block_bits, self.any_receiver, self.budget
        at[places.OF_NUMBER] = places.NOWHERE
        if self.any_receiver and len(self.asked[s]) < self.budget:
            self.asked[s] = np.empty(2 * self.budget, np.int64)
        return into, self._outbox(at, s, np.zeros(len(self.model.kinds), np.int64))

    def _outbox(self, at, s, sent):
        return outbox.Outbox(self.views, at, self.writer(s), self.asked[s], sent, self.numbers, *self.near)

    def more_room(self, boxes):
        """Let segments go on that had too few chunks. Local.

        ``boxes``, and the answer: dict of segment to (inbox, outbox).
        """
        need = max(self.need + 2 + int(into.at[inbox.LACK] >> CHUNK_BITS) for into, _ in boxes.values())
        left = sum(int(into.at[inbox.END] - into.at[inbox.BLOCK]) for into, _ in boxes.values()) / self.n_blocks
        self.deal(list(boxes), need, left)
        found = {}
        for s, (into, out) in boxes.items():
            n_asked = int(out.at[places.ASKED])
            if self.any_receiver and n_asked + self.budget > len(self.asked[s]):
                self.asked[s] = np.concatenate((self.asked[s][:n_asked], np.empty(n_asked + self.budget, np.int64)))
            found[s] = into._replace(words=self.words, merged=self.merged), self._outbox(out.at, s, out.sent)
        return found

    def deliver(self, boxes, error, step):
        """Send what was sent to the ranks of its receivers. Collective.

        ``boxes`` are those of all segments; ``error`` is this rank's own, raised on all.

        Returns
        -------
        Exception or None
            Of this rank alone: it has no room for what came.
        """
        if self.comm.size == 1 and error:
            raise_together(self.comm, error)
        if self.any_receiver:
            with together(self.comm):
                if error:
                    raise error
            self._look_up(boxes, step)
        error = self._exchange(error) if self.comm.size > 1 else None
        chunks.count(*self.writes, self.link, self.counts)
        n_later = sum(int(out.at[places.N_LATER]) for _, out in boxes)
        self.longest = max(self.longest, *(int(out.at[places.LONGEST]) for _, out in boxes))
        self.is_sorted = self.comm.size == 1 and not n_later and not self.any_receiver
        return error

    def n_due(self, blocks):
        """Messages to a segment of blocks, at most. Local."""
        return int(self.counts[blocks[0] : blocks[1]].sum())

    def waiting(self):
        """Places of all messages that will be read or sent on. Local."""
        found = np.empty(self.n_waiting, np.uint32)
        recording.places_of(*self.writes, self.link, self.n_blocks, found)
        return found

    @property
    def n_waiting(self):
        """Messages that will be read, or sent on. Local."""
        return int(self.counts[: self.n_blocks].sum())

    @property
    def n_lost(self):
        """Messages of this step to receivers that there are not. Local."""
        return len(self.lost[1])

    def _exchange(self, error):
        """Swap messages with all other ranks; what fails on this one when they came, or None. Collective."""
        from mpi4py import MPI

        head, tail = self.writes
        first, end = self.n_blocks, self.n_blocks + self.comm.size
        chunks.count(head, tail, self.link, self.counts)
        n_to = np.zeros(self.comm.size, np.int64) if error else self.counts[first:end].copy()
        n_from = np.empty_like(n_to)
        self.comm.Alltoall([n_to, MPI.INT64_T], [n_from, MPI.INT64_T])
        n_most = max(int(n_to.sum()), int(n_from.sum()))
        if n_most > MAX_COUNT and not error:
            error = HpcmpError(f"{n_most} messages go to or from rank {self.comm.rank} in one step; use more ranks")
        try:
            sent, came = (self.pool.empty((int(n.sum()), self.n_words), np.uint64) for n in (n_to, n_from))
        except MemoryError as failed:
            error = error or failed
        raise_together(self.comm, error)
        chunks.pack(head, tail, self.writer(0), self.words, self.n_words, first, end, sent.reshape(-1))
        alltoallv(self.comm, sent, n_to, n_from, came)
        try:
            self._take_in(came.reshape(-1))
        except Exception as failed:
            return failed
        return None

    def _take_in(self, words):
        """Append messages to the lists of the last writer. Local."""
        last, n = self.n_writers - 1, len(words) // self.n_words
        self.deal([last], self.n_blocks + (n >> CHUNK_BITS) + 1)
        to = words.view(self.model.records[0])["to"]
        chunks.unpack(words, to, self.words, self.n_words, np.uint64(self.block_bits), self.writer(last))

    # ------------------------------------------------------------ checkpoints

    def on_their_way(self):
        """All messages that will be read, and the ids of their receivers: dict. Local."""
        words = self.words.reshape(-1, self.n_words)[self.waiting()]
        to = words.reshape(-1).view(self.model.records[0])["to"]
        return {"words": words, "receiver": self.near[0][to]}

    def take_up(self, words, receiver, longest, what):
        """Have messages on their way that `on_their_way` gave on any ranks. Collective.

        Parameters
        ----------
        longest : int
            Most steps that one of all ranks waits.
        what : str
            They are of, for an error.

        Raises
        ------
        FormatError
            One is of or to no agent. Raised on every rank.
        MemoryLimitError
            There is no room for them. Raised on every rank.
        """
        head, agent = words.reshape(-1).view(self.model.records[0]), self.near[2][: self.graph.n_owned]
        address = (self.comm.rank << int(chunks.ROW_BITS)) | agent.astype(np.int64)
        found = at_ids(self.graph, np.concatenate((receiver, head["sender"])), address)
        with together(self.comm):
            if (found < 0).any():
                raise FormatError(f"{what} has a message of or to an agent that the graph does not have")
        to, head["home"] = found[: len(words)], found[len(words) :]
        head["to"] = to & int(chunks.ROW_MASK)
        words = Route(self.comm, to >> int(chunks.ROW_BITS)).there(words)
        with together(self.comm):
            self._take_in(words.reshape(-1))
        chunks.count(*self.writes, self.link, self.counts)
        self.longest, self.is_sorted = longest, False

    # ------------------------------------------------------------ receivers anywhere

    def _look_up(self, boxes, step):
        """Give messages to receivers that are not near their addresses. Collective."""
        ids = np.concatenate([out.asked[: out.at[places.ASKED]] for _, out in boxes] or [np.empty(0, np.int64)])
        self.lost = np.empty(0, np.uint64), ids[:0]
        if not self.comm.allreduce(len(ids)):
            return
        addresses = self._addresses(ids)
        with together(self.comm):
            self._address(ids, addresses, step)

    def _address(self, ids, addresses, step):
        """Move messages to the lists of the addresses of their receivers, -1 where there is none. Local."""
        words = self.pool.empty(len(ids) * self.n_words, np.uint64)
        d = self.n_lists - 1
        chunks.pack(*self.writes, self.writer(0), self.words, self.n_words, d, d + 1, words)
        head = words.view(self.model.records[0])
        wrong = np.flatnonzero(addresses < 0)
        if self.drops_unknown and len(wrong):
            rows, is_known = words.reshape(len(ids), self.n_words), addresses >= 0
            self.lost = rows[wrong].reshape(-1), ids[wrong]
            words, addresses = rows[is_known].reshape(-1), addresses[is_known]
            head = words.view(self.model.records[0])
        elif len(wrong):
            m = head[wrong[0]]
            raise ProgramError(
                f"step {step}: agent {m['sender']} sends {self.model.kinds[m['kind']].title!r} (its message {m['number']}) "
                f"to {ids[wrong[0]]}, which does not exist"
            )
        head["to"] = addresses & int(chunks.ROW_MASK)
        rank = addresses >> int(chunks.ROW_BITS)
        lists = np.where(rank == self.comm.rank, head["to"].astype(np.int64) >> self.block_bits, self.n_blocks + rank)
        last = self.n_writers - 1
        self.deal([last], self.n_lists + (len(addresses) >> CHUNK_BITS) + 1)
        chunks.unpack(words, lists, self.words, self.n_words, np.uint64(0), self.writer(last))

    def _addresses(self, ids):
        """Address of each id, -1 where there is none. Collective."""
        from mpi4py import MPI

        every, mine = np.concatenate(self.comm.allgather(ids)), self.near[0]
        found = np.full(len(every), -1, np.int64)
        if len(mine):
            at = np.minimum(np.searchsorted(mine, every), len(mine) - 1)
            is_here = mine[at] == every
            found[is_here] = (self.comm.rank << int(chunks.ROW_BITS)) + at[is_here]
        self.comm.Allreduce(MPI.IN_PLACE, found, MPI.MAX)
        first = sum(self.comm.allgather(len(ids))[: self.comm.rank])
        return found[first : first + len(ids)]


def _scratch(n):
    """Slots, spare slots and statuses of a block. Local."""
    return np.empty(n, np.uint32), np.empty(n, np.uint32), np.empty(n, np.uint8)
