"""Reads a tree of tagged nodes, as written by :mod:`pliant.transfer.spec_writer`. Trusts nothing in it."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pliant.transfer.spec_writer import MAX_DEPTH

MAX_INT_DIGITS = 1 << 20
MAX_DTYPE_TEXT = 256
MAX_ITEM_BYTES = 1 << 24


class Reader:
    """One walk over one tree. Raises ValueError and its like; the caller turns them into ProtocolError."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = tensors
        self._depth = 0
        self._parameters: dict[int, torch.nn.Parameter] = {}
        self._arrays: dict[int, np.ndarray[Any, Any]] = {}

    def value(self, node: Any) -> Any:
        """The value of a node."""
        if node is None or type(node) in (bool, int, float, str, bytes):
            return node
        if type(node) is not list or not node or type(node[0]) is not str:
            raise ValueError(f"a {type(node).__name__} where a node was expected")
        read = _READERS.get(node[0])
        if read is None:
            raise ValueError(f"unknown tag {node[0]!r}")
        if self._depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} containers deep")
        self._depth += 1
        try:
            return read(self, node[1:])
        finally:
            self._depth -= 1

    def _values(self, rest: list[Any]) -> list[Any]:
        return [self.value(node) for node in rest]

    def _pairs(self, rest: list[Any]) -> list[tuple[Any, Any]]:
        if len(rest) % 2:
            raise ValueError("a key without a value")
        return [(self.value(rest[at]), self.value(rest[at + 1])) for at in range(0, len(rest), 2)]

    def _deque(self, rest: list[Any]) -> deque[Any]:
        return deque(self._values(rest[1:]), maxlen=rest[0])

    def _int(self, rest: list[Any]) -> int:
        (text,) = rest
        if len(text) > MAX_INT_DIGITS:
            raise ValueError(f"an integer of {len(text)} digits")
        return int(text, 16)

    def _str(self, rest: list[Any]) -> str:
        (data,) = rest
        text: str = data.decode("utf-8", "surrogatepass")
        return text

    def _complex(self, rest: list[Any]) -> complex:
        real, imag = rest
        return complex(real, imag)

    def _dtype(self, rest: list[Any]) -> torch.dtype:
        (name,) = rest
        dtype = getattr(torch, name)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{name!r} is no dtype")
        return dtype

    def _device(self, rest: list[Any]) -> torch.device:
        (name,) = rest
        return torch.device(_typed(name, str))

    def _tensor(self, rest: list[Any]) -> torch.Tensor:
        number, device = rest
        _typed(device, str)
        return self._numbered(number)

    def _parameter(self, rest: list[Any]) -> torch.nn.Parameter:
        number, device, requires_grad = rest
        _typed(device, str)
        if number not in self._parameters:
            tensor = self._numbered(number)
            self._parameters[number] = torch.nn.Parameter(tensor, requires_grad=_typed(requires_grad, bool))
        return self._parameters[number]

    def _array(self, rest: list[Any]) -> np.ndarray[Any, Any]:
        descr, shape, number = rest
        if number not in self._arrays:
            dtype = self._numpy_dtype(descr)
            tensor = self._numbered(number)
            if tensor.dtype != torch.uint8 or tensor.dim() != 1:
                raise ValueError("an array whose data are not bytes")
            raw = tensor.cpu().numpy().tobytes()
            self._arrays[number] = _build(dtype, _typed(shape, list), raw)
        return self._arrays[number]

    def _scalar(self, rest: list[Any]) -> Any:
        descr, data = rest
        return _build(self._numpy_dtype(descr), [], _typed(data, bytes))[()]

    def _numpy_dtype(self, descr: Any) -> np.dtype[Any]:
        if type(descr) is str and len(descr) > MAX_DTYPE_TEXT:
            raise ValueError("an overlong dtype")
        dtype = np.dtype(_typed(descr, str) if type(descr) is not list else self._values(descr))
        if dtype.hasobject or dtype.itemsize > MAX_ITEM_BYTES:
            raise ValueError(f"dtype {dtype} is not allowed")
        return dtype

    def _numbered(self, number: Any) -> torch.Tensor:
        if type(number) is not int or not 0 <= number < len(self._tensors):
            raise ValueError(f"no tensor {number!r}")
        return self._tensors[number]


# Not an attribute of a reader: that would be a cycle, and hold the tensors until Python looks for such.
_READERS: dict[str, Callable[[Reader, list[Any]], Any]] = {
    "int": Reader._int,
    "str": Reader._str,
    "complex": Reader._complex,
    "dtype": Reader._dtype,
    "device": Reader._device,
    "list": Reader._values,
    "tuple": lambda reader, rest: tuple(reader._values(rest)),
    "size": lambda reader, rest: torch.Size(reader._values(rest)),
    "dict": lambda reader, rest: dict(reader._pairs(rest)),
    "odict": lambda reader, rest: OrderedDict(reader._pairs(rest)),
    "counter": lambda reader, rest: Counter(dict(reader._pairs(rest))),
    "set": lambda reader, rest: set(reader._values(rest)),
    "frozenset": lambda reader, rest: frozenset(reader._values(rest)),
    "deque": Reader._deque,
    "tensor": Reader._tensor,
    "parameter": Reader._parameter,
    "array": Reader._array,
    "scalar": Reader._scalar,
}


def _build(dtype: np.dtype[Any], shape: list[int], raw: bytes) -> np.ndarray[Any, Any]:
    """An array of its own memory from raw bytes."""
    count = 1
    for extent in shape:
        if type(extent) is not int or extent < 0:
            raise ValueError(f"{shape!r} is no shape")
        count *= extent
    if count * dtype.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array of {count} x {dtype.itemsize}")
    if not raw:
        return np.ndarray(shape, dtype=dtype)  # np.zeros would widen an empty string's dtype.
    return np.ndarray(shape, dtype=dtype, buffer=bytearray(raw))


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} was expected")
    return value
