"""One worker's parameters and optimizers, of which the servers hold the true ones: how each gets to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from pliant.errors import UsageError
from pliant.parallel.layout import Layout, trained
from pliant.parallel.leases.applied import AppliedLeases
from pliant.parallel.pass_messages import pack_bits
from pliant.parallel.servers.brought import Brought, bring, visit_slots
from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.client_work import LookWork, UpdateWork
from pliant.parallel.servers.frames import Frame, frames_of
from pliant.parallel.servers.lazy_gradient import PassGradients
from pliant.parallel.servers.lease_work import PushName, PushWork, ReadWork
from pliant.parallel.servers.optimizer_state import gather, scatter
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.slot_state import SlotState
from pliant.parallel.servers.targets import FlatTarget, ParameterTarget, Target, in_place
from pliant.parallel.tables.embedding import tables_in
from pliant.parallel.tables.snapshot import Snapshot
from pliant.transfer.digest import tensor_digests


class ServedParameters:
    """All parameters that are trained, in one layout.

    Args:
        models: by name, as tracked.
        optimizers: by name, as tracked.
    """

    def __init__(self, models: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        self.tables = tables_in(models.values())
        self.layout = Layout(trained(models))
        self.ranges = SlotRanges(self.layout)
        self.optimizers = dict(optimizers)
        self._index = {id(param): index for index, param in enumerate(self.layout.params)}
        self._received: list[torch.Tensor] | None = None
        """Parameters on their way, if they cannot be written where they are."""
        self._pushed: list[torch.Tensor] | None = None
        """Gradients of the newest push; where workers do not wait for each other only."""
        self._versions: list[int] = []
        self._bits: list[bytes] = []
        """Of the parameters, and of their bits, as they last came."""
        self._last: PassGradients | None = None
        self._brought: Brought | None = None
        self._row_digests: dict[str, list[bytes]] | None = None
        """Of tables, until the next update."""

    # ------------------------------------------------------------ to the servers

    def first_states(self, slots: Iterable[int]) -> dict[int, list[Frame]]:
        """The slots' state as it is here, in frames of their own."""
        found, parameters = {}, ParameterTarget(self.layout, self.ranges)
        for slot in slots:
            states = {
                name: scatter(optimizer, slot=slot, layout=self.layout, ranges=self.ranges)
                for name, optimizer in self.optimizers.items()
            }
            state = SlotState(parameters.cut(slot), states)
            tables = {name: {"rows": table.slot(slot)} for name, table in self.tables.items()}
            value = {"dense": state.plain(), "tables": tables, "leases": AppliedLeases().plain()}
            found[slot] = frames_of(value)[0]
        return found

    def update(self, client: ServersClient, name: str, *, number: int, mine: set[int]) -> None:
        """Have the servers do ``optimizer.step()`` of one optimizer, and take the new parameters. Blocking.

        Args:
            client: to the servers.
            name: of the optimizer.
            number: of the update.
            mine: slots whose gradients this worker sends if the script has changed them.

        Raises:
            UsageError: the script has changed parameters by itself since the last update.
        """
        self._check_untouched()
        optimizer = self.optimizers[name]
        present, changed = self._gradients_of(optimizer)
        options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        work = UpdateWork(
            number=number,
            pass_number=-1 if self._last is None else self._last.pass_number,
            optimizer=name,
            present=pack_bits(present),
            option_frames=frames_of(options)[0],
            ranges=self.ranges,
            target=self._target(),
            changed=changed,
            mine=mine,
        )
        client.ask(work)
        self._take_parameters()

    def read(self, client: ServersClient) -> dict[int, int]:
        """Take the parameters as they are now. Blocking. Returns: updates of each slot that are in them."""
        work = client.ask(ReadWork(self.ranges, self._target()))
        self._take_parameters()
        return work.numbers

    def push(self, client: ServersClient, optimizer: str, name: PushName) -> dict[int, int]:
        """Have the servers do ``optimizer.step()`` with the gradients that are here, and take the new parameters.

        Blocking. Raises UsageError as :meth:`update`. Returns: updates of each slot that are in them.
        """
        self._check_untouched()
        groups = self.optimizers[optimizer].param_groups
        if self._pushed is None:
            self._pushed = self.layout.new_flats()
        present = [False] * len(self.layout.params)
        for flat in self._pushed:
            flat.zero_()
        for group in groups:
            for param in group["params"]:
                index = self._index.get(id(param))
                if index is not None and param.grad is not None:
                    present[index] = True
                    self.layout.view(self._pushed, index).copy_(param.grad)
        options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        work = client.ask(
            PushWork(
                self.ranges,
                self._target(),
                name=name,
                optimizer=optimizer,
                present=pack_bits(present),
                option_frames=frames_of(options)[0],
                gradients=self._pushed,
            )
        )
        self._take_parameters()
        return work.numbers

    def _take_parameters(self) -> None:
        params = self.layout.params
        if self._received is not None:
            with torch.no_grad():
                for index, param in enumerate(params):
                    param.copy_(self.layout.view(self._received, index))
        self._versions = [param._version for param in params]
        self._bits = tensor_digests(params)

    def has_gradients(self, name: str) -> bool:
        """There is something for this optimizer to do."""
        return any(param.grad is not None for group in self.optimizers[name].param_groups for param in group["params"])

    # ------------------------------------------------------------ from the servers

    def place_gradients(self, client: ServersClient, pass_number: int, present: list[bool]) -> PassGradients:
        """After a pass: every parameter's ``.grad`` stands for the mean, which is fetched if it is looked at."""

        def fetch() -> list[torch.Tensor | None]:
            flats = self.layout.new_flats()
            client.ask(LookWork(pass_number, FlatTarget(self.ranges, flats)))
            return [
                self.layout.view(flats, index).to(param.device) if present[index] else None
                for index, param in enumerate(self.layout.params)
            ]

        self._last = PassGradients(pass_number, fetch)
        self._last.install(self.layout.params, present)
        return self._last

    def bring_state(self, client: ServersClient, number: int, directory: Path) -> None:
        """Put the optimizers' whole state in the place where it is when there are no servers. Blocking.

        Raises OSError: the rows of tables do not fit into ``directory``.
        """
        brought = self._bring(client, number, directory)
        for name, optimizer in self.optimizers.items():
            states = {slot: state.optimizers.get(name, {}) for slot, state in brought.states.items()}
            whole = gather(optimizer, states=states, layout=self.layout, ranges=self.ranges)
            members = [param for group in optimizer.param_groups for param in group["params"]]
            for position, state in whole.items():
                optimizer.state[members[position]] = state

    def rows(self, client: ServersClient, number: int, table: str, directory: Path) -> Snapshot:
        """All of a table without what has expired, in a file. Blocking. Raises OSError: it does not fit there."""
        return self._bring(client, number, directory).tables[table]

    def row_digests(self, client: ServersClient, number: int) -> dict[str, list[bytes]]:
        """Of each slot of each table. Blocking; a part of the state at a time is here."""
        if self._row_digests is not None:
            return self._row_digests
        found: dict[str, list[bytes]] = {name: [] for name in self.tables}

        def digest(_: int, __: SlotState, rows: dict[str, Snapshot]) -> None:
            for name, table in self.tables.items():
                found[name].append(table.digest(rows[name]))

        visit_slots(client, number, digest)
        self._row_digests = found
        return found

    def forget_dump(self) -> None:
        """It is out of date."""
        self._brought = self._row_digests = None

    def drop_state(self) -> None:
        """Workers hold neither optimizer state nor rows."""
        for optimizer in self.optimizers.values():
            for param in self.layout.params:
                optimizer.state.pop(param, None)
        for table in self.tables.values():
            table.forget()

    def _gradients_of(self, optimizer: torch.optim.Optimizer) -> tuple[list[bool], list[torch.Tensor] | None]:
        """Which parameters have a gradient; and the gradients, as flat buckets, if the script has changed any."""
        present = [False] * len(self.layout.params)
        untouched = True
        for group in optimizer.param_groups:
            for param in group["params"]:
                index = self._index.get(id(param))
                if index is None or param.grad is None:
                    continue
                present[index] = True
                untouched = untouched and self._last is not None and self._last.untouched(index, param.grad)
        if untouched:
            return present, None
        flats = self.layout.new_flats()
        for index, param in enumerate(self.layout.params):
            view = self.layout.view(flats, index)
            if present[index] and param.grad is not None:
                view.copy_(param.grad)
            else:
                view.zero_()
        return present, flats

    def _check_untouched(self) -> None:
        for index, version in enumerate(self._versions):
            param = self.layout.params[index]
            if param._version == version:
                continue
            if tensor_digests([param]) != [self._bits[index]]:
                name = self.layout.names[index]
                raise UsageError(
                    f"the script has changed parameter {name} itself since the last step. With parameter servers only "
                    "tracked optimizers can: the servers hold the parameters and would not know of it. "
                    "Track the optimizer that does it in pliant.join(...), or use --strategy all-reduce."
                )

    def _bring(self, client: ServersClient, number: int, directory: Path) -> Brought:
        if self._brought is None or self._brought.number != number:
            self._brought = bring(client, number, self.tables, directory)
        return self._brought

    def _target(self) -> Target:
        """Where parameters go that come from the servers."""
        if all(in_place(param) for param in self.layout.params):
            self._received = None
            return ParameterTarget(self.layout, self.ranges)
        if self._received is None:
            self._received = self.layout.new_flats()
        return FlatTarget(self.ranges, self._received)
