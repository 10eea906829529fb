"""A real JupyterLab on this machine and a real browser in front of it."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
IMJOY = "https://cdn.jsdelivr.net/npm/vue@2.6.10/dist/vue.min.js"  # itkwidgets' extension asks for it as Lab starts
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass(frozen=True)
class Lab:
    """A JupyterLab server whose root is an empty folder, and nothing of this user's own settings."""

    address: str
    token: str
    folder: Path

    def put(self, name: str, *sources: str) -> str:
        """Write a notebook of these code cells."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), self.folder / name)
        return name

    def url(self, notebook: str) -> str:
        """In a workspace of its own: Lab opens the tabs of the last one again."""
        return f"{self.address}/lab/workspaces/{secrets.token_hex(4)}/tree/{quote(notebook)}?token={self.token}&reset"


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JPY_", "MPLBACKEND"))} | own
    quiet = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"checkForUpdates": false, "fetchNews": "false"}')  # no dialogue over the notebook
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    environment |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1"}
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--port-retries=0",
        f"--IdentityProvider.token={token}",
    ]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=folder, env=environment, stdout=log, stderr=log
        )
        lab = Lab(f"http://127.0.0.1:{port}", token, folder)
        try:
            _wait_for(f"{lab.address}/api?token={token}", server, home / "lab.log")
            yield lab
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:  # it speaks, but not as expected
            raise AssertionError(f"JupyterLab answered {error.code}:\n{log.read_text()[-3000:]}") from None
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start within four minutes:\n{log.read_text()[-3000:]}")


@pytest.fixture
def lab(_server: Lab) -> Iterator[Lab]:
    """The server with an empty folder."""
    yield _server
    for path in _server.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")  # while it lives, no other playwright can begin, and the book's tests have their own
def _browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Notebook:
    """An open notebook; `went_out` lists requests to other machines that the test did not answer, except `IMJOY`."""

    page: object
    went_out: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    @property
    def cells(self):
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")

    def run_all(self, *, timeout: float = 120) -> None:
        """Run → Run All Cells, until every cell has a new number or one has failed."""
        before, end = self.prompts(), time.monotonic() + timeout
        while time.monotonic() < end:
            prompts = self.prompts()
            if prompts != before and all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts):
                return
            if errors := self.errors():
                raise AssertionError("a cell failed:\n" + "\n".join(errors))
            if "[*]:" not in prompts:  # what is clicked while the kernel still connects is forgotten
                self.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
                self.page.get_by_role("menuitem", name="Run", exact=True).click()
                self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            self.page.wait_for_timeout(1000)
        raise AssertionError(f"after {timeout} s the prompts are {self.prompts()}: see {self.keep('stuck')}")

    def prompts(self) -> list[str]:
        """Every cell's number; those outside the window are read from the notebook's own model."""
        found = []
        for at in range(self.cells.count()):
            found.append(self.cells.nth(at).locator(".jp-InputPrompt").first.text_content().strip())
        return found

    def errors(self) -> list[str]:
        """Tracebacks; Lab shows them as it shows what is printed to stderr."""
        shown = self.page.locator("[data-mime-type='application/vnd.jupyter.stderr']", has_text="Traceback")
        return [shown.nth(at).inner_text() for at in range(shown.count())]

    def heard(self, words: str, *, timeout: float = 90) -> None:
        """Wait until the browser's console has these words."""
        end = time.monotonic() + timeout
        while not any(words in line for line in self.console):
            assert time.monotonic() < end, f"after {timeout} s the console has no {words!r}: see {self.keep('stuck')}"
            self.page.wait_for_timeout(500)

    @staticmethod
    def pixels(canvas) -> np.ndarray:
        """What is seen of a canvas, as (rows, columns, 3)."""
        return _array(canvas.screenshot())

    def pixels_at(self, box: dict) -> np.ndarray:
        """What is seen in a part of the window, for what never comes to rest."""
        return _array(self.page.screenshot(clip=box, timeout=90_000))

    def keep(self, name: str) -> Path:
        """A screenshot among the run's artefacts."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def _array(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture
def open_notebook(lab: Lab, _browser) -> Iterator[Callable[..., Notebook]]:
    """open_notebook("name.ipynb") -> the notebook in a fresh profile of the browser, its kernel ready.

    `serve` answers requests to other machines; without it none is answered.
    """
    context = _browser.new_context(viewport={"width": 1400, "height": 1000}, device_scale_factor=1)

    def opened(name: str, serve: Callable[[str], tuple[bytes, str] | None] = lambda url: None) -> Notebook:
        notebook = Notebook(context.new_page())
        notebook.page.on("console", lambda message: notebook.console.append(message.text))
        home = urlsplit(lab.address).netloc

        def guard(route) -> None:
            where = urlsplit(route.request.url)
            if where.netloc == home or where.scheme in ("data", "blob"):
                route.continue_()
            elif (served := serve(route.request.url)) is not None:
                body, kind = served
                route.fulfill(body=body, content_type=kind, headers={"Access-Control-Allow-Origin": "*"})
            else:
                if route.request.url != IMJOY:
                    notebook.went_out.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        # On a slow machine Lab may ask for a kernel although the notebook names one: answer as a person would.
        asked = notebook.page.locator("dialog.jp-Dialog", has_text="Select Kernel")
        notebook.page.add_locator_handler(
            asked, lambda: asked.first.locator("button.jp-mod-accept").click(), no_wait_after=True
        )
        notebook.page.goto(lab.url(name))
        notebook.page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=90_000)
        return notebook

    yield opened
    context.close()
