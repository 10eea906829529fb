"""One page per paper: what the paper says, where our code does it, which test checks it, and where we depart from it.

Read from site/fidelity/<stem>.toml and from the recipe of the paper's tables in dsnotes/papers/protocols/.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from dsnotes.papers.protocol import Protocol, protocols
from dsnotes.papers.recipe import short

HEAD = "| the paper | here | test | departs |\n|:--|:--|:--|:--|"


@dataclass(frozen=True)
class Part:
    """`where` and `test` are a path of the repository and a name in that file."""

    says: str
    where: str
    test: str
    departs: str = ""


def parts(stem: str, repository: Path) -> list[Part]:
    text = (repository / "site" / "fidelity" / f"{stem}.toml").read_text(encoding="utf-8")
    return [Part(**each) for each in tomllib.loads(text)["part"]]


def recipes_of(stem: str) -> dict[str, Protocol]:
    return {name: one for name, one in protocols().items() if name.startswith(short(stem))}


def page(stem: str, title: str, repository: Path) -> str:
    lines = [HEAD]
    for part in parts(stem, repository):
        lines.append(
            f"| {escaped(part.says)} | {link(part.where)} | {link(part.test, spoken=True)} | {escaped(part.departs)} |"
        )
    recipes = []
    for name, recipe in recipes_of(stem).items():
        rows = [f"| `{key}` | {value_of(recipe, key)} | {escaped(said)} |" for key, said in recipe.said.items()]
        recipes.append("\n".join([f"### `{name}`", "", "| | value | where the paper says so |\n|:--|:--|:--|", *rows]))
    return "\n\n".join(
        [
            f"# {title}: what follows the paper, and what does not",
            "Each line is an equation or a sentence of the paper, our code for it, and the test that checks it.",
            "\n".join(lines),
            "## The recipe shared by its tables",
            "A sweep selects it with `recipe:`; `dsnotes sweep FILE --dry-run` shows what each row changes.",
            *recipes,
        ]
    ) + "\n"  # fmt: skip


def value_of(recipe: Protocol, key: str) -> str:
    found = getattr(recipe.settings, key, None) if hasattr(recipe.settings, key) else getattr(recipe, key)
    if key == "split":
        return "; ".join(
            f"{data} {', '.join('/'.join(map(str, fold)) for fold in folds)}" for data, folds in found.items()
        )
    return f"`{found}`"


def link(place: str, *, spoken: bool = False) -> str:
    """`spoken`: a test's name as the sentence that it is, which wraps in a narrow column."""
    path, _, name = place.partition(": ")
    said = name.removeprefix("test_").replace("_", " ") if spoken else name
    return f"[{escaped(said)}](../{path})"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("$", "\\$")
