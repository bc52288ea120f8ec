"""Trails for tests: a small simulation in plain Python, and any records as files."""

import numpy as np

from hpcmp.hashing import is_sampled
from hpcmp.io import trail as files
from hpcmp.io.trail_digest import step_sums
from hpcmp.io.trail_segment import STORED, SegmentWriter, payload_lengths, payload_places

TYPES = (
    ("query", np.dtype([("id", "i8")])),
    ("reply", np.dtype([("value", "f8"), ("tag", "S3")])),
    ("ping", np.dtype([])),
)
DROPPED = 2


def simulate(n_agents=7, n_steps=12, seed=0, chance=0.5, delays=(1,), goes_on=0.5):
    """Messages of agents that ask, answer and ping: list of dict, in a random order. Local."""
    rng = np.random.default_rng(seed)
    records, waiting, numbers = [], [], [0] * n_agents

    def send(step, sender, receiver, kind, cause):
        own = (sender * 10, numbers[sender])
        numbers[sender] += 1
        record = {
            "step_sent": step, "step_delivered": -1, "sender": own[0], "number": own[1], "receiver": receiver * 10,
            "type": kind, "cause": None if cause is None else (cause["sender"], cause["number"]),
            "conversation": own if cause is None else cause["conversation"], "status": files.IN_FLIGHT,
            "payload": payload_of(rng, kind), "due": step + int(rng.choice(delays)),
        }  # fmt: skip
        if rng.random() < 0.1:
            record |= {"status": DROPPED, "due": -1}
        records.append(record)
        waiting.append(record)

    for step in range(n_steps):
        for record in sorted(waiting, key=lambda r: (r["sender"], r["number"])):
            if record["due"] != step:
                continue
            waiting.remove(record)
            record |= {"status": files.DELIVERED, "step_delivered": step}
            me = record["receiver"] // 10
            if record["type"] == 0 and rng.random() < 0.7:
                send(step, me, record["sender"] // 10, 1, record)
            elif rng.random() < goes_on:
                send(step, me, int(rng.integers(n_agents)), int(rng.integers(3)), record)
        for me in range(n_agents):
            if rng.random() < chance:
                send(step, me, int(rng.integers(n_agents)), int(rng.integers(3)), None)
    rng.shuffle(records)
    return records


def payload_of(rng, kind):
    dtype = TYPES[kind][1]
    made = np.zeros((), dtype)
    for name in dtype.names or ():
        made[name] = b"ab" if dtype[name].kind == "S" else rng.integers(4)
    return made.tobytes()


def in_order(records):
    """Records as a trail sorts them. Local."""
    return sorted(records, key=lambda r: (r["step_sent"], r["sender"], r["number"]))


def columns_of(records, level="full"):
    """Columns and payload of records. Local."""
    payloads = [r["payload"] if level == "full" else b"" for r in records]
    none = (0, -1)
    columns = {
        name: np.array([r[name] for r in records], STORED[name])
        for name in ("step_sent", "step_delivered", "sender", "number", "receiver", "type", "status")
    }
    for name, key in (("cause", "cause"), ("conversation", "conversation")):
        pairs = np.array([r[key] or none for r in records], np.int64).reshape(-1, 2)
        columns |= {f"{name}_sender": pairs[:, 0], f"{name}_number": pairs[:, 1]}
    columns |= payload_places(columns["type"], payload_lengths(level, [dtype for _, dtype in TYPES]))
    return columns, np.frombuffer(b"".join(payloads), np.uint8)


def head_of(records, n_steps, level="full", types=TYPES, segments=(), **more):
    """The head that belongs to records. Local."""
    counts = {name: np.zeros((n_steps, len(types)), np.int64) for name in files.COUNTS}
    for r in records:
        counts["sent"][r["step_sent"], r["type"]] += 1
        if r["status"] == files.DELIVERED:
            counts["delivered"][r["step_delivered"], r["type"]] += 1
        elif r["status"] != files.IN_FLIGHT:
            counts["dropped"][r["step_sent"], r["type"]] += 1
    counts["in_flight"] = np.cumsum(counts["sent"] - counts["delivered"] - counts["dropped"], axis=0)
    digest = step_sums(*columns_of(records, level), 0, n_steps)
    return {
        "level": level, "message_types": list(types), "agent_types": ["worker"], "seed": 7, "first_step": 0,
        "last_step": n_steps - 1, "segments": list(segments), "steps": {"digest": digest, **counts}, **more,
    }  # fmt: skip


def write_sample(folder, records, n_steps, share):
    """A trail that keeps a share of conversations of records: the folder, and what is kept. Local."""
    names = np.array([r["conversation"] for r in records], np.int64)
    kept = [r for r, is_in in zip(records, is_sampled(share, 7, names[:, 0], names[:, 1]), strict=True) if is_in]
    segments = files.segments_of(files.read_head(write(folder, kept, n_steps)))
    head = head_of(records, n_steps, segments=segments, sample=share)
    head["steps"]["digest"] = head_of(kept, n_steps)["steps"]["digest"]
    files.write_head(folder, head)
    return folder, kept


def write(folder, records, n_steps, n_ranks=1, every=None, level="full", types=TYPES, **more):
    """Write records as a trail of some ranks, in segments of so many steps: the folder. Local."""
    segments = []
    for rank in range(n_ranks):
        writer = SegmentWriter(folder, rank)
        for lo in range(0, n_steps, every or max(n_steps, 1)):
            own = [r for r in records if r["sender"] // 10 % n_ranks == rank]
            own = [r for r in own if lo <= r["step_sent"] < lo + (every or n_steps)]
            for half in (own[: len(own) // 2], own[len(own) // 2 :]):
                if half:
                    writer.append(len(half), *columns_of(half, level))
            segments.append(writer.close_segment())
    files.write_head(folder, head_of(records, n_steps, level, types, filter(None, segments), **more))
    return folder
