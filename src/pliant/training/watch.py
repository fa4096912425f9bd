"""Looks at what a script keeps beside its tracked objects: what changes there while a shard is computed is suspicious.

Looked at are the script's globals, the objects in the local variables of its functions that are running, and the plain
attributes of tracked modules and of the loader's dataset: numbers, small tensors, arrays and containers of numbers, and
random generators of their own. Loop variables, which are bound to another object each time, do not count unless they
are numbers. It is only used to name names in the report of ``pliant verify``; nothing depends on it.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from pliant.transfer.digest import digestible, tensor_digests

GENERATOR = "random generator"
_MOST_ITEMS = 1000
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)


class Watch:
    """Main thread only."""

    def __init__(self, tracked: Mapping[str, object]) -> None:
        self._roots: list[tuple[str, Mapping[str, Any]]] = script_variables()
        for label, item in tracked.items():
            if isinstance(item, nn.Module):
                for path, module in item.named_modules():
                    self._roots.append((f"{label}.{path}." if path else f"{label}.", vars(module)))
        self._seen: dict[str, tuple[int, Any]] = {}

    def add(self, label: str, item: object) -> None:
        """Look at the attributes of ``item`` too."""
        if hasattr(item, "__dict__") and not isinstance(item, type):
            self._roots.append((f"{label}.", vars(item)))

    def look(self) -> list[str]:
        """What has changed since the last look, described: ``calls``, ``dataset.rng (random generator)``."""
        now = {name: (identity, value) for name, identity, value in self._values()}
        changed = [
            name
            for name, (identity, value) in now.items()
            if name in self._seen and self._seen[name] != (identity, value) and _counts(self._seen[name][0], identity)
        ]
        self._seen = now
        return sorted(changed)

    def _values(self) -> Iterator[tuple[str, int, Any]]:
        for prefix, root in self._roots:
            for name, item in list(root.items()):
                if name.startswith("__") or (prefix and name in ("training", "_parameters", "_buffers", "_modules")):
                    continue
                if isinstance(item, _GENERATORS):
                    yield f"{prefix}{name} ({GENERATOR})", id(item), _generator_state(item)
                elif isinstance(item, int | float | complex):
                    yield prefix + name, 0, item
                else:
                    value = _value(item)
                    if value is not None:
                        yield prefix + name, id(item), value


def script_variables() -> list[tuple[str, Mapping[str, Any]]]:
    """Globals of the script that runs, and locals of its functions as they are now; each with a prefix for names."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    frame = sys._getframe()
    while frame is not None:
        own = frame.f_globals.get("__name__") == "__main__" and "__file__" in frame.f_globals
        if own and frame.f_code.co_name == "<module>":
            return [*found, ("", frame.f_globals)]
        if own:
            found.append((f"{frame.f_code.co_name}: ", dict(frame.f_locals)))
        if frame.f_back is None:
            break
        frame = frame.f_back
    return found


def _counts(before: int, after: int) -> bool:
    """Another object under the same name is a loop variable; a number has no identity."""
    return before == after


def _value(item: object) -> Any:
    """Something comparable that changes with the contents; None: not looked at."""
    if isinstance(item, torch.Tensor):
        small = item.numel() <= _MOST_ITEMS and digestible(item)
        return tensor_digests([item])[0] if small else None
    if isinstance(item, np.ndarray):
        return item.tobytes() if item.dtype != object and item.size <= _MOST_ITEMS else None
    if isinstance(item, itertools.count):
        return repr(item)
    if isinstance(item, list | tuple | deque | dict | Counter | set) and len(item) <= _MOST_ITEMS:
        parts = list(item.values()) if isinstance(item, dict) else list(item)
        plain = all(isinstance(part, bool | int | float | str | np.generic) for part in parts)
        return repr(item) if plain else (len(parts),)
    return None


def _generator_state(item: Any) -> Any:
    if isinstance(item, random.Random):
        return item.getstate() if type(item) is random.Random else repr(item)
    if isinstance(item, torch.Generator):
        return item.get_state().numpy().tobytes()
    state = item.bit_generator.state if isinstance(item, np.random.Generator) else item.get_state(legacy=False)
    return repr(state)
