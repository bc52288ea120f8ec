"""Scripts of this folder as jobs of several ranks, and what they print."""

import json

import launch as launching

TESTS = launching.ROOT / "tests"


def run_script(n, name, *args, env=None, timeout=100, cwd=None):
    """``python tests/NAME ARGS`` on n ranks to its end: CompletedProcess. Local."""
    return launching.run(launching.command(n, TESTS / name, *args), cwd, launching.environment(env), timeout)


def outcomes_of(n, commands, folder, timeout=100, cwd=None):
    """What each of many commands did, run in as few jobs of n ranks as can be. Local.

    Parameters
    ----------
    commands : list of lists
        Arguments of `hpcmp`.
    folder : Path
        Where the list of commands and what they did are kept.

    Returns
    -------
    list of dict
        ``code``, ``stdout`` and ``stderr`` (one text a rank) as
        tests/commands_job.py tells them. A command that ended its job has the
        code None and the job's standard error; the next begins another job.
    """
    commands = [[str(argument) for argument in command] for command in commands]
    listed, done = folder / f"commands-{n}.json", folder / f"done-{n}.jsonl"
    outcomes = []
    while len(outcomes) < len(commands):
        listed.write_text(json.dumps(commands[len(outcomes) :]))
        done.write_text("")
        try:
            said = run_script(n, "commands_job.py", listed, done, timeout=timeout, cwd=cwd).stderr
        except AssertionError as error:  # it hangs
            said = str(error)
        outcomes += [json.loads(line) for line in done.read_text().splitlines()]
        if len(outcomes) < len(commands):
            outcomes.append({"code": None, "stdout": "", "stderr": [f"the job ended in this command:\n{said[-3000:]}"]})
    return outcomes


def run_commands(n, commands, folder, timeout=100, cwd=None):
    """Standard output of each of many commands that must succeed. Local."""
    outcomes = outcomes_of(n, commands, folder, timeout, cwd)
    for command, outcome in zip(commands, outcomes, strict=True):
        shown = f"$ hpcmp {' '.join(map(str, command))}\n{''.join(outcome['stderr'])}"
        assert outcome["code"] == 0, f"exit code {outcome['code']}\n{shown[-4000:]}"
    return [outcome["stdout"] for outcome in outcomes]


def read_ldbc(path):
    """Lines ``id value``: dict of int to text. Local."""
    pairs = [line.split() for line in path.read_text().splitlines() if line.strip()]
    assert len({int(i) for i, _ in pairs}) == len(pairs), f"{path} names a vertex twice"
    return {int(i): value for i, value in pairs}
