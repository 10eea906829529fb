"""Checks a value against an annotation such as `list[int] | None`, which is read as text and never evaluated."""

from __future__ import annotations

import ast
from typing import Any

PLAIN = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list, "tuple": tuple, "dict": dict}


def fits(value: Any, kind: str) -> bool:
    """An int also fits float, a bool fits neither; a list fits tuple, since YAML has no tuples."""
    return _fits(value, ast.parse(kind, mode="eval").body)


def parse(text: str, kind: str) -> Any:
    """The value typed on a command line: text if the annotation is str, else a Python literal; ValueError otherwise."""
    node = ast.parse(kind, mode="eval").body
    options = _options(node)
    if all(_is(option, "str") for option in options):
        return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        value = text
    if _fits(value, node):
        return value
    if any(_is(option, "str") for option in options):
        return text
    raise ValueError(text)


def convert(value: Any, kind: str) -> Any:
    """The value in the annotation's own type: 1 becomes 1.0 for float, a list becomes a tuple for tuple."""
    options = _options(ast.parse(kind, mode="eval").body)
    names = {getattr(option.value if isinstance(option, ast.Subscript) else option, "id", "") for option in options}
    if isinstance(value, int) and not isinstance(value, bool) and "float" in names and "int" not in names:
        return float(value)
    return tuple(value) if isinstance(value, list) and "tuple" in names and "list" not in names else value


def _options(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_options(node.left), *_options(node.right)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a quoted annotation
        return _options(ast.parse(node.value, mode="eval").body)
    return [node]


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _fits(value: Any, node: ast.expr) -> bool:
    options = _options(node)
    if len(options) > 1:
        return any(_fits(value, option) for option in options)
    (node,) = options
    if isinstance(node, ast.Constant):
        return value is node.value  # None
    if isinstance(node, ast.Name):
        if node.id not in PLAIN:
            return node.id in ("Any", "object")
        if isinstance(value, bool):
            return node.id == "bool"
        return isinstance(value, PLAIN[node.id]) or (node.id == "tuple" and isinstance(value, list))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if node.value.id == "Literal":
            return any(value == choice.value for choice in inner)
        if not _fits(value, node.value):
            return False
        if node.value.id == "dict":
            return all(_fits(k, inner[0]) and _fits(v, inner[-1]) for k, v in value.items())
        if node.value.id == "tuple" and not (isinstance(inner[-1], ast.Constant) and inner[-1].value is ...):
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return all(_fits(one, inner[0]) for one in value)
    return False
