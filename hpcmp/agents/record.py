"""The audit trail of a simulation: a record of every message when it has ended, and what is on its way at the end.

A rank records what its agents received. Of a sample, those whose conversation is in it: whole conversations are kept or
left out, whatever the ranks.
"""

import time

import numpy as np

from hpcmp.comm import together
from hpcmp.io import trail_segment
from hpcmp.io.trail import COUNTS, PHASES
from hpcmp.io.trail_ranks import TrailWriter
from hpcmp.jit import compile_s
from hpcmp.kernels import inbox, recording
from hpcmp.kernels.records import WORD, payload_word
from hpcmp.memory import Pool

LEAST_STEPS = 64  # of which a thread keeps sums


class Recorder:
    """Records of one rank. Collective to make.

    Parameters
    ----------
    model
        What is simulated, with its level of tracing.
    folder : path or None
        Of the trail; None: digests alone.
    seed : int
    sample : float
        Share of conversations that are kept.
    any_id : bool
        Whether receivers may be no agents.
    earlier, replaces
        Of `TrailWriter`.
    """

    def __init__(self, model, folder, seed, sample=1.0, any_id=False, earlier=None, replaces=True):
        self.model, self.comm, self.seed, self.sample = model, model.graph.comm, seed, sample
        self.payloads = [np.dtype(list(kind.dtypes.items())) for kind in model.kinds]
        self.lengths = trail_segment.payload_lengths(model.trace, self.payloads).astype(np.int64)
        about = {
            "level": model.trace,
            "message_types": [(k.name, d) for k, d in zip(model.kinds, self.payloads, strict=True)],
            "relations": [k.relation for k in model.kinds],
            "agent_types": [agent.name for agent in model.agents],
            "seed": seed,
            "sample": sample,
            "first_step": 0,
        }
        self.trail = TrailWriter(self.comm, folder, about, earlier, replaces)
        self.ids, self.pool = model.graph.id[model.row], Pool()
        self.low, self.id_dtype = (0, np.dtype(np.int64)) if any_id else self._range_of_ids()
        self.sums = []  # of each segment of blocks, by step in which messages were sent
        self.in_flight = np.zeros(len(model.kinds), np.int64)  # of all ranks together, as each counts its share
        if earlier is not None:
            self.in_flight += self.trail.counts[-1][COUNTS.index("in_flight")]
        if self.trail.keeps_records:
            self.trail.write_agents(self.ids, model.table.type.astype(np.uint16))
        self._seconds, self._last = dict.fromkeys(PHASES, 0.0), None

    def begin(self):
        """The first step begins: its seconds are counted from here. Local."""
        self._last = _work_s()

    def _range_of_ids(self):
        """The lowest id of all agents, and a narrow dtype for their distance from it. Collective."""
        ends = (int(self.ids[0]), int(self.ids[-1])) if len(self.ids) else None
        every = [both for both in self.comm.allgather(ends) if both]
        low, high = min((low for low, _ in every), default=0), max((high for _, high in every), default=0)
        return low, np.dtype(np.uint32 if high - low < 1 << 32 else np.int64)

    def lap(self, phase):
        """Seconds since the last lap belong to this phase of the step. Local."""
        now = _work_s()
        self._seconds[phase] += now - self._last
        self._last = now

    def log(self, s, n, step):
        """What is recorded of segment s of the blocks, at most n messages. Local."""
        self.sums += [np.zeros((0, 2), np.uint64)] * (s + 1 - len(self.sums))
        if len(self.sums[s]) <= step:
            longer = np.zeros((max(LEAST_STEPS, 2 * (step + 1)), 2), np.uint64)
            longer[: len(self.sums[s])] = self.sums[s]
            self.sums[s] = longer
        share = np.uint64(min(int(self.sample * 2.0**64), (1 << 64) - 1))
        at = np.zeros(recording.N_AT, np.int64)
        at[recording.KEEPS], at[recording.LOW], at[recording.SEED] = self.trail.keeps_records, self.low, self.seed
        at[recording.IS_SAMPLE], at.view(np.uint64)[recording.SHARE] = self.sample < 1, share
        room = n if self.trail.keeps_records else 0
        dtypes = [np.int32, *[self.id_dtype] * 4, *[np.int32] * 3, np.uint16, np.uint8]
        columns = [self.pool.empty(room, dtype) for dtype in dtypes]
        payload = self.pool.empty(-(-room * int(self.lengths.max()) // WORD), np.uint64)
        ended = np.zeros((2, len(self.model.kinds)), np.int64)
        return recording.Log(at, self.sums[s], ended, self.lengths, self.ids, *columns, payload.view(np.uint8), payload)

    def ended(self, logs, lost, step):
        """Keep what ended in a step: read, dropped, or sent to nobody. Local.

        ``lost`` are messages, and the ids of the receivers that there are not.
        """
        self.lap("exchange")
        self.lost = self._lost(*lost, step)
        for log in (*logs, self.lost):
            self._add(log, step)
        self.lap("record")

    def _add(self, log, step):
        n, n_bytes, low = int(log.at[recording.N]), int(log.at[recording.N_BYTES]), self.low
        if n == 0:
            return
        is_read = log.status[:n] == inbox.DELIVERED
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
            "status": log.status[:n],
        }
        self.trail.add(n, columns, log.payload[:n_bytes])

    def on_their_way(self, post):
        """Record what is on its way when the run ends. Local."""
        found = post.waiting()
        log = self.log(0, len(found), len(self.trail.counts))
        self._record(found, post.words, inbox.IN_FLIGHT, log)
        self._add(log, -1)

    def _lost(self, words, ids, step):
        """What is recorded of messages to receivers that there are not."""
        log = self.log(0, len(ids), step)
        if len(ids):
            words.view(self.model.records[0])["to"] = np.arange(len(ids))
            self._record(np.arange(len(ids), dtype=np.uint32), words, inbox.NO_RECEIVER, log._replace(ids=ids))
        return log

    def _record(self, places, words, status, log):
        """Record messages that were not read."""
        head, status = words.view(self.model.records[0]), np.full(len(places), status, np.uint8)
        headers = recording.Headers(*(head[name] for name in recording.Headers._fields))
        n_words = self.model.width // WORD
        recording.record(places, len(places), headers, status, words, n_words, payload_word(True), -1, log)

    def count(self, boxes, post, n_all, is_late):
        """Count a step's messages by kind; write a part when it is due. Collective.

        ``boxes`` are (inbox, outbox) of the segments, ``n_all`` what all ranks sent, ``is_late`` of any rank.
        """
        sent = sum(out.sent for _, out in boxes)
        is_read, is_dropped = sum((into.log.ended for into, _ in boxes), self.lost.ended)
        self.in_flight += sent - is_read - is_dropped
        counts = np.array([sent, is_read, is_dropped, self.in_flight])
        seconds, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)  # what it takes from here on is of the next
        if self.trail.end_step(counts, [*seconds.values()], int(n_all * self.sample), is_late):
            self._share_sums()
            self.trail.close(self._first_open(post))
        self.lap("record")

    def so_far(self, post):
        """What a trail that goes on needs to know, see `TrailWriter`. Collective."""
        self._share_sums()
        found = self.trail.so_far(self._first_open(post))
        self.lap("record")
        return found

    def _share_sums(self):
        """Add up what threads have summed."""
        n = max(map(len, self.sums), default=0)
        total = self.trail.sums(n)
        for part in self.sums:
            total[: len(part)] += part
            part[:] = 0

    def _first_open(self, post):
        """The first step of which a message is on its way, on any rank. Collective."""
        n = len(self.trail.counts)
        if max(self.comm.allgather(post.longest)) == 1:  # all was sent in the last step
            first = n - 1 if post.n_waiting else n
        else:
            first = int(post.words.view(self.model.records[0])["sent"][post.waiting()].min(initial=n))
        return min(self.comm.allgather(first))

    def stop(self, post):
        """Write what was recorded of a run that failed in a step. Collective.

        Its buffers do not tell any more what was on its way when the step began.
        """
        self._share_sums()
        n_closed = len(self.trail.counts) - max(self.comm.allgather(post.longest))
        self.trail.finish(max(n_closed, 0))

    def finish(self, post):
        """Record what is on its way, write all; the trail's digests. Collective."""
        with together(self.comm):
            self.on_their_way(post)
        self._share_sums()
        return self.trail.finish()


def _work_s():
    """A clock that stands while kernels are compiled."""
    return time.perf_counter() - compile_s()
