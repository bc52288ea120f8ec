"""Where ReFrame runs the checks: this machine, or a Slurm cluster; to be copied and fitted to yours."""

ENVIRONMENT = {"name": "python", "target_systems": ["*"]}  # the one that is active when `reframe` is called

site_configuration = {
    "systems": [
        {
            "name": "here",
            "descr": "this machine, with the MPI on PATH",
            "hostnames": [".*"],
            "partitions": [
                {"name": "default", "scheduler": "local", "launcher": "mpirun", "max_jobs": 1, "environs": ["python"]}
            ],
        },
        {
            "name": "cluster",
            "descr": "a Slurm cluster, chosen by --system cluster",
            "hostnames": [],
            "partitions": [
                {
                    "name": "default",
                    "scheduler": "slurm",  # "squeue" where Slurm keeps no accounts
                    "launcher": "srun",  # with SLURM_MPI_TYPE=pmi2 or pmix; or mpirun, with the wheels from PyPI
                    "environs": ["python"],
                }
            ],
        },
    ],
    "environments": [ENVIRONMENT],
}
