"""What workers compare of their state while they train: a short digest for each tensor of modules and optimizers.

Covered: parameters, buffers, the optimizers' state tensors, and for each optimizer one entry for its plain numbers
(learning rates, step counts). Not covered: other tracked objects, gradients, plain attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pliant.transfer.digest import DIGEST_BYTES, digestible, tensor_digests


class StateDigest(NamedTuple):
    """One thing that workers compare."""

    name: str
    digest: bytes
    loose: bool = False
    """A worker may lack it (a cache that only some have made): then it does not count. Its shape is in its name."""


class _Found(NamedTuple):
    name: str
    tensor: torch.Tensor
    loose: bool


def state_digests(tracked: Mapping[str, object]) -> list[StateDigest]:
    """The digests of all tracked modules and optimizers, in an order that is the same on every worker.

    Reads all of their memory once, on whatever device; changes nothing.
    """
    found: list[_Found] = []
    numbers: list[StateDigest] = []
    names: dict[int, str] = {}
    for label, item in tracked.items():
        if isinstance(item, nn.Module):
            found += _of_module(label, item, names)
    for label, item in tracked.items():
        if isinstance(item, torch.optim.Optimizer):
            plain: list[str] = []
            found += _of_optimizer(label, item, names, plain)
            digest = hashlib.blake2b("\n".join(plain).encode(), digest_size=DIGEST_BYTES).digest()
            numbers.append(StateDigest(f"the numbers of {label}", digest))
    found = [each for each in found if digestible(each.tensor)]
    digests = tensor_digests([each.tensor for each in found])
    pairs = zip(found, digests, strict=True)
    return [StateDigest(each.name, digest, each.loose) for each, digest in pairs] + numbers


def _of_module(label: str, module: nn.Module, names: dict[int, str]) -> Iterator[_Found]:
    """Parameters, then buffers. ``names`` takes the parameters' names by identity."""
    for name, parameter in module.named_parameters():
        if id(parameter) not in names:
            names[id(parameter)] = f"{label}.{_plain(name)}"
            yield _Found(names[id(parameter)], parameter, loose=False)
    for prefix, owner in module.named_modules():
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                full = f"{label}.{_plain(f'{prefix}.{name}' if prefix else name)}"
                if name in owner._non_persistent_buffers_set:
                    yield _Found(f"{full} ({buffer.dtype} {tuple(buffer.shape)})", buffer, loose=True)
                else:
                    yield _Found(full, buffer, loose=False)


def _of_optimizer(
    label: str, optimizer: torch.optim.Optimizer, names: Mapping[int, str], plain: list[str]
) -> Iterator[_Found]:
    """State tensors by parameter, tensor-valued options; ``plain`` takes the numbers, as text."""
    for number, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            owner = names.get(id(parameter), f"parameter {index} of group {number}")
            state = optimizer.state.get(parameter, {})  # without making an entry
            yield from _tensors(state, f"{label}'s state of {owner}", plain)
        options = {key: value for key, value in group.items() if key != "params"}
        yield from _tensors(options, f"{label}'s group {number}", plain)


def _tensors(value: Any, path: str, plain: list[str]) -> Iterator[_Found]:
    if isinstance(value, torch.Tensor):
        yield _Found(path, value, loose=False)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _tensors(value[key], f"{path}: {key}", plain)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{path}[{index}]", plain)
    elif isinstance(value, np.generic):
        plain.append(f"{path}={value.item()!r}")
    elif value is None or isinstance(value, bool | int | float | complex | str):
        plain.append(f"{path}={value!r}")


def _plain(name: str) -> str:
    """Without what ``torch.compile`` puts in front."""
    return name.replace("_orig_mod.", "")


def combined(digests: Iterable[StateDigest]) -> str:
    """One number for all of it, in hex."""
    total = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for each in digests:
        if not each.loose:
            total.update(each.name.encode() + b"\0" + each.digest)
    return total.hexdigest()
