"""A sweep as a Slurm job array: one shell command per run. Submitting it again resumes."""

from __future__ import annotations

import math
import os
import shlex
import sys
from pathlib import Path

from dsnotes.runs.plan import Plan
from dsnotes.runs.results_io import RefusedError
from dsnotes.safety.atomic import write_text

MAX_ARRAY_SIZE = 1000  # jobs per array that Slurm accepts by default


def write_job_array(plan: Plan, file: str | os.PathLike, *, out: str | os.PathLike = "runs") -> Path:
    """Write the script for `sbatch`; its jobs skip finished runs and resume interrupted ones."""
    if len(plan.runs) > MAX_ARRAY_SIZE:
        raise RefusedError(
            f"{plan.path} has {len(plan.runs)} runs, and Slurm accepts arrays of {MAX_ARRAY_SIZE}; "
            f"split it, for instance with -p seed=0"
        )
    commands = [shlex.join(_command(plan, values, out)) for values in plan.runs]
    lines = [
        "#!/usr/bin/env bash",
        f"# The {len(commands)} runs of {plan.path}; options of your cluster go on the command line, for instance:",
        f"#     sbatch --gpus=1 --time=08:00:00 --array=0-{len(commands) - 1}%4 {shlex.quote(str(file))}",
        "# Submit it again after a failure: finished runs are skipped, interrupted ones resume.",
        f"#SBATCH --job-name={_job_name(plan.path.stem)}",
        f"#SBATCH --array=0-{len(commands) - 1}",
        "#SBATCH --requeue",
        "#SBATCH --output=%x-%A_%a.log",
        *([f"#SBATCH --time={math.ceil(plan.timeout / 60) + 5}"] if plan.timeout else []),  # minutes
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
        'case "${SLURM_ARRAY_TASK_ID:?submit this file with sbatch}" in',
        *(f"{number}) exec {command} ;;" for number, command in enumerate(commands)),
        '*) echo "there is no run $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;',
        "esac",
    ]
    write_text(Path(file), "\n".join(lines) + "\n")
    return Path(file)


def _command(plan: Plan, values: dict, out: str | os.PathLike) -> list[str]:
    """`dsnotes run` with the values that differ from the notebook's own."""
    changed = {name: v for name, v in values.items() if v != plan.source.parameters[name].default}
    typed = {name: value if isinstance(value, str) else repr(value) for name, value in changed.items()}
    if plan.source.check(plan.source.read(typed)) != values:
        raise RefusedError(f"{plan.path}: {typed} cannot be written on a command line; use dsnotes sweep --scheduler")
    words = [sys.executable, "-m", "dsnotes", "run", str(plan.source.path), "--out", str(out)]
    words += [word for name, text in typed.items() for word in ("-p", f"{name}={text}")]
    return [*words, *(["--timeout", str(plan.timeout)] if plan.timeout else [])]


def _job_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)
