"""The state of an optimizer, bit for bit.

``Optimizer.load_state_dict`` casts every floating-point state to its parameter's dtype: 32-bit moments of a bfloat16
parameter would lose their lower bits. It is still called, because it knows the structure, the hooks and the devices;
afterwards the tensors are put back as they were captured.
"""

from __future__ import annotations

from typing import Any

import torch

from pliant.errors import StateError


def check_optimizer(optimizer: torch.optim.Optimizer, state: Any, *, name: str) -> None:
    """Compare the parameter groups with a captured state; changes nothing.

    Raises:
        StateError: Another number of groups, or of parameters in one.
    """
    if not isinstance(state, dict) or "param_groups" not in state:
        raise StateError(f"{name} is an optimizer on this worker and something else on another one")
    mine = [len(group["params"]) for group in optimizer.param_groups]
    theirs = [len(group["params"]) for group in state["param_groups"]]
    if mine != theirs:
        raise StateError(
            f"{name} has groups of {mine} parameters on this worker and of {theirs} on another one; "
            f"build the same optimizer on all workers"
        )


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a captured state_dict with all its bits. Tensor-valued options (``lr``) stay the objects they were."""
    old_groups = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for old, group, saved in zip(old_groups, optimizer.param_groups, state["param_groups"], strict=True):
        for option, value in saved.items():
            if isinstance(value, torch.Tensor) and option != "params":
                group[option] = _in_place(old.get(option), value)
        for parameter, index in zip(group["params"], saved["params"], strict=True):
            if index in state.get("state", {}) and parameter in optimizer.state:
                loaded = optimizer.state[parameter]
                optimizer.state[parameter] = _exact(loaded, state["state"][index], parameter.device)


def _in_place(old: Any, value: torch.Tensor) -> torch.Tensor:
    """The old tensor with the new value, where it can hold it: compiled code and closures may refer to it."""
    if isinstance(old, torch.Tensor) and old.shape == value.shape and old.dtype == value.dtype:
        with torch.no_grad():
            return old.copy_(value)
    return value.clone()


def _exact(loaded: Any, saved: Any, device: torch.device) -> Any:
    """The loaded structure with the saved tensors' dtypes and bits, each on the device that loading chose."""
    if isinstance(saved, torch.Tensor):
        target = loaded.device if isinstance(loaded, torch.Tensor) else device
        return saved.detach().to(target, copy=True)
    if isinstance(saved, dict):
        others = loaded if isinstance(loaded, dict) else {}
        return {key: _exact(others.get(key), value, device) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        fits = isinstance(loaded, list | tuple) and len(loaded) == len(saved)
        pairs = zip(loaded if fits else [None] * len(saved), saved, strict=True)
        parts = [_exact(other, value, device) for other, value in pairs]
        return parts if isinstance(saved, list) else tuple(parts)
    return saved
