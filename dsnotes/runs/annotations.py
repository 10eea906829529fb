"""Does a value fit `list[int] | None`? An annotation is read as text, and pydantic holds the value against it.

It is never evaluated: a name in it is looked up among those below, so that reading a notebook runs none of it.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NAMES = {"Any": Any} | {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict, object)}


def fits(value: Any, kind: str) -> bool:
    """An int is a float too, a bool is neither; a list counts as a tuple, since YAML has no other."""
    try:
        convert(value, kind)
    except ValueError:
        return False
    return True


def convert(value: Any, kind: str) -> Any:
    """One value for what means the same: 1 for a float becomes 1.0, a list for a tuple a tuple; else ValueError."""
    return _adapter(kind).validate_python(value)


def parse(text: str, kind: str) -> Any:
    """What was typed for it: text where the annotation wants text, else a Python literal; ValueError if neither."""
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
            f"the type {kind!r} says nothing about a value; write one of {', '.join([*NAMES, 'Literal'])}, or made of "
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
