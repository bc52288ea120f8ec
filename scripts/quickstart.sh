#!/usr/bin/env bash
# From a clean clone to checked results: sets up all it needs, generates a graph, converts it, runs PageRank and BFS on
# two MPI ranks, verifies both and prints the ten highest ranks. Needs only Python >= 3.10 with pip; see setup_env.sh.
#
#   bash scripts/quickstart.sh [SCALE]        2^SCALE vertices, 16 edges each; default 16
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

SCALE=${1:-16}
VENV=$(absolute "${HPCMP_VENV:-$ROOT/.venv}")
OUT=$ROOT/quickstart
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two ranks share this machine

install "$VENV" xarray
find_mpi "$VENV" "${HPCMP_MPI:-auto}"
export PATH=$VENV/bin:$PATH

mkdir -p "$OUT"
cd "$OUT"

# Each command is shown as one would type it.
show() {
    echo
    echo "\$ $*"
}
alone() {
    show hpcmp "$@"
    hpcmp "$@"
}
on_two_ranks() {
    show mpirun -n 2 hpcmp "$@"
    # shellcheck disable=SC2086  # the flags are words
    "$MPIEXEC" $MPI_FLAGS -n 2 python -m hpcmp "$@"
}

GRAPH=kron$SCALE
alone generate kronecker --scale "$SCALE" -o "$GRAPH.tsv" --force
alone convert "$GRAPH.tsv" --undirected --drop-duplicates --drop-loops -o "$GRAPH.h5"
on_two_ranks run pagerank "$GRAPH.h5" --steps 20 --verify -o pagerank.h5
alone info pagerank.h5 --top rank 10

top=$(python -c 'from hpcmp import analysis; print(analysis.open("pagerank.h5").top("rank", 1)[0][0])')
echo
echo "BFS from the vertex of highest rank, $top:"
on_two_ranks run bfs "$GRAPH.h5" --source "$top" --verify -o bfs.h5

cat <<MESSAGE

All checked. To look at the results (in $OUT):

  source $VENV/bin/activate
  python
  >>> from hpcmp import analysis
  >>> ranks = analysis.open("$OUT/pagerank.h5")
  >>> ranks.id, ranks["rank"]                        # numpy arrays, by ascending id
  >>> ranks.top("rank", 10)
  >>> import xarray
  >>> xarray.open_dataset("$OUT/pagerank.h5", engine="h5netcdf")
MESSAGE
