"""Gradients that are fetched from the servers when somebody looks at them.

After a pass the mean gradient is on the servers, and most scripts never look at it: ``optimizer.step()`` is done there,
and ``zero_grad()`` only asks whether there is one. So a parameter's ``.grad`` is a stand-in that knows its shape. The
first thing that is done with its values fetches all gradients of the pass, and puts them in the place of the stand-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

_HARMLESS = frozenset(
    (
        "shape", "dtype", "device", "layout", "requires_grad", "grad_fn", "is_leaf", "is_sparse", "is_cuda", "is_cpu",
        "is_quantized", "is_meta", "is_mkldnn", "is_nested", "itemsize", "nbytes", "ndim", "grad", "names",
        "size", "stride", "dim", "ndimension", "numel", "nelement", "element_size", "is_floating_point", "is_complex",
        "is_contiguous", "is_pinned", "get_device", "__len__", "requires_grad_", "detach_", "storage_offset",
        "is_shared", "__hash__", "type",
    )
)  # fmt: skip
"""Attributes and methods that do not look at values."""


class PassGradients:
    """The mean gradients of one pass.

    Args:
        pass_number: of the pass.
        fetch: gets all of them, one for each parameter in order, None where there is none. Blocking; called once.
    """

    def __init__(self, pass_number: int, fetch: Callable[[], list[torch.Tensor | None]]) -> None:
        self.pass_number = pass_number
        self.looked_at = False
        self._fetch = fetch
        self._params: list[torch.nn.Parameter] = []
        self._fetched: list[torch.Tensor | None] = []
        self._versions: list[int] = []

    def install(self, params: list[torch.nn.Parameter], present: list[bool]) -> None:
        """Give the parameters their stand-ins, or no gradient."""
        self._params = params
        for index, (param, there) in enumerate(zip(params, present, strict=True)):
            param.grad = LazyGradient(param, self, index) if there else None

    def get(self, index: int) -> torch.Tensor:
        """The true gradient of one parameter. Blocking the first time."""
        if not self.looked_at:
            self._look()
        found = self._fetched[index]
        assert found is not None
        return found

    def untouched(self, index: int, grad: torch.Tensor) -> bool:
        """``grad`` is this pass's gradient of the parameter, as it came."""
        if isinstance(grad, LazyGradient):
            return grad.gradients is self and (not self.looked_at or self._unchanged(index))
        return self.looked_at and grad is self._fetched[index] and self._unchanged(index)

    def mark_changed(self, index: int) -> None:
        """Somebody may write to it where no version is counted."""
        self.get(index)
        self._versions[index] = -1

    def _unchanged(self, index: int) -> bool:
        found = self._fetched[index]
        return found is not None and found._version == self._versions[index]

    def _look(self) -> None:
        self._fetched = self._fetch()
        self.looked_at = True
        self._versions = [-1 if grad is None else grad._version for grad in self._fetched]
        for param, grad in zip(self._params, self._fetched, strict=True):
            if isinstance(param.grad, LazyGradient) and param.grad.gradients is self:
                param.grad = grad


class LazyGradient(torch.Tensor):
    """Stands in ``param.grad`` for a gradient that nobody has looked at."""

    gradients: PassGradients
    position: int

    @staticmethod
    def __new__(cls: type[LazyGradient], like: torch.Tensor, gradients: PassGradients, position: int) -> LazyGradient:
        """Of the shape, strides and dtype of ``like``."""
        made: LazyGradient = torch.Tensor._make_wrapper_subclass(
            cls, like.size(), strides=like.stride(), dtype=like.dtype, device=like.device, requires_grad=False
        )
        made.gradients, made.position = gradients, position
        return made

    def __init__(self, like: torch.Tensor, gradients: PassGradients, position: int) -> None:
        """All is done in ``__new__``."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Whatever Python does with it."""
        name = _name(func)
        if name in _HARMLESS:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        if name == "data" and args and isinstance(args[0], LazyGradient):
            args[0].gradients.mark_changed(args[0].position)
        return func(*tree_map(_true, args), **tree_map(_true, kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Whatever comes from below Python, such as a backward that adds to it. Versions are not counted here."""
        if getattr(func, "_schema", None) is None or func._schema.is_mutable:  # type: ignore[attr-defined]
            for item in tree_leaves((args, kwargs)):
                if isinstance(item, LazyGradient):
                    item.gradients.mark_changed(item.position)
        return func(*tree_map(_true, args), **tree_map(_true, kwargs or {}))


def _true(item: Any) -> Any:
    return item.gradients.get(item.position) if isinstance(item, LazyGradient) else item


def _name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        return getattr(getattr(func, "__self__", None), "__name__", "")
    return name
