"""Writes everything that depends on the repository's public address, which is set in pyproject.toml.

    make links                                      uses the address in pyproject.toml
    make links REPOSITORY=github.com/OWNER/NAME     sets that address first

These are the links to Colab and Binder in the README, and a cell in every notebook that sets up Colab. Without an
address there are none.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
BLOCK = re.compile(r"(<!-- `make links` writes from here -->\n).*?(<!-- to here -->)", flags=re.S)
URLS = "[project.urls]\n"
TAGS = ["colab", "remove-cell"]  # remove-cell hides it on the site
HEAD = '# %% tags=["colab", "remove-cell"]'
CELL = re.compile(rf"{re.escape(HEAD)}\n.*?\n\n(?=# %%)", flags=re.S)


def stated(root: Path) -> str | None:
    """The repository's address, such as https://github.com/owner/dsnotes, or None while it has none."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository")


def address(given: str) -> str:
    """`given` as a full address, without extra parts; Colab's and Binder's links need GitHub."""
    found = re.fullmatch(r"(?:https://)?(?:www\.)?github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?", given.strip())
    if not found:
        raise SystemExit(
            f"make links: {given!r} is not a GitHub repository, which Colab and Binder need; "
            f"type: make links REPOSITORY=github.com/OWNER/NAME"
        )
    return f"https://github.com/{found[1]}/{found[2]}"


def notebooks(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "notebooks").glob("[0-9]*.ipynb"))


def colab(repository: str, notebook: str) -> str:
    place = repository.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/notebooks/{notebook}.ipynb"


def binder(repository: str, notebook: str) -> str:
    place = repository.removeprefix("https://github.com/")
    inside = quote(f"lab/tree/notebooks/{notebook}.ipynb", safe="")
    return f"https://mybinder.org/v2/gh/{place}/{BRANCH}?urlpath={inside}"


def block(repository: str | None, names: list[str]) -> str:
    """The README's lines between the two markers."""
    if repository is None:
        return ""
    first, *others = [
        f"{name} ([Binder]({binder(repository, name)}), [Colab]({colab(repository, name)}))" for name in names
    ]
    return (
        f"`git clone {repository}` brings it here. Without installing anything, in a browser:\n"
        f"**{first}**; {'; '.join(others)}.\n"
    )


def cell(repository: str) -> str:
    """The code that sets up Colab; it does nothing elsewhere."""
    return f"""# On Google Colab this fetches and installs dsnotes, in about a minute; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules and "dsnotes" not in sys.modules:
    import runpy
    import subprocess

    subprocess.run(["git", "clone", "--quiet", "--depth=1", "{repository}", "dsnotes"], check=True)
    runpy.run_path("dsnotes/assets/colab.py", run_name="__main__")
"""


def with_cell(source: str, repository: str | None) -> str:
    """A notebook's .py with the set-up cell after its title cell, or without it."""
    header, mark, rest = CELL.sub("", source).partition("# %% ")
    title, following, others = rest.partition("\n# %%")
    added = f"\n{HEAD}\n{cell(repository)}" if repository else ""
    return header + mark + title + added + following + others


def with_cell_in_pair(text: str, repository: str | None) -> str:
    """The same for its .ipynb."""
    notebook = json.loads(text)
    first, *others = [one for one in notebook["cells"] if one["metadata"].get("tags") != TAGS]
    added = {"id": "colab", "cell_type": "code", "metadata": {"tags": TAGS}, "execution_count": None, "outputs": []}
    added["source"] = cell(repository).rstrip("\n").splitlines(keepends=True) if repository else []
    notebook["cells"] = [first, *([added] if repository else []), *others]
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(root: Path, repository: str | None) -> list[str]:
    """Update README and notebooks for the address; return the changed files."""
    names, readme = notebooks(root), root / "README.md"
    texts = {readme: BLOCK.sub(lambda m: m[1] + block(repository, names) + m[2], readme.read_text(encoding="utf-8"))}
    for place in (root / "notebooks" / name for name in names):
        pair, source = place.with_suffix(".ipynb"), place.with_suffix(".py")
        texts[source] = with_cell(source.read_text(encoding="utf-8"), repository)
        texts[pair] = with_cell_in_pair(pair.read_text(encoding="utf-8"), repository)
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        path.write_text(texts[path], encoding="utf-8", newline="\n")
    return [path.relative_to(root).as_posix() for path in changed]


def state(root: Path, repository: str) -> None:
    """Write the address into pyproject.toml, replacing an earlier one; other addresses there stay."""
    path = root / "pyproject.toml"
    bare = re.sub(r'^Repository = ".*"\n', "", path.read_text(encoding="utf-8"), flags=re.M)
    if URLS not in bare:
        bare = bare.replace("[project.scripts]\n", f"{URLS}\n[project.scripts]\n")
    path.write_text(bare.replace(URLS, f'{URLS}Repository = "{repository}"\n'), encoding="utf-8", newline="\n")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", nargs="?", default="", help="its address, such as github.com/owner/dsnotes")
    asked = parser.parse_args(arguments)
    if asked.repository:
        state(root, address(asked.repository))
    repository = stated(root)
    changed = write(root, repository)
    print("\n".join(changed) if changed else "everything already agrees with pyproject.toml")
    if repository is None:
        print(
            "pyproject.toml has no repository, so there are no links. Type: make links REPOSITORY=github.com/OWNER/NAME"
        )


if __name__ == "__main__":
    main()
