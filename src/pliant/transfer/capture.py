"""The state of everything that a job tracks, as one plain value, and back into the live objects.

What is captured: of modules the parameters, all buffers (also non-persistent ones), gradients and extra state; of
optimizers their state_dict, bit for bit; of anything else its state_dict. Not captured: train/eval mode, hooks, plain
attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pliant.errors import ConfigError, StateError
from pliant.transfer.capture_module import capture_module, check_module, restore_module
from pliant.transfer.capture_optimizer import check_optimizer, restore_optimizer

_METHODS = ("state_dict", "load_state_dict")


def modules_in(tracked: Mapping[str, object]) -> dict[str, torch.nn.Module]:
    """The modules among what is tracked, by keyword."""
    return {name: item for name, item in tracked.items() if isinstance(item, torch.nn.Module)}


def optimizers_in(tracked: Mapping[str, object]) -> dict[str, torch.optim.Optimizer]:
    """The optimizers among what is tracked, by keyword."""
    return {name: item for name, item in tracked.items() if isinstance(item, torch.optim.Optimizer)}


def stateless(tracked: Mapping[str, object]) -> list[str]:
    """What is wrong with every keyword whose object lacks ``state_dict`` or ``load_state_dict``."""
    problems: list[str] = []
    for name, item in tracked.items():
        lacking = [method for method in _METHODS if not callable(getattr(item, method, None))]
        if lacking:
            problems.append(
                f"join({name}=...) got {type(item).__name__}, which has no {' and no '.join(lacking)}: "
                f"leave it out, or give it both"
            )
    return problems


def check_tracked(tracked: Mapping[str, object]) -> None:
    """Refuse what has no state to track.

    Raises:
        ConfigError: Names every keyword whose object lacks ``state_dict`` or ``load_state_dict``.
    """
    if problems := stateless(tracked):
        raise ConfigError(problems)


def capture(tracked: Mapping[str, Any]) -> dict[str, Any]:
    """The state of all tracked objects, by keyword; for :func:`pliant.transfer.spec.encode`.

    Holds live memory, not copies: encode and send it before the next step changes it.

    Raises:
        ConfigError: An object has no state.
        StateError: A state cannot be read.
    """
    check_tracked(tracked)
    return {name: _capture_one(name, item) for name, item in tracked.items()}


def restore(tracked: Mapping[str, Any], value: Any) -> None:
    """Put a captured state into live objects of the same kinds and shapes. Copies; ``value`` stays the caller's.

    On failure: names, shapes and dtypes of all modules and optimizers are compared before anything is touched, so a
    model of another shape leaves everything as it was. If an object's own ``load_state_dict`` raises, those before it
    are restored already and the worker's state must not be used.

    Raises:
        ConfigError: An object has no state.
        StateError: The state does not fit; names the object, the tensor and both shapes.
    """
    check_tracked(tracked)
    if not isinstance(value, dict) or set(value) != set(tracked):
        theirs = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise StateError(
            f"this worker tracks {sorted(tracked)}, another one {theirs}; "
            f"all workers must call join() with the same keywords"
        )
    for name, item in tracked.items():
        if isinstance(item, torch.nn.Module):
            check_module(item, value[name], name=name)
        elif isinstance(item, torch.optim.Optimizer):
            check_optimizer(item, value[name], name=name)
    # Schedulers come last: some of them write to the optimizer's groups when they load.
    for name, item in sorted(tracked.items(), key=lambda entry: _turn(entry[1])):
        _restore_one(name, item, value[name])


def _turn(item: Any) -> int:
    if isinstance(item, torch.nn.Module):
        return 0
    return 1 if isinstance(item, torch.optim.Optimizer) else 2


def _capture_one(name: str, item: Any) -> Any:
    if isinstance(item, torch.nn.Module):
        return capture_module(item, name=name)
    try:
        return item.state_dict()
    except Exception as error:
        raise StateError(
            f"{name}: {type(item).__name__}.state_dict() raised {type(error).__name__}: {error}"
        ) from error


def _restore_one(name: str, item: Any, state: Any) -> None:
    if isinstance(item, torch.nn.Module):
        restore_module(item, state, name=name)
        return
    try:
        if isinstance(item, torch.optim.Optimizer):
            restore_optimizer(item, state)
        else:
            item.load_state_dict(state)
    except Exception as error:
        raise StateError(
            f"{name}: {type(item).__name__}.load_state_dict() refused another worker's state: "
            f"{type(error).__name__}: {error}; build it in the same way on all workers"
        ) from error
