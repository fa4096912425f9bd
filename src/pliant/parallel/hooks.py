"""Gradient hooks: tell a listener the moment a parameter's gradient is final."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.hooks import RemovableHandle

from pliant.parallel.layout import Layout


class GradientHooks:
    """Post-accumulate hooks on all parameters of a layout; silent unless a listener is set."""

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._handles: list[RemovableHandle] = []
        self._listener: Callable[[int], None] | None = None

    def listen(self, layout: Layout, listener: Callable[[int], None]) -> None:
        """Call ``listener(index)`` for each parameter whose gradient has been accumulated, until ``silence``."""
        if layout is not self._layout:
            self.remove()
            self._layout = layout
            for index, param in enumerate(layout.params):
                handle = param.register_post_accumulate_grad_hook(self._hook(index))  # type: ignore[no-untyped-call]
                self._handles.append(handle)
        self._listener = listener

    def silence(self) -> None:
        """Stop listening; the hooks stay for the next time."""
        self._listener = None

    def remove(self) -> None:
        """Take the hooks off the parameters (one worker alone does not need them)."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._layout, self._listener = [], None, None

    def _hook(self, index: int) -> Callable[[torch.Tensor], None]:
        def hook(_: torch.Tensor) -> None:
            if self._listener is not None:
                self._listener(index)

        return hook
