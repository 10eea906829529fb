"""A folder of somebody's scans to a prediction on disk: what each command takes, and how much of it is training.

    python benchmarks/own_data.py [--write]

Twenty pairs of NIfTI files in a messy layout (two ways to name a label, two orientations, one scan without a label) are
drawn, then the three commands of the README run as a reader types them, each in its own process with one thread.
Processor time includes the notebook's kernel; that of `dsnotes.fit` is taken inside the kernel. Everything else counts
as ours: starting Python, importing torch, checking and copying files, pictures, scoring, predicting.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import keep, machine, table

COMMANDS, MINUTES, OURS = 5, 5, 10.0
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "80_experiment.py"
TIMED = """# IPython runs this before the notebook's first cell
import os, pathlib, time
from dsnotes.training import fit as module
_fit = module.fit
def fit(*args, **options):
    clock = time.process_time()
    try:
        return _fit(*args, **options)
    finally:
        pathlib.Path(os.environ["FIT_SECONDS"]).write_text(str(time.process_time() - clock))
module.fit = fit
"""


def write_folder(folder: Path, cases: int) -> None:
    """Half the scans are stored turned by 180° with labels called -label, half straight with labels called _seg."""
    import SimpleITK as sitk

    from dsnotes.data import phantoms

    def write(path: Path, array: np.ndarray, case, turned: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(array[:, ::-1, ::-1] if turned else array)
        image.SetSpacing(case.spacing[::-1])
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1) if turned else (1, 0, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(path), useCompression=True)

    *patients, new = phantoms.kidneys(cases + 1, seed=0, size=(16, 64, 64))
    for number, case in enumerate(patients):
        turned, image = bool(number % 2), case.image.astype("int16")
        place = folder / "scans" / ("north" if turned else "")
        write(place / f"pat{number:02d}.nii.gz", image, case, turned)
        write(place / f"pat{number:02d}{'-label' if turned else '_seg'}.nii.gz", case.label, case, turned)
    write(folder / "scans" / "pat99.nii.gz", new.image.astype("int16"), new, False)
    write(folder / "new.nii.gz", new.image.astype("int16"), new, False)


def commands(folder: Path, options: argparse.Namespace) -> list[str]:
    training = {"system": "unet-3d", "width": 8, "patch": [16, 32, 32], "batch": 2, "epochs": options.epochs}
    training |= {"iterations": 25, "lr": 3e-3, "normalise": "foreground", "folds": 4, "validation": 0.2}
    typed = " ".join(f"-p '{name}={value}'" for name, value in training.items())
    return [
        "dsnotes adopt scans --label 1=kidney --label 2=tumour --output mine",
        f"dsnotes run {NOTEBOOK} -p data={folder / 'mine'} {typed} --out runs",
        "dsnotes predict runs/80_experiment-* new.nii.gz --output predictions",
    ]


def run(command: str, folder: Path) -> tuple[float, float, float]:
    """Processor seconds of the command with its kernel, those of `fit`, and wall seconds."""
    fit, start = folder / "fit_seconds", folder / "ipython" / "profile_default" / "startup"
    fit.unlink(missing_ok=True)
    start.mkdir(parents=True, exist_ok=True)
    (start / "timed.py").write_text(TIMED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython"), "FIT_SECONDS": str(fit)}
    line = f"exec {command}".replace("exec dsnotes", f"exec {shlex.quote(sys.executable)} -m dsnotes", 1)
    clock = time.monotonic()
    process = subprocess.Popen(["bash", "-c", line], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, float(fit.read_text()) if fit.exists() else 0.0, time.monotonic() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12, help="of 25 steps each")
    parser.add_argument("--write", action="store_true", help="keep the table in results/own_data.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_folder(folder, options.cases)
        typed = commands(folder, options)
        torch = [run(f"{shlex.quote(sys.executable)} -c 'import torch'", folder)[0]]
        taken = {command: run(command, folder) for command in typed}
        torch.append(run(f"{shlex.quote(sys.executable)} -c 'import torch'", folder)[0])
        assert (folder / "predictions" / "new.nii.gz").is_file()
    total = np.sum(list(taken.values()), 0)
    ours = total[0] - total[1]
    rows = [
        [f"`{' '.join(c.split()[:2])} …`", *(f"{s:.1f}" for s in (*each, each[0] - each[1]))]
        for c, each in taken.items()
    ]
    rows.append(["all", *(f"{s:.1f}" for s in (*total, ours))])
    text = "\n".join(
        [
            "## Your own data",
            "",
            f"`python benchmarks/own_data.py` on a {machine()}: {options.cases} pairs of 16×64×64 voxels, unet-3d of "
            f"width 8, {options.epochs} epochs of 25 steps. One run; one thread.",
            "",
            table(["command", "processor s", "of which training", "wall s", "ours: processor s"], rows),
            "",
            f"{len(typed)} commands (at most {COMMANDS}), {total[2]:.0f} s (at most {60 * MINUTES}), ours {ours:.1f} s "
            f"(at most {OURS:.0f}). `import torch`, which two of them need, took {torch[0]:.1f} s before and "
            f"{torch[1]:.1f} s after: other work on a machine slows that down, too.",
        ]
    )
    print(text)
    if options.write:
        keep("own_data", text)
    if len(typed) > COMMANDS or total[2] > 60 * MINUTES or ours > OURS:
        sys.exit("not reached")


if __name__ == "__main__":
    main()
