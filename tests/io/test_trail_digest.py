"""The digest of a trail: two definitions of it, and what it depends on."""

import numpy as np
import pytest

from hpcmp.io.trail_digest import step_sums
from hpcmp.io.trail_segment import SPARE, STORED, payload_places
from hpcmp.kernels.trail import Messages, add_sums

SIZES = np.array([0, 8, 13, 3, 24, 1], np.int32)  # bytes of payload by type
STEPS = 4


def some_messages(n, seed=0):
    """Columns and payloads of random messages of all kinds."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(-(2**62), 2**62, n).astype(dtype) for name, dtype in STORED.items()}
    columns |= {"step_sent": rng.integers(0, STEPS, n), "type": rng.integers(0, len(SIZES), n).astype(np.uint16)}
    columns |= payload_places(columns["type"], SIZES)
    return columns, rng.integers(0, 256, int(columns["payload_length"].sum())).astype(np.uint8)


def compiled(columns, payload, n_steps=STEPS):
    sums = np.zeros((n_steps, 2), np.uint64)
    add_sums(Messages(**columns), np.append(payload, np.full(SPARE, 7, np.uint8)), 0, sums)
    return sums


def test_both_twins_have_the_same_sums():
    columns, payload = some_messages(20_000)
    sums = compiled(columns, payload)
    np.testing.assert_array_equal(step_sums(columns, payload, 0, STEPS), sums)
    assert len(np.unique(sums)) == sums.size
    rows = np.random.default_rng(1).permutation(20_000)  # neither order nor parts count
    halves = [{name: a[part] for name, a in columns.items()} for part in (rows[:7000], rows[7000:])]
    np.testing.assert_array_equal(sum(step_sums(half, payload, 0, STEPS) for half in halves), sums)
    np.testing.assert_array_equal(step_sums(columns, payload, 1, 2), sums[1:3])


def test_the_digest_is_defined_by_this_and_not_by_the_code():
    columns = {name: np.array([k + 1]).astype(dtype) for k, (name, dtype) in enumerate(STORED.items())}
    columns |= {"payload_offset": np.zeros(1, np.int64), "payload_length": np.array([11], np.int32)}
    payload = np.arange(11, dtype=np.uint8)
    mask, factor = 2**64 - 1, 0xD6E8FEB86659FD93

    def fold(lane, word):
        lane = (lane ^ word) * factor & mask
        return lane ^ (lane >> 32)

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    a, b = 0x243F6A8885A308D3, 0x13198A2E03707344
    of = {name: k + 1 for k, name in enumerate(STORED)}
    last = 11 | of["type"] << 32 | of["status"] << 48
    words = [of[name] for name in ("step_sent", "step_delivered", "sender", "number", "receiver")]
    words += [last, *(of[name] for name in STORED if name.startswith(("cause", "conversation")))]
    words += [int.from_bytes(bytes(range(8)), "little"), int.from_bytes(bytes([8, 9, 10]), "little")]
    for word in words:
        a, b = b, fold(a, word)
    b = b + a * factor & mask
    a = a + b * 0x243F6A8885A308D3 & mask
    assert step_sums(columns, payload, 1, 1).tolist() == [[mix(a), mix(b)]]


@pytest.mark.parametrize("sums", [lambda *args: step_sums(*args, 0, STEPS), compiled])
def test_every_change_of_a_message_changes_both_sums(sums):
    columns, payload = some_messages(40, seed=3)
    columns["step_sent"][:] = 2
    seen, row = [sums(columns, payload)[2].tolist()], int(np.argmax(columns["payload_length"] == 13))
    numbers = [name for name in STORED if name != "step_sent"]

    def changed(given):
        seen.append(sums(given, payload)[2].tolist())

    for name in numbers:
        for bit in range(columns[name].dtype.itemsize * 8):
            other = columns[name].copy()
            other[row] ^= np.array(1).astype(other.dtype) << bit
            changed(columns | {name: other})
    for k, name in enumerate(numbers):  # values that change places between columns, and between records
        for other in numbers[k + 1 :]:
            if columns[name].dtype == columns[other].dtype:
                changed(columns | {name: columns[other], other: columns[name]})
        changed(columns | {name: np.roll(columns[name], 1)})
    for at in range(13):
        payload[columns["payload_offset"][row] + at] ^= 1
        changed(columns)
        payload[columns["payload_offset"][row] + at] ^= 1
    shorter = columns["payload_length"].copy()
    shorter[row] -= 1
    changed(columns | {"payload_length": shorter})
    changed(columns | {"step_sent": columns["step_sent"] * 0 + np.where(np.arange(40) == row, 1, 2)})
    assert len(seen) > 500
    for side in range(2):
        assert len({s[side] for s in seen}) == len(seen)
