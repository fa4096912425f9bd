"""JSON's numbers to a tensor's bytes and back, without losing or inventing anything on the way."""

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


def array_from_json(name: str, datatype: str, data: Any) -> np.ndarray[Any, Any]:
    """Numbers in lists, nested or flat, as an array of ``datatype``.

    Raises:
        BadRequestError: Ragged, something else than numbers, or numbers that ``datatype`` cannot hold.
    """
    if datatype not in NUMPY:
        raise BadRequestError(_no_datatype(name, datatype))
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadRequestError(f"input {name}: the data are no array of numbers (rows of different lengths?)") from error
    wanted = NUMPY[datatype]
    if found.size == 0:
        return found.astype(wanted) if found.dtype.kind == "f" else np.empty(found.shape, wanted)
    if wanted.kind in "ui" and found.dtype.kind in "fO" and _are_integers(data):
        return _large_integers(name, datatype, data)
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[wanted.kind]
    if found.dtype.kind not in kinds:
        what = {"b": "booleans", "f": "numbers with fractions", "U": "text", "O": "no plain numbers"}
        given = what.get(found.dtype.kind, f"{found.dtype} values")
        raise BadRequestError(f"input {name} should be {datatype}, and its data are {given}")
    with np.errstate(over="ignore"):
        taken = found.astype(wanted)
    if wanted.kind in "ui" and not np.array_equal(taken, found):
        raise BadRequestError(_out_of_range(name, datatype))
    if wanted.kind == "f" and not np.isfinite(taken).all():
        raise BadRequestError(f"input {name} should be {datatype}, which cannot hold numbers as large as its data")
    return taken


def _are_integers(data: Any) -> bool:
    """Whether they are, though numpy makes something else of them: numbers of both signs and 64 bits."""
    flat = np.asarray(data, dtype=object).ravel()
    return all(isinstance(value, int) and not isinstance(value, bool) for value in flat)


def _large_integers(name: str, datatype: str, data: Any) -> np.ndarray[Any, Any]:
    try:
        return np.array(data, dtype=NUMPY[datatype])
    except OverflowError as error:
        raise BadRequestError(_out_of_range(name, datatype)) from error


def _out_of_range(name: str, datatype: str) -> str:
    bounds: np.iinfo[Any] = np.iinfo(str(NUMPY[datatype]))
    return f"input {name} should be {datatype}: numbers from {bounds.min} to {bounds.max}"


def bytes_from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> bytes:
    """The bytes of a tensor whose shape is told beside its data.

    Raises:
        BadRequestError: As :func:`array_from_json`; or there are more or fewer numbers than the shape says.
    """
    array = array_from_json(name, datatype, data)
    if array.size != prod(shape):
        raise BadRequestError(
            f"input {name} has shape {list(shape)}, which is {prod(shape)} numbers, and {array.size} were sent"
        )
    return array.tobytes()


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


def check_head(name: str, datatype: str, shape: Sequence[int]) -> TensorHead:
    """A head that makes sense.

    Raises:
        BadRequestError: It does not.
    """
    if datatype not in SIZES:
        raise BadRequestError(_no_datatype(name, datatype))
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape) or prod(shape) >= 1 << 40:
        raise BadRequestError(f"input {name} has shape {list(shape)[:40]}, which cannot be")
    return TensorHead(name, datatype, tuple(shape))


def _no_datatype(name: str, datatype: str) -> str:
    if datatype == "BF16":
        return f"input {name} is BF16, which can only be sent as binary data"
    return f"input {name} has datatype {datatype[:40]!r}; expected one of {', '.join(SIZES)}"
