"""Arrays in numpy's own format, as bodies: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from pliant.serving.protocol.request import BadRequestError, InferRequest, Tensor
from pliant.serving.protocol.values import NAMES, NUMPY, check_bytes, check_head

MAGIC = b"\x93NUMPY"
_Head = tuple[tuple[int, ...], bool, np.dtype[Any]]
_HEADS: dict[tuple[int, int], Callable[[io.BytesIO], _Head]] = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def parse(body: bytes, name: str) -> InferRequest:
    """One array, which becomes the input ``name``; nothing in it is unpickled, and nothing taken on its word.

    Raises:
        BadRequestError: It is something else, or has more or fewer bytes than it says.
    """
    file = io.BytesIO(body)
    try:
        version = npy_format.read_magic(file)
        if version not in _HEADS:
            raise ValueError(f"format {version[0]}.{version[1]} is neither 1.0 nor 2.0")
        shape, by_columns, dtype = _HEADS[version](file)
    except Exception as error:  # numpy evaluates the head as Python, and what it raises is up to the bytes
        raise BadRequestError(f"the body is no .npy file with numbers: {str(error) or type(error).__name__}") from error
    datatype = NAMES.get(dtype.newbyteorder("<") if dtype.itemsize > 1 else dtype)
    if datatype is None:
        raise BadRequestError(f"the array is {dtype!s:.100}; expected one of {', '.join(NUMPY)}")
    head = check_head(name, datatype, shape)
    data = memoryview(body)[file.tell() :]
    if len(data) != head.size_bytes:
        raise BadRequestError(
            f"the array says that it is {datatype} {list(shape)}, which is {head.size_bytes} bytes, "
            f"and {len(data)} bytes were sent"
        )
    check_bytes(name, datatype, data)
    if by_columns or dtype != NUMPY[datatype]:
        array = np.frombuffer(data, dtype, count=prod(shape)).reshape(shape, order="F" if by_columns else "C")
        data = memoryview(array.astype(NUMPY[datatype]).tobytes())
    return InferRequest((Tensor(head, data),))


def respond(outputs: Sequence[Tensor]) -> bytes:
    """The only output in numpy's format.

    Raises:
        BadRequestError: There are several, or it is BF16.
    """
    if len(outputs) != 1 or outputs[0].head.datatype not in NUMPY:
        names = ", ".join(f"{each.head.name} ({each.head.datatype})" for each in outputs)
        raise BadRequestError(
            f"the answer ({names}) is not one array that .npy can hold; ask for application/json", status=406
        )
    head = outputs[0].head
    file = io.BytesIO()
    np.save(file, np.frombuffer(outputs[0].data, NUMPY[head.datatype]).reshape(head.shape), allow_pickle=False)
    return file.getvalue()
