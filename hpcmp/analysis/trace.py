"""A trail on disk: its messages as columns, and what each one says.

    from hpcmp import analysis

    trail = analysis.open("trail")
    row = trail.row(17, 3)                    # the message (sender, number)
    trail["receiver"][row], trail.payload(row)

Rows are all messages, sorted by (step sent, sender, number): the same rows on
whatever ranks the trail was written. Columns are read when first asked for,
and kept. `hpcmp.analysis.causes` follows causes, `flow` counts, `patterns`
looks for trouble, `reach` for who can have heard of whom.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hpcmp.analysis.frame import PROVENANCE, as_text
from hpcmp.analysis.lookup import distinct, finder, one_key
from hpcmp.errors import FormatError, GraphError
from hpcmp.io import trail as files
from hpcmp.io.trail_digest import payload_rows
from hpcmp.io.trail_segment import COLUMNS, PAYLOAD, read_columns, read_payload

TIME = "time"  # a column where the trail was made from a log: the time of the step sent
MANY_BYTES = 1 << 28  # of payload; up to so many, all are read for one message, which others then find
ORDERED = ("step_sent", "sender", "number")
CAUSES = ("cause_sender", "cause_number")


@dataclass(frozen=True)
class Trail:
    """The messages of a run. ``trail[column]`` is one value a message."""

    path: Path  # of the folder
    head: dict  # as `hpcmp.io.trail.read_head` gives it

    @classmethod
    def read_frame(cls, path):
        """All but the records; ``path`` is the folder or its head. Local."""
        path = Path(path)
        return cls(path if path.is_dir() else path.parent, files.read_head(path))

    # ------------------------------------------------------------ sizes and words

    @property
    def n(self):
        return self._n_written if self._is_closed is None else int(self._is_closed.sum())

    @property
    def _n_written(self):
        return int(self.head["segments"]["n_records"].sum())

    @cached_property
    def _is_closed(self):
        """Which records are of closed steps; None: all. Others are there where a run came to no end: some messages of
        a step may have come long before the rest."""
        if self._n_written == self.head["steps"]["sent"].sum():
            return None
        sent = read_columns(self.path, self.head, ["step_sent"])["step_sent"]
        return sent <= self.head["last_step"]

    @property
    def level(self):
        return self.head["level"]

    @property
    def sample(self):
        """Share of conversations whose records were kept."""
        return self.head["sample"]

    @property
    def is_sample(self):
        return self.sample < 1

    def refuse_sample(self, what):
        """Refuse to conclude from messages that are not there. Local."""
        if self.is_sample:
            raise GraphError(f"{self.path} is a sample of {100 * self.sample:g} % of conversations; {what}")

    @property
    def steps(self):
        """First and last closed step."""
        return self.head["first_step"], self.head["last_step"]

    @property
    def types(self):
        """Message types: names, with the relation of those that are bound to one."""
        names = (name for name, _ in self.head["message_types"])
        return tuple(map(files.type_title, names, self.head["relations"]))

    @property
    def has_time(self):
        return TIME in self.head["steps"]

    def type_number(self, name):
        """Place of a message type among the types, by name or title. Local."""
        named = [k for k, (plain, _) in enumerate(self.head["message_types"]) if plain == name]
        if name not in self.types and len(named) != 1:
            what = "no message type" if not named else "several message types"
            raise GraphError(f"{name!r} is {what} of {self.path} (it has: {', '.join(self.types) or 'none'})")
        return self.types.index(name) if name in self.types else named[0]

    # ------------------------------------------------------------ columns

    def __getitem__(self, name):
        """A column by row: (n,). Local."""
        if name == TIME and self.has_time:
            return self.head["steps"][TIME][self["step_sent"] - self.head["first_step"]]
        if name not in COLUMNS:
            has = [*COLUMNS, *([TIME] if self.has_time else [])]
            raise GraphError(f"{name!r} is not a column of {self.path} (it has: {', '.join(has)})")
        return self._columns([name])[name]

    def columns(self, names=tuple(COLUMNS)):
        """Some columns, read together: dict of str to (n,). Local."""
        return self._columns(names)

    @cached_property
    def agents(self):
        """Ids of all agents, those without a message too, ascending: int64."""
        listed = self._agent_table.get("id", np.empty(0, np.int64))
        self._columns(["sender", "receiver"])
        return distinct([listed, self["sender"], self["receiver"]])

    @cached_property
    def sender(self):
        """Place of each message's sender in `agents`: int64 (n,)."""
        return self.place_of_agents(self["sender"])

    @cached_property
    def receiver(self):
        """Place of each message's receiver in `agents`: int64 (n,)."""
        return self.place_of_agents(self["receiver"])

    @cached_property
    def rank(self):
        """The rank that recorded each message: int64 (n,)."""
        segments, order = self.head["segments"], self._order
        rank = np.repeat(segments["rank"], segments["n_records"])
        rank = rank if self._is_closed is None else rank[self._is_closed]
        return _sorted(rank, order)

    def place_of_agents(self, ids):
        """Places of ids in `agents`; all must be there: int64. Local."""
        agents = self.agents
        if len(agents) and agents[-1] - agents[0] == len(agents) - 1:
            return ids - agents[0]
        return np.searchsorted(agents, ids)

    @cached_property
    def names(self):
        """Names of agents by place in `agents`: str; None where they have none."""
        if "name" not in self._agent_table:
            return None
        names = np.char.mod("%d", self.agents).astype(object)
        names[np.searchsorted(self.agents, self._agent_table["id"])] = as_text(self._agent_table["name"])
        return names.astype(str)

    def name_of(self, agent):
        """What to call the agent of an id: str. Local."""
        place = int(np.searchsorted(self.agents, agent))
        known = self.names is not None and place < len(self.agents) and self.agents[place] == agent
        return str(self.names[place]) if known else str(agent)

    def agent(self, text):
        """Id of the agent that a name or an id, as text, means. Local."""
        if self.names is not None:
            found = np.flatnonzero(self.names == str(text))
            if len(found):
                return int(self.agents[found[0]])
        try:
            agent = int(text)
        except ValueError:
            agent = None
        if agent is None or agent not in self.agents:
            raise GraphError(f"{text!r} is no agent of {self.path} ({len(self.agents)} agents)")
        return agent

    @cached_property
    def timing(self):
        """Wall-clock times: ``step``, ``rank`` and seconds by phase; empty where none were kept."""
        return files.read_timing(self.path)

    @cached_property
    def _agent_table(self):
        table = files.read_agents(self.path)
        if "id" in table and (table["id"][1:] <= table["id"][:-1]).any():
            raise FormatError(f"{self.path}: the ids of {files.AGENTS} do not rise; it is damaged")
        return table

    def _columns(self, names):
        lacking = [name for name in names if name not in self._kept]
        if lacking:
            order = self._order  # reads the columns that it takes
            lacking = [name for name in lacking if name not in self._kept]
            for name, a in self._load(lacking).items():
                self._kept[name] = _sorted(a, order)
        return {name: self._kept[name] for name in names}

    @cached_property
    def _kept(self):
        return {}

    @cached_property
    def _order(self):
        """What sorts the records as they lie in the segments; None: they lie so."""
        found = self._load(ORDERED)
        key = one_key([found[name] for name in ORDERED])
        if key is not None and (key[1:] > key[:-1]).all():
            order = None
        elif key is not None:
            order = np.argsort(key)  # no two are equal; twice as fast as a stable sort
        else:
            order = np.lexsort([found[name] for name in ORDERED[::-1]])
        self._kept.update({name: _sorted(a, order) for name, a in found.items()})
        return order

    def _load(self, names):
        """Columns as they lie in the segments, one after the other; checked by themselves."""
        if not names:
            return {}
        found = read_columns(self.path, self.head, names)
        for name in names:
            found[name] = found[name] if self._is_closed is None else found[name][self._is_closed]
            self._check_range(name, found[name])
        return found

    def _check_range(self, name, a):
        limits = {
            "type": (0, len(self.types)),
            "status": (0, len(files.STATUSES)),
            "step_sent": (self.head["first_step"], self.head["last_step"] + 1),
            "number": (0, None),
            "step_delivered": (-1, None),
        }
        low, high = limits.get(name, (None, None))
        if not len(a) or low is None:
            return
        if a.min() < low or (high is not None and a.max() >= high):
            row = int(np.flatnonzero((a < low) | (a >= high) if high is not None else a < low)[0])
            end = "" if high is None else f" and under {high}"
            raise FormatError(
                f"{self.path}: {name}[{row}] = {a[row]} of the segments must be at least {low}{end}; the trail is damaged"
            )

    # ------------------------------------------------------------ messages by name

    def rows(self, sender, number):
        """Rows of messages by (sender, number); n where there is none: int64. Local."""
        return self._finder(np.asarray(sender, np.int64), np.asarray(number, np.int64))

    def row(self, sender, number):
        """Row of one message. Local.

        Raises
        ------
        GraphError
            There is no such message.
        """
        row = int(self.rows([sender], [number])[0])
        if row == self.n:
            raise GraphError(f"{self.path} has no message {sender}:{number} (SENDER:NUMBER)")
        return row

    def called(self, row):
        """The name of a message: "SENDER:NUMBER". Local."""
        return f"{self['sender'][row]}:{self['number'][row]}"

    @cached_property
    def _finder(self):
        found = self._columns(ORDERED)
        return finder(found["sender"], found["number"], self.path)

    @cached_property
    def cause(self):
        """Row of the cause of each message, n for none; one place more, n itself: int64 (n + 1,)."""
        found = self._columns([*ORDERED, *CAUSES])
        cause = np.full(self.n + 1, self.n, np.int64)
        has = found["cause_number"] >= 0
        if has.all():
            cause[:-1] = self.rows(found["cause_sender"], found["cause_number"])
        elif has.any():
            where = np.flatnonzero(has)
            cause[where] = self.rows(found["cause_sender"][where], found["cause_number"][where])
        return cause

    def back(self, sender, number):
        """Rows from a message to the root of its causes: `causes.back`. Local."""
        from hpcmp.analysis import causes

        return causes.back(self, self.row(sender, number))

    def forward(self, sender, number):
        """Rows of a message and all that it led to: `causes.forward`. Local."""
        from hpcmp.analysis import causes

        return causes.forward(self, [self.row(sender, number)])

    @property
    def has_causes(self):
        return bool((self["cause_number"] >= 0).any())

    @cached_property
    def step_start(self):
        """Steps in which something was sent, and the first row of each, with the end: two int64."""
        sent = self["step_sent"]
        start = np.flatnonzero(np.diff(sent, prepend=sent[:1] - 1)) if len(sent) else np.empty(0, np.int64)
        return sent[start], np.append(start, len(sent))

    # ------------------------------------------------------------ payloads

    @cached_property
    def payload_bytes(self):
        """Bytes of all payloads: uint8; `payload_offset` points into them."""
        return read_columns(self.path, self.head, [PAYLOAD])[PAYLOAD]

    @property
    def _payload_start(self):
        n_bytes = self.head["segments"]["payload_bytes"]
        return np.cumsum(n_bytes) - n_bytes

    def payloads(self, name, rows=None):
        """Payloads of a type: rows, and a structured array of the same length. Local.

        Parameters
        ----------
        name : str
            A message type.
        rows : int64, optional
            Among these only.

        Raises
        ------
        GraphError
            The trail was written without payloads, or has no such type.
        """
        if self.level != "full":
            raise GraphError(f"{self.path} has headers only; payloads are kept at the level full")
        number = self.type_number(name)
        dtype = self.head["message_types"][number][1]
        chosen = self["type"] == number if rows is None else self["type"][rows] == number
        rows = np.flatnonzero(chosen) if rows is None else np.asarray(rows)[chosen]
        if dtype.itemsize == 0:
            return rows, np.empty(len(rows), dtype)
        taken = payload_rows(self.payload_bytes, self["payload_offset"][rows], dtype.itemsize)
        return rows, np.ascontiguousarray(taken).view(dtype)[:, 0]

    def payload(self, row):
        """What one message carried: dict of field to value; None: not kept. Local."""
        if self.level != "full":
            return None
        if self.head["segments"]["payload_bytes"].sum() <= MANY_BYTES or "payload_bytes" in self.__dict__:
            record = self.payloads(self.types[self["type"][row]], [row])[1][0]
        else:
            record = self._one_payload(row)
        return {field: _plain(record[field].tolist()) for field in record.dtype.names or ()}

    def _one_payload(self, row):
        """A payload as a record, read by itself."""
        dtype = self.head["message_types"][self["type"][row]][1]
        start, offset = self._payload_start, int(self["payload_offset"][row])
        k = int(np.searchsorted(start, offset, side="right")) - 1
        lo = offset - int(start[k])
        taken = read_payload(self.path, self.head, k, lo, lo + dtype.itemsize) if dtype.itemsize else b""
        return np.frombuffer(taken, dtype)[0] if dtype.itemsize else np.empty((), dtype)

    def message(self, row):
        """A message in words, for people and for JSON: dict. Local."""
        found = {
            "message": self.called(row),
            "sender": self.name_of(self["sender"][row]),
            "receiver": self.name_of(self["receiver"][row]),
            "type": self.types[self["type"][row]],
            "step_sent": int(self["step_sent"][row]),
            "step_delivered": int(self["step_delivered"][row]) if self["step_delivered"][row] >= 0 else None,
            "status": files.STATUSES[self["status"][row]],
            "cause": None,
            "conversation": f"{self['conversation_sender'][row]}:{self['conversation_number'][row]}",
        }
        if self["cause_number"][row] >= 0:
            found["cause"] = f"{self['cause_sender'][row]}:{self['cause_number'][row]}"
        if self.has_time:
            found[TIME] = _plain(self.head["steps"][TIME][self["step_sent"][row] - self.head["first_step"]].item())
        payload = self.payload(row)
        return found if payload is None else found | {"payload": payload}

    # ------------------------------------------------------------ the whole

    def facts(self):
        """What the trail is about, for people: dict. Local."""
        attrs = self.head["attrs"]
        segments = self.head["segments"]
        totals = {name: int(self.head["steps"][name].sum()) for name in ("sent", "delivered", "dropped")}
        return {
            "file": str(self.path),
            "kind": "trail",
            "level": self.level,
            "records": self.n,
            "sample": self.sample if self.is_sample else None,
            "first_step": self.steps[0],
            "last_step": self.steps[1],
            "message_types": {
                name: str(np.lib.format.dtype_to_descr(dtype))
                for name, (_, dtype) in zip(self.types, self.head["message_types"], strict=True)
            },
            "agent_types": self.head["agent_types"],
            "messages": totals,
            "segments": len(segments["rank"]),
            "ranks": len(np.unique(segments["rank"])),
            "payload_bytes": int(segments["payload_bytes"].sum()),
            "seed": self.head["seed"],
            "rank_seconds": float(sum(self.timing[name].sum() for name in files.PHASES)) if self.timing else None,
            **{name: attrs[name] for name in PROVENANCE if name in attrs},
            "sources": self.head["sources"],
        }

    def check(self):
        """Check every record, count and digest. Local.

        Raises
        ------
        FormatError
            A rule is broken: the message says which, and where.
        """
        from hpcmp.analysis.trail_check import check_trail

        check_trail(self)


def _sorted(a, order):
    """A column in the order of rows; many are one number throughout, and stay as they are."""
    is_sorted = order is None or not len(a) or a.min() == a.max()
    return a if is_sorted else a[order]


def _plain(value):
    """A value as JSON can have it: texts for bytes, and for infinity and NaN."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
