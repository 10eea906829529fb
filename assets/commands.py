"""The README's pictures of two commands: what `dsnotes adopt` draws, and a page of feedback from `dsnotes labs grade`.

    python assets/commands.py          writes assets/adopt.png and assets/feedback.png; needs chromium and bubblewrap

The scans are phantoms; the graded notebook is the first lab's reference with one function wrong (tests/labs/wrong).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk
from PIL import Image
from playwright.sync_api import sync_playwright

from dsnotes.data import phantoms

HERE = Path(__file__).parent.absolute()
WIDTH, HEIGHT = 980, 660  # of the page of feedback, pixels


def dsnotes(*words: str, cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", "dsnotes", *words], cwd=cwd, check=True)


def adopted(folder: Path) -> Path:
    """The contact sheet that `dsnotes adopt` draws of four pairs."""
    (folder / "scans").mkdir()
    for case in phantoms.kidneys(4, seed=1):
        for array, name in ((case.image, f"{case.name}.nii.gz"), (case.label, f"{case.name}_seg.nii.gz")):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(case.spacing[::-1])
            sitk.WriteImage(volume, str(folder / "scans" / name))
    dsnotes("adopt", "scans", "--label", "1=kidney", "--label", "2=tumour", "--output", "mine", cwd=folder)
    return folder / "mine" / "contact_sheets" / "page-1.png"


def feedback(folder: Path) -> Path:
    """The upper part of a student's page."""
    sys.path.insert(0, str(HERE.parent / "tests" / "labs"))
    from coursework import LABS, WRONG, wrong_one

    wrong = next(each for each in WRONG["lab1_dice"] if "test-dice-each" in each["loses"])
    (folder / "submissions" / "ada").mkdir(parents=True)
    (folder / "submissions" / "ada" / "lab1_dice.ipynb").write_bytes(wrong_one(LABS["lab1_dice"], wrong))
    dsnotes("labs", "grade", "submissions", "--source", str(HERE.parent / "notebooks" / "labs"), cwd=folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto((folder / "course" / "feedback" / "ada" / "lab1_dice.html").as_uri())
        page.screenshot(path=folder / "feedback.png")
        browser.close()
    return folder / "feedback.png"


def main() -> None:
    for make in (adopted, feedback):
        with tempfile.TemporaryDirectory() as folder:
            picture = Image.open(make(Path(folder))).convert("RGB")
        target = HERE / f"{'adopt' if make is adopted else 'feedback'}.png"
        picture.quantize(192, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
