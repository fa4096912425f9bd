"""Settings of torch that the bits depend on, the same for every worker and for a plain run.

On the CPU one thread count is enough. On CUDA several kernels add in whatever order their threads arrive: they are
switched to their deterministic forms where those exist (torch warns about those that have none), and cuDNN and cuBLAS
are told not to choose algorithms by timing or by scheduling (https://pytorch.org/docs/stable/notes/randomness.html).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import nn


def make_deterministic(threads: int, modules: Iterable[nn.Module]) -> None:
    """Apply the settings; those for CUDA only if a module is there."""
    torch.set_num_threads(threads)
    if not any(param.is_cuda for module in modules for param in module.parameters()):
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory with NaN finds programs that read it; it costs time and changes no result of those that do
    # not.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
