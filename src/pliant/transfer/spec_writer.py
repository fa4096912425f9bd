"""Writes a value as a tree of tagged nodes. The tags are read in :mod:`pliant.transfer.spec_reader`."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
import torch

from pliant.errors import StateError

MAX_DEPTH = 100
"""Of containers in containers, on both sides."""

_PLAIN = (type(None), bool, float, bytes)
_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple", torch.Size: "size"}
_MAPPINGS: dict[type, str] = {dict: "dict", defaultdict: "dict", OrderedDict: "odict", Counter: "counter"}
_SETS: dict[type, str] = {set: "set", frozenset: "frozenset"}
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


class Writer:
    """One walk over one value. Exact types only: a subclass may mean more than its contents say."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.paths: list[str] = []
        """Where each of them was found first."""
        self._number_of: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []
        self._open: set[int] = set()

    def node(self, value: Any, path: str) -> Any:
        """The node for a value found at ``path``."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 64 else ["int", hex(value)]
        if kind is str:
            return _text(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value, path)
        if isinstance(value, np.generic | np.ndarray):
            return self._array(value, path)
        if kind is complex:
            return ["complex", value.real, value.imag]
        if kind is torch.dtype:
            return ["dtype", str(value).removeprefix("torch.")]
        if kind is torch.device:
            return ["device", str(value)]
        if kind in _SEQUENCES or kind in _MAPPINGS or kind in _SETS or kind is deque:
            return self._container(value, path)
        raise StateError(
            f"{path or 'the value'} is a {kind.__module__}.{kind.__qualname__}, which cannot be moved between workers "
            f"(nothing is pickled); let its state_dict() give plain values instead: numbers, strings, bytes, lists, "
            f"tuples, dicts, sets, tensors or NumPy arrays"
        )

    def _container(self, value: Any, path: str) -> list[Any]:
        if id(value) in self._open:
            raise StateError(f"{path or 'the value'} contains itself; take the cycle out of the state_dict()")
        if len(self._open) >= MAX_DEPTH:
            raise StateError(f"{path} lies {MAX_DEPTH} containers deep; flatten the state_dict()")
        self._open.add(id(value))
        try:
            return self._contents(value, path)
        finally:
            self._open.discard(id(value))

    def _contents(self, value: Any, path: str) -> list[Any]:
        kind = type(value)
        if kind in _MAPPINGS:
            node: list[Any] = [_MAPPINGS[kind]]
            for key, item in value.items():
                node.append(self.node(key, f"a key of {path or 'the value'}"))
                node.append(self.node(item, join(path, key)))
            return node
        if kind in _SETS:
            # Sorted: the iteration order of a set differs between processes.
            members = [self.node(item, f"a member of {path or 'the value'}") for item in value]
            return [_SETS[kind], *sorted(members, key=msgspec.msgpack.encode)]
        items = self._items(value, path)
        return ["deque", value.maxlen, *items] if kind is deque else [_SEQUENCES[kind], *items]

    def _items(self, values: Iterable[Any], path: str) -> list[Any]:
        return [self.node(item, f"{path}[{number}]") for number, item in enumerate(values)]

    def _tensor(self, tensor: torch.Tensor, path: str) -> list[Any]:
        is_parameter = type(tensor) is torch.nn.Parameter
        if not is_parameter and type(tensor) not in (torch.Tensor, torch.nn.Buffer):
            raise StateError(
                f"{path or 'the value'} is a {type(tensor).__qualname__}, a tensor subclass whose state Pliant does "
                f"not know; let its state_dict() give plain tensors"
            )
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
            kind = "quantized" if tensor.is_quantized else f"{tensor.layout} ({tensor.device})"
            raise StateError(f"{path or 'the value'} is a {kind} tensor; only dense ones with data can be moved")
        number = self._add(tensor, path, lambda: tensor.detach().resolve_conj().resolve_neg().contiguous())
        if is_parameter:
            return ["parameter", number, str(tensor.device), tensor.requires_grad]
        return ["tensor", number, str(tensor.device)]

    def _array(self, value: np.generic | np.ndarray[Any, Any], path: str) -> list[Any]:
        dtype = value.dtype
        if type(value) is not np.ndarray and not isinstance(value, np.generic):
            raise StateError(
                f"{path or 'the value'} is a {type(value).__qualname__}, not a plain NumPy array; make it one"
            )
        if dtype.hasobject:
            raise StateError(
                f"{path or 'the value'} is a NumPy array of Python objects ({dtype}); use a list or a numeric dtype"
            )
        descr = self._items(dtype.descr, path) if dtype.fields is not None else dtype.str
        if isinstance(value, np.generic):
            # An empty string's tobytes() has one byte more than its dtype.
            return ["scalar", descr, value.tobytes()[: dtype.itemsize]]
        number = self._add(value, path, lambda: _raw(value))
        return ["array", descr, list(value.shape), number]

    def _add(self, value: Any, path: str, make: Callable[[], torch.Tensor]) -> int:
        """The number of this object's tensor; the same object has one number."""
        number = self._number_of.get(id(value))
        if number is None:
            number = self._number_of[id(value)] = len(self.tensors)
            self.tensors.append(make())
            self.paths.append(path)
            self._kept.append(value)  # An id is only good while its object lives.
        return number


def join(path: str, key: object) -> str:
    """The path of an entry: ``optimizer.state[3].foo``."""
    if isinstance(key, str) and _IDENTIFIER.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return ["str", value.encode("utf-8", "surrogatepass")]
    return value


def _raw(array: np.ndarray[Any, Any]) -> torch.Tensor:
    data = bytearray(array.tobytes())
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
