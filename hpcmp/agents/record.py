"""The audit trail of a simulation: a record of every message when it has ended, and what is on its way at the end.

A rank records what its agents received. Files are closed and the head is written anew after about `ROWS` messages of all
ranks, so that a run that is killed leaves a trail that is whole up to the last closed step.
"""

import hashlib

import numpy as np

from hpcmp.comm import together
from hpcmp.io import trail, trail_segment
from hpcmp.kernels import inbox
from hpcmp.kernels.trail import Messages, add_sums

ROWS = 1 << 21  # messages of all ranks between two heads


class Recorder:
    """Records of one rank. Collective to make.

    Parameters
    ----------
    model
        What is simulated, with its level of tracing.
    folder : path or None
        Of the trail; None: digests alone.
    """

    def __init__(self, model, folder, seed):
        self.model, self.comm, self.folder, self.seed = model, model.graph.comm, folder, seed
        self.payloads = [np.dtype(list(kind.dtypes.items())) for kind in model.kinds]
        self.lengths = trail_segment.payload_lengths(model.trace, self.payloads)
        self.sums = np.zeros((0, trail.N_SUMS), np.uint64)  # of this rank, by step in which messages were sent
        self.counts = []  # of this rank, by step: (COUNTS, kinds)
        self.segments, self.n_since, self.writer = [], 0, None
        if folder is not None:
            with together(self.comm):
                if self.comm.rank == 0:
                    trail.clear(folder)
            self.comm.Barrier()
            with together(self.comm):
                self.writer = trail_segment.SegmentWriter(folder, self.comm.rank)
            self._write_agents()

    def _write_agents(self):
        """Ids and types of all agents. Collective."""
        graph = self.model.graph
        code = np.zeros(graph.n_owned, np.uint16)
        for number, rows in enumerate(self.model.rows):
            code[rows] = number
        found = self.comm.gather((graph.id[: graph.n_owned], code))
        with together(self.comm):
            if self.comm.rank == 0:
                id, code = (np.concatenate(columns) for columns in zip(*found, strict=True))
                by_id = np.argsort(id)
                trail.write_agents(self.folder, id[by_id], code[by_id])

    def ended(self, post, step):
        """Record what ended in a step: read or dropped. Local."""
        self._record(post.as_sent, post.slots, post.status[post.slots], step, post.status[post.slots] == 0)

    def on_their_way(self, post):
        """Record what is on its way when the run ends. Local."""
        for buffer in (post.waiting, post.arrived):
            n = len(buffer)
            self._record(buffer, np.arange(n), np.full(n, inbox.IN_FLIGHT), -1, np.zeros(n, np.bool_))

    def _record(self, buffer, places, status, step, is_read):
        graph, head = self.model.graph, buffer.view(self.model.records[0])[places]
        n = len(head)
        columns = {
            "step_sent": head["sent"],
            "step_delivered": np.where(is_read, step, -1),
            "receiver": graph.id[head["to"] - graph.first_gid] if n else np.zeros(0, np.int64),
            "type": head["kind"],
            "status": status,
            "conversation_sender": head["root_sender"],
            "conversation_number": head["root_number"],
        }
        columns |= {name: head[name] for name in ("sender", "number", "cause_sender", "cause_number")}
        columns = {name: np.ascontiguousarray(a, trail_segment.STORED[name]) for name, a in columns.items()}
        places_of, payload = self._payload(buffer, places, columns["type"])
        n_steps = max(int(head["sent"].max(initial=-1)) + 1, len(self.sums))
        self.sums = np.concatenate((self.sums, np.zeros((n_steps - len(self.sums), self.sums.shape[1]), np.uint64)))
        if n:
            first = int(head["sent"].min())
            add_sums(Messages(**columns, **places_of), payload, first, self.sums[first:])
        if n and self.writer is not None:
            narrow = {name: trail_segment.narrowed(a) for name, a in columns.items()}
            self.writer.append(n, narrow, payload[: -trail_segment.SPARE])

    def _payload(self, buffer, places, kinds):
        """Where payloads lie, and their bytes: in the order of records, and some to spare."""
        found = trail_segment.payload_places(kinds, self.lengths)
        n_bytes = int(found["payload_length"].sum(dtype=np.int64))
        payload = np.zeros(n_bytes + trail_segment.SPARE, np.uint8)
        for number, dtype in enumerate(self.payloads if n_bytes else ()):
            of = np.flatnonzero(kinds == number)
            if not len(of) or not dtype.itemsize:
                continue
            rows, packed = buffer.view(self.model.records[number])[places[of]], np.empty(len(of), dtype)
            for name in dtype.names:
                packed[name] = rows[name]
            payload[found["payload_offset"][of, None] + np.arange(dtype.itemsize)] = packed.view(np.uint8).reshape(
                len(of), dtype.itemsize
            )
        return found, payload

    def count(self, post, n_all):
        """Count a step's messages by kind; write a part when it is large. Collective."""
        kinds = self.model.records[0]
        n = len(self.model.kinds)
        ended = post.buffer.view(kinds)["kind"][post.slots]
        is_read = post.status[post.slots] == 0
        here = [b.view(kinds)["kind"] for b in (post.waiting, post.arrived)]
        rows = [post.sent.view(kinds)["kind"], ended[is_read], ended[~is_read], np.concatenate(here)]
        self.counts.append([np.bincount(row, minlength=n) for row in rows])
        self.n_since += n_all
        if self.writer is not None and self.n_since >= ROWS:
            self._close(self._first_open(post))

    def _first_open(self, post):
        """The first step of which a message is on its way, on any rank. Collective."""
        sent = [b.view(self.model.records[0])["sent"] for b in (post.waiting, post.arrived)]
        first = min([int(s.min()) for s in sent if len(s)], default=len(self.counts))
        return min(self.comm.allgather(first))

    def stop(self, post):
        """Write what was recorded of a run that failed in a step. Collective."""
        sent = [b.view(self.model.records[0])["sent"] for b in (post.buffer, post.waiting)]
        first = min([int(s.min()) for s in sent if len(s)], default=len(self.counts))
        self._close(min(self.comm.allgather(min(first, len(self.counts)))))

    def finish(self, post):
        """Record what is on its way, write all; the trail's digest. Collective."""
        with together(self.comm):
            self.on_their_way(post)
        sums = self._close(len(self.counts))
        return [f"{int(a):016x}{int(b):016x}" for a, b in sums], hashlib.sha256(sums.tobytes()).hexdigest()

    def _close(self, n_closed):
        """Close segments and write a head of so many steps; sums of digests over all ranks. Collective."""
        n = len(self.counts)
        sums = np.zeros((n, trail.N_SUMS), np.uint64)
        sums[: len(self.sums)] = self.sums
        total, counts = (
            np.empty_like(sums.view(np.int64)),
            np.array(self.counts, np.int64).reshape(n, len(trail.COUNTS), len(self.model.kinds)),
        )
        self.comm.Allreduce(sums.view(np.int64), total)
        all_counts = np.empty_like(counts)
        self.comm.Allreduce(counts, all_counts)
        sums, self.n_since = total.view(np.uint64), 0
        if self.writer is None:
            return sums
        with together(self.comm):
            segment = self.writer.close_segment()
        self.segments += self.comm.allgather(segment)
        head = {
            "level": self.model.trace,
            "message_types": [(k.name, d) for k, d in zip(self.model.kinds, self.payloads, strict=True)],
            "relations": [k.relation for k in self.model.kinds],
            "agent_types": [agent.name for agent in self.model.agents],
            "seed": self.seed,
            "first_step": 0,
            "last_step": n_closed - 1,
            "segments": self.segments,
            "steps": {"digest": sums[:n_closed]}
            | {name: all_counts[:n_closed, k] for k, name in enumerate(trail.COUNTS)},
        }
        with together(self.comm):
            if self.comm.rank == 0:
                trail.write_head(self.folder, head)
        return sums
