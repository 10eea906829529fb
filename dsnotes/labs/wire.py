"""Messages between the grading process and the sandbox: plain values in a small binary format, checked while read.

A frame is a length and one value; a value is a tag and its content. Arrays are sent as dtype, shape and raw bytes.
Reading executes nothing, and limits the size, depth and number of values, whatever the sender wrote.
"""

from __future__ import annotations

import math
import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

PROTOCOL = 1
LARGEST = 32 << 20  # bytes of a frame
DEEPEST = 12  # lists within lists
MOST = 20_000  # values in a frame
DTYPES = ("|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<f4", "<f8")
LENGTH = struct.Struct("<I")


class WireError(ValueError):
    """A value that cannot be sent, or bytes that are not a message."""


def encode(value: Any) -> bytes:
    """The value as one frame."""
    parts: list[bytes] = []
    budget = iter(range(MOST))
    _write(value, parts.append, budget, 0)
    if (size := sum(map(len, parts))) > LARGEST:
        raise WireError(f"{size >> 20} MB are too much for one message; the limit is {LARGEST >> 20} MB")
    return LENGTH.pack(size) + b"".join(parts)


def _write(value: Any, put: Callable[[bytes], None], budget: Iterator[int], depth: int) -> None:
    if depth > DEEPEST or next(budget, None) is None:
        raise WireError(f"more than {DEEPEST} lists within each other, or more than {MOST} values")
    if value is None or isinstance(value, bool):
        put({None: b"n", True: b"t", False: b"f"}[value])
    elif isinstance(value, torch.Tensor):
        put(b"T" if value.requires_grad else b"A")
        _write_array(value.detach().cpu().contiguous().numpy(), put)
    elif isinstance(value, np.ndarray | np.generic):
        put(b"N" if isinstance(value, np.ndarray) else b"g")
        _write_array(np.asarray(value), put)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise WireError("a whole number of more than 64 bits")
        put(b"i" + struct.pack("<q", value))
    elif isinstance(value, float):
        put(b"d" + struct.pack("<d", value))
    elif isinstance(value, str):
        text = value.encode("utf-8", "replace")
        put(b"s" + LENGTH.pack(len(text)) + text)
    elif isinstance(value, list | tuple):
        put((b"l" if isinstance(value, list) else b"u") + LENGTH.pack(len(value)))
        for each in value:
            _write(each, put, budget, depth + 1)
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        put(b"m" + LENGTH.pack(len(value)))
        for key, each in value.items():
            _write(key, put, budget, depth + 1)
            _write(each, put, budget, depth + 1)
    else:
        raise WireError(
            f"a {type(value).__name__} cannot be graded; return arrays, numbers, text, or lists and dicts of them"
        )


def _write_array(array: np.ndarray, put: Callable[[bytes], None]) -> None:
    little = array.dtype.newbyteorder("<").str
    if little not in DTYPES or array.ndim > 8:
        raise WireError(f"an array of {array.dtype} with {array.ndim} axes; use float32, float64, integers or bool")
    put(struct.pack(f"<BB{array.ndim}Q", DTYPES.index(little), array.ndim, *array.shape))
    put(np.ascontiguousarray(array, little).tobytes())


def decode(content: bytes) -> Any:
    """The value of a frame without its length; anything else is a `WireError`."""
    reader = _Reader(content)
    value = reader.value(0)
    if reader.at != len(content):
        raise WireError("bytes after the end of the message")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.read = content, 0, 0

    def take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise WireError("the message ends too early")
        self.at += size
        return self.content[self.at - size : self.at]

    def count(self) -> int:
        return LENGTH.unpack(self.take(4))[0]

    def value(self, depth: int) -> Any:
        self.read += 1
        if depth > DEEPEST or self.read > MOST:
            raise WireError(f"more than {DEEPEST} lists within each other, or more than {MOST} values")
        tag = self.take(1)
        match tag:
            case b"n" | b"t" | b"f":
                return {b"n": None, b"t": True, b"f": False}[tag]
            case b"i":
                return struct.unpack("<q", self.take(8))[0]
            case b"d":
                return struct.unpack("<d", self.take(8))[0]
            case b"s":
                return self.take(self.count()).decode("utf-8", "replace")
            case b"l" | b"u":
                items = [self.value(depth + 1) for _ in range(self.count())]
                return items if tag == b"l" else tuple(items)
            case b"m":
                return {self.key(depth): self.value(depth + 1) for _ in range(self.count())}
            case b"N" | b"g":
                array = self.array()
                if tag == b"g" and array.ndim:
                    raise WireError("a single number with axes")
                return array if tag == b"N" else array[()]
            case b"A" | b"T":
                tensor = torch.from_numpy(self.array())
                if tag == b"T" and not tensor.is_floating_point():
                    raise WireError(f"a gradient of {tensor.dtype}")
                return tensor.requires_grad_(tag == b"T")
        raise WireError(f"an unknown tag {tag!r}")

    def key(self, depth: int) -> str:
        if not isinstance(key := self.value(depth + 1), str):
            raise WireError("a key that is not text")
        return key

    def array(self) -> np.ndarray:
        kind, axes = self.take(2)
        if kind >= len(DTYPES) or axes > 8:
            raise WireError("an array of an unknown kind")
        shape = struct.unpack(f"<{axes}Q", self.take(8 * axes))
        dtype = np.dtype(DTYPES[kind])
        if math.prod(max(n, 1) for n in shape) > LARGEST:
            raise WireError("an array larger than its message")
        content = self.take(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape).copy()


def read_frame(source: int, until: float, watch: Callable[[], None] = lambda: None) -> bytes:
    """The next frame's content; TimeoutError after `until` (`time.monotonic`). `watch` is called while waiting."""
    content = bytearray()
    size = LENGTH.size
    for part in ("length", "value"):
        while len(content) < size:
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError
            if not select.select([source], [], [], min(left, 0.2))[0]:
                watch()
                continue
            if not (more := os.read(source, min(size - len(content), 1 << 20))):
                raise EOFError
            content += more
        if part == "length":
            size = LENGTH.unpack(content)[0]
            if size > LARGEST:
                raise WireError(f"a message of {size} bytes")
            content.clear()
    return bytes(content)


def write_frame(target: int, frame: bytes, until: float | None = None) -> None:
    """Write the whole frame, or raise TimeoutError, so that a reader that does not read cannot block the writer."""
    view = memoryview(frame)
    while view:
        left = None if until is None else max(until - time.monotonic(), 0)
        if not select.select([], [target], [], left)[1]:
            raise TimeoutError
        view = view[os.write(target, view[: select.PIPE_BUF]) :]


def tensors(value: Any) -> list[torch.Tensor]:
    """Every tensor in it, in the same order on both sides."""
    found: list[torch.Tensor] = []
    mapped(value, lambda tensor: found.append(tensor) or tensor)
    return found


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same lists, tuples and dicts, with `change` applied to every tensor."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: mapped(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        changed = [mapped(each, change) for each in value]
        return changed if isinstance(value, list) else tuple(changed)
    return value
