"""All that a server holds of one slot, as it travels to another server or into a checkpoint."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch

from pliant.errors import ProtocolError, StateError
from pliant.parallel.layout import Layout
from pliant.parallel.servers.optimizer_state import PieceStates
from pliant.parallel.servers.pieces import Piece, SlotRanges


@dataclass(frozen=True)
class SlotState:
    """One slot at one update.

    Attributes:
        params: one 1-d tensor for each range of the slot, padding included.
        optimizers: by name, the state of the pieces that an optimizer has a state of.
    """

    params: list[torch.Tensor]
    optimizers: dict[str, PieceStates] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For :func:`pliant.transfer.spec.encode`; holds the same tensors."""
        return {"params": self.params, "optimizers": self.optimizers}

    @classmethod
    def from_plain(cls, value: object) -> SlotState:
        """The reverse of :meth:`plain`.

        Raises:
            ProtocolError: It is something else. That it fits the layout is checked where it is installed.
        """
        if (
            not isinstance(value, dict)
            or value.keys() != {"params", "optimizers"}
            or not isinstance(value["params"], list)
            or not all(isinstance(each, torch.Tensor) for each in value["params"])
            or not isinstance(value["optimizers"], dict)
            or not all(isinstance(pieces, dict) for pieces in value["optimizers"].values())
        ):
            raise ProtocolError("what came as the state of a slot is none: it has no list of params and no optimizers")
        return cls(value["params"], value["optimizers"])


def check_slot_state(
    state: SlotState, *, slot: int, names: Collection[str], layout: Layout, ranges: SlotRanges
) -> None:
    """Compare the state of a slot with what the layout says of it.

    Args:
        state: To be checked; not changed.
        slot: Which it is said to be.
        names: Of the optimizers that there are.
        layout: Of the dense parameters.
        ranges: Of the layout.

    Raises:
        StateError: It does not fit; names the slot and what was expected.
    """
    check_flats(state.params, slot=slot, layout=layout, ranges=ranges, what="parameters")
    pieces = {piece.param: piece for piece in ranges.pieces[slot]}
    for name, states in state.optimizers.items():
        if name not in names:
            raise StateError(f"slot {slot} came with state of {name!r}; the optimizers here are {sorted(names)}")
        for index, entries in states.items():
            if index not in pieces:
                raise StateError(f"slot {slot} came with state of {name} for parameter {index}, which is not in it")
            where = f"slot {slot}: the state of {name} for {layout.names[index]}"
            if not isinstance(entries, dict):
                raise StateError(f"{where} is a {type(entries).__name__}, not a dict")
            _check_entry(entries, pieces[index], where)


def check_flats(flats: list[torch.Tensor], *, slot: int, layout: Layout, ranges: SlotRanges, what: str) -> None:
    """Compare the flat tensors of a slot with its ranges.

    Raises:
        StateError: Another number of them, another dtype or size, or not contiguous on the host.
    """
    wanted = [(layout.buckets[each.bucket].dtype, (each.stop - each.start,)) for each in ranges.slots[slot]]
    got = [(flat.dtype, tuple(flat.shape)) for flat in flats]
    if got != wanted:
        raise StateError(
            f"the {what} of slot {slot} came as {got}, expected {wanted}: is the model the same everywhere?"
        )
    if any(flat.device.type != "cpu" or not flat.is_contiguous() for flat in flats):
        raise StateError(f"the {what} of slot {slot} are not contiguous in host memory")


def _check_entry(value: Any, piece: Piece, where: str) -> None:
    if isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape != (piece.stop - piece.start,):
        raise StateError(
            f"{where} has a tensor of shape {tuple(value.shape)}, the slice has {piece.stop - piece.start} elements"
        )
    if isinstance(value, dict):
        for key, item in value.items():
            _check_entry(item, piece, f"{where}, {key!r},")
    if isinstance(value, list | tuple):
        for item in value:
            _check_entry(item, piece, where)
