"""The recipe of hpcmp for Spack.

    spack repo create my-repo mine      (says in which folder packages lie, and how to add it)
    mkdir PACKAGES/py_hpcmp; cp slurm/spack/package.py PACKAGES/py_hpcmp/     (before Spack 1.0: py-hpcmp)
    spack install py-hpcmp +metis ^mpich

Set ``git`` to where your clone lies.
"""
# ruff: noqa: F403, F405, SIM105

from spack.package import *

try:
    from spack_repo.builtin.build_systems.python import PythonPackage
except ImportError:  # before Spack 1.0 it comes with spack.package
    pass


class PyHpcmp(PythonPackage):
    """Message passing on graphs across MPI ranks, with the same bits on any number of them."""

    git = "file:///path/to/hpcmp"

    license("BSD-3-Clause")

    version("main", branch="main")

    variant("metis", default=False, description="Parts of graphs by METIS")
    variant("xarray", default=False, description="Results as datasets of xarray")
    variant("scipy", default=False, description="Matrices of scipy as input")
    variant("parquet", default=False, description="Tables in Parquet")
    variant("plot", default=False, description="Pictures")
    variant("safetensors", default=False, description="Weights in safetensors files")

    depends_on("python@3.10:", type=("build", "run"))
    depends_on("py-setuptools@64:", type="build")

    with default_args(type=("build", "run")):
        depends_on("py-numpy@2:")
        depends_on("py-numba")
        depends_on("py-h5py")
        depends_on("py-mpi4py@4:")  # brings the MPI library
        depends_on("py-threadpoolctl")
        depends_on("py-tomli", when="^python@:3.10")

        depends_on("py-pymetis", when="+metis")
        depends_on("py-xarray", when="+xarray")
        depends_on("py-h5netcdf", when="+xarray")
        depends_on("py-pandas", when="+xarray")
        depends_on("py-scipy", when="+scipy")
        depends_on("py-pandas", when="+parquet")
        depends_on("py-pyarrow", when="+parquet")
        depends_on("py-matplotlib", when="+plot")
        depends_on("py-safetensors", when="+safetensors")
