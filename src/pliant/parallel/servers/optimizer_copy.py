"""A user's optimizer, whatever its class, over other parameters: nothing is pickled, constructed or known of it."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

Optimizer = torch.optim.Optimizer

_HOOKS = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)
# ``step``: schedulers put a wrapper there that is bound to the original and would step that one.
_NOT_COPIED = ("state", "param_groups", "step", *_HOOKS)


def copy_optimizer(
    optimizer: Optimizer,
    params: Sequence[list[torch.nn.Parameter]],
    *,
    stand_ins: Mapping[int, torch.nn.Parameter] | None = None,
) -> Optimizer:
    """An optimizer of the same class and options over ``params``, without state and without hooks.

    It shares nothing with the original that a step might change: attributes are copied deeply, and where they refer to
    the original's parameters they refer to stand-ins.

    Args:
        optimizer: The original; not changed.
        params: For each of its groups the parameters in their place.
        stand_ins: By the ``id`` of a parameter of the original; without, an empty parameter.

    Raises:
        Exception: Whatever copying an attribute raises.
    """
    twin = type(optimizer).__new__(type(optimizer))
    nothing = torch.nn.Parameter(torch.empty(0))
    memo: dict[int, Any] = {id(optimizer): twin}
    for group in optimizer.param_groups:
        for param in group["params"]:
            memo[id(param)] = (stand_ins or {}).get(id(param), nothing)
    kept = {name: value for name, value in vars(optimizer).items() if name not in _NOT_COPIED}
    vars(twin).update(copy.deepcopy(kept, memo))
    for name in _HOOKS:
        setattr(twin, name, OrderedDict())
    twin.state = defaultdict(dict)
    twin.param_groups = [{} for _ in optimizer.param_groups]
    set_groups(twin, copy.deepcopy(options_of(optimizer)), params)
    return twin


def options_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The options of all groups: what is in ``param_groups`` besides the parameters. Not copies."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def set_groups(
    optimizer: Optimizer, options: Sequence[Mapping[str, Any]], params: Sequence[list[torch.nn.Parameter]]
) -> None:
    """Have the groups hold exactly these options and parameters. The dicts stay the objects that they were."""
    for group, mine, theirs in zip(optimizer.param_groups, options, params, strict=True):
        group.clear()
        group.update(mine)
        group["params"] = theirs
