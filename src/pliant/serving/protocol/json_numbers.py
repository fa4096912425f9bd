"""JSON's numbers to a tensor's bytes, without losing or inventing anything on the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np

from pliant.serving.protocol.request import BadRequestError
from pliant.serving.protocol.values import MOST_DIMENSIONS, NUMPY, no_datatype
from pliant.wire.tensors import SIZES

_WORDS = {bool: "booleans", int: "whole numbers", float: "numbers with fractions", str: "text", dict: "objects"}
_TAKEN: dict[str, set[type]] = {"b": {bool}, "u": {int}, "i": {int}, "f": {int, float}}
"""Kind of numpy's type to what JSON may have for it."""
_EXACT = 1 << 53
"""Up to here, a whole number that is written with a point (1.0) is what it was before it became a float."""


class Nested(NamedTuple):
    """Nested lists: their shape, and what stands in the innermost ones, in row-major order."""

    shape: tuple[int, ...]
    flat: list[Any]
    kinds: set[type]
    """Of what is in ``flat``."""


def unnest(name: str, data: Any) -> Nested:
    """Look into nested lists.

    Numpy would find both as well, but takes gigabytes for a few short strings beside a long one.

    Raises:
        BadRequestError: It is no list, or its parts have different lengths or depths.
    """
    if not isinstance(data, list):
        raise BadRequestError(f"input {name}: its data are {_words({type(data)})}; expected a list of numbers")
    shape: list[int] = []
    level: list[Any] = [data]
    while list in (kinds := set(map(type, level))):
        if len(kinds) > 1 or len(set(map(len, level))) > 1:
            raise BadRequestError(f"input {name}: the data are no array of numbers (rows of different lengths?)")
        shape.append(len(level[0]))
        if len(shape) > MOST_DIMENSIONS:
            raise BadRequestError(f"input {name}: the data are nested deeper than {MOST_DIMENSIONS} lists")
        level = list(chain.from_iterable(level))
    return Nested(tuple(shape), level, kinds)


def array_from_json(name: str, datatype: str, data: Any) -> np.ndarray[Any, Any]:
    """Numbers in lists, nested or flat, as an array of ``datatype``.

    Raises:
        BadRequestError: Ragged, something else than numbers, or numbers that ``datatype`` cannot hold.
    """
    if datatype not in SIZES:
        raise BadRequestError(no_datatype(name, datatype))
    shape, flat, kinds = unnest(name, data)
    wanted = NUMPY.get(datatype, NUMPY["FP32"])  # BF16 by way of FP32
    others = kinds - _TAKEN[wanted.kind]
    if wanted.kind in "ui" and others == {float} and all(_is_whole(value) for value in flat):
        flat, others = list(map(int, flat)), set()
    if others:
        hint = "; JSON has no NaN, send it as binary data" if type(None) in others and wanted.kind == "f" else ""
        raise BadRequestError(f"input {name} should be {datatype}, and its data are {_words(others)}{hint}")
    if wanted.kind == "b":
        return np.array(flat, wanted).reshape(shape)
    return (_floats if wanted.kind == "f" else _integers)(name, datatype, flat).reshape(shape)


def _integers(name: str, datatype: str, flat: list[Any]) -> np.ndarray[Any, Any]:
    bounds: np.iinfo[Any] = np.iinfo(str(NUMPY[datatype]))
    try:
        found: np.ndarray[Any, Any] = np.array(flat, np.int64)
    except OverflowError:
        found = np.array(flat, object)  # as UINT64 may have it
    if flat and (found.min() < bounds.min or found.max() > bounds.max):
        raise BadRequestError(f"input {name} should be {datatype}: numbers from {bounds.min} to {bounds.max}")
    return found.astype(NUMPY[datatype])


def _is_whole(value: float) -> bool:
    return isinstance(value, int) or (value.is_integer() and abs(value) <= _EXACT)


def _floats(name: str, datatype: str, flat: list[Any]) -> np.ndarray[Any, Any]:
    try:
        found = np.array(flat, np.float64)
    except OverflowError:
        found = np.array([np.inf])
    with np.errstate(over="ignore"):
        taken = found.astype(NUMPY.get(datatype, NUMPY["FP32"]))
    fits = np.isfinite(taken)
    if datatype == "BF16":
        half = _to_bfloat16(taken)
        taken, fits = half, fits & ((half & 0x7F80) != 0x7F80)
    if not fits.all():
        raise BadRequestError(f"input {name} should be {datatype}, which cannot hold numbers as large as its data")
    return taken


def _to_bfloat16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bits: the upper half of FP32's, rounded to the nearest, and to the even one of two as near."""
    bits = array.view(np.dtype("<u4"))
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.dtype("<u2"))


def _words(kinds: set[type]) -> str:
    return " and ".join(sorted(_WORDS.get(kind, "null") for kind in kinds))


def no_numbers(body: bytes | memoryview) -> str:
    """A hint for whoever reads why a body is no JSON: what Python's own writer makes of some numbers."""
    found = [word for word in ("NaN", "Infinity") if word.encode() in bytes(body)]
    return f" (JSON has no {' and no '.join(found)}; send them as binary data)" if found else ""


def bytes_from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> bytes:
    """The bytes of a tensor whose shape is told beside its data, which are flat or nested as the shape says.

    Raises:
        BadRequestError: As :func:`array_from_json`; or there are more or fewer numbers than the shape says.
    """
    array = array_from_json(name, datatype, data)
    if array.size != prod(shape):
        raise BadRequestError(
            f"input {name} has shape {list(shape)}, which is {prod(shape)} numbers, and {array.size} were sent"
        )
    if array.ndim > 1 and array.size and array.shape != tuple(shape):
        raise BadRequestError(
            f"input {name} has shape {list(shape)}, and its data are nested as {list(array.shape)}; "
            "expected the same, or one flat list"
        )
    return array.tobytes()
