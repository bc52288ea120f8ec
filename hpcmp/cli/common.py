"""Pieces of the command line that several verbs share."""

import importlib.util
import sys
import traceback
from pathlib import Path

from hpcmp.errors import FileError, GraphError, ProgramError


def parse_value(text):
    """A value as an int, a float, true or false, else as text. Local."""
    lowered = text.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_settings(pairs, parse=parse_value, example="NAME=VALUE"):
    """``["k=v", ...]`` as a dict, each value as ``parse(text)``. Local.

    Raises
    ------
    ProgramError
        A piece has no ``=``.
    """
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ProgramError(f"--set {pair!r} has no value; write --set {example}")
        settings[key.strip()] = parse(value)
    return settings


def parse_range(option, text):
    """The first and last of ``A:B``, or of one number; None without. Local.

    Raises
    ------
    GraphError
        It is no range, or an empty one.
    """
    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        first, last = int(first), int(last) if colon else int(first)
    except ValueError as error:
        raise GraphError(f"{option} {text!r} is no range of steps; write A:B, both included") from error
    if first > last:
        raise GraphError(f"{option} {text!r} is empty: its first step comes after its last")
    return first, last


def load_program(spec):
    """A user's `Program` from ``path/to/file.py:name``. Local.

    Raises
    ------
    FileError, ProgramError
        There is no such file or name, the file fails, or it is no Program.
    """
    from hpcmp.algorithms import NAMES
    from hpcmp.engine.program import Program

    if not is_file_spec(spec):
        raise ProgramError(f"{spec!r} is neither a built-in program ({', '.join(NAMES)}) nor path/to/file.py:name")
    program = load_object(spec, "programs", lambda value: isinstance(value, Program))
    if not isinstance(program, Program):
        raise ProgramError(f"{spec} is a {type(program).__name__}; an hpcmp.Program is needed")
    return program


def is_file_spec(spec):
    """Whether a text has the form ``path/to/file.py:name``. Local."""
    path, colon, _ = spec.rpartition(":")
    return bool(colon) and path.endswith(".py")


def load_object(spec, what, is_one):
    """What a user's file holds under a name, from ``path/to/file.py:name``. Local.

    Parameters
    ----------
    what : str
        Plural of what is looked for, and with
    is_one : callable
        whether something is one of them: what to tell of a name that is not there.

    Raises
    ------
    FileError, ProgramError
        There is no such file or name, or the file fails.
    """
    path, _, name = spec.rpartition(":")
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path} does not exist")
    module = _import_file(path)
    if not hasattr(module, name):
        have = [k for k, v in vars(module).items() if is_one(v)]
        raise ProgramError(f"{path} has no {name!r}; its {what}: {', '.join(have) or 'none'}")
    return getattr(module, name)


def _import_file(path):
    """Import a file as a module, with its folder open to its own imports."""
    name = f"hpcmp_user_{path.stem}"
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # One that is edited twice within a second, to the same length, would be taken from the bytecode of the first edit.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        raise ProgramError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = before
    return module


def report_lines(graph, report):
    """What `build_graph` found, for people: list of str. Local."""
    kind = "directed" if graph.directed else "undirected"
    lines = [
        f"{kind} graph: {graph.n_vertices} vertices, {graph.n_edges} directed edges stored, {graph.n_parts} parts",
        f"read {report.n_lines} edges: {report.n_loops} loops, {report.n_duplicates} duplicates, "
        f"{report.n_isolated} vertices without edges",
    ]
    if report.dropped:
        lines.append(f"left out: {' and '.join(report.dropped)}")
    elif report.n_loops or report.n_duplicates:
        lines.append("loops and duplicates are kept; --drop-loops and --drop-duplicates leave them out")
    if graph.edge_fields:
        lines.append(f"edge fields: {', '.join(f'{k} ({a.dtype})' for k, a in graph.edge_fields.items())}")
    if graph.vertex_fields:
        shown = (f"{k} ({a.dtype}{'' if a.ndim == 1 else f' x {a.shape[1]}'})" for k, a in graph.vertex_fields.items())
        lines.append(f"vertex fields: {', '.join(shown)}")
    if graph.relations:
        lines.append(f"relations: {', '.join(graph.relations)}")
    return lines


def report_json(graph, report, output):
    """What `build_graph` found, for machines: dict. Local."""
    return {
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "directed": graph.directed,
        "n_parts": graph.n_parts,
        "n_lines": report.n_lines,
        "n_loops": report.n_loops,
        "n_duplicates": report.n_duplicates,
        "n_isolated": report.n_isolated,
        "dropped": list(report.dropped),
        "edge_fields": sorted(graph.edge_fields),
        "vertex_fields": sorted(graph.vertex_fields),
        "relations": list(graph.relations),
        "digest": graph.digest,
        "output": str(output),
    }
