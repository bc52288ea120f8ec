"""The recipe for Spack asks for what setup.py asks for; Spack itself is a stand-in here."""

import contextlib
import re
import runpy
import sys
import types

import launch as launching
import pytest
import setuptools

RECIPE = launching.ROOT / "slurm" / "spack" / "package.py"


@pytest.fixture
def recipe(monkeypatch):
    """What the recipe declares: (class, {(package, version, variant)}, variants)."""
    needs, variants, spack = set(), set(), types.ModuleType("spack.package")
    common = {}

    @contextlib.contextmanager
    def default_args(**args):
        common.update(args)
        yield
        common.clear()

    def depends_on(spec, when="", **args):
        assert {**common, **args}["type"] in ("build", ("build", "run"))
        name, _, version = spec.removeprefix("py-").partition("@")
        needs.add((name, version, when))

    known = {"PythonPackage": object, "default_args": default_args, "depends_on": depends_on}
    known |= {
        "variant": lambda name, **_: variants.add(name),
        "version": lambda *_, **__: None,
        "license": lambda _: None,
    }
    vars(spack).update(known)
    monkeypatch.setitem(sys.modules, "spack", types.ModuleType("spack"))
    monkeypatch.setitem(sys.modules, "spack.package", spack)
    return runpy.run_path(str(RECIPE))["PyHpcmp"], needs, variants


@pytest.fixture
def metadata(monkeypatch):
    """The arguments of setup.py's call."""
    told = {}
    monkeypatch.setattr(setuptools, "setup", told.update)
    monkeypatch.setattr(setuptools, "find_packages", lambda **_: [])
    names = runpy.run_path(str(launching.ROOT / "setup.py"))
    return told | {"optional": names["OPTIONAL"]}


def as_spack(requirement, when=""):
    """``numpy>=2`` as Spack says it."""
    name, version = re.match(r"([\w-]+)(?:>=([\d.]+))?", requirement).groups()
    if "python_version < '3.11'" in requirement:
        when = "^python@:3.10"
    return name, f"{version}:" if version else "", when


def test_the_recipe_asks_for_what_setup_asks_for(recipe, metadata):
    cls, needs, variants = recipe
    wanted = {as_spack(requirement) for requirement in metadata["install_requires"]}
    wanted |= {as_spack(r, f"+{extra}") for extra in metadata["optional"] for r in metadata["extras_require"][extra]}
    wanted |= {as_spack(f"python{metadata['python_requires']}"), ("setuptools", "64:", "")}
    assert needs == wanted
    assert variants == set(metadata["optional"])
    assert cls.__doc__.strip(".").startswith(metadata["description"])
