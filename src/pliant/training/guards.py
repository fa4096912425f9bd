"""Mistakes in the user's loop that would silently change the result, found at the moment they happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pliant.errors import ConfigError, UsageError
from pliant.transfer.capture import stateless


def guard_optimizers(tracked: Mapping[str, object], inside: Callable[[], str | None]) -> None:
    """Have every tracked optimizer refuse to step while ``inside()`` names a shard."""
    for name, item in tracked.items():
        if isinstance(item, torch.optim.Optimizer):
            item.register_step_pre_hook(_refusal(name, inside))


def _refusal(name: str, inside: Callable[[], str | None]) -> Callable[..., None]:
    def hook(*_: Any, **__: Any) -> None:
        where = inside()
        if where is not None:
            raise UsageError(
                f"{name}.step() was called before the inner loop had ended, in {where}: the gradient there is one "
                "shard's, not the batch's. Call it behind `for batch in step:`, and let that loop run to its end, "
                "without a break: then the gradients are the mean over all shards."
            )

    return hook


def checked_loss(loss: object, where: str) -> torch.Tensor:
    """The loss if it is a scalar tensor with a gradient; else UsageError naming what it is."""
    if not isinstance(loss, torch.Tensor):
        raise UsageError(f"step.backward wants a tensor, got {type(loss).__name__} in {where}")
    if loss.numel() != 1:
        raise UsageError(
            f"the loss in {where} has shape {tuple(loss.shape)}, one number is needed. Take its mean: loss.mean()."
        )
    if not loss.requires_grad:
        raise UsageError(
            f"the loss in {where} depends on no parameter that requires a gradient. "
            "Was it computed under torch.no_grad() or detached?"
        )
    return loss


def checked_weight(weight: float | torch.Tensor | None, samples: int, where: str) -> float:
    """The shard's weight: ``samples`` if none is given; finite and not negative."""
    if weight is None:
        return float(samples)
    value = float(weight)
    if not 0 <= value < float("inf"):
        raise UsageError(
            f"the weight in {where} is {value}: it must be a finite number of at least 0 (such as a token count)"
        )
    return value


def checked_tracked(tracked: Mapping[str, object]) -> None:
    """All tracked objects have state_dict and load_state_dict, and one is a module; else ConfigError with all
    problems.
    """
    problems = stateless(tracked)
    if not any(isinstance(item, torch.nn.Module) for item in tracked.values()):
        problems.append("join() needs at least one torch.nn.Module, such as join(model=model, optimizer=optimizer)")
    if problems:
        raise ConfigError(problems)
