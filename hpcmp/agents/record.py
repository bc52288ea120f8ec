"""The audit trail of a simulation: a record of every message when it has ended, and what is on its way at the end.

A rank records what its agents received. Files are closed and the head is written anew after about `ROWS` messages of all
ranks, so that a run that is killed leaves a trail that is whole up to the last closed step.
"""

import hashlib

import numpy as np

from hpcmp.comm import together
from hpcmp.io import trail, trail_segment
from hpcmp.kernels import inbox, recording
from hpcmp.kernels.records import WORD, payload_word
from hpcmp.memory import Pool

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
        self.lengths = trail_segment.payload_lengths(model.trace, self.payloads).astype(np.int64)
        self.pool, self.n_kinds = Pool(), len(model.kinds)
        self.by_step = []  # of each thread, by step in which messages were sent: Log.by_step
        self.ended_by_step = []  # of this rank, by step: Log.ended
        self.ids = model.graph.id[model.row]
        self.low, self.id_dtype = self._range_of_ids()
        self.sent_by_step = []  # of all ranks
        self.segments, self.n_since, self.writer = [], 0, None
        if folder is not None:
            with together(self.comm):
                if self.comm.rank == 0:
                    trail.clear(folder)
            self.comm.Barrier()
            with together(self.comm):
                self.writer = trail_segment.SegmentWriter(folder, self.comm.rank)
            self._write_agents()

    def _range_of_ids(self):
        """The lowest id of all agents, and the narrow dtype of their distance from it. Collective."""
        ends = (int(self.ids[0]), int(self.ids[-1])) if len(self.ids) else (0, 0)
        low, high = zip(*self.comm.allgather(ends), strict=True)
        return min(low), np.dtype(np.uint32 if max(high) - min(low) < 1 << 32 else np.int64)

    def _write_agents(self):
        """Ids and types of all agents. Collective."""
        graph = self.model.graph
        code = np.zeros(graph.n_owned, np.uint16)
        for number, places in enumerate(self.model.places):
            code[places] = number
        found = self.comm.gather((self.ids, code))
        with together(self.comm):
            if self.comm.rank == 0:
                id, code = (np.concatenate(columns) for columns in zip(*found, strict=True))
                by_id = np.argsort(id)
                trail.write_agents(self.folder, id[by_id], code[by_id])

    def log(self, s, n, step):
        """What thread s records of at most n messages in a step. Local."""
        while len(self.by_step) <= s:
            self.by_step.append(np.zeros((0, recording.SUMS + self.n_kinds), np.uint64))
        if len(self.by_step[s]) < step + 1:
            longer = np.zeros((2 * step + 64, self.by_step[s].shape[1]), np.uint64)
            longer[: len(self.by_step[s])] = self.by_step[s]
            self.by_step[s] = longer
        at = np.zeros(recording.N_AT, np.int64)
        at[recording.KEEPS], at[recording.LOW] = self.writer is not None, self.low
        room = n if self.writer is not None else 0
        dtypes = [np.int32, *[self.id_dtype] * 4, *[np.int32] * 3, np.uint16, np.uint8]
        columns = [self.pool.empty(room, dtype) for dtype in dtypes]
        payload = self.pool.empty(-(-room * int(self.lengths.max()) // WORD), np.uint64)
        ended = np.zeros((2, self.n_kinds), np.int64)
        return recording.Log(
            at, self.by_step[s], ended, self.lengths, self.ids, *columns, payload.view(np.uint8), payload
        )

    def ended(self, logs, step):
        """Keep what ended in a step: read or dropped. Local."""
        self.ended_by_step.append(sum(log.ended for log in logs))
        for log in logs:
            self._append(log, step)

    def _append(self, log, step):
        n, n_bytes = int(log.at[recording.N]), int(log.at[recording.N_BYTES])
        if n == 0:
            return
        status, low = log.status[:n], self.low
        is_read = status == inbox.DELIVERED
        columns = {
            "step_sent": log.sent[:n],
            "step_delivered": step if is_read.all() else np.where(is_read, np.int32(step), np.int32(-1)),
            "sender": (low, log.sender[:n]),
            "number": log.number[:n],
            "receiver": (low, log.receiver[:n]),
            "type": log.kind[:n],
            "cause_sender": (low, log.cause_sender[:n]),
            "cause_number": log.cause_number[:n],
            "conversation_sender": (low, log.root_sender[:n]),
            "conversation_number": log.root_number[:n],
            "status": status,
        }
        self.writer.append(n, columns, log.payload[:n_bytes])

    def on_their_way(self, post):
        """Record what is on its way when the run ends. Local."""
        places = post.waiting()
        head, step = post.words.view(self.model.records[0]), len(self.ended_by_step)
        log = self.log(0, len(places), step)
        headers = recording.Headers(*(head[name] for name in recording.Headers._fields))
        status = np.full(len(places), inbox.IN_FLIGHT, np.uint8)
        width, at = post.n_words, payload_word(True)
        recording.record(places, len(places), headers, status, post.words, width, at, -1, log)
        self._append(log, -1)

    def count(self, n_all):
        """Count a step; write a part when it is large: ``n_all`` messages were sent. Collective."""
        self.n_since += n_all
        self.sent_by_step.append(n_all)
        if self.writer is not None and self.n_since >= ROWS:
            self._close()

    def stop(self, longest):
        """Write what was recorded of a run that failed in a step. Collective.

        ``longest``: most steps that a message waited. What this step may have read of was not read by all.
        """
        n_read = len(self.ended_by_step)
        self._close(max(0, n_read - max(self.comm.allgather(longest))))

    def finish(self, post):
        """Record what is on its way, write all; the trail's digest. Collective."""
        with together(self.comm):
            self.on_their_way(post)
        sums = self._close()
        return [f"{int(a):016x}{int(b):016x}" for a, b in sums], hashlib.sha256(sums.tobytes()).hexdigest()

    def _close(self, most=None):
        """Close segments and write a head of the steps that are whole; sums of digests over all ranks. Collective.

        A step is whole when all that was sent in it has been recorded; only the first ``most`` may be.
        """
        n = len(self.ended_by_step)
        by_step, ended = (
            np.zeros((n, recording.SUMS + self.n_kinds), np.uint64),
            np.zeros((n, 2, self.n_kinds), np.int64),
        )
        for part in self.by_step:
            by_step[: len(part)] += part[:n]
        ended[:] = np.array(self.ended_by_step).reshape(ended.shape)
        by_step, ended = self._summed(by_step.view(np.int64)).view(np.uint64), self._summed(ended)
        sums, sent = np.ascontiguousarray(by_step[:, : recording.SUMS]), by_step[:, recording.SUMS :].view(np.int64)
        self.n_since = 0
        if self.writer is None:
            return sums
        is_whole = sent.sum(axis=1) == np.array(self.sent_by_step, np.int64)
        n_closed = n if is_whole.all() else int(np.argmin(is_whole))
        n_closed = n_closed if most is None else min(n_closed, most)
        is_read, is_dropped = ended[:, recording.IS_READ], ended[:, recording.IS_DROPPED]
        counts = dict(
            zip(trail.COUNTS, (sent, is_read, is_dropped, np.cumsum(sent - is_read - is_dropped, axis=0)), strict=True)
        )
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
            "steps": {"digest": sums[:n_closed]} | {name: table[:n_closed] for name, table in counts.items()},
        }
        with together(self.comm):
            if self.comm.rank == 0:
                trail.write_head(self.folder, head)
        return sums

    def _summed(self, mine):
        """Sum of an array over all ranks. Collective."""
        total = np.empty_like(mine)
        self.comm.Allreduce(mine, total)
        return total
