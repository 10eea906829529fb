"""Checks the site in an offline browser: light, dark, on a phone, by keyboard, and with an accessibility checker.

Chromium is the installed one; axe-core comes from npm in the version in package.json and is kept outside the
repository. Requests to other hosts are blocked and counted as faults.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "package.json"
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--allow-file-access-from-files"]
WAYS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True},
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
TABS = 40  # presses of the Tab key


def missing() -> str:
    """What this machine lacks for the check; empty if nothing."""
    for program, remedy in (("chromium", "apt-get install chromium"), ("npm", "https://nodejs.org/")):
        if not shutil.which(program):
            return f"needs {program}: {remedy}"
    return ""


def checker(folder: Path) -> str:
    """axe-core's script, fetched once per version."""
    wanted = json.loads(PACKAGE.read_text(encoding="utf-8"))["dependencies"]["axe-core"]
    home = folder / "node_modules" / "axe-core"
    if not home.exists() or json.loads((home / "package.json").read_text(encoding="utf-8"))["version"] != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE, folder)
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"],
            cwd=folder,
            check=True,
        )
    return (home / "axe.min.js").read_text(encoding="utf-8")


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


def faults(out: Path, axe: str, pages: list[str] | None = None, *, tell=lambda line: None) -> list[str]:
    """Every fault of the pages (all, by default), one per line."""
    names = pages or sorted(p.relative_to(out).as_posix() for p in out.rglob("*.html") if "_static" not in p.parts)
    found: list[str] = []
    with browser() as opened:
        for way, how in WAYS.items():
            context = opened.new_context(**how)
            went_out: list[str] = []
            context.route("**/*", lambda route, went_out=went_out: local(route, went_out))
            for number, name in enumerate(names, start=1):
                tell(f"{way} {number}/{len(names)} {name}")
                page = context.new_page()
                said: list[str] = []
                page.on("pageerror", lambda error, said=said: said.append(f"a script fails: {error}"))
                page.goto((out / name).as_uri())
                said += sideways(page) + complaints(page, axe)
                found += [f"{name} ({way}): {fault}" for fault in said]
                page.close()
            found += [f"{way}: asks {url}" for url in dict.fromkeys(went_out)]
            context.close()
        found += by_keyboard(opened, out) + by_search(opened, out)
    return found


def local(route, went_out: list[str]) -> None:
    if route.request.url.startswith(("file:", "data:", "blob:")):
        route.continue_()
    else:
        went_out.append(route.request.url)
        route.abort()


def sideways(page) -> list[str]:
    """Whether the page is wider than its window, and which elements are."""
    wide = page.evaluate(
        """() => {
            const room = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= room) return [];
            const clipped = e => { for (let p = e.parentElement; p; p = p.parentElement)
                if (getComputedStyle(p).overflowX !== 'visible') return true; return false; };
            return [...document.querySelectorAll('article *')]
                .filter(e => e.getBoundingClientRect().right > room + 1 && !clipped(e))
                .map(e => e.outerHTML.slice(0, 80)).slice(0, 3).concat(['']);
        }"""
    )
    return [f"scrolls sideways: {' | '.join(filter(None, wide))}"] if wide else []


def complaints(page, axe: str) -> list[str]:
    page.evaluate(axe)
    result = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})", RULES
    )
    return [
        f"{each['id']}: {each['help']}, {len(each['nodes'])} times, such as {each['nodes'][0]['html'][:160]} "
        f"({' '.join(each['nodes'][0].get('failureSummary', '').split())[:200]})"
        for each in result["violations"]
    ]


def by_keyboard(opened, out: Path) -> list[str]:
    """Check that the Tab key reaches the text, the search and the links, shows the focus, and never gets stuck."""
    page = opened.new_page(viewport=WAYS["light"]["viewport"])
    page.goto((out / "index.html").as_uri())
    reached, unseen = [], []
    for _ in range(TABS):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
                return [e.tagName, e.outerHTML.slice(0, 70), s.outlineStyle !== 'none' || s.boxShadow !== 'none']; }"""
        )
        reached.append(at[1])
        if at[0] != "BODY" and not at[2]:
            unseen.append(at[1])
    page.close()
    found = [f"index.html (keyboard): {html} does not show that it has the focus" for html in dict.fromkeys(unseen)]
    if "skip" not in reached[0].lower():
        found.append(f"index.html (keyboard): the first stop is {reached[0]}, not a link past the navigation")
    if len(set(reached)) < TABS / 2:
        found.append(f"index.html (keyboard): {TABS} presses of Tab reach {len(set(reached))} places")
    return found


def by_search(opened, out: Path) -> list[str]:
    """Check that the search finds the longest word of the front page's title."""
    page = opened.new_page()
    page.goto((out / "index.html").as_uri())
    word = max(page.locator("h1").first.inner_text().replace("-", " ").split(), key=len)
    page.goto((out / "search.html").as_uri() + f"?q={word}")
    try:
        page.locator("#search-results li a").first.wait_for(timeout=15_000)
    except Exception as error:
        return [f"search.html: nothing is found for {word!r} ({type(error).__name__})"]
    finally:
        page.close()
    return []
