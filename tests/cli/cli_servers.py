"""Parameter servers for tests of the command line: they speak the servers' protocol and hold nothing. No torch."""

import os
import sys
import threading
from pathlib import Path

import cli_workers

from pliant.config import Home, WorkerSpec
from pliant.wire.address import servers_url
from pliant.wire.codec import TO_SERVER
from pliant.wire.messages import Retire, StillHere
from pliant.wire.server_messages import (
    PlaceSlots,
    ServerFailed,
    ServerHello,
    ServerProgress,
    ServerWelcome,
    SlotsFilled,
)
from pliant.wire.socket import ControlSocket
from pliant.wire.token import read_token

ENTRY = "cli_servers:run"
HELD_BYTES = 2_000_000


class FakeServer:
    """Receives whatever it is to be sent, at once."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self.retired = threading.Event()
        home = Home(path=Path(spec.home))
        self.socket = ControlSocket(servers_url(home), read_token(home.token), self._hello, self._on, decoder=TO_SERVER)
        self.socket.beat = StillHere
        self.socket.start()

    def _hello(self) -> ServerHello:
        spec = self._spec
        return ServerHello(spec.job, spec.worker, os.getpid(), f"ipc:///{spec.worker}", launch=spec.launch)

    def _on(self, message) -> None:
        match message:
            case ServerWelcome(patience_s=patience_s):
                self.socket.set_patience(patience_s)
            case PlaceSlots(version=version, slots=slots):
                filling = [slot for slot, place in enumerate(slots) if self._spec.worker in place.filling]
                if filling:
                    self.socket.send(SlotsFilled(version, filling, size_bytes=HELD_BYTES))
                self.socket.send(ServerProgress(HELD_BYTES, updates=version))
            case Retire():
                self.retired.set()


def run(spec: WorkerSpec) -> None:
    """The entry that these tests give to ``pliant run``, for workers and servers."""
    if spec.role == "worker":
        cli_workers.run(spec)
        return
    server = FakeServer(spec)
    print("serving as", spec.worker)
    if "refuse" in spec.args:
        server.socket.send(ServerFailed("LBFGS cannot be cut into slices"))
    retired = server.retired.wait(60)
    server.socket.close()
    sys.exit(0 if retired else 1)
