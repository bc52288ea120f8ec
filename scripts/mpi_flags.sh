#!/usr/bin/env bash
# Prints the flags that a launcher needs on this machine: scripts/mpi_flags.sh MPIEXEC
# The one place that knows them; the other scripts and the tests ask here.
#
# Open MPI refuses to start as root, and to start more ranks than there are cores, unless told to. MPICH (hydra) does both.
case "$("${1:-mpiexec}" --version 2>&1)" in
*"Open MPI"* | *OpenRTE* | *PRRTE*)
    flags="--oversubscribe"
    [ "$(id -u)" -eq 0 ] && flags="$flags --allow-run-as-root"
    echo "$flags"
    ;;
esac
