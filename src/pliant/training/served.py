"""Training with parameter servers: what a worker's job does in other ways than with all-reduce.

The tracked optimizers' ``step`` has the servers do it. That is done with hooks, so that schedulers and scalers which
have wrapped the method see it called; within, the parameters have no gradients, so that it changes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Protocol

import torch

from pliant.errors import ConfigError, UsageError
from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.client_work import PullWork
from pliant.parallel.servers.conversation import Beginner
from pliant.parallel.servers.frames import Frame
from pliant.parallel.servers.served_engine import ServedEngine
from pliant.parallel.servers.served_parameters import ServedParameters
from pliant.training.session import Session
from pliant.transfer.capture import modules_in, optimizers_in
from pliant.wire.server_messages import SLOTS


class MakeClient(Protocol):
    """:meth:`pliant.training.crew.Crew.servers`."""

    def __call__(self, begin: Beginner, *, check: Callable[[], None]) -> ServersClient: ...  # noqa: D102


class Served:
    """One job's, on one worker. Training thread, but for :meth:`begin`."""

    def __init__(self, session: Session, make_client: MakeClient) -> None:
        self._session = session
        tracked = session.tracked
        self._models = modules_in(tracked)
        optimizers = optimizers_in(tracked)
        self._parameters = ServedParameters(self._models, optimizers)
        if self._parameters.layout.params and not optimizers:
            raise ConfigError(
                "no optimizer is tracked, and with parameter servers only tracked ones can change parameters: "
                "pliant.join(model=model, optimizer=optimizer)"
            )
        self._client = make_client(self.begin, check=self._check)
        self._client.era = lambda: session.position.era if session.crew.stateful else 0
        for table in self._parameters.tables.values():
            table.source = self
        self._aside: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._internal = False
        for name, optimizer in optimizers.items():
            optimizer.register_step_pre_hook(self._before_step(name))
            optimizer.register_step_post_hook(self._after_step)
            optimizer.register_state_dict_pre_hook(self._before_state)
            optimizer.register_state_dict_post_hook(self._after_state)

    def engine(self, shards: int) -> ServedEngine:
        """Of a loader with so many shards."""
        return ServedEngine(self._models, shards, served=self._parameters, client=self._client, count=self._count)

    @property
    def step(self) -> int:
        """Of the tables' update that comes next."""
        return self._session.position.passes + 1

    def pull(self, table: str, ids: torch.Tensor) -> torch.Tensor:
        """Rows of a table as they are now. Blocking. See :class:`pliant.parallel.tables.embedding.RowSource`."""
        dim = self._parameters.tables[table].spec.dim
        work = PullWork(table, ids, dim=dim, number=max(0, self._number), step=self.step)
        return self._client.ask(work).rows

    @property
    def among_workers(self) -> bool:
        """See :class:`pliant.parallel.tables.embedding.RowSource`."""
        return self._internal

    def state(self, table: str) -> dict[str, torch.Tensor] | None:
        """All of a table, for a checkpoint, on whose disk it lies. Blocking."""
        if not self._elsewhere:
            return None
        return self._parameters.rows(self._client, self._number, table, self._directory)

    def row_digests(self, table: str) -> list[bytes] | None:
        """Of each slot of a table, for the hash of the weights. Blocking; the rows come in parts."""
        if not self._elsewhere:
            return None
        return self._parameters.row_digests(self._client, self._number)[table]

    def begin(self, slots: Sequence[int]) -> tuple[int, dict[int, list[Frame]]] | None:
        """What slots begin with that no server has. Client's thread, while a pass is under way here."""
        position = self._session.position
        if position.updates != position.began_at:
            return None
        return position.updates, self._parameters.first_states(slots)

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Optimizers' states are wanted as workers have them: without what the servers hold."""
        self._internal = True
        try:
            yield
        finally:
            self._internal = False

    # ------------------------------------------------------------ hooks

    def _before_step(self, name: str) -> Callable[..., None]:
        def hook(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
            if not self._session.crew.stateful:  # a rehearsal, on a model that is thrown away
                return
            if len(args) > 1 or options:
                raise UsageError(
                    f"{name}.step() was given a closure, which parameter servers cannot call. Compute the loss in the "
                    "inner loop and call step() without arguments, or use --strategy all-reduce."
                )
            self._step(name, optimizer)

        return hook

    def _step(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        session = self._session
        if self._parameters.has_gradients(name):
            mine = {slot for slot in range(SLOTS) if slot % max(1, session.size) == session.rank}
            self._count(lambda number: self._parameters.update(self._client, name, number=number, mine=mine))
        self._set_aside(optimizer)

    def _set_aside(self, optimizer: torch.optim.Optimizer) -> None:
        """Hide the gradients from what is left of the optimizer's own step."""
        self._aside = [
            (param, param.grad)
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        for param, _ in self._aside:
            param.grad = None

    def _count(self, update: Callable[[int], object]) -> None:
        """Do the next update."""
        position = self._session.position
        first = position.updates == position.began_at
        self._parameters.forget_dump()
        update(position.updates + 1)
        position.updates += 1
        if first:
            self._parameters.drop_state()

    def _after_step(self, *_: Any) -> None:
        aside, self._aside = self._aside, []
        for param, grad in aside:
            param.grad = grad

    def _before_state(self, _: torch.optim.Optimizer) -> None:
        if self._elsewhere:
            self._parameters.bring_state(self._client, self._number, self._directory)

    def _after_state(self, *_: Any) -> None:
        if self._elsewhere:
            self._parameters.drop_state()

    def _check(self) -> None:
        """See :class:`pliant.parallel.servers.client.ServersClient`."""
        self._session.check_end()

    @property
    def _directory(self) -> Path:
        """For what is larger than memory."""
        return Path(self._session.crew.rules.checkpoints or gettempdir())

    @property
    def _number(self) -> int:
        """Of the newest update."""
        return self._session.position.updates

    @property
    def _elsewhere(self) -> bool:
        """The servers hold the optimizers' state, and somebody wants it here."""
        position = self._session.position
        return not self._internal and self._session.crew.stateful and position.updates > position.began_at
