"""Elastic training for PyTorch: workers join, leave and die, the weights come out bit for bit the same.

Importing this package is cheap; torch is imported when :func:`join` or :class:`Loader` is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pliant.data.loader import Loader
    from pliant.parallel.tables.embedding import Embedding
    from pliant.serving.replica.model import Model
    from pliant.training.job import Job, join
    from pliant.training.step import Step
    from pliant.wire.tables import RowAdagrad, RowAdam, RowInit, RowSGD

__all__ = ["Embedding", "Job", "Loader", "Model", "RowAdagrad", "RowAdam", "RowInit", "RowSGD", "Step", "join"]
__version__ = "0.1.0"

_HOMES = {
    "Embedding": "pliant.parallel.tables.embedding",
    "Job": "pliant.training.job",
    "Loader": "pliant.data.loader",
    "Model": "pliant.serving.replica.model",
    "RowAdagrad": "pliant.wire.tables",
    "RowAdam": "pliant.wire.tables",
    "RowInit": "pliant.wire.tables",
    "RowSGD": "pliant.wire.tables",
    "Step": "pliant.training.step",
    "join": "pliant.training.job",
}


def __getattr__(name: str) -> Any:
    """Resolve the public names on first use (PEP 562), so that the command line never imports torch."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pliant' has no attribute {name!r}")
