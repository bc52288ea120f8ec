"""Files of training: the history of all epochs, and checkpoints."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hpcmp.analysis.frame import PROVENANCE, check_field, field_of, pandas
from hpcmp.io import checkpoint, h5


@dataclass(frozen=True)
class HistoryFile:
    """Epochs on disk. ``history[column]`` is one number an epoch and seed."""

    path: Path
    n_rows: int
    config: dict  # tables, as the configuration had them
    columns: dict  # name -> Field
    graph_digest: str
    mpi_library: str
    sources: list
    attrs: dict

    @classmethod
    def read_frame(cls, handle, path):
        """All but the rows, from an open file. Local."""
        head = checkpoint.history_head(handle, path)
        columns = {name: field_of(*found) for name, found in head.pop("columns").items()}
        return cls(path=Path(path), columns=columns, attrs=h5.attributes(handle, path), **head)

    def __getitem__(self, name):
        """A column, (n_rows,); read anew each time. Local."""
        check_field(name, self.columns, self.path)
        with h5.opened(self.path, h5.HISTORY) as handle:
            return h5.read(h5.dataset(handle, name, path=self.path, ndim=1, rows=self.n_rows), self.path)

    @cached_property
    def rows(self):
        """All columns: dict of str to array."""
        return {name: self[name] for name in self.columns}

    def to_pandas(self):
        """A pandas frame by (seed, epoch). Local."""
        return pandas().DataFrame(self.rows).set_index(["seed", "epoch"]).drop(columns=checkpoint.ROW)

    def check(self):
        """Read all of it. Local."""
        return self.rows

    def facts(self):
        """What the file is about, for people: dict. Local."""
        return {
            "file": str(self.path),
            "kind": "history",
            "n_epochs": self.n_rows,
            "seeds": [str(seed) for seed in sorted(set(self["seed"].tolist()))] if "seed" in self.columns else [],
            "columns": sorted(self.columns),
            **_shared(self),
        }


@dataclass(frozen=True)
class CheckpointFile:
    """A training of one seed on disk."""

    path: Path
    seed: int
    n_epochs: int
    n_in: int
    n_out: int
    n_relations: int
    n_vertices: int
    config: dict
    arrays: dict  # weights/NAME, best/NAME, optimizer/KIND/NAME -> (shape, dtype)
    columns: dict
    digest: str  # of the final weights
    graph_digest: str
    rows_digest: str
    code: str
    content: str
    mpi_library: str
    sources: list
    attrs: dict

    @classmethod
    def read_frame(cls, handle, path):
        """All but the numbers, from an open file. Local."""
        return cls(path=Path(path), attrs=h5.attributes(handle, path), **checkpoint.checkpoint_head(handle, path))

    def check(self):
        """Compare all of it with the digest it was written with. Local."""
        return checkpoint.load_checkpoint(self.path)

    def facts(self):
        """What the file is about, for people: dict. Local."""
        weights = {n.partition("/")[2]: s for n, (s, _) in self.arrays.items() if n.startswith(checkpoint.WEIGHTS)}
        return {
            "file": str(self.path),
            "kind": "checkpoint",
            "seed": self.seed,
            "n_epochs": self.n_epochs,
            "parameters": {name: " x ".join(map(str, shape)) for name, shape in weights.items()},
            "digest": self.digest,
            **_shared(self),
        }


def _shared(found):
    return {
        "config": found.config,
        "graph_digest": found.graph_digest,
        "mpi_library": found.mpi_library,
        **{name: found.attrs[name] for name in PROVENANCE if name in found.attrs},
        "sources": found.sources,
    }
