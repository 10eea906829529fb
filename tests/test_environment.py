"""The ways of installing the project agree with each other, checked without conda and without the network."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def requirements() -> list[Requirement]:
    """Every direct dependency, of the library and of its extras, without the project itself."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [each for each in map(Requirement, lines) if each.name != "dsnotes"]


def pins() -> dict[str, list[Requirement]]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Requirement]] = {}
    for pin in (Requirement(line) for line in lines if line and not line.startswith("#")):
        found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def test_conda_supplies_python_and_pip_and_pip_the_rest():
    *conda, last = CONDA["dependencies"]
    assert CONDA["name"] == "dsnotes"
    assert CONDA["channels"] == ["conda-forge"]
    assert [rattler.MatchSpec(spec, strict=True).name.normalized for spec in conda] == ["python", "pip"]
    assert last == {"pip": ["-c constraints.txt", "-e .[all]"]}


def test_conda_chooses_a_python_that_the_project_supports():
    (python,) = (spec for spec in CONDA["dependencies"] if str(spec).startswith("python"))
    assert PROJECT["requires-python"] in python


def test_every_line_of_the_conda_environment_gives_its_reason():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if re.match(r" +- (?!pip:)", line) and " # " not in line] == []


def test_pixi_takes_what_conda_takes_and_pip_the_rest_with_the_pins():
    pixi = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pixi"]
    assert pixi["workspace"]["channels"] == CONDA["channels"]
    conda = [spec.replace(" ", "") for spec in CONDA["dependencies"][:-1]]
    assert [f"{name}{version}" for name, version in pixi["dependencies"].items()] == conda
    installs = Requirement(f"dsnotes{re.search(r'-e [.](.+)$', pixi['tasks']['install'])[1]}")
    assert installs.extras <= set(EXTRAS)
    assert "-c constraints.txt" in pixi["tasks"]["install"]
    assert pixi["tasks"]["lab"]["depends-on"] == ["install"]


def test_the_devcontainer_makes_the_environment_that_make_makes():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert re.search(rf"^{re.escape('.venv/.lab .venv/.all')}:", (ROOT / "Makefile").read_text("utf-8"), flags=re.M)
    assert container["postCreateCommand"] == "make .venv/.all"
    assert "/.venv/bin/python" in container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_every_workflow_is_yaml_and_calls_targets_that_the_makefile_has(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    targets = set(re.findall(r"^([\w./ ]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    known = {word for target in targets for word in target.split()}
    called = [
        word
        for job in workflow["jobs"].values()
        for step in job.get("steps", [])
        for word in re.findall(r"^make (\S+)", step.get("run", ""), flags=re.M)
    ]
    assert set(called) <= known
    assert called


def test_all_means_every_extra():
    assert set(Requirement(EXTRAS["all"][0]).extras) == set(EXTRAS) - {"all"}


@pytest.mark.parametrize("wanted", requirements(), ids=str)
def test_every_dependency_has_one_exact_pin_that_its_floor_allows(wanted):
    chosen = pins().get(canonicalize_name(wanted.name), [])
    assert len(chosen) == 1, f"constraints.txt pins {wanted.name} {len(chosen)} times; its header tells how to renew it"
    (exact,) = chosen[0].specifier
    assert exact.operator == "=="
    assert wanted.specifier.contains(exact.version, prereleases=True)


def test_the_pins_are_of_no_machine():
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or not re.search(r"\+cpu|\+cu|@|://|^-", line), line


def test_the_makefile_installs_extras_that_exist():
    for named in re.findall(r"EXTRAS := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8")):
        assert set(named.split(",")) <= set(EXTRAS)


def test_the_oldest_and_newest_python_are_run_by_the_workflow():
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    run = {each["python"] for each in matrix["strategy"]["matrix"]["include"]}
    supported = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: Python :: 3." in name]
    assert {supported[0], supported[-1]} <= run
    assert PROJECT["requires-python"] == f">={supported[0]}"


@pytest.fixture
def cpu_index():
    """A package index that answers for torch, as the one of torch's CPU wheels does."""

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *_):
            """Nothing on the terminal."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cpu"
    server.shutdown()
    server.server_close()


@pytest.fixture
def installed(tmp_path: Path):
    """installed("TORCH=cpu") -> what `make lab` tells and the pip commands it would run, in a folder of its own."""
    if shutil.which("make") is None or sys.platform == "win32":
        pytest.skip("needs make and a POSIX shell")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    stub, record = tmp_path / "python", tmp_path / "pip.txt"
    stub.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" "$@"\necho "$*" >> "{record}"\n')
    stub.chmod(0o755)

    def made(*words: str, path: str = "") -> tuple[str, str]:
        record.write_text("")
        environment = os.environ | {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
        command = ["make", "-B", ".venv/.lab", f"PY={stub}", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.stdout + done.stderr, record.read_text()

    return made


def without_nvidia_driver() -> bool:
    return (
        sys.platform == "linux" and not Path("/proc/driver/nvidia/version").exists() and not shutil.which("nvidia-smi")
    )


@pytest.mark.skipif(not without_nvidia_driver(), reason="a machine with a GPU, or not Linux")
def test_linux_without_a_gpu_takes_the_cpu_wheels_and_says_so(installed, cpu_index):
    told, pip = installed(f"CPU_INDEX={cpu_index}")
    assert f"torch for the CPU, from {cpu_index}" in told
    assert "TORCH=cuda" in told
    assert pip.count(f"--extra-index-url {cpu_index}") == 2


def test_cuda_can_be_chosen_and_a_driver_chooses_it(installed, cpu_index, tmp_path):
    assert "extra-index" not in installed("TORCH=cuda", f"CPU_INDEX={cpu_index}")[1]
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "nvidia-smi").write_text("#!/bin/sh\n")
    (driver / "nvidia-smi").chmod(0o755)
    assert "extra-index" not in installed(f"CPU_INDEX={cpu_index}", path=str(driver))[1]
    assert cpu_index in installed("TORCH=cpu", f"CPU_INDEX={cpu_index}", path=str(driver))[1]


def test_an_index_that_cannot_be_reached_is_left_out(installed):
    told, pip = installed("TORCH=cpu", "CPU_INDEX=http://127.0.0.1:9/cpu")
    assert "http://127.0.0.1:9/cpu cannot be reached" in told
    assert "install" in pip
    assert "extra-index" not in pip


def test_an_unknown_build_of_torch_is_refused(installed):
    told, pip = installed("TORCH=gpu")
    assert "TORCH=gpu is unknown; write TORCH=cpu, TORCH=cuda" in told
    assert "install" not in pip.replace("pip --version", "")


def test_lab_begins_with_the_projects_settings_and_keeps_a_readers_layout(tmp_path):
    if shutil.which("make") is None or sys.platform == "win32":
        pytest.skip("needs make and a POSIX shell")
    from jupyterlab_server.workspaces_handler import slugify

    shutil.copy(ROOT / "Makefile", tmp_path)
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\necho "$JUPYTERLAB_WORKSPACES_DIR" > "{tmp_path}/workspaces.txt"\n')
    stub.chmod(0o755)
    lab = ["make", "-o", ".venv/.lab", "lab", f"PY={stub}"]
    subprocess.run(lab, cwd=tmp_path, capture_output=True, check=True)

    overrides = json.loads((tmp_path / ".venv/share/jupyter/lab/settings/overrides.json").read_text())
    for name, values in overrides.items():
        plugin, setting = name.split(":")
        schema = Path(sys.prefix) / "share/jupyter/lab/schemas" / plugin / f"{setting}.json"
        assert set(values) <= set(json.loads(schema.read_text(encoding="utf-8"))["properties"])

    workspaces = Path((tmp_path / "workspaces.txt").read_text().strip())
    [layout] = workspaces.iterdir()
    assert layout.name == f"{slugify('default')}.jupyterlab-workspace"
    assert json.loads(layout.read_text())["data"]["layout-restorer:data"]["left"]["current"] == "filebrowser"
    layout.write_text("what Lab has kept")
    subprocess.run(lab, cwd=tmp_path, capture_output=True, check=True)
    assert layout.read_text() == "what Lab has kept"
