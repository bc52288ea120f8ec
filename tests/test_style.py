"""What the style guide says and a machine can check."""

import ast
import re
from pathlib import Path

import launch as launching
import pytest

PACKAGE = launching.ROOT / "hpcmp"
SOURCES = sorted(PACKAGE.rglob("*.py"))
WHO_CALLS = ("Collective.", "Local.")
COMPILED = {"kernel", "inlined", "overload", "intrinsic", "overload_method", "overload_attribute"}
MAX_SUMMARY = 79
UNWANTED = {
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "finish it, or file an issue",
    r"\braise NotImplementedError\b": "finish it, or raise an HpcmpError that says what is not offered",
    r"fastmath\s*=\s*True": "results must have the same bits everywhere",
    r"allow_pickle\s*=\s*True": "nothing that is read is unpickled",
}


def name_of(path):
    return path.relative_to(launching.ROOT).as_posix()


def public_functions(tree):
    """Functions of a module and methods of its public classes, not those inside functions: (owner, node)."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            owned = [(f"{node.name}.", inner) for inner in node.body]
        else:
            owned = [("", node)]
        for owner, function in owned:
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and not function.name.startswith("_"):
                yield owner, function


def decorators(function):
    for node in function.decorator_list:
        node = node.func if isinstance(node, ast.Call) else node
        yield node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_property(function):
    return {"property", "cached_property", "setter"} & set(decorators(function))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_function_says_what_it_does_and_who_must_call_it(path):
    tree, wrong = ast.parse(path.read_text()), []
    if tree.body and not ast.get_docstring(tree) and [type(n) for n in tree.body] != [ast.Assign]:
        wrong.append("line 1: the file has no docstring")
    for owner, function in public_functions(tree):
        where = f"line {function.lineno}: {owner}{function.name}"
        text = ast.get_docstring(function)
        if is_property(function):
            continue
        if not text:
            wrong.append(f"{where} has no docstring")
            continue
        summary = text.splitlines()[0]
        if len(summary) > MAX_SUMMARY:
            wrong.append(f"{where}: first line has {len(summary)} characters, more than {MAX_SUMMARY}: {summary}")
        if not summary.endswith(WHO_CALLS) and not COMPILED & set(decorators(function)):
            wrong.append(f"{where}: first line ends in neither Collective. nor Local.: {summary}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_unwanted_is_left(path):
    lines = path.read_text().splitlines()
    wrong = [
        f"line {number}: {line.strip()}: {why}"
        for number, line in enumerate(lines, 1)
        for pattern, why in UNWANTED.items()
        if re.search(pattern, line)
    ]
    assert not wrong, "\n".join(wrong)


def told_files():
    """Files and folders (with a / at the end) that the table of docs/structure.md names, below hpcmp/."""
    for line in (launching.ROOT / "docs" / "structure.md").read_text().splitlines():
        folder = ""
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", line.split(" | ")[0] if line.startswith("| `") else ""):
            folder = name[: name.rfind("/") + 1] or folder  # a name alone lies where the one before it does
            yield folder + name[name.rfind("/") + 1 :]


def test_every_file_has_a_place_in_the_table_of_the_structure():
    told = set(told_files())
    files = {path.relative_to(PACKAGE).as_posix() for path in SOURCES if not path.name.startswith("__")}
    folders = {f"{folder.as_posix()}/" for name in files for folder in Path(name).parents}
    assert not {name for name in files if name not in told and not name.startswith(tuple(told & folders))}
    assert not told - files - folders, "no longer there"


def test_tests_and_scripts_say_what_they_are():
    folders = ("tests", "examples", "scripts", "slurm")
    files = [path for folder in folders for path in (launching.ROOT / folder).rglob("*.py")]
    assert not [
        name_of(path) for path in files if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]


def test_shell_scripts_stop_at_errors_or_are_sourced():
    scripts = [
        *launching.ROOT.glob("scripts/*.sh"),
        *launching.ROOT.glob("slurm/*.sh"),
        *launching.ROOT.glob("slurm/*.sbatch"),
        launching.ROOT / ".ci" / "run",
    ]
    assert scripts
    for path in scripts:
        text = path.read_text()
        assert "set -e" in text or "sourced by" in text or path.name == "mpi_flags.sh", path
