"""GraphML: nodes, edges and their numeric data, from an XML file.

expat checks that the file is well-formed; then regular expressions take the
tags apart. In well-formed XML without comments, CDATA and entities of its own
(taken out or refused first) a ``<`` always starts a tag, which is what makes
that safe. Both run at C speed over the whole file; no Python runs per edge.

Rank 0 does it alone: XML has no places to cut. Text data are left out, as are
ports; hyperedges and nested graphs are refused.
"""

import re
from dataclasses import dataclass
from itertools import compress
from xml.parsers import expat

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import FormatError, InputError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.table import EdgeTable, VertexTable
from hpcmp.io.text import Block, LineError, Share, describe_file, reading, whole_text

MAX_BYTES = 2**32 - 2  # of the unpacked file, which rank 0 holds
TAG_BYTES = 100  # of an element that is open, in expat
WORK_BYTES = 4  # for each byte of it at least: the text without comments, and what was found in it
TYPES = {"boolean": "bool", "int": "int32", "long": "int64", "float": "float32", "double": "float64"}

NAME = rb"[^\s=<>/\"']+"
VALUE = rb"(?:\"[^\"]*\"|'[^']*')"
QUOTED = rb"[\"']((?<=\")[^\"]*|(?<=')[^']*)[\"']"  # one group, whichever quote
ATTRIBUTES = rb"(?:\s+" + NAME + rb"\s*=\s*" + VALUE + rb")*"
INTEGER = rb"(?:0|-?[1-9][0-9]*)"  # one spelling for each number, so that ids stay apart


@dataclass(frozen=True)
class Parsed:
    """What rank 0 found in a file."""

    node: np.ndarray  # (n,) int64 or 'S'
    src: np.ndarray  # (m,) the same dtype
    dst: np.ndarray  # (m,)
    node_fields: dict
    edge_fields: dict
    directed: bool


def read(comm, path, options):
    """Edges of a GraphML file, all on rank 0. Collective.

    Returns
    -------
    EdgeTable
        ``vertices`` are the nodes: integers if all their ids are (``7`` or
        ``n7``), else names. Numeric edge data are the fields.
    """
    parsed, source = _parsed(comm, path, options.names)
    return EdgeTable(
        parsed.src, parsed.dst, parsed.edge_fields, vertices=parsed.node, directed=parsed.directed, sources=(source,)
    )


def read_vertices(comm, path, *, names=False):
    """Numeric node data of a GraphML file, all on rank 0. Collective.

    Returns
    -------
    VertexTable
    """
    parsed, source = _parsed(comm, path, names)
    return VertexTable(parsed.node, parsed.node_fields, sources=(source,))


def _parsed(comm, path, names):
    source, parsed, empty = describe_file(comm, path), None, None
    with together(comm), reading(path):
        if comm.rank == 0:
            parsed = _parse(source["name"], _load(path), names)
            fields = [
                {name: column[:0] for name, column in kind.items()} for kind in (parsed.node_fields, parsed.edge_fields)
            ]
            empty = Parsed(parsed.node[:0], parsed.src[:0], parsed.dst[:0], *fields, parsed.directed)
    empty = comm.bcast(empty)
    return (parsed if comm.rank == 0 else empty), source


def _load(path):
    text = whole_text(path, MAX_BYTES)
    refuse_more_than_is_free(WORK_BYTES * len(text) + TAG_BYTES * text.count(b"<"), f"reading {path}", len(text))
    return text


# ---------------------------------------------------------------- one file


def _parse(name, text, names):
    _check_xml(name, text)
    text = re.sub(rb"<!--.*?-->|<\?.*?\?>", b"", text, flags=re.DOTALL)
    directed = _graph(name, text)
    ends = [_attribute(name, text, *what) for what in ((b"node", b"id"), (b"edge", b"source"), (b"edge", b"target"))]
    node, src, dst = _vertices(name, ends, names)
    fields = _Data(name, text)
    return Parsed(node, src, dst, fields.of("node", len(node)), fields.of("edge", len(src)), directed)


def _check_xml(name, text):
    """Refuse what is not well-formed, or not plain enough. Local."""
    if b"\0" in text or b"<![CDATA[" in text:
        raise FormatError(f"{name} is UTF-16 or has CDATA sections; hpcmp reads plain UTF-8 GraphML")
    parser, root = expat.ParserCreate(), []

    def first_element(tag, attributes):
        root.append(tag)
        parser.StartElementHandler = None  # the rest stays inside expat

    def declaration(version, encoding, standalone):
        if encoding and encoding.lower() not in ("utf-8", "us-ascii", "ascii"):
            raise FormatError(f"{name} is encoded in {encoding}, hpcmp reads UTF-8; run: iconv -f {encoding} -t UTF-8")

    def entity(*declared):
        raise FormatError(f"{name} declares the entity {declared[0]!r}; hpcmp expands none")

    parser.StartElementHandler, parser.XmlDeclHandler, parser.EntityDeclHandler = first_element, declaration, entity
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise FormatError(f"{name} is not well-formed XML: {error}") from error
    if root != ["graphml"]:
        raise FormatError(f"{name} is XML, but its first element is {root[0]!r}, not 'graphml'")


def _graph(name, text):
    """Whether the one graph of the file is directed. Local."""
    graphs = re.findall(rb"<graph(?=[\s/>])(" + ATTRIBUTES + rb")", text)
    if len(graphs) != 1 or re.search(rb"<hyperedge[\s/>]", text):
        raise InputError(f"{name} has {len(graphs)} graphs or a hyperedge; hpcmp reads one graph of plain edges")
    default = _attributes(graphs[0]).get("edgedefault")
    if default not in ("directed", "undirected"):
        raise InputError(f"edgedefault of {name} is {default!r}, neither 'directed' nor 'undirected'")
    own = set(re.findall(rb"<edge(?=\s)" + ATTRIBUTES + rb"?\s+directed\s*=\s*" + QUOTED, text))
    if own - {b"true" if default == "directed" else b"false"}:
        raise InputError(f"an edge of {name} is not {default} as the rest; hpcmp wants all edges alike")
    return default == "directed"


def _attributes(text):
    found = re.findall(rb"(" + NAME + rb")\s*=\s*" + QUOTED, text)
    return {key.decode(): _plain(value).decode() for key, value in found}


def _attribute(name, text, tag, attribute):
    """An attribute of all elements of a kind: list of bytes. Local."""
    before = rb"<" + tag + rb"(?=[\s/>])"
    values = re.findall(before + ATTRIBUTES + rb"?\s+" + attribute + rb"\s*=\s*" + QUOTED, text)
    n = len(re.findall(before, text))
    if len(values) != n:
        raise InputError(f"{n - len(values)} of {n} <{tag.decode()}> of {name} have no {attribute.decode()}")
    return values


def _plain(text):
    """Text with the entities of XML replaced. Local."""
    if b"&" not in text:
        return text
    text = re.sub(rb"&#x0*([0-9A-Fa-f]+);", lambda found: chr(int(found[1], 16)).encode(), text)
    text = re.sub(rb"&#0*([0-9]+);", lambda found: chr(int(found[1])).encode(), text)
    for entity, meant in ((b"&lt;", b"<"), (b"&gt;", b">"), (b"&quot;", b'"'), (b"&apos;", b"'"), (b"&amp;", b"&")):
        text = text.replace(entity, meant)
    return text


# ---------------------------------------------------------------- nodes


def _vertices(name, ends, names):
    """Ids or names of nodes, sources and targets, of one dtype. Local."""
    ids = None if names else _as_ids(ends)
    if ids is None:
        ends = [_plain(b"\0".join(end)).split(b"\0") if end else [] for end in ends]
        width = max((max(map(len, end), default=1) for end in ends), default=1)
        _check_width(name, "a node id", width, sum(map(len, ends)))
        ids = [np.array(end, f"S{max(1, width)}") for end in ends]
    node, src, dst = ids
    for end in (src, dst):
        unknown = ~np.isin(end, node)
        if unknown.any():
            raise InputError(f"an edge of {name} ends at {_shown(end[unknown.argmax()])}, which is no node of the file")
    return node, src, dst


def _check_width(name, what, width, n):
    """Refuse n texts that would be stored as wide as the widest. Local."""
    if width > c.MAX_NAME_BYTES:
        raise InputError(f"{name} has {what} of {width} bytes, more than {c.MAX_NAME_BYTES}")
    refuse_more_than_is_free(width * n, f"{n} times {what} of {name}")


def _shown(key):
    return repr(key.decode("utf-8", "replace")) if isinstance(key, bytes) else str(key)


def _as_ids(ends):
    """All ends as int64 if they are all ``7`` or all ``n7``, else None. Local."""
    for prefix in (b"", b"n"):
        pattern = re.compile(rb"(?:" + prefix + INTEGER + rb"\n)*")
        joined = [b"\n".join([*end, b""]) for end in ends]
        if all(pattern.fullmatch(text) for text in joined):
            try:
                return [
                    _numbers(text.replace(prefix, b""), len(end), "long", "id")
                    for text, end in zip(joined, ends, strict=True)
                ]
            except LineError:  # beyond int64: names then
                return None
    return None


# ---------------------------------------------------------------- data


class _Data:
    """The ``<data>`` of a file, in order, and what their keys mean."""

    def __init__(self, name, text):
        self.name = name
        self.keys = re.findall(rb"<key(?=[\s/>])(" + ATTRIBUTES + rb")\s*(?:/>|>(.*?)</key>)", text, re.DOTALL)
        tags = np.array(re.findall(rb"<(edge|node|data|graph)(?=[\s/>])", text), "S5")
        keys = _attribute(name, text, b"data", b"key")
        _check_width(name, "a key", max(map(len, keys), default=1), len(keys))
        self.key = np.array(keys, "S")
        self.value = re.findall(rb"<data(?=[\s/>])" + ATTRIBUTES + rb"\s*/?>([^<]*)", text)
        opens = (
            np.maximum.accumulate(np.where(tags != b"data", np.arange(len(tags)), -1))
            if len(tags)
            else np.empty(0, int)
        )
        at = tags == b"data"
        self.kind = tags[opens[at]]  # what each datum belongs to
        self.number = {kind: (np.cumsum(tags == kind.encode()) - 1)[at] for kind in ("edge", "node")}

    def of(self, kind, n):
        """Numeric fields of the n elements of a kind. Local."""
        fields = {}
        for text, body in self.keys:
            key = _attributes(text)
            if key.get("for", "all") in (kind, "all") and key.get("attr.type") in TYPES:
                mine = (self.key == key.get("id", "").encode()) & (self.kind == kind.encode())
                if mine.any() or key.get("for") == kind:
                    name = key.get("attr.name", key.get("id", ""))
                    c.check_name(name)
                    if name in fields:
                        raise InputError(f"two keys of {self.name} name the {kind} field {name!r}")
                    fields[name] = self._column(kind, n, name, mine, key["attr.type"], body)
        return fields

    def _column(self, kind, n, name, mine, type_name, body):
        at = self.number[kind][mine]
        if len(np.unique(at)) != len(at):
            raise InputError(f"a {kind} of {self.name} has two data for {name}")
        default = re.search(rb"<default>([^<]*)</default>", body)
        if default is None and len(at) < n:
            first = int(np.setdiff1d(np.arange(n), at)[0]) + 1
            raise InputError(f"{kind} {first} of {self.name} has no {name}, and its key no <default>; add one")
        column = np.zeros(n, TYPES[type_name])
        try:
            if default is not None:
                column[:] = _numbers(default[1] + b"\n", 1, type_name, name)
            column[at] = _numbers(b"\n".join([*compress(self.value, mine.tolist()), b""]), len(at), type_name, name)
        except LineError as error:
            raise InputError(
                f"{error.problem} ({self.name}, datum {error.line(0)} of the {kind} key {name})"
            ) from error
        return column


def _numbers(text, n, type_name, what):
    """Lines of one number each as the dtype of a GraphML type. Local."""
    if type_name == "boolean":
        text = text.replace(b"true", b"1").replace(b"false", b"0")
    block = Block(np.frombuffer(text, np.uint8), 0, 0)
    tokens = r.tokens_of(block, None, b"", keeps_blank=True)
    rows = r.Rows(Share("", (block,), 0, True, len(text), {}), (tokens,), 1)
    if (np.diff(tokens.row_start) != 1).any() or tokens.n_rows != n:
        raise LineError(f"a {what} that is not one number", "", block)
    dtype = np.dtype(TYPES[type_name])
    wide = c.floats(rows, 0, what) if dtype.kind == "f" else c.integers(rows, 0, what)
    if dtype.kind != "f" and (wide.astype(dtype) != wide).any():
        raise LineError(f"a {what} that does not fit in {dtype}", "", block)
    return wide.astype(dtype)
