"""``pliant.Model``: what a user writes to have it served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file

from pliant.errors import ConfigError
from pliant.serving.replica.arrays import as_batch
from pliant.serving.replica.signature import read_signature
from pliant.serving.replica.uneven import by_name, cut_apart, padded_together
from pliant.transfer.checkpoint_manifest import check_checkpoint
from pliant.wire.tensors import Signature

Module = TypeVar("Module", bound=torch.nn.Module)
Batch = torch.Tensor | dict[str, torch.Tensor]


class Model:
    """Subclass it, load the weights in :meth:`load`, and answer a batch in :meth:`predict`.

    One object is made for each version of a service, in the template process; the replicas are forks of it, and share
    its tensors. Intra-op threads are set before (``pliant serve --threads``), and no other thread may be left running.
    """

    inputs: Mapping[str, tuple[str, tuple[int | str, ...]]] = {}
    """Name -> (dtype, shape of one row), such as ``{"image": ("float32", (1, 8, 8))}``. What does not fit is refused
    before it comes near the model, and the model is warmed up before it is forked. -1: any size; a name such as
    ``"length"``: any size, but one size in all of a request's inputs that have the name. Empty: any one tensor is
    taken, of any type and shape."""
    outputs: Mapping[str, tuple[str, tuple[int | str, ...]]] = {}
    """The same, for the metadata, and for the names of outputs that ``predict`` returns without one. A dimension named
    as one of the inputs' has the same size as there."""
    pad: Mapping[str, Sequence[int]] = {}
    """Dimension's name -> the sizes that it is padded to, rising, such as ``{"length": (32, 64, 128)}``: requests that
    need the same of these sizes share a batch, and what is larger than the last is refused. ``()``: to the longest of
    the batch. ``outputs`` that have the dimension are cut back. A dimension that is not named here keeps requests of
    different sizes in batches of their own."""
    fill: Mapping[str, float] = {}
    """Input's name -> what it is padded with; 0 for those that are not named here."""
    repeatable: bool = True
    """Whether ``predict`` may run again for a request when the replica died over it."""

    checkpoint: Path | None = None
    """The directory that ``--checkpoint`` names, set before :meth:`load`."""

    def load(self) -> None:
        """Make the model. Called once for each version, before anything is forked."""

    def predict(self, batch: Any) -> Any:
        """Answer a batch.

        It may take more arguments, each with the name of an input's dimension: it is given that dimension's true size
        of every row, before padding, (rows,) of int64.

        Args:
            batch: A tensor whose first dimension are the rows of all requests of the batch; with several inputs, a
                dict of such tensors by name. On the CPU, writable, this call's own. Or what :meth:`collate` returned.

        Returns:
            A tensor, a tuple of tensors or a dict of tensors, each with the same rows in the same order. Or yields
            such results (in a plain or an ``async`` generator): then the answer is streamed, and requests come one
            at a time.
        """
        raise NotImplementedError(f"{type(self).__name__} has no predict")

    def collate(self, requests: Sequence[Any]) -> Any:
        """Put the requests of a batch together; this one pads them. Called only where they may differ in shape.

        A model that has one of its own is given requests that differ wherever ``inputs`` leaves the size open (and
        within one size of ``pad``, where that has some).

        Args:
            requests: of each request what :meth:`predict` would be given if it were alone.

        Returns:
            What :meth:`predict` is given. Whatever is raised here is treated as if ``predict`` had raised it.
        """
        signature = self._signature
        return as_batch(padded_together([by_name(each, signature) for each in requests], signature, self.fill))

    def split(self, result: Any, requests: Sequence[Any]) -> Sequence[Any]:
        """Take the answers apart; this one gives each request its rows, and cuts off what was padded.

        Args:
            result: what :meth:`predict` returned.
            requests: as :meth:`collate` was given them.

        Returns:
            For each request, in their order, what :meth:`predict` would return for it alone: with its rows.
        """
        signature = self._signature
        return cut_apart(result, [by_name(each, signature) for each in requests], signature)

    @cached_property
    def _signature(self) -> Signature:
        """What the class says of itself.

        Raises:
            ConfigError: It makes no sense.
        """
        kind = type(self)
        return read_signature(self, collates=kind.collate is not Model.collate, splits=kind.split is not Model.split)

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


def signature_of(model: Model) -> Signature:
    """What the model's class says of its inputs and outputs.

    Raises:
        ConfigError: It makes no sense. Lists every problem.
    """
    return model._signature


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
