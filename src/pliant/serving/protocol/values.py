"""What a tensor may be, and its bytes as JSON's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from pliant.serving.protocol.request import BadRequestError
from pliant.wire.tensors import SIZES, TensorHead

NUMPY = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatype to numpy's; BF16 has none."""
NAMES = {dtype: name for name, dtype in NUMPY.items()}
MOST_DIMENSIONS = 32
MOST_ELEMENTS = 1 << 40
MOST_NAME = 256
"""Characters."""


def check_bytes(name: str, datatype: str, data: bytes | memoryview) -> None:
    """That bytes which came as they are stand for something: a BOOL is a byte of 0 or 1.

    Raises:
        BadRequestError: They do not.
    """
    if datatype == "BOOL" and len(data) and (most := int(np.frombuffer(data, np.uint8).max())) > 1:
        raise BadRequestError(f"input {name} is BOOL, and has a byte of {most}; expected 0 and 1")


def to_json(head: TensorHead, data: bytes | memoryview) -> list[Any]:
    """The numbers of a tensor, flat. Not a number and infinity become None: JSON has no word for them."""
    if head.datatype == "BF16":
        wide = np.frombuffer(data, np.dtype("<u2")).astype(np.dtype("<u4")) << 16
        array = wide.view(np.dtype("<f4"))
    else:
        array = np.frombuffer(data, NUMPY[head.datatype])
    flat: list[Any] = array.tolist()
    return flat


def nested(head: TensorHead, flat: list[Any]) -> Any:
    """The same numbers in nested lists."""
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(head.shape).tolist()


def check_name(name: str) -> None:
    """Names stand in every message about them, and in the frames to the replicas.

    Raises:
        BadRequestError: It is too long for that.
    """
    if len(name) > MOST_NAME:
        raise BadRequestError(f"the name {name[:40]!r}... has {len(name)} characters; at most {MOST_NAME} are taken")


def check_head(name: str, datatype: str, shape: Sequence[int]) -> TensorHead:
    """A head that makes sense.

    Raises:
        BadRequestError: It does not.
    """
    check_name(name)
    if datatype not in SIZES:
        raise BadRequestError(no_datatype(name, datatype))
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape) or prod(filter(None, shape)) >= MOST_ELEMENTS:
        raise BadRequestError(
            f"input {name} has shape {list(shape[:40])!s:.200}, which cannot be: expected at most "
            f"{MOST_DIMENSIONS} sizes from 0, and less than 2^40 numbers"
        )
    return TensorHead(name, datatype, tuple(map(int, shape)))  # numpy takes True for a size


def no_datatype(name: str, datatype: str) -> str:
    """What is told about a datatype that there is not."""
    hint = " (strings are not served, numbers only)" if datatype == "BYTES" else ""
    return f"input {name} has datatype {datatype[:40]!r}{hint}; expected one of {', '.join(SIZES)}"
