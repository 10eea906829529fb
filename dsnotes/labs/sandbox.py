"""The sandbox for student code: bubblewrap or a container, with only Python and its libraries from this machine.

Bubblewrap (https://github.com/containers/bubblewrap) gives an empty root, its own process namespace and no network;
the worker then blocks system calls with libseccomp (`refuse_system_calls`) and sets its own limits before it runs a
student's first line. The container does the same with the engine's own options.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dsnotes.runs.source import RefusedError

PACKAGE = Path(__file__).resolve().parents[1]
INSIDE = "/opt/lab"
OURS = ("__init__.py", "labs/__init__.py", "labs/wire.py", "labs/worker.py", "labs/lockdown.py", "labs/score.py")
INSTALL = (
    "install bubblewrap 0.7 or newer and libseccomp (Debian, Ubuntu: apt-get install bubblewrap libseccomp2; Fedora: "
    "dnf install bubblewrap; conda: conda install -c conda-forge bubblewrap libseccomp), or use a container: "
    "--sandbox docker --image NAME"
)
AT_YOUR_RISK = "--unsafe-no-sandbox runs student code with your rights, on all your files; only for code you trust"


@dataclass(frozen=True)
class Limits:
    """Limits of one submission. Memory is beyond what the libraries use before the first cell."""

    seconds: float = 600  # wall-clock time for the whole notebook
    cell_seconds: float = 60  # processor time for one cell or call
    cpu_seconds: int = 300
    memory_mb: int = 1024
    file_mb: int = 64

    @property
    def clock_seconds(self) -> float:
        """Wall-clock limit for one cell, which may sleep rather than compute."""
        return 5.0 * self.cell_seconds


@dataclass(frozen=True)
class Sandbox:
    name: str  # "bubblewrap", "docker", "podman", "none"
    program: str = ""
    image: str = ""

    @property
    def safe(self) -> bool:
        return self.name != "none"

    def command(self, limits: Limits, needs: Sequence[str] = (), label: str = "dsnotes-lab") -> list[str]:
        """The command that starts a worker, which answers on its standard streams."""
        python = [sys.executable if not self.image else "python", "-s", "-P", "-m", "dsnotes.labs.worker"]
        told = json.dumps(asdict(limits) | {"safe": self.safe})
        if self.name == "none":
            return [*python, told]
        if self.name == "bubblewrap":
            return [self.program, *_bubblewrap(limits, needs), "--", *python, told]
        return [self.program, *_container(limits, needs, label), self.image, *python, told]

    def environment(self) -> dict[str, str]:
        if self.name == "none":
            return os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path]), "MPLBACKEND": "agg"}
        return {
            name: os.environ[name] for name in ("PATH", "HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST") if name in os.environ
        }

    def end(self, label: str) -> None:
        """Stop a container, which outlives the client that started it."""
        if self.image:
            subprocess.run([self.program, "kill", label], capture_output=True, timeout=30, check=False)

    def refusal(self) -> str:
        """Why it does not start here; empty if it does."""
        command = self.command(Limits())
        command[command.index("-m") :] = ["-c", "import pyseccomp"]
        try:
            ran = subprocess.run(
                command, env=self.environment(), capture_output=True, text=True, timeout=120, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if ran.returncode == 0 else (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]


def _variables() -> Iterator[tuple[str, str]]:
    yield from {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": INSIDE,
        "PYTHONDONTWRITEBYTECODE": "1",
    }.items()
    for folder in ("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        yield folder, "/tmp"
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        yield threads, "1"
    yield "MPLBACKEND", "agg"


def _ours(needs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The worker, and only the parts of the library that the lab names, so that no answer can be imported."""
    if "*" in needs:
        yield str(PACKAGE), f"{INSIDE}/dsnotes"
        return
    for name in (*OURS, *needs):
        found = PACKAGE / name if (PACKAGE / name).exists() else PACKAGE / f"{name}.py"
        yield str(found), f"{INSIDE}/dsnotes/{found.relative_to(PACKAGE)}"


def _libraries() -> Iterator[Path]:
    """Python and its installed packages, without the user's `site-packages`, as with `python -s`."""
    for prefix in dict.fromkeys(map(Path, (sys.prefix, sys.base_prefix))):
        if not prefix.is_relative_to("/usr"):
            yield from (prefix / part for part in ("bin", "lib", "lib64", "pyvenv.cfg") if (prefix / part).exists())


def _bubblewrap(limits: Limits, needs: Sequence[str]) -> Iterator[str]:
    yield from ("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--hostname", "lab")
    yield from ("--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv")
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("/bin", "/sbin", "/lib", "/lib64", "/lib32"):
        if os.path.islink(name):
            yield from ("--symlink", os.readlink(name), name)
        elif os.path.isdir(name):
            yield from ("--ro-bind", name, name)
    yield from ("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev")
    yield from ("--size", str(limits.file_mb << 20), "--tmpfs", "/tmp")
    for path in _libraries():
        yield from ("--ro-bind", str(path), str(path))
        if PACKAGE.is_relative_to(path):
            yield from ("--tmpfs", str(PACKAGE))
    for outside, inside in _ours(needs):
        yield from ("--ro-bind", outside, inside)
    for name, value in _variables():
        yield from ("--setenv", name, value)
    yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp")


def _container(limits: Limits, needs: Sequence[str], label: str) -> Iterator[str]:
    yield from ("run", "--rm", "--interactive", "--name", label, "--network", "none", "--ipc", "none", "--read-only")
    yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534")
    memory = f"{limits.memory_mb + 1024}m"
    yield from ("--memory", memory, "--memory-swap", memory, "--pids-limit", "64", "--workdir", "/tmp")
    yield from ("--tmpfs", f"/tmp:rw,nosuid,nodev,size={limits.file_mb}m")
    for outside, inside in _ours(needs):
        yield from ("--volume", f"{outside}:{inside}:ro")
    for name, value in _variables():
        yield from ("--env", f"{name}={value}")


def choose(name: str | None = None, *, image: str = "", unsafe: bool = False) -> Sandbox:
    """The named sandbox, by default bubblewrap; an error if it does not start, unless `unsafe`."""
    if unsafe:
        return Sandbox("none")
    name = name or "bubblewrap"
    program = shutil.which({"bubblewrap": "bwrap"}.get(name, name))
    if program is None:
        raise RefusedError(f"{name} is not installed, so nothing was graded: {INSTALL}. {AT_YOUR_RISK}")
    if name != "bubblewrap" and not image:
        raise RefusedError(
            f"--sandbox {name} needs --image NAME; notebooks/labs/README.md has the five lines that make one"
        )
    sandbox = Sandbox(name, program, image)
    if why := sandbox.refusal():
        raise RefusedError(f"{name} does not start here ({why}), so nothing was graded: {INSTALL}. {AT_YOUR_RISK}")
    return sandbox
