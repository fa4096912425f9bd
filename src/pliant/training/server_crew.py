"""The crew of a parameter server: there is nobody to train with; whoever joins it serves, and never comes back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pliant.comm.handshake import job_key
from pliant.comm.isolation import cut_off
from pliant.comm.post.base import Letter as Posted
from pliant.comm.post.base import PostFullError
from pliant.comm.post.place import usual_place
from pliant.comm.post.post import PostOptions, ZmqPost
from pliant.config import Home, WorkerSpec
from pliant.parallel.layout import Layout, trained
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.elementwise import check_elementwise
from pliant.parallel.servers.frames import Frame
from pliant.parallel.servers.letters import AnyLetter, Letter
from pliant.parallel.servers.peers import Peers
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.slot_server import SlotServer
from pliant.parallel.tables.budget import Budget
from pliant.parallel.tables.embedding import tables_in
from pliant.timeouts import Timeouts
from pliant.training.crew import SoloCrew
from pliant.training.session import JobStopped
from pliant.transfer.capture import modules_in, optimizers_in
from pliant.wire.address import servers_url
from pliant.wire.codec import TO_SERVER
from pliant.wire.messages import Misbehave, Retire, StillHere
from pliant.wire.server_messages import (
    PlaceSlots,
    ServerHello,
    ServerLeaving,
    ServerProgress,
    ServerWelcome,
)
from pliant.wire.server_talk import CoordinatorToServer
from pliant.wire.socket import ControlSocket

LOOK_S = 0.5
_ENCODE = msgspec.msgpack.Encoder().encode


class ServerCrew(SoloCrew):
    """A :class:`pliant.training.crew.Crew`. Commands arrive on the control socket's thread."""

    def __init__(self, spec: WorkerSpec, *, pid: int, token: str) -> None:
        super().__init__()
        self.worker, self.threads, self.job_name = spec.worker, spec.threads, spec.job
        self._spec, self._pid = spec, pid
        home = Home(Path(spec.home))
        self._post: ZmqPost[AnyLetter] = ZmqPost(
            spec.worker,
            decoder=msgspec.msgpack.Decoder(AnyLetter),
            options=PostOptions(job_key(token, spec.job)),
            place=usual_place(spec.host, home.job(spec.job) / "post"),
        )
        self._placements: deque[PlaceSlots] = deque()
        self._retired: str | None = None
        self._isolated = self._started = False
        self._server: SlotServer | None = None
        self._budget = Budget()
        self._peers = Peers(self._post)
        self._timeouts = Timeouts()
        self._heard_s = time.monotonic()
        find_url = servers_url(home)
        self._socket: ControlSocket[CoordinatorToServer] = ControlSocket(
            lambda: None if self._isolated else find_url(), token, self._hello, self._on_message, decoder=TO_SERVER
        )
        self._socket.beat = StillHere

    # ------------------------------------------------------------ main thread

    def register(self, job: Any) -> None:
        """The script has made its model and optimizers: serve them. Raises JobStopped when the job is over."""
        tracked = job.session.tracked
        models = modules_in(tracked)
        optimizers = optimizers_in(tracked)
        for name, optimizer in optimizers.items():
            check_elementwise(name, optimizer)
        layout = Layout(trained(models))
        store = DenseStore(layout, ranges=SlotRanges(layout), optimizers=optimizers)
        tables = {name: table.store for name, table in tables_in(models.values()).items()}
        self._budget.add(store)
        for table in tables.values():
            table.share(self._budget)
        self._server = SlotServer(self.worker, _PostMail(self._post), store, report=self._socket.send, tables=tables)
        self._start()
        self._serve(self._server)

    def tell(self, message: object) -> None:
        """Send something to the coordinator; never blocks."""
        self._socket.send(message)
        self._start()

    def leave(self, reason: str) -> None:
        """Ask to be let go (SIGTERM): once others hold what is here."""
        self.tell(ServerLeaving(reason=reason))

    def close(self) -> None:
        """Deliver what is queued, then close everything."""
        self._socket.close()
        self._post.close()

    def _start(self) -> None:
        """Connect to the coordinator, for which that means: ready to hold slots."""
        if not self._started:
            self._started = True
            self._socket.start()

    def _serve(self, server: SlotServer) -> None:
        told_s = 0.0
        while self._retired is None:
            for event in self._post.poll(0.0 if server.busy else LOOK_S):
                match event:
                    case Posted():
                        self._heard_s = time.monotonic()
                        server.handle(event.peer, event.header, event.frames)
                    case _ if self._peers.is_back(event):
                        server.reconnected(event.peer)
            while self._placements:
                placement = self._placements.popleft()
                self._peers.place(placement)
                server.placed(placement)
            server.flush()
            if time.monotonic() - told_s > LOOK_S:
                told_s = time.monotonic()
                self._socket.send(self._progress(server))
                self._check_alive()
        raise JobStopped(self._retired)

    def _check_alive(self) -> None:
        """End rather than be an orphan for ever."""
        if self._socket.connected:
            self._heard_s = time.monotonic()
        alone_s = time.monotonic() - self._heard_s
        if alone_s > self._timeouts.orphan_s:
            raise JobStopped(f"no coordinator and no worker for {alone_s:.0f} s")

    def _progress(self, server: SlotServer) -> ServerProgress:
        updates = max((record.number for record in server.state.slots.values()), default=0)
        return ServerProgress(
            size_bytes=self._budget.used_bytes,
            rows=sum(table.rows for table in server.tables),
            updates=max(0, updates),
            dropped=server.dropped + self._post.dropped,
        )

    # ------------------------------------------------------------ control thread

    def _hello(self) -> ServerHello:
        return ServerHello(
            job=self._spec.job,
            server=self.worker,
            pid=self._pid,
            endpoint=self._post.endpoint,
            version=0 if self._server is None else self._server.state.version,
            launch=self._spec.launch,
        )

    def _on_message(self, message: CoordinatorToServer) -> None:
        match message:
            case ServerWelcome():
                self._timeouts = Timeouts(message.patience_s)
                self._budget.limit_bytes = message.memory_bytes
                self._socket.set_patience(message.patience_s)
            case PlaceSlots():
                self._placements.append(message)
                self._post.wake()
            case Misbehave(isolated=True):
                self._isolated = True
                self._post.isolate()
                cut_off()
            case Retire():
                self._retired = message.reason
                self._post.wake()


class _PostMail:
    """A :class:`pliant.parallel.servers.mail.Mail` over ZeroMQ."""

    def __init__(self, post: ZmqPost[AnyLetter]) -> None:
        self._post = post

    def command(self, server: str, letter: Letter, frames: Sequence[Frame] = ()) -> None:
        """See :class:`pliant.parallel.servers.mail.Mail`. One that takes nothing for long begins anew."""
        try:
            self._post.send(server, _ENCODE(letter), frames)
        except PostFullError:
            self._post.disconnect(server)

    def answer(self, to: str, letter: Letter, frames: Sequence[Frame] = ()) -> None:
        """See :class:`pliant.parallel.servers.mail.Mail`."""
        try:
            self._post.answer(to, _ENCODE(letter), frames)
        except PostFullError:
            return  # a worker that takes nothing asks again
