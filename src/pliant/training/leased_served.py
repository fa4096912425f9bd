"""Parameter servers for a worker that waits for no other: each ``optimizer.step()`` is a push of this worker's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.client_work import ANY
from pliant.parallel.servers.frames import Frame
from pliant.parallel.servers.lease_work import PushName, RowPushWork
from pliant.parallel.tables.embedding import Embedding
from pliant.parallel.tables.merge import RowGrads
from pliant.training.served import MakeClient, Served
from pliant.training.session import JobStopped, Session
from pliant.wire.messages import UNBOUNDED
from pliant.wire.server_messages import SLOTS

GRACE_S = 2.0
"""So long a worker that is let go may still wait for its push to be applied."""


class LeasedServed(Served):
    """One job's, on one worker.

    Attributes:
        lease: that this worker computes now, counted over the whole job.
        floor: all leases below are done, as far as this worker knows.
        lease_step: the step that the lease is of.
        parts: pushes of the lease so far.
        staleness: of the newest push: updates that others had applied between the pull and the push.
        took_parameters: this lease's pushes were answered with parameters.
        gives_first_state: slots that no server has begin with what is here.
    """

    def __init__(self, session: Session, make_client: MakeClient, now_s: Callable[[], float]) -> None:
        self.lease = self.floor = self.lease_step = self.parts = 0
        self.staleness = UNBOUNDED
        self.gives_first_state = self.took_parameters = False
        self._now_s = now_s
        self._ended_s: float | None = None
        self._pushing = False
        self._numbers: dict[int, int] = {}
        super().__init__(session, make_client)
        self._client.era = lambda: session.position.era

    @property
    def client(self) -> ServersClient:
        """The way to the servers."""
        return self._client

    @property
    def tables(self) -> dict[str, Embedding]:
        """By name, in order."""
        return self._parameters.tables

    def begin(self, slots: Sequence[int]) -> tuple[int, dict[int, list[Frame]]] | None:
        """See :class:`pliant.training.served.Served`."""
        if not self.gives_first_state:
            return None
        return self._session.position.updates, self._parameters.first_states(slots)

    def read(self) -> None:
        """Take the parameters as they are now. Blocking."""
        self._parameters.forget_dump()
        self._numbers = self._parameters.read(self._client)

    def drop_gradients(self) -> None:
        """No update is to be made of them."""
        for param in self._parameters.layout.params:
            param.grad = None

    def drop_state(self) -> None:
        """The servers have it: this worker holds neither optimizer state nor rows."""
        self._parameters.drop_state()

    def open(self, lease: int, *, floor: int, step: int) -> None:
        """This lease comes next."""
        self.lease, self.floor, self.lease_step = lease, floor, step
        self.parts, self.staleness, self.took_parameters = 0, UNBOUNDED, False

    def push_rows(self, rows: Mapping[str, RowGrads]) -> None:
        """Have the rows of tables updated with these gradients. Blocking."""
        if rows:
            with self._no_leaving():
                numbers = self._client.ask(RowPushWork(self._name, rows)).numbers
            self._pushed(numbers)

    def _step(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        if self._parameters.has_gradients(name):
            with self._no_leaving():
                numbers = self._parameters.push(self._client, name, self._name)
            self._pushed(numbers)
            self.took_parameters = True
        self._set_aside(optimizer)

    def _pushed(self, numbers: dict[int, int]) -> None:
        missed = max(numbers[slot] - self._numbers[slot] - 1 for slot in range(SLOTS))
        self.staleness = max(self.staleness, missed, 0)
        self._numbers = numbers
        self.parts += 1
        self._parameters.forget_dump()

    @property
    def _name(self) -> PushName:
        return PushName(self.lease, self.parts, self.floor, self.lease_step)

    @property
    def step(self) -> int:
        """See :class:`pliant.training.served.Served`."""
        return self.lease_step + 1

    @property
    def _number(self) -> int:
        return ANY

    @property
    def _elsewhere(self) -> bool:
        return not self._internal and self._session.crew.stateful

    @contextmanager
    def _no_leaving(self) -> Iterator[None]:
        self._pushing = True
        try:
            yield
        finally:
            self._pushing = False

    def _check(self) -> None:
        """Who is let go while its push is under way waits a little: else another worker computes it once more."""
        try:
            self._session.check_end()
        except JobStopped:
            self._ended_s = self._now_s() if self._ended_s is None else self._ended_s
            if not self._pushing or self._now_s() - self._ended_s > GRACE_S:
                raise
