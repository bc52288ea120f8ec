"""Imports only point down: the layers of hpcmp, and what each may load."""

import ast
import subprocess
import sys

import launch as launching
import pytest

PACKAGE = launching.ROOT / "hpcmp"

BASE = {"errors", "dtypes", "hashing", "memory", "pulse", "workers"}
MPI = BASE | {"comm", "watchdog", "id_order", "changed_rows", "exchange", "halo", "mail", "partition"}
NUMBA = BASE | {"jit", "random", "kernels"}
BOTH = MPI | NUMBA | {"edges", "directory", "labels", "graph", "assemble", "parts"}  # loops over edges are compiled
ENGINE = BOTH | {"io", "generate", "engine"}

# Layer, and the layers its files may import; itself always. "" is `import hpcmp`, the public names.
MAY_IMPORT = {
    "errors": set(),
    "dtypes": set(),
    "hashing": set(),
    "memory": set(),
    "pulse": set(),
    "workers": set(),
    "comm": BASE,
    "watchdog": BASE | {"comm"},
    "id_order": BASE | {"comm"},
    "changed_rows": BASE,
    "exchange": BASE | {"comm"},
    "halo": BASE | {"comm", "changed_rows", "exchange"},
    "mail": BASE | {"comm", "changed_rows"},
    "partition": BASE | {"comm"},
    "edges": BASE | {"comm", "kernels"},
    "directory": BASE | {"comm", "kernels"},
    "labels": BASE | {"comm"},
    "graph": BASE | {"comm", "halo", "partition", "kernels", "edges"},
    "assemble": BASE | {"comm", "partition", "edges", "directory", "labels", "graph"},
    "parts": BASE | {"comm", "partition", "kernels", "edges", "directory", "graph"},
    "jit": BASE,
    "random": BASE | {"jit"},
    "kernels": BASE | {"jit", "random"},
    "io": BOTH,
    "generate": BOTH | {"io"},
    "engine": ENGINE,
    "algorithms": ENGINE | {""},
    "nn": ENGINE | {""},
    "agents": ENGINE | {"analysis", ""},
    "analysis": BASE | {"io"},
    "cli": ENGINE | {"algorithms", "nn", "agents", "analysis", ""},
    "__main__": {"cli"},
}

# Package outside hpcmp, and the layers that may import it.
MAY_LOAD = {
    "mpi4py": BOTH - NUMBA | {"generate", "io", "engine", "algorithms", "nn", "agents", "cli"},
    "numba": {"jit", "random", "kernels", "engine", "nn", "agents", "cli"},
    "h5py": {"io"},
}

# (file, what it imports): exceptions, each with its reason.
ALLOWED = {}


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Every module that a file imports, at its top or inside a function, as absolute dotted names."""
    package = ("hpcmp", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            for alias in node.names:  # of `from hpcmp import halo`, the module is hpcmp.halo
                if (module, alias.name) == ("hpcmp", "__version__"):
                    continue  # a word, which any layer may write into its files
                is_module = module.split(".")[0] == "hpcmp" and _is_module(f"{module}.{alias.name}")
                yield node.lineno, f"{module}.{alias.name}" if is_module else module


def _is_module(dotted):
    path = PACKAGE.parent.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_every_file_lies_in_a_layer():
    assert {layer_of(path) for path in sources()} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_point_down(path):
    layer, wrong = layer_of(path), []
    if layer == "__init__":
        return  # its names are loaded on first use; what `import hpcmp` loads is tested below
    for line, module in imports_of(path):
        top, _, rest = module.partition(".")
        if top == "hpcmp":
            below = rest.split(".")[0]
            legal = below == layer or below in MAY_IMPORT[layer]
        else:
            legal = layer in MAY_LOAD.get(top, {layer}) or (name_of(path), top) in ALLOWED
        if not legal:
            wrong.append(f"line {line}: {layer} must not import {module}")
    assert not wrong


def test_exceptions_are_still_needed():
    for name, package in ALLOWED:
        path = PACKAGE / name
        assert not path.exists() or package in {module.split(".")[0] for _, module in imports_of(path)}


def test_only_the_command_line_takes_the_whole_world():
    found = set()
    for path in sources():
        if layer_of(path) == "cli":
            continue
        tree = ast.parse(path.read_text())
        for function in [tree, *(n for n in tree.body if isinstance(n, ast.FunctionDef))]:
            for node in ast.walk(function):
                if getattr(node, "attr", getattr(node, "id", "")) == "COMM_WORLD" or (
                    isinstance(node, ast.alias) and node.name == "COMM_WORLD"
                ):
                    found.add((name_of(path), node.lineno, getattr(function, "name", "")))
    in_world = {(path, line) for path, line, function in found if (path, function) == ("comm.py", "world")}
    assert {(path, line) for path, line, _ in found} == in_world


def loaded_by(statement):
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = launching.run([sys.executable, "-c", program], env=launching.environment())
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_hpcmp_starts_no_mpi_and_compiles_nothing():
    assert not loaded_by("import hpcmp") & {"mpi4py", "numba", "llvmlite", "h5py"}


def test_reading_results_needs_neither_mpi_nor_numba():
    assert not loaded_by("import hpcmp.analysis") & {"mpi4py", "numba", "llvmlite"}


def test_importing_hpcmp_takes_under_a_fifth_of_a_second():
    program = "import time, numpy; start = time.perf_counter(); import hpcmp; print(time.perf_counter() - start)"
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", program], env=launching.environment())) for _ in range(5)
    ]
    assert min(seconds) < 0.2  # the best of five: the machine may be busy
