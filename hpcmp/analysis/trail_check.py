"""The laws of a trail, looked at in every record."""

import numpy as np

from hpcmp.errors import FormatError
from hpcmp.hashing import is_sampled
from hpcmp.io import trail as files
from hpcmp.io.trail_digest import step_sums


def check_trail(trail):
    """Check every record, count and digest of a trail. Local.

    Raises
    ------
    FormatError
        A message comes before its cause, has a wrong status, names a
        conversation that is not its root's, is counted wrongly, or was
        changed: the records of a step have another digest.
    """
    columns = trail.columns()
    _check_records(trail, columns)
    _check_causes(trail, columns)
    _check_sample(trail, columns)
    _check_counts(trail, columns)
    n_steps = len(trail.head["steps"]["digest"])
    payload = trail.payload_bytes if trail.level == "full" else np.empty(0, np.uint8)
    sums = step_sums(columns, payload, trail.steps[0], n_steps)
    wrong = np.flatnonzero((sums != trail.head["steps"]["digest"]).any(axis=1))
    if len(wrong):
        raise FormatError(
            f"{trail.path}: the records of step {trail.steps[0] + wrong[0]} have another digest than the head says; "
            "they were changed after they were written"
        )


def _check_records(trail, columns):
    arrived = columns["step_delivered"] >= 0
    _refuse(
        trail, arrived & (columns["step_delivered"] <= columns["step_sent"]), "was delivered no later than it was sent"
    )
    wrong = arrived != (columns["status"] == files.DELIVERED)
    _refuse(trail, wrong, "has a step of delivery that does not fit its status")


def _check_causes(trail, columns):
    n = trail.n
    cause = trail.cause[:-1]
    has = np.flatnonzero(cause < n)
    late = np.zeros(n, np.bool_)
    late[has] = columns["step_sent"][cause[has]] > columns["step_sent"][has]
    _refuse(trail, late, "was sent before the message that caused it")
    own = (columns["cause_number"] < 0) & (
        (columns["conversation_sender"] != columns["sender"]) | (columns["conversation_number"] != columns["number"])
    )
    _refuse(trail, own, "has no cause, and another message as the root of its conversation")
    differs = np.zeros(n, np.bool_)
    for name in ("conversation_sender", "conversation_number"):
        differs[has] |= columns[name][has] != columns[name][cause[has]]
    _refuse(trail, differs, "is of another conversation than the message that caused it")


def _check_sample(trail, columns):
    if trail.is_sample:
        names = columns["conversation_sender"], columns["conversation_number"]
        kept = is_sampled(trail.sample, trail.head["seed"], *names)
        _refuse(trail, ~kept, f"is of a conversation that is not in a sample of {100 * trail.sample:g} %")


def _check_counts(trail, columns):
    """Sent = delivered + dropped + in flight, step by step and type by type, as the head says and as the records do.

    Of a sample there are no more records than the head says.
    """
    first, steps, n_types = trail.steps[0], trail.head["steps"], len(trail.types)
    n_steps = len(steps["digest"])

    def counted(step, rows):
        key = (step[rows] - first) * max(n_types, 1) + columns["type"][rows]
        return np.bincount(key, minlength=n_steps * n_types)[: n_steps * n_types].reshape(n_steps, n_types)

    differs = np.greater if trail.is_sample else np.not_equal
    every, status = np.ones(trail.n, np.bool_), columns["status"]
    arrived = (status == files.DELIVERED) & (columns["step_delivered"] < first + n_steps)
    found = {"sent": counted(columns["step_sent"], every), "delivered": counted(columns["step_delivered"], arrived)}
    for name, counts in found.items():
        wrong = np.argwhere(differs(counts, steps[name]))
        if len(wrong):
            step, kind = wrong[0]
            raise FormatError(
                f"{trail.path}: {counts[step, kind]} messages {trail.types[kind]} were {name} in step {first + step} by the "
                f"records, {steps[name][step, kind]} by the head"
            )
    # The step in which a message was dropped is not recorded. Of a run that was ended, it may come after the last that
    # the head tells of: then the message was in flight.
    open_or_dropped = np.bincount(columns["type"][~arrived], minlength=n_types)
    in_head = steps["dropped"].sum(axis=0) + steps["in_flight"][-1:].sum(axis=0)
    if differs(open_or_dropped, in_head).any():
        raise FormatError(
            f"{trail.path}: {open_or_dropped.sum()} messages were dropped or in flight at the end by the records, "
            f"{in_head.sum()} by the head"
        )
    dropped = np.bincount(columns["type"][status > files.IN_FLIGHT], minlength=n_types)
    if not trail.is_sample and (dropped < steps["dropped"].sum(axis=0)).any():
        raise FormatError(f"{trail.path}: fewer messages were dropped by the records than by the head")
    left = np.cumsum(steps["sent"] - steps["delivered"] - steps["dropped"], axis=0)
    wrong = np.argwhere(left != steps["in_flight"])
    if len(wrong):
        step, kind = wrong[0]
        raise FormatError(
            f"{trail.path}: in step {first + step}, sent = delivered + dropped + in flight does not hold for the type "
            f"{trail.types[kind]}"
        )


def _refuse(trail, wrong, what):
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise FormatError(f"{trail.path}: message {trail.called(rows[0])} {what}; the trail is damaged")
