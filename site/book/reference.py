"""The library's pages, one per layer: every public name with its docstring, by autodoc.

Docstrings use a small part of Markdown: paragraphs, lists, `code`, $formulae$ and indented blocks. `restructured`
turns it into reStructuredText and escapes stars and bars in formulae.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pkgutil import iter_modules

import dsnotes

INLINE = re.compile(r"(`[^`]+`)|(\$[^$]+\$)|(https?://[^\s)>,]+[^\s)>,.])")
SPACED = re.compile(r"\S {3,}\S")  # columns aligned by hand


def restructured(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText."""
    written: list[str] = []
    for block in blocks(lines):
        if all(line.startswith("    ") for line in block) or any(SPACED.search(line) for line in block):
            written += ["::", "", *(f"    {line}" for line in dedented(block)), ""]
        elif block[0].startswith("- "):
            written += [
                f"- {inline(line[2:])}" if line.startswith("- ") else f"  {inline(line.strip())}" for line in block
            ]
            written.append("")
        else:
            written += [*inline("\n".join(line.strip() for line in block)).splitlines(), ""]
    return written


def parsable(signature: str) -> str:
    """A signature whose defaults have names: Sphinx leaves one with `<factory>` or `<function f>` as raw text."""
    named = re.sub(r"<(?:class '|function )(?:\w+\.)*(\w+)'?>", r"\1", signature)
    return named.replace("<factory>", "...")


def blocks(lines: list[str]) -> list[list[str]]:
    """Paragraphs; consecutive indented lines form one, whatever surrounds them."""
    found: list[list[str]] = [[]]
    for line in lines:
        if not line.strip():
            found.append([])
            continue
        if found[-1] and line.startswith("    ") != found[-1][-1].startswith("    "):
            found.append([])
        found[-1].append(line)
    return [block for block in found if block]


def dedented(block: list[str]) -> list[str]:
    least = min(len(line) - len(line.lstrip()) for line in block)
    return [line[least:] for line in block]


def inline(text: str) -> str:
    written, at = [], 0
    for found in INLINE.finditer(text):
        written.append(literal(text[at : found.start()]))
        code, formula, address = found.groups()
        touching = ("\\ " if text[found.start() - 1 : found.start()].isalnum() else "") if found.start() else ""
        after = "\\ " if text[found.end() : found.end() + 1].isalnum() else ""
        body = f"``{code[1:-1].strip()}``" if code else f":math:`{formula[1:-1]}`" if formula else address
        written.append(f"{touching}{body}{after}".replace("\n", " "))
        at = found.end()
    return "".join([*written, literal(text[at:])])


def literal(text: str) -> str:
    return re.sub(r"([\\*|`]|_(?=\W|$))", r"\\\1", text)


def floors(order: tuple[str, ...]) -> list[str]:
    """The packages of the library, lowest layer first."""
    here = {module.name for module in iter_modules(dsnotes.__path__) if module.ispkg}
    return [floor for floor in order if floor in here]


def pages(order: tuple[str, ...]) -> dict[str, str]:
    """Path -> text of every page of the library."""
    names = floors(order)
    return {"library/index.rst": front_page(names), **{f"library/{name}.rst": floor(name) for name in names}}


def front_page(names: list[str]) -> str:
    front = [*heading("The library", "="), *restructured(inspect.getdoc(dsnotes).splitlines())]
    front += heading("The names a notebook needs", "-")
    for name in dsnotes.__all__:
        found = getattr(dsnotes, name)
        front += [f".. autofunction:: {found.__module__}.{name}", "   :no-index:", ""]
    front += heading("The floors", "-")
    for name in names:
        said = inline(first_sentence(f"dsnotes.{name}"))
        front += [f":doc:`dsnotes.{name} <{name}>`", *(f"    {line}" for line in said.splitlines()), ""]
    front += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names), ""]
    return "\n".join(front)


def floor(name: str) -> str:
    package = import_module(f"dsnotes.{name}")
    title = f"dsnotes.{name}"
    text = [*heading(title, "="), *restructured(inspect.getdoc(package).splitlines())]
    exported = [(n, getattr(package, n)) for n in getattr(package, "__all__", [])]
    if exported:
        text += heading("Imported from the package itself", "-")
        text += [line for n, found in exported for line in entry(f"{title}.{n}", found)]
    text += heading("Its files", "-")
    listed = {id(found) for _, found in exported}
    for module in modules(package):
        text += [*heading(module.__name__, "~"), *restructured(inspect.getdoc(module).splitlines())]
        for n, found in own_names(module):
            if id(found) not in listed:
                text += entry(f"{module.__name__}.{n}", found)
    return "\n".join(text) + "\n"


def modules(package) -> list:
    """Every module of a layer, including subfolders."""
    found = []
    for each in iter_modules(package.__path__, f"{package.__name__}."):
        module = import_module(each.name)
        if inspect.getdoc(module):
            found.append(module)
        if each.ispkg and module is not None:
            found += modules(module)
    return found


def own_names(module) -> list[tuple[str, object]]:
    """The names that a module defines and documents itself, in source order."""
    found = [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and value.__doc__
    ]
    return [(name, value) for name, value in found if documented(value)]


def documented(value: object) -> bool:
    """Whether it has a docstring; a dataclass without one has its signature there, which does not count."""
    return not str(value.__doc__).startswith(f"{value.__name__}(")


def entry(path: str, value: object) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {path}", "   :members:", ""]
    if callable(value):
        return [f".. autofunction:: {path}", ""]
    return [f".. autodata:: {path}", ""]


def heading(title: str, line: str) -> list[str]:
    return [title, line * len(title), ""]


def first_sentence(module: str) -> str:
    return inspect.getdoc(import_module(module)).split("\n\n")[0]
