"""The rules of the house: who may import whom, and what an import may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dsnotes"
FLOORS = (
    *("shapes", "safety", "data", "softmask", "networks", "losses", "supervision", "training"),
    *("inference", "metrics", "viewers", "papers", "runs", "labs", "cli", "__main__"),
)
BARE = ("networks", "losses", "supervision", "training")  # run on a machine that has torch and numpy alone
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# A paper is a stem with a file in papers/ and one in networks/.
PAPERS = {p.stem for p in (PACKAGE / "papers").glob("*.py")} & {p.stem for p in (PACKAGE / "networks").glob("*.py")} - {
    "__init__"
}


def imports(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported anywhere in a file, inside functions too."""
    package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from dsnotes.networks import unet` imports a module, `from dsnotes.networks.unet import UNet` a name
            yield from (
                (node.lineno, f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in MODULES else origin)
                for alias in node.names
            )
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def floor(module: str) -> str:
    return module.split(".")[1]


def inside() -> Iterator[tuple[str, int, str]]:
    """Every (module, line, imported module) within the house; the front door `dsnotes/__init__.py` is no floor."""
    for module in MODULES:
        if module != "dsnotes":
            yield from (
                (module, line, name) for line, name in imports(parsed(module), module) if name.startswith("dsnotes")
            )


def test_every_file_stands_on_a_floor():
    assert {floor(module) for module in MODULES if module != "dsnotes"} <= set(FLOORS)


def test_imports_point_downwards():
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module, line, name in inside()
        if name == "dsnotes" or FLOORS.index(floor(name)) > FLOORS.index(floor(module))
    ]
    assert not wrong, "an import up the house:\n" + "\n".join(wrong)


def test_papers_never_import_each_other():
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module, line, name in inside()
        if (own := module.rpartition(".")[2]) in PAPERS
        and name.count(".") == 2
        and name.rpartition(".")[2] in PAPERS - {own}
    ]
    assert not wrong, "a paper leans on another paper; what they share belongs in a file of its own:\n" + "\n".join(
        wrong
    )


def test_baselines_never_import_papers():
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module, line, name in inside()
        if ".baselines" in module and name.rpartition(".")[2] in PAPERS
    ]
    assert not wrong, "a baseline leans on a paper:\n" + "\n".join(wrong)


def test_supervision_knows_no_network():
    """It builds heads and critics on what a backbone says of itself, so that it runs on every backbone."""
    allowed = {f"dsnotes.networks.{name}" for name in ("base", "heads", "critic", "regions")}
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module, line, name in inside()
        if floor(module) == "supervision" and floor(name) == "networks" and name not in allowed
    ]
    assert not wrong, "a supervision leans on a network:\n" + "\n".join(wrong)


def test_there_is_no_attic():
    attic = {"utils", "util", "helpers", "helper", "common", "misc"}
    rooms = ("dsnotes", "tests", "benchmarks", "data_scripts", "notebooks")
    wrong = [path for room in rooms for path in (ROOT / room).rglob("*") if path.stem.lower() in attic]
    assert not wrong, f"{wrong}: what is used on two floors is a concept; give it a name and a file"


def test_every_module_says_what_it_is():
    wrong = [str(path.relative_to(ROOT)) for module, path in MODULES.items() if not ast.get_docstring(parsed(module))]
    assert not wrong, f"{wrong}: a first sentence that says what is in there"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import dsnotes.papers.mu_net", [(1, "dsnotes.papers.mu_net")]),
        ("def f():\n    from dsnotes.networks import unet", [(2, "dsnotes.networks.unet")]),
        ("from dsnotes.networks.unet import UNet", [(1, "dsnotes.networks.unet")]),
        (
            "from . import blocks\nfrom ..data.case import Case",
            [(1, "dsnotes.networks.blocks"), (2, "dsnotes.data.case")],
        ),
        ("import_module('dsnotes.cli')", [(1, "dsnotes.cli")]),
    ],
)
def test_no_way_of_importing_is_overlooked(source, expected):
    assert list(imports(ast.parse(source), "dsnotes.networks.unet")) == expected


def fresh(program: str, *arguments: str) -> str:
    """What a program prints in an interpreter of its own."""
    command = [sys.executable, "-c", program, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


HEAVY = {
    *("SimpleITK", "cv2", "numba", "matplotlib", "scipy", "cc3d", "nibabel", "skimage", "pandas", "monai", "pydicom"),
    *("IPython", "ipywidgets", "ipyniivue", "itkwidgets", "papermill", "jupytext", "distributed", "dask", "h5py"),
}


def test_importing_dsnotes_loads_nothing():
    loaded = fresh("import dsnotes, sys; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert not {"torch", "numpy", *HEAVY} & set(loaded)


def test_importing_dsnotes_changes_nothing_outside_itself():
    told = "import os, sys; before = dict(os.environ); import dsnotes, torch; print(dict(os.environ) == before)"
    assert fresh(told).split() == ["True"]


def test_every_public_name_is_there_and_loads_nothing_heavy():
    program = (
        "import dsnotes, sys\n"
        "for name in dsnotes.__all__: assert callable(getattr(dsnotes, name)), name\n"
        "assert set(dsnotes.__all__) <= set(dir(dsnotes))\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    assert not HEAVY & set(fresh(program).split()), "import heavy libraries in the functions that use them"


def test_a_folder_is_adopted_and_drawn_without_torch():
    """Its import takes longer than checking and copying twenty scans."""
    modules = "dsnotes.runs.adopt_command, dsnotes.data.adopt, dsnotes.viewers.contact_sheet"
    loaded = fresh(f"import sys, {modules}\nprint(*{{name.split('.')[0] for name in sys.modules}})").split()
    assert not {"torch", "scipy", "nibabel", "numba"} & set(loaded)


def test_an_unknown_public_name_is_answered_with_the_known_ones():
    import dsnotes

    with pytest.raises(AttributeError, match=r"no 'train'.*build, fit.*from dsnotes\.data import phantoms"):
        dsnotes.train  # noqa: B018


# Hides every installed package but torch, numpy and what torch itself requires, then imports the modules of argv.
BARE_MACHINE = """
import importlib.util, re, sys
from importlib import import_module, metadata

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

installed = {plain(each.name) for each in metadata.distributions()}

def required(name, seen):
    seen.add(name)
    for line in metadata.requires(name) or []:
        other = plain(re.match("[A-Za-z0-9._-]+", line)[0])
        if "extra ==" not in line and other in installed - seen:
            required(other, seen)
    return seen

kept = required("torch", {"numpy", "dsnotes"})
hidden = {top for top, owners in metadata.packages_distributions().items() if not kept & set(map(plain, owners))}
hidden -= sys.stdlib_module_names
assert {"scipy", "tqdm", "matplotlib", "jaxtyping"} <= hidden

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"{name!r} is not on a machine with torch and numpy alone", name=name)

sys.meta_path.insert(0, Absent())
find = importlib.util.find_spec  # torch asks whether something is there, and is told that it is not
importlib.util.find_spec = lambda name, *package: None if name.split(".")[0] in hidden else find(name, *package)
for module in sys.argv[1:]:
    import_module(module)
"""


def test_the_networks_and_their_training_need_torch_and_numpy_alone():
    modules = [module for module in MODULES if module != "dsnotes" and floor(module) in BARE]
    assert len(modules) > len(BARE)
    fresh(BARE_MACHINE, *modules)


BARE_STEP = """
import numpy, torch
from dsnotes.data.case import Case
from dsnotes.networks.unet import UNet
from dsnotes.supervision import multi_scale, plain, soft_adversarial, supervise
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.fit import fit
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep
from dsnotes.training.system import System

label = numpy.zeros((16, 16), numpy.uint8)
label[4:9, 5:12] = 1
cases = [Case("square", label + 0.1 * numpy.random.randn(16, 16).astype(numpy.float32), label, (1.0, 1.0),
              {"soft": label.astype(numpy.float32)})]
for objective, step in (
    (plain.Plain(), PlainStep),
    (multi_scale.MultiScale(), GradNormStep),
    (soft_adversarial.SoftAdversarial(critic_width=4), AdversarialStep),
):
    network = supervise(UNet(width=4, depth=3), objective)
    system = System("bare", network, objective, Settings(epochs=1, batch=1, augment=True), make_step=step)
    history = fit(system, cases, cases, device="cpu", checkpointing=True)
    assert numpy.isfinite(history[-1]["loss"]), history[-1]
    print("trained with", step.__name__)
"""


def test_a_bare_machine_trains():
    """Also augmented, with GradNorm, against a critic, and with blocks computed again."""
    said = fresh(BARE_MACHINE + BARE_STEP)
    assert re.findall(r"trained with (\w+)", said) == ["PlainStep", "GradNormStep", "AdversarialStep"]
