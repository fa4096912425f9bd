"""``pliant.Model``: what a user writes to have it served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file

from pliant.errors import ConfigError
from pliant.transfer.checkpoint_manifest import check_checkpoint

Module = TypeVar("Module", bound=torch.nn.Module)
Batch = torch.Tensor | dict[str, torch.Tensor]


class Model:
    """Subclass it, load the weights in :meth:`load`, and answer a batch in :meth:`predict`.

    One object is made for each version of a service, in the template process; the replicas are forks of it, and share
    its tensors. Intra-op threads are set before (``pliant serve --threads``), and no other thread may be left running.
    """

    inputs: Mapping[str, tuple[str, tuple[int, ...]]] = {}
    """Name -> (dtype, shape of one row), such as ``{"image": ("float32", (1, 8, 8))}``; -1: any size. What does not fit
    is refused before it comes near the model, and the model is warmed up before it is forked. Empty: any one tensor is
    taken, of any type and shape."""
    outputs: Mapping[str, tuple[str, tuple[int, ...]]] = {}
    """The same, for the metadata only."""
    repeatable: bool = True
    """Whether ``predict`` may run again for a request when the replica died over it."""

    checkpoint: Path | None = None
    """The directory that ``--checkpoint`` names, set before :meth:`load`."""

    def load(self) -> None:
        """Make the model. Called once for each version, before anything is forked."""

    def predict(self, batch: Any) -> Any:
        """Answer a batch.

        Args:
            batch: A tensor whose first dimension are the rows of all requests of the batch; with several inputs, a
                dict of such tensors by name. On the CPU, writable, this call's own.

        Returns:
            A tensor, a tuple of tensors or a dict of tensors, each with the same rows in the same order. Or yields
            such results (in a plain or an ``async`` generator): then the answer is streamed, and requests come one
            at a time.
        """
        raise NotImplementedError(f"{type(self).__name__} has no predict")

    def weights(self, module: Module, name: str = "model") -> Module:
        """``module`` with the weights that were tracked as ``name`` in ``--checkpoint``, in evaluation mode.

        Raises:
            ConfigError: The service was started without ``--checkpoint``, or its checkpoint has no such module.
            CheckpointError: The checkpoint is damaged.
        """
        if self.checkpoint is None:
            raise ConfigError(
                f"{type(self).__name__}.load wants the weights of {name!r}, but no checkpoint was given: "
                "pliant serve ... --checkpoint DIR"
            )
        load_weights(module, self.checkpoint, name)
        return module.eval()


def load_weights(module: torch.nn.Module, checkpoint: Path, name: str) -> None:
    """Load a checkpoint's module into ``module``. All checksums are compared first.

    Raises:
        ConfigError: There is no module of that name, or its tensors are others.
        CheckpointError: Damaged.
    """
    check_checkpoint(checkpoint)
    file = checkpoint / f"{name}.safetensors"
    if not file.exists():
        known = sorted(path.stem for path in checkpoint.glob("*.safetensors") if path.stem != "state")
        raise ConfigError(f"{checkpoint} has no module {name!r}; it has {', '.join(known) or 'none'}")
    try:
        module.load_state_dict(load_file(file))
    except RuntimeError as error:
        raise ConfigError(f"the weights of {name!r} in {checkpoint} are not those of this module: {error}") from error
