"""Optimizers that may be cut in slices and others that may not, torch's and users' own."""

import torch
from torch import optim


class SignDescent(optim.Optimizer):
    """Elementwise, with state in nested containers and numbers of Python, and it writes to the gradients."""

    def __init__(self, params, lr=0.01, decay=0.1):
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state.update(steps=0, name="sign", seen=[torch.zeros_like(param), (torch.zeros_like(param),)])
                state["steps"] += 1
                param.grad.data.add_(param, alpha=group["decay"])
                for seen in (state["seen"][0], *state["seen"][1]):
                    seen.mul_(0.5).add_(param.grad)
                param.add_(state["seen"][0].sign(), alpha=-group["lr"] / state["steps"])


class _Refused(optim.Optimizer):
    """Base of those that may not: calls ``update(param, group, state)`` for each parameter with a gradient."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.update(param, group, self.state[param])


class Normalised(_Refused):
    """Looks at all elements of a tensor."""

    def update(self, param, group, state):
        param.sub_(param.grad / (param.grad.norm() + 1), alpha=group["lr"])


class CountsItself(_Refused):
    """State in an attribute."""

    calls = 0

    def update(self, param, group, state):
        self.calls += 1
        param.sub_(param.grad, alpha=group["lr"] / self.calls)


class CountsInGroup(_Refused):
    """State in the options."""

    def update(self, param, group, state):
        group["seen"] = group.get("seen", 0) + 1
        param.sub_(param.grad, alpha=group["lr"] / group["seen"])


class OneState(_Refused):
    """State that belongs to no parameter."""

    def update(self, param, group, state):
        self.state["everything"]["seen"] = True
        param.sub_(param.grad, alpha=group["lr"])


class Noisy(_Refused):
    """Draws random numbers."""

    def update(self, param, group, state):
        param.sub_(param.grad + torch.randn_like(param), alpha=group["lr"])


class ByDimension(_Refused):
    """Treats matrices otherwise than vectors."""

    def update(self, param, group, state):
        param.sub_(param.grad, alpha=group["lr"] * param.dim())


class ByRow(_Refused):
    """State with one element for each row."""

    def update(self, param, group, state):
        rows = param.grad.square().reshape(len(param), -1).sum(1) if param.dim() > 1 else torch.ones(2)
        state["rows"] = state.get("rows", torch.zeros_like(rows)) + rows
        param.sub_(param.grad, alpha=group["lr"])


class Odd(_Refused):
    """State that is no plain value."""

    def update(self, param, group, state):
        state["odd"] = object()
        param.sub_(param.grad, alpha=group["lr"])


class Wrapped(optim.Optimizer):
    """Steps another optimizer over the same parameters."""

    def __init__(self, params):
        self.inner = optim.SGD(params, lr=0.1)
        super().__init__(self.inner.param_groups, {})

    def step(self):
        self.inner.step()


ELEMENTWISE = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd-momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, dampening=0.1),
    "sgd-nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "sgd-foreach": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, foreach=True),
    "sgd-tensor-lr": lambda p: optim.SGD(p, lr=torch.tensor(0.1)),
    "adam": lambda p: optim.Adam(p, weight_decay=0.01),
    "adam-amsgrad-foreach": lambda p: optim.Adam(p, amsgrad=True, foreach=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "adamw-amsgrad": lambda p: optim.AdamW(p, amsgrad=True, foreach=False, maximize=True),
    "adamw-tensor-lr": lambda p: optim.AdamW(p, lr=torch.tensor(0.01), foreach=False),
    "nadam": lambda p: optim.NAdam(p, momentum_decay=0.01, decoupled_weight_decay=True, weight_decay=0.1),
    "radam": lambda p: optim.RAdam(p, lr=0.01),
    "adamax": lambda p: optim.Adamax(p, foreach=True),
    "adagrad": lambda p: optim.Adagrad(p, initial_accumulator_value=0.3, lr_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.5),
    "rprop": optim.Rprop,
    "adadelta": lambda p: optim.Adadelta(p, weight_decay=0.1),
    "asgd": lambda p: optim.ASGD(p, t0=2),
    "own": SignDescent,
}
"""By name, from parameters (or groups) to the optimizer."""

FUSED = {
    "sgd-fused": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adam-fused": lambda p: optim.Adam(p, amsgrad=True, fused=True),
    "adamw-fused": lambda p: optim.AdamW(p, fused=True),
    "adagrad-fused": lambda p: optim.Adagrad(p, fused=True),
}
"""Elementwise as well. A fused kernel cannot begin a parameter's momentum late, whole or in slices."""

BOTH_DTYPES = [
    (name, dtype)
    for name in (*ELEMENTWISE, *FUSED)
    for dtype in (torch.float32, torch.bfloat16)
    # With 16 bits, torch 2.13's fused SGD begins its momentum with uninitialised memory on a CPU.
    if (name, dtype) != ("sgd-fused", torch.bfloat16)
]
