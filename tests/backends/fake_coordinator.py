"""The coordinator's side of an agent's conversation, in the test's own process."""

import os
import queue
import threading
from pathlib import Path

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from pliant.config import Home
from pliant.wire.address import Address, write_address
from pliant.wire.agent_messages import AgentHello
from pliant.wire.codec import FROM_AGENT, encode
from pliant.wire.messages import Taken
from pliant.wire.token import create_token

DEADLINE_S = 30.0


class FakeCoordinator:
    """Listens on a free port, publishes it, keeps what agents say, and sends what a test wants."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.token = create_token(self.home.token)
        self.hellos: queue.Queue[AgentHello] = queue.Queue()
        self._said: queue.Queue[object] = queue.Queue()
        self._seen: list[object] = []
        self._connection: ServerConnection | None = None
        self._server = serve(self._talk, "127.0.0.1", 0)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        port = self._server.socket.getsockname()[1]
        write_address(self.home, Address(pid=os.getpid(), host="127.0.0.1", port=port))

    def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        assert connection.request.path == "/v1/agents"
        assert connection.request.headers["Authorization"] == f"Bearer {self.token}"
        taken = 0
        try:
            for data in connection:
                message = FROM_AGENT.decode(data)
                if isinstance(message, AgentHello):
                    self._connection = connection
                    self.hellos.put(message)
                    continue
                if message not in self._seen:
                    # Delivery is at least once; none of these tests lets an agent say the same thing twice.
                    self._seen.append(message)
                    self._said.put(message)
                taken += 1
                connection.send(encode(Taken(taken)).decode())
        except ConnectionClosed:
            pass

    def send(self, message: msgspec.Struct) -> None:
        assert self._connection is not None
        self._connection.send(encode(message).decode())

    def expect(self, kind: type) -> object:
        """The next message, which must be of this kind."""
        message = self._said.get(timeout=DEADLINE_S)
        assert isinstance(message, kind), message
        return message

    def drop(self) -> None:
        """Break the connection, as a coordinator's restart would."""
        assert self._connection is not None
        self._connection.close(code=1012)

    def close(self) -> None:
        self._server.shutdown()
        if self._connection is not None:
            self._connection.close()
        self._thread.join(timeout=DEADLINE_S)
