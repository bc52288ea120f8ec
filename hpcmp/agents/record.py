"""The audit trail of a simulation: a record of every message when it has ended, and what is on its way at the end.

A rank records what its agents received. Of a sample, those whose conversation is in it: whole conversations are kept or
left out, whatever the ranks.
"""

import time

import numpy as np

from hpcmp.comm import together
from hpcmp.hashing import is_sampled
from hpcmp.io import trail_segment
from hpcmp.io.trail import PHASES
from hpcmp.io.trail_ranks import TrailWriter
from hpcmp.kernels import inbox
from hpcmp.kernels.trail import Messages, add_sums


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
    """

    def __init__(self, model, folder, seed, sample=1.0):
        self.model, self.comm, self.seed, self.sample = model, model.graph.comm, seed, sample
        self.payloads = [np.dtype(list(kind.dtypes.items())) for kind in model.kinds]
        self.lengths = trail_segment.payload_lengths(model.trace, self.payloads)
        about = {
            "level": model.trace,
            "message_types": [(k.name, d) for k, d in zip(model.kinds, self.payloads, strict=True)],
            "relations": [k.relation for k in model.kinds],
            "agent_types": [agent.name for agent in model.agents],
            "seed": seed,
            "sample": sample,
            "first_step": 0,
        }
        self.trail = TrailWriter(self.comm, folder, about)
        if self.trail.keeps_records:
            code = np.zeros(model.graph.n_owned, np.uint16)
            for number, rows in enumerate(model.rows):
                code[rows] = number
            self.trail.write_agents(model.graph.id[: model.graph.n_owned], code)
        self._seconds, self._last = dict.fromkeys(PHASES, 0.0), time.perf_counter()

    def _lap(self, phase):
        """Seconds since the last lap belong to this phase of the step."""
        now = time.perf_counter()
        self._seconds[phase] += now - self._last
        self._last = now

    def ended(self, post, step):
        """Record what ended in a step: read or dropped. Local."""
        self._lap("act")
        self._record(post.as_sent, post.slots, post.status[post.slots], step, post.status[post.slots] == 0)
        self._lap("record")

    def on_their_way(self, post):
        """Record what is on its way when the run ends. Local."""
        for buffer in (post.waiting, post.arrived):
            n = len(buffer)
            self._record(buffer, np.arange(n), np.full(n, inbox.IN_FLIGHT), -1, np.zeros(n, np.bool_))

    def _record(self, buffer, places, status, step, is_read):
        graph, head = self.model.graph, buffer.view(self.model.records[0])[places]
        if self.sample < 1:
            kept = is_sampled(self.sample, self.seed, head["root_sender"], head["root_number"])
            head, places, status, is_read = head[kept], places[kept], status[kept], is_read[kept]
        n = len(head)
        if n == 0:
            return
        columns = {
            "step_sent": head["sent"],
            "step_delivered": np.where(is_read, step, -1),
            "receiver": graph.id[head["to"] - graph.first_gid],
            "type": head["kind"],
            "status": status,
            "conversation_sender": head["root_sender"],
            "conversation_number": head["root_number"],
        }
        columns |= {name: head[name] for name in ("sender", "number", "cause_sender", "cause_number")}
        columns = {name: np.ascontiguousarray(a, trail_segment.STORED[name]) for name, a in columns.items()}
        places_of, payload = self._payload(buffer, places, columns["type"])
        add_sums(Messages(**columns, **places_of), payload, 0, self.trail.sums(int(head["sent"].max()) + 1))
        if self.trail.keeps_records:
            narrow = {name: trail_segment.narrowed(a) for name, a in columns.items()}
            self.trail.add(n, narrow, payload[: -trail_segment.SPARE])

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
        self._lap("exchange")
        kinds = self.model.records[0]
        n = len(self.model.kinds)
        ended = post.buffer.view(kinds)["kind"][post.slots]
        is_read = post.status[post.slots] == 0
        here = [b.view(kinds)["kind"] for b in (post.waiting, post.arrived)]
        rows = [post.sent.view(kinds)["kind"], ended[is_read], ended[~is_read], np.concatenate(here)]
        counts = np.array([np.bincount(row, minlength=n) for row in rows])
        seconds, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)  # what it takes from here on is of the next
        if self.trail.end_step(counts, [*seconds.values()], int(n_all * self.sample)):
            self.trail.close(self._first_open(post.waiting, post.arrived))
        self._lap("record")

    def _first_open(self, *buffers):
        """The first step of which a message is on its way, on any rank. Collective."""
        sent = [b.view(self.model.records[0])["sent"] for b in buffers]
        first = min([int(s.min()) for s in sent if len(s)], default=len(self.trail.counts))
        return min(self.comm.allgather(min(first, len(self.trail.counts))))

    def stop(self, post):
        """Write what was recorded of a run that failed in a step. Collective."""
        self.trail.finish(self._first_open(post.buffer, post.waiting))

    def finish(self, post):
        """Record what is on its way, write all; the trail's digests. Collective."""
        with together(self.comm):
            self.on_their_way(post)
        return self.trail.finish()
