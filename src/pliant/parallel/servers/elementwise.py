"""May an optimizer's parameters be cut in slices? It is tried out.

What servers will do is done on small tensors: slices on two servers, each with an optimizer of its own; options that
come anew for every update, as schedulers have left them; state that is half-way moved to the other server, into a new
optimizer. If every bit then is that of the same steps on whole tensors, the optimizer may be cut. That is so if what
becomes of an element depends on nothing but this element's parameter, gradient and state, on numbers that all elements
of a tensor share (``step``), and on the options.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch

from pliant.errors import ConfigError, StateError
from pliant.parallel.servers.optimizer_state import same_bits
from pliant.parallel.servers.trial import Outcome, Trial

_REASONS = {
    "gaps": (
        "parameters with gaps in memory, such as x[:, ::2], are updated with other bits than contiguous ones "
        "(make them contiguous with .contiguous())"
    ),
    "large": (
        "the bits of large tensors depend on how torch's threads share the work on them, as they do with 16 bits "
        "(leave --threads at 1)"
    ),
}


def check_elementwise(name: str, optimizer: torch.optim.Optimizer) -> None:
    """Try out whether the optimizer gives the same bits in slices as on whole tensors. Changes nothing of it.

    Takes milliseconds for each parameter group; needs no memory to speak of. The global random state stays as it is.

    Args:
        name: What it is called in ``pliant.join``.
        optimizer: The user's, with its present options and state.

    Raises:
        ConfigError: It cannot be cut; says why.
    """
    reason = _reason(optimizer)
    if reason is not None:
        raise ConfigError(
            f"{name}, of class {type(optimizer).__qualname__}, cannot run on parameter servers, which hold the "
            f"parameters in slices: {reason}. Use --strategy all-reduce, or an elementwise optimizer such as "
            "torch.optim.SGD, Adam or AdamW."
        )


def _reason(optimizer: torch.optim.Optimizer) -> str | None:
    """What is against it."""
    if wanted := _wanted(optimizer):
        return f"its step() wants {' and '.join(wanted)}, to work on all parameters at once"
    # Whoever draws numbers in step() must not move the stream that the script draws from.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            trial = Trial(optimizer)
            if trial.empty:
                return None
            whole = trial.whole()
        except Exception as error:
            return f"in a trial on small tensors it raised {_said(error)}"
        try:
            sliced = trial.sliced()
        except StateError as error:
            return str(error)
        except Exception as error:
            return f"in a trial on slices of small tensors, and not on whole ones, it raised {_said(error)}"
        counts = _differing(whole, sliced)
        if not any(different for different, _ in counts):
            return None
        if any(different for different, _ in _differing(whole, trial.whole())):
            return "the same steps on the same small tensors gave other bits when they were done again"
    sorts = {sort for (different, _), sort in zip(counts, trial.sorts, strict=True) if different}
    if "usual" not in sorts:
        return " and ".join(_REASONS[sort] for sort in sorted(sorts))
    return (
        "what becomes of one element depends on others, or on something kept outside of the state of its parameter "
        f"({sum(different for different, _ in counts)} of {sum(compared for _, compared in counts)} compared tensors "
        "differ from those of the same steps on whole tensors)"
    )


def _wanted(optimizer: torch.optim.Optimizer) -> list[str]:
    """What ``step`` cannot be called without."""
    return [
        parameter.name
        for parameter in list(inspect.signature(type(optimizer).step).parameters.values())[1:]
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _differing(left: list[Outcome], right: list[Outcome]) -> list[tuple[int, int]]:
    """For each outcome how many tensors (and numbers) are not the same, and how many there are."""
    found = []
    for mine, theirs in zip(map(_leaves, left), map(_leaves, right), strict=True):
        paths = mine.keys() | theirs.keys()
        same = [path in mine and path in theirs and same_bits(mine[path], theirs[path]) for path in paths]
        found.append((same.count(False), len(same)))
    return found


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Everything in nested containers, by where it is."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return {path: value}
    return {where: leaf for key, item in items for where, leaf in _leaves(item, f"{path}/{key!r}").items()}
