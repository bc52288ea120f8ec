# What the batch scripts of this folder share; sourced by them, for bash.
# shellcheck shell=bash
#
# Variables that all of them heed, set on the command line of sbatch:
#
#   sbatch --export=ALL,HPCMP_LAUNCHER=srun,HPCMP_SRUN_MPI=pmix slurm/run.sbatch ...
#
#   HPCMP_SLURM         the folder of these scripts        (default: that of the script which sbatch was given)
#   HPCMP_VENV          the environment to activate        (default: .venv in the folder sbatch was called in, if there)
#   HPCMP_LAUNCHER      mpirun | srun                      (default: mpirun where one lies beside python, as with the MPI
#                                                           wheels from PyPI; else srun)
#   HPCMP_SRUN_MPI      how srun talks to the MPI library  (default: pmi2; `srun --mpi=list` tells what this Slurm offers)
#   HPCMP_LAUNCH_FLAGS  further flags of the launcher
#   HPCMP_BIND          no: ranks are not bound to cores   (default: each to as many as it has threads; by mpirun only where
#                                                           the job has all cores of its nodes)
#   HPCMP_DOCTOR        no: start at once                  (default: `hpcmp doctor` first says what it thinks of the job)
#   HPCMP_KERNELS       file that keeps compiled kernels from job to job, or no: leave the cache where hpcmp has it
#                                                          (default: ~/.cache/hpcmp/kernels-MACHINE.tar; no if
#                                                           HPCMP_CACHE_DIR or NUMBA_CACHE_DIR is set)
#   HPCMP_NODE_FOLDER   where on each node they lie meanwhile (default: TMPDIR, else /tmp)
#
# and of scripts that go on after a requeue:
#
#   HPCMP_MAX_RESTARTS  so many at most, then the job ends with exit code 85 (default: 100)
#   HPCMP_MAX_HANGS     so many runs that --watchdog ended at most (default: 2)
#   HPCMP_MAX_WALLTIME  --max-walltime of each start       (default: what the job's time limit leaves, less HPCMP_MARGIN)
#   HPCMP_MARGIN        seconds for what comes after the run (default: 30)

RESUBMIT=85    # exit code of a run that has left after a checkpoint
HANG=86        # and of one that the watchdog has ended
OLD_DAYS=30    # kernels of a version of hpcmp that was not run for so long are forgotten
ASK_AGAIN_S=2  # a run that has just begun removes the stop file of the one before

say() { echo "hpcmp: $*" >&2; }

die() {
    say "$*"
    exit 2
}

# of_job NAME: what `scontrol show job` says of this job alone; the number of an array's task may be the array's own.
of_job() {
    scontrol show job --oneliner "$SLURM_JOB_ID" | grep "^JobId=$SLURM_JOB_ID " | tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1
}

RESTARTS=$(of_job Restarts)
JOB=$(of_job ArrayTaskId) # its name
if [ -n "$JOB" ]; then JOB=$(of_job ArrayJobId)_$JOB; else JOB=$SLURM_JOB_ID; fi

# prepare: sets PYTHON, THREADS and the array LAUNCH, the command line that starts ranks.
prepare() {
    local venv=${HPCMP_VENV:-$SLURM_SUBMIT_DIR/.venv} launcher=${HPCMP_LAUNCHER:-auto} flags
    if [ -d "$venv" ]; then
        export PATH="$venv/bin:$PATH"
    elif [ -n "${HPCMP_VENV:-}" ]; then
        die "HPCMP_VENV=$HPCMP_VENV is no folder on $(hostname)"
    fi
    PYTHON=$(command -v python || command -v python3) || die "no python on PATH; name an environment by HPCMP_VENV"

    # The environment is that of the first start; `scontrol update` may have changed the job since.
    if [ "$RESTARTS" -gt 0 ]; then SLURM_NTASKS=$(of_job NumTasks); fi
    export SLURM_NTASKS
    THREADS=${SLURM_CPUS_PER_TASK:-1}
    export OMP_NUM_THREADS=$THREADS

    if [ "$launcher" = auto ]; then
        if [ -x "$(dirname "$PYTHON")/mpirun" ]; then launcher=mpirun; else launcher=srun; fi
    fi
    case $launcher in
    mpirun) # MPICH and Open MPI find the job's nodes by themselves
        LAUNCH=(mpirun -n "$SLURM_NTASKS")
        # They use srun to start one helper on each node, which with these would get the cores of one rank for all its ranks.
        unset SRUN_CPUS_PER_TASK SLURM_CPUS_PER_TASK
        export SLURM_CPU_BIND=none
        ;;
    srun)
        LAUNCH=(srun "--mpi=${HPCMP_SRUN_MPI:-pmi2}")
        export SRUN_CPUS_PER_TASK=$THREADS # since 22.05 srun does not take it from the job
        ;;
    *) die "HPCMP_LAUNCHER=$launcher is neither mpirun nor srun" ;;
    esac
    read -ra flags <<<"$(binding "$launcher") ${HPCMP_LAUNCH_FLAGS:-}"
    LAUNCH+=("${flags[@]}")

    echo "job $JOB, start $((RESTARTS + 1)): $SLURM_NTASKS ranks on $SLURM_JOB_NODELIST, $THREADS threads each," \
        "by ${LAUNCH[*]}" >&2
    spread_kernels
    # What doctor finds is for the reader; what cannot work, hpcmp refuses itself.
    if [ "${HPCMP_DOCTOR:-yes}" != no ]; then
        "${LAUNCH[@]}" "$PYTHON" -m hpcmp doctor || say "hpcmp doctor ended with exit code $?"
    fi
}

# ---- cores

# binding LAUNCHER: flags that give each rank THREADS cores of its own.
binding() {
    local bind=${HPCMP_BIND:-yes} per_node=${SLURM_TASKS_PER_NODE%%[!0-9]*} installed unit
    if [ "$1" = srun ]; then
        if [ "$bind" = no ]; then echo --cpu-bind=none; else echo --cpu-bind=cores; fi
        return
    fi
    # mpirun counts cores from the machine's first, whichever of them Slurm gave to the job.
    installed=$(nproc --all)
    [ "$installed" -eq "$SLURM_CPUS_ON_NODE" ] || bind=no
    # A CPU of Slurm may be half a core: ranks get whole ones where there are enough.
    if [ $((2 * per_node * THREADS)) -le "$installed" ]; then unit=core; else unit=hwthread; fi
    case "$bind $unit $(mpirun --version 2>&1)" in
    *"Open MPI"* | *OpenRTE* | *PRRTE*)
        case "$bind $unit" in
        no*) echo --bind-to none ;;
        *core) echo "--map-by slot:PE=$THREADS --bind-to core" ;;
        *) echo "--map-by slot:PE=$THREADS:HWTCPUS --bind-to hwthread" ;;
        esac
        ;;
    no*) ;;
    *Intel*) ;; # binds by itself
    *HYDRA*) echo "-bind-to $unit:$THREADS" ;;
    esac
}

# ---- compiled kernels
#
# Thousands of small files in a home folder that all nodes read at once are slow. So each node unpacks one file into a folder
# of its own before ranks start, where they share what one of them compiles; what is new on the first node is packed
# afterwards. A file is replaced as a whole: numba numbers its entries, and those of two caches must never be mixed.

CACHE='' # the folder on each node, if there is one

# shellcheck disable=SC2016  # expanded on the nodes
UNPACK='
umask 077
if mkdir "$1" 2>/dev/null; then
    if [ -f "$2" ]; then tar -xf "$2" -C "$1"; fi && touch "$1/.unpacked"
else # made by another node, if the folder is shared
    [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]
fi'

on_each_node() {
    if [ "$SLURM_NNODES" -eq 1 ]; then
        "$@"
    else
        srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --mpi=none --cpu-bind=none "$@"
    fi
}

spread_kernels() {
    KERNELS=${HPCMP_KERNELS:-$HOME/.cache/hpcmp/kernels-$(uname -m).tar}
    if [ -z "${HPCMP_KERNELS:-}" ] && [ -n "${HPCMP_CACHE_DIR:-}${NUMBA_CACHE_DIR:-}" ]; then KERNELS=no; fi
    [ "$KERNELS" != no ] || return 0
    # A name that nobody else can have made before: what lies there is run.
    trap forget_kernels EXIT
    CACHE=$(mktemp -du "${HPCMP_NODE_FOLDER:-${TMPDIR:-/tmp}}/hpcmp-XXXXXXXXXXXX")
    if on_each_node bash -c "$UNPACK" unpack "$CACHE" "$KERNELS"; then
        export HPCMP_CACHE_DIR=$CACHE
    else
        say "$CACHE could not be made and filled on each node; kernels stay in hpcmp's own cache"
        forget_kernels
    fi
}

forget_kernels() {
    [ -z "$CACHE" ] || on_each_node rm -rf "$CACHE" || true
    CACHE=''
}

collect_kernels() {
    local lock
    [ -n "$CACHE" ] || return 0
    if [ -n "$(find "$CACHE" -name '*.nbc' -newer "$CACHE/.unpacked" | head -n 1)" ]; then
        while read -r lock; do rm -rf "$(dirname "$lock")"; done \
            < <(find "$CACHE" -mindepth 2 -maxdepth 2 -name lock -mtime "+$OLD_DAYS")
        if mkdir -p "$(dirname "$KERNELS")" && tar -cf "$KERNELS.$SLURM_JOB_ID" -C "$CACHE" .; then
            mv -f "$KERNELS.$SLURM_JOB_ID" "$KERNELS"
        else
            say "what was compiled could not be kept in $KERNELS"
            rm -f "$KERNELS.$SLURM_JOB_ID"
        fi
    fi
    forget_kernels
}

# ---- one start

FOLDER='' # of checkpoints, where a run can be told to leave
ASKING='' # who tells it

# The run looks for the file each second, whatever launcher and MPI library stand between it and this shell.
ask_to_leave() {
    [ -n "$FOLDER" ] && [ -z "$ASKING" ] || return 0
    say "signal received; the run is told to leave by $FOLDER/stop"
    while sleep "$ASK_AGAIN_S"; do
        put_stop_file
    done &
    ASKING=$!
    put_stop_file
}

put_stop_file() { [ ! -d "$FOLDER" ] || touch "$FOLDER/stop" || true; }

# start VERB ARGUMENTS: on all ranks, to its end; its exit code in CODE.
start() {
    local verb=$1 run
    shift
    # In the background, since bash heeds signals between commands only.
    "${LAUNCH[@]}" "$PYTHON" -m hpcmp "$verb" --threads "$THREADS" "$@" &
    run=$!
    while kill -0 "$run" 2>/dev/null; do wait "$run" || true; done
    CODE=0
    wait "$run" || CODE=$?
    if [ -n "$ASKING" ]; then kill "$ASKING" 2>/dev/null || true; fi
    if [ -n "$FOLDER" ]; then rm -f "$FOLDER/stop"; fi
    collect_kernels
}

# ---- a run that goes on after a requeue

# has OPTION ARGUMENTS: is it among them?
has() {
    local option=$1 argument
    shift
    for argument; do
        case $argument in "$option" | "$option"=*) return 0 ;; esac
    done
    return 1
}

# value_of OPTION ARGUMENTS: of the last of its name, "--option value" or "--option=value"; or nothing.
value_of() {
    local option=$1 value=''
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        "$option") value=${2:-} ;;
        "$option"=*) value=${1#*=} ;;
        esac
        shift
    done
    echo "$value"
}

# Seconds that the run may take by the job's time limit; nothing if there is none.
seconds_left() {
    local end left
    end=$(of_job EndTime)
    case $end in [0-9]*) ;; *) return 0 ;; esac # Unknown
    left=$(($(date -d "$end" +%s) - $(date +%s) - ${HPCMP_MARGIN:-30}))
    if [ "$left" -gt 0 ]; then echo "$left"; else echo 1; fi
}

# What this job and its runs have said since its first start.
own_output() {
    [ -f /proc/self/fd/2 ] || return 0 # a terminal, or nowhere
    sed -n "/^job $JOB, start 1:/,\$p" /proc/self/fd/2
}

# Where this job's runs left: "step 12" or "epoch 3 of seed 0", one a line.
places_left_at() {
    own_output | sed -nE "s/.*checkpointed after (step [0-9]+|epoch [0-9]+ of seed [0-9]+) in .*/\1/p"
}

# Did the last start come further than the one before? Yes where that cannot be known.
came_further() {
    local places n_before n_last rest_before rest_last _
    mapfile -t places < <(places_left_at)
    [ "${#places[@]}" -ge 2 ] || return 0
    read -r _ n_before rest_before <<<"${places[-2]}"
    read -r _ n_last rest_last <<<"${places[-1]}"
    [ "$rest_before" != "$rest_last" ] || [ "$n_last" -gt "$n_before" ]
}

# go_on VERB ARGUMENTS: from the newest checkpoint; leave in time and requeue the job, until done. Ends the script.
go_on() {
    local verb=$1 walltime option own=''
    shift
    case $verb in
    train)
        for option in -o --output --checkpoint; do
            if has "$option" "$@"; then FOLDER=$(value_of "$option" "$@"); fi
        done
        [ -n "$FOLDER" ] || die "name a folder for the training: -o RUN"
        ;;
    run | simulate)
        FOLDER=$(value_of --checkpoint "$@")
        if [ -z "$FOLDER" ]; then
            own=$PWD/hpcmp-$SLURM_JOB_ID.checkpoints
            FOLDER=$own
            set -- "$@" --checkpoint "$FOLDER"
        fi
        ;;
    *) die "$verb cannot be checkpointed; run, train and simulate can" ;;
    esac
    # --force in a job that is new means to begin anew.
    if [ "$RESTARTS" -gt 0 ] || ! has --force "$@"; then set -- "$@" --resume; fi
    trap ask_to_leave USR1 TERM
    prepare
    if ! has --max-walltime "$@"; then
        walltime=${HPCMP_MAX_WALLTIME:-$(seconds_left)}
        if [ -n "$walltime" ]; then set -- "$@" --max-walltime "$walltime"; fi
    fi
    start "$verb" "$@"
    if [ "$CODE" -eq 0 ] && [ -n "$own" ]; then rm -rf "$own"; fi
    case $CODE in "$RESUBMIT" | "$HANG") requeue ;; esac
    exit "$CODE"
}

requeue() {
    local state hangs
    state=$(of_job JobState)
    hangs=$(own_output | grep -c 'so the job ends (--watchdog)') || true
    if [ "$state" != RUNNING ]; then # cancelled, or requeued by Slurm itself
        say "the job is $state and is not requeued"
    elif [ "$RESTARTS" -ge "${HPCMP_MAX_RESTARTS:-100}" ]; then
        say "requeued $RESTARTS times, HPCMP_MAX_RESTARTS; submit again to go on from $FOLDER"
    elif [ "$CODE" -eq "$HANG" ] && [ "$hangs" -gt "${HPCMP_MAX_HANGS:-2}" ]; then
        say "the watchdog has ended $hangs runs of this job, over HPCMP_MAX_HANGS; what they waited for is told above"
    elif [ "$CODE" -eq "$RESUBMIT" ] && ! came_further; then
        say "this start came no further than the one before; the time limit may be too short for a step and its checkpoint"
    elif scontrol requeue "$JOB"; then
        exit 0
    else
        say "the job cannot be requeued; submit again to go on from $FOLDER"
    fi
}
