"""What crosses, what does not, and that no bytes at all can do more than end the conversation."""

from __future__ import annotations

import contextlib
import os
import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnotes.labs.wire import LARGEST, WireError, decode, encode, read_frame, write_frame

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3) | st.tuples(inner),
    max_leaves=6,
)


@given(PLAIN)
@settings(max_examples=200, deadline=None)
def test_plain_values_come_back_as_they_were(value):
    assert decode(encode(value)[4:]) == value


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_value_or_a_wire_error(content):
    with contextlib.suppress(WireError):
        decode(content)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (1, 2, 3)])
def test_arrays_come_back_with_dtype_and_shape(dtype, shape):
    array = np.arange(max(np.prod(shape, dtype=int), 1)).astype(dtype)[: np.prod(shape, dtype=int)].reshape(shape)
    back = decode(encode(array)[4:])
    assert (type(back), back.dtype, back.shape) == (np.ndarray, array.dtype, shape)
    np.testing.assert_array_equal(back, array)
    tensor = decode(encode(torch.from_numpy(array.copy()))[4:])
    assert torch.equal(tensor, torch.from_numpy(array))


def test_what_needs_a_gradient_says_so_and_single_numbers_stay_single():
    assert decode(encode(torch.ones(2, requires_grad=True))[4:]).requires_grad
    assert isinstance(decode(encode(np.float64(0.5))[4:]), float)
    assert decode(encode(torch.ones(2, 3).t())[4:]).shape == (3, 2)


def test_a_subclass_crosses_as_the_plain_value():
    class Yes(float):
        def __lt__(self, other):
            return True

    assert type(decode(encode(Yes(3))[4:])) is float


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "a object cannot be graded; return arrays, numbers, text"),
        ({1: 2}, "a dict cannot be graded"),
        (2**70, "more than 64 bits"),
        (np.array(["a"]), "use float32, float64, integers or bool"),
        (torch.zeros(2, dtype=torch.complex64), "use float32, float64, integers or bool"),
        (list(range(30_000)), "more than 20000 values"),
        (torch.zeros(9 << 20), "36 MB are too much for one message; the limit is 32 MB"),
    ],
)
def test_what_cannot_cross_says_what_can(value, said):
    with pytest.raises(WireError, match=said):
        encode(value)


def nested(depth: int) -> bytes:
    return (b"l" + struct.pack("<I", 1)) * depth + b"n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"?",
        nested(100_000),
        b"l" + struct.pack("<I", 2**32 - 1),
        b"N" + bytes([7, 2]) + struct.pack("<QQ", 2**62, 0),
        b"N" + bytes([99, 0]),
        b"T" + bytes([5, 1]) + struct.pack("<Q", 1) + bytes(8),
        b"g" + bytes([7, 1]) + struct.pack("<Q", 2) + bytes(16),
        b"m" + struct.pack("<I", 1) + b"nn",
        b"nn",
    ],
)
def test_malformed_bytes_are_refused(content):
    with pytest.raises(WireError):
        decode(content)


def test_a_frame_is_read_under_a_deadline_and_a_size():
    source, target = os.pipe()
    os.write(target, b"\x10")
    with pytest.raises(TimeoutError):
        read_frame(source, time.monotonic() + 0.3)
    source, target = os.pipe()
    os.write(target, struct.pack("<I", LARGEST + 1))
    with pytest.raises(WireError, match="a message of"):
        read_frame(source, time.monotonic() + 5)
    with pytest.raises(TimeoutError):  # nobody reads: a pipe holds 64 kB
        write_frame(target, bytes(1 << 20), time.monotonic() + 0.3)
