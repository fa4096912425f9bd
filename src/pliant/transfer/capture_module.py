"""The state of a module: parameters, every buffer, gradients, extra state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from pliant.errors import StateError

_SAME_MODEL = "a model of another shape on another worker; build the same model on all workers"


class Slot(NamedTuple):
    """Where a buffer lives: modules may register None and fill it in later, or replace the tensor."""

    module: nn.Module
    name: str
    persistent: bool
    tensor: torch.Tensor | None


def capture_module(module: nn.Module, *, name: str) -> dict[str, Any]:
    """The module's state; holds live memory.

    Raises:
        StateError: A parameter has no shape yet, or a gradient is sparse.
    """
    parameters = dict(module.named_parameters())
    for key, parameter in parameters.items():
        if nn.parameter.is_lazy(parameter):
            raise StateError(f"{name}.{key} has no shape yet; run one batch through the model before join()")
    grads = {key: parameter.grad for key, parameter in parameters.items() if parameter.grad is not None}
    return {
        "parameters": {key: parameter.detach() for key, parameter in parameters.items()},
        "buffers": {
            key: [slot.persistent, None if slot.tensor is None else slot.tensor.detach()]
            for key, slot in buffer_slots(module).items()
        },
        "grads": {key: grad.detach() for key, grad in grads.items()},
        "extra": {key: owner.get_extra_state() for key, owner in extra_owners(module)},
    }


def check_module(module: nn.Module, state: Any, *, name: str) -> None:
    """Compare names, shapes and dtypes with a captured state; changes nothing.

    Raises:
        StateError: Names the first tensor that differs, with both shapes.
    """
    if not isinstance(state, dict) or set(state) != {"parameters", "buffers", "grads", "extra"}:
        raise StateError(f"{name} is a model on this worker and something else on another one")
    parameters = dict(module.named_parameters())
    _compare_names(set(parameters), set(state["parameters"]), what=f"parameters of {name}")
    for key, parameter in parameters.items():
        if nn.parameter.is_lazy(parameter):
            raise StateError(f"{name}.{key} has no shape yet; run one batch through the model before join()")
        _compare(f"{name}.{key}", parameter, state["parameters"][key])
    slots = buffer_slots(module)
    saved = {key for key, (persistent, _tensor) in state["buffers"].items() if persistent}
    _compare_names({key for key, slot in slots.items() if slot.persistent}, saved, what=f"buffers of {name}")
    for key in saved:
        mine, theirs = slots[key].tensor, state["buffers"][key][1]
        if mine is not None and theirs is not None:
            _compare(f"{name}.{key}", mine, theirs)
    _compare_names({key for key, _owner in extra_owners(module)}, set(state["extra"]), what=f"extra states of {name}")


def restore_module(module: nn.Module, state: dict[str, Any], *, name: str) -> None:
    """Copy a state that :func:`check_module` has passed into the module, in place where there is a place."""
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            parameter.copy_(state["parameters"][key])
            _restore_grad(parameter, state["grads"].get(key))
        slots = buffer_slots(module)
        for key, (persistent, tensor) in state["buffers"].items():
            _restore_buffer(module, slots.get(key), key, (persistent, tensor))
        for key, slot in slots.items():
            if key not in state["buffers"]:
                # A cache that only this worker has made so far; without it the module makes it anew.
                del slot.module._buffers[slot.name]
                slot.module._non_persistent_buffers_set.discard(slot.name)
    for key, owner in extra_owners(module):
        try:
            owner.set_extra_state(state["extra"][key])
        except Exception as error:
            raise StateError(f"{name}: set_extra_state() of {key or 'the model'} raised {error!r}") from error


def _restore_grad(parameter: nn.Parameter, grad: torch.Tensor | None) -> None:
    if grad is None:
        parameter.grad = None
    elif parameter.grad is not None and parameter.grad.dtype == grad.dtype:
        parameter.grad.copy_(grad)
    else:
        parameter.grad = grad.to(parameter.device, copy=True)


def _restore_buffer(root: nn.Module, slot: Slot | None, key: str, saved: tuple[bool, torch.Tensor | None]) -> None:
    persistent, tensor = saved
    here = None if slot is None else slot.tensor
    if here is not None and tensor is not None and here.shape == tensor.shape and here.dtype == tensor.dtype:
        here.copy_(tensor)
        return
    prefix, _, name = key.rpartition(".")
    owner = root.get_submodule(prefix) if slot is None else slot.module
    copied = None if tensor is None else tensor.to(_device_near(owner, root, tensor), copy=True)
    owner.register_buffer(name, copied, persistent=persistent)


def _device_near(owner: nn.Module, root: nn.Module, tensor: torch.Tensor) -> torch.device:
    """Where a buffer that this worker does not have yet belongs: beside the other tensors of its module."""
    for module in (owner, root):
        for other in (*module.parameters(), *module.buffers()):
            return other.device
    return tensor.device


def buffer_slots(module: nn.Module) -> dict[str, Slot]:
    """All places of buffers, each under its first name."""
    slots: dict[str, Slot] = {}
    for prefix, owner in module.named_modules():
        for name, tensor in owner._buffers.items():
            key = f"{prefix}.{name}" if prefix else name
            slots[key] = Slot(owner, name, name not in owner._non_persistent_buffers_set, tensor)
    return slots


def extra_owners(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Submodules that have a state beyond tensors, with their names."""
    for prefix, owner in module.named_modules():
        if type(owner).get_extra_state is not nn.Module.get_extra_state:
            yield prefix, owner


def _compare_names(mine: set[str], theirs: set[str], *, what: str) -> None:
    if mine != theirs:
        raise StateError(
            f"{what}: only this worker has {sorted(mine - theirs)}, only another one has {sorted(theirs - mine)}: "
            f"{_SAME_MODEL}"
        )


def _compare(path: str, mine: torch.Tensor, theirs: Any) -> None:
    if not isinstance(theirs, torch.Tensor) or mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        other = f"{tuple(theirs.shape)} {theirs.dtype}" if isinstance(theirs, torch.Tensor) else repr(theirs)
        raise StateError(
            f"{path} is {tuple(mine.shape)} {mine.dtype} on this worker and {other} on another one: {_SAME_MODEL}"
        )
