"""Checks values against annotations such as `list[int] | None`, which are read as text, with pydantic.

Annotations are never evaluated: their names are looked up below, so that reading a notebook runs no code.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NAMES = {"Any": Any} | {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict, object)}


def fits(value: Any, kind: str) -> bool:
    """An int also fits float, a bool fits neither; a list fits tuple, since YAML has no tuples."""
    try:
        convert(value, kind)
    except ValueError:
        return False
    return True


def convert(value: Any, kind: str) -> Any:
    """The value in the annotation's own type: 1 becomes 1.0 for float, a list becomes a tuple; else ValueError."""
    return _adapter(kind).validate_python(value)


def parse(text: str, kind: str) -> Any:
    """The value typed on a command line: text if the annotation is str, else a Python literal; else ValueError."""
    try:
        literal = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        literal = text
    for value in (text, literal) if isinstance(literal, str) else (literal, text):
        if fits(value, kind):
            return convert(value, kind)
    raise ValueError(text)


@cache
def _adapter(kind: str) -> TypeAdapter:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(_type(ast.parse(kind, mode="eval").body), config=ConfigDict(strict=True))
    except (PydanticUserError, TypeError, ValueError, LookupError, AttributeError, SyntaxError):
        raise TypeError(
            f"the type {kind!r} cannot be checked; write one of {', '.join([*NAMES, 'Literal'])}, or a type made of "
            f"them, such as list[int] | None"
        ) from None


def _type(node: ast.expr) -> Any:
    from pydantic import BeforeValidator

    match node:
        case ast.Constant(value=str(text)):  # a quoted annotation
            return _type(ast.parse(text, mode="eval").body)
        case ast.Constant(value=value):  # None, and the dots of tuple[int, ...]
            return value
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return Literal[ast.literal_eval(inner)]
        case ast.Subscript(value=outer, slice=ast.Tuple(elts=inner)):
            found = NAMES[outer.id][tuple(map(_type, inner))]
        case ast.Subscript(value=outer, slice=inner):
            found = NAMES[outer.id][_type(inner)]
        case _:
            found = NAMES[node.id]
    if getattr(found, "__origin__", found) is tuple:
        return Annotated[found, BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
    return found
