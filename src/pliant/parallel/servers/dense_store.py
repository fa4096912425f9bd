"""The slots that one server holds: slices of the dense parameters, and of the state of the user's own optimizers.

Theory of operation. A slot's parameters lie in one flat tensor for each of its ranges. The pieces of parameters in
them are ``nn.Parameter`` objects that view this memory, and an update is one ``step()`` of a copy of the user's
optimizer whose groups list the pieces, with the gradients as views of the slots' gradient flats: nothing is copied. For
an elementwise optimizer (:mod:`pliant.parallel.servers.elementwise`) the bits are those of a step on whole tensors.

Some optimizers write to the gradients. They get copies, because the caller's may be on their way to another server:
whether one is of that sort is seen at its first update.

No threads, no sockets: the caller sees to it that slots of one call are at the same update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from pliant.errors import ConfigError, StateError
from pliant.parallel.layout import Layout
from pliant.parallel.servers.optimizer_copy import copy_optimizer, set_groups
from pliant.parallel.servers.optimizer_state import PieceStates, copied, same_bits, scatter, tensors_in
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.slot_state import SlotState, check_flats, check_slot_state

Optimizer = torch.optim.Optimizer
Parameter = torch.nn.Parameter
Flats = list[torch.Tensor]
"""1-d tensors, one for each range of a slot, padding included."""


class _Place(NamedTuple):
    """Where a piece lies in a slot's flats."""

    flat: int
    start: int
    stop: int
    scalar: bool

    def view(self, flats: Sequence[torch.Tensor]) -> torch.Tensor:
        part = flats[self.flat][self.start : self.stop]
        return part.view(()) if self.scalar else part


class _Slot:
    """One slot that is held."""

    def __init__(self, flats: Flats, places: dict[int, _Place]) -> None:
        self.flats = flats
        self.places = places
        self.params = {index: Parameter(place.view(flats)) for index, place in places.items()}


class _Sliced:
    """An optimizer over pieces: the group that each parameter of the layout is in, and the copy that steps."""

    def __init__(self, original: Optimizer, groups: dict[int, int]) -> None:
        self.original = original
        self.groups = groups
        self.copy = copy_optimizer(original, [[] for _ in original.param_groups])
        self.writes_to_gradients: bool | None = None
        """None: not known yet."""


class DenseStore:
    """The state of the slots that a server holds.

    Attributes:
        layout: of the dense parameters.
        ranges: which elements are in which slot.
    """

    def __init__(self, layout: Layout, *, ranges: SlotRanges, optimizers: Mapping[str, Optimizer]) -> None:
        """A store without slots.

        Args:
            layout: Of the model's parameters.
            ranges: Of the layout.
            optimizers: The user's, by the names that ``pliant.join`` knows them by. They are never stepped; their
                present state is what slots begin with.

        Raises:
            ConfigError: An optimizer has parameters that are not in the layout.
        """
        self.layout, self.ranges = layout, ranges
        self._check_members(optimizers)
        self._optimizers = {name: _Sliced(each, groups_of(each, layout)) for name, each in optimizers.items()}
        self._slots: dict[int, _Slot] = {}

    @property
    def originals(self) -> dict[str, Optimizer]:
        """The user's optimizers."""
        return {name: each.original for name, each in self._optimizers.items()}

    @property
    def slots(self) -> list[int]:
        """Those that are held, in order."""
        return sorted(self._slots)

    @property
    def size_bytes(self) -> int:
        """Of all parameters and optimizer state that are held."""
        total = sum(flat.nbytes for held in self._slots.values() for flat in held.flats)
        states = (state for each in self._optimizers.values() for state in each.copy.state.values())
        return total + sum(tensor.nbytes for state in states for tensor in tensors_in(state))

    def begin(self, slot: int, params: Flats) -> None:
        """Hold a slot anew: these parameters, and the state that the user's optimizers were built (or restored) with.

        Args:
            slot: A slot held before is replaced.
            params: Are copied.

        Raises:
            StateError: The tensors are not those of the slot. Nothing has changed.
        """
        states = {
            name: scatter(each.original, slot=slot, layout=self.layout, ranges=self.ranges)
            for name, each in self._optimizers.items()
        }
        self.install(slot, SlotState(params, states))

    def install(self, slot: int, state: SlotState) -> None:
        """Hold a slot in this state.

        Args:
            slot: A slot held before is replaced.
            state: Is copied.

        Raises:
            StateError: It is not the state of this slot of this model. Nothing has changed.
        """
        check_slot_state(state, slot=slot, names=self._optimizers, layout=self.layout, ranges=self.ranges)
        self.drop(slot)
        held = self._slots[slot] = _Slot([flat.clone() for flat in state.params], self._places(slot))
        for name, states in state.optimizers.items():
            for index, entries in states.items():
                self._optimizers[name].copy.state[held.params[index]] = copied(entries)

    def drop(self, slot: int) -> None:
        """Forget a slot; nothing if it is not held."""
        held = self._slots.pop(slot, None)
        if held is not None:
            for each in self._optimizers.values():
                for param in held.params.values():
                    each.copy.state.pop(param, None)

    def snapshot(self, slot: int) -> SlotState:
        """A copy of all that is held of a slot: later updates do not change it.

        Raises:
            StateError: The slot is not held.
        """
        held = self._held(slot)
        states: dict[str, PieceStates] = {}
        for name, each in self._optimizers.items():
            known = each.copy.state
            states[name] = {index: copied(known[param]) for index, param in held.params.items() if param in known}
        return SlotState([flat.clone() for flat in held.flats], states)

    def params(self, slot: int) -> Flats:
        """The parameters of a slot, live: the next update changes them.

        Raises:
            StateError: The slot is not held.
        """
        return self._held(slot).flats

    def apply(
        self, name: str, *, groups: Sequence[Mapping[str, Any]], grads: Mapping[int, Flats], present: Sequence[bool]
    ) -> None:
        """One step of an optimizer on the slots of ``grads``; other slots stay as they are.

        Args:
            name: Which optimizer.
            groups: The options of its parameter groups for this step, without ``params``, as the workers' schedulers
                have left them.
            grads: For each slot the gradient. It is neither changed nor kept.
            present: For each parameter of the layout whether it has a gradient; without, its pieces have None.

        Raises:
            StateError: Arguments that do not fit, or a slot that is not held. Nothing has changed.
            Exception: What the optimizer raises. The slots' state is not to be used any more.
        """
        sliced = self._checked(name, groups, grads, present)
        given = grads
        if sliced.writes_to_gradients is not False:
            grads = {slot: [flat.clone() for flat in flats] for slot, flats in grads.items()}
        lists = self._with_gradients(sliced, grads, present)
        telling = any(param.grad is not None for params in lists for param in params)
        set_groups(sliced.copy, groups, lists)
        try:
            if any(lists):
                sliced.copy.step()
        finally:
            # The caller may write to the gradients' memory as soon as nobody has a view of it.
            for params in lists:
                for param in params:
                    param.grad = None
        if sliced.writes_to_gradients is None and telling:
            sliced.writes_to_gradients = not all(
                same_bits(flat, mine)
                for slot, flats in given.items()
                for flat, mine in zip(flats, grads[slot], strict=True)
            )

    def _with_gradients(
        self, sliced: _Sliced, grads: Mapping[int, Flats], present: Sequence[bool]
    ) -> list[list[Parameter]]:
        """For each group the pieces in the slots of ``grads``, with their gradients."""
        lists: list[list[Parameter]] = [[] for _ in sliced.copy.param_groups]
        for slot, flats in sorted(grads.items()):
            held = self._slots[slot]
            for index, param in held.params.items():
                if index in sliced.groups:
                    param.grad = held.places[index].view(flats) if present[index] else None
                    lists[sliced.groups[index]].append(param)
        return lists

    def _checked(
        self, name: str, groups: Sequence[Mapping[str, Any]], grads: Mapping[int, Flats], present: Sequence[bool]
    ) -> _Sliced:
        if name not in self._optimizers:
            raise StateError(f"there is no optimizer {name!r}; the optimizers here are {sorted(self._optimizers)}")
        sliced = self._optimizers[name]
        if len(groups) != len(sliced.copy.param_groups):
            raise StateError(
                f"{name} has {len(sliced.copy.param_groups)} parameter groups on the server and {len(groups)} on the "
                "worker; build the same optimizer in every process, before pliant.join"
            )
        if len(present) != len(self.layout.params):
            raise StateError(f"an update speaks of {len(present)} parameters, the model has {len(self.layout.params)}")
        for slot, flats in grads.items():
            self._held(slot)
            check_flats(flats, slot=slot, layout=self.layout, ranges=self.ranges, what="gradients")
        return sliced

    def _held(self, slot: int) -> _Slot:
        if slot not in self._slots:
            raise StateError(f"slot {slot} is not held here; held are {self.slots}")
        return self._slots[slot]

    def _places(self, slot: int) -> dict[int, _Place]:
        numbers = {each.bucket: number for number, each in enumerate(self.ranges.slots[slot])}
        places = {}
        for piece in self.ranges.pieces[slot]:
            number = numbers[piece.bucket]
            start = piece.offset - self.ranges.slots[slot][number].start
            scalar = self.layout.params[piece.param].dim() == 0
            places[piece.param] = _Place(number, start, start + piece.stop - piece.start, scalar)
        return places

    def _check_members(self, optimizers: Mapping[str, Optimizer]) -> None:
        known = {id(param) for param in self.layout.params}
        problems = []
        for name, optimizer in optimizers.items():
            params = [param for group in optimizer.param_groups for param in group["params"]]
            if strange := [param for param in params if param.requires_grad and id(param) not in known]:
                problems.append(
                    f"{name} updates {len(strange)} of its {len(params)} parameters that are in no module given to "
                    "join(); parameter servers hold those of tracked modules only: give their module to join() too"
                )
        if problems:
            raise ConfigError(problems)


def groups_of(optimizer: Optimizer, layout: Layout) -> dict[int, int]:
    """For each parameter of the layout that the optimizer has, by index, the number of its group."""
    numbers = {id(param): number for number, group in enumerate(optimizer.param_groups) for param in group["params"]}
    return {index: numbers[id(param)] for index, param in enumerate(layout.params) if id(param) in numbers}
