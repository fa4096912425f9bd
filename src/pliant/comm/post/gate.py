"""Who may connect over TCP: answers ZeroMQ's authentication requests (ZAP, https://rfc.zeromq.org/spec/27/).

ZeroMQ asks on a socket inside the process, which the post polls like its others: no thread of its own that would have
to be ended. While the process computes, newcomers wait; so would their letters.
"""

from __future__ import annotations

import zmq
from zmq.utils import z85

from pliant.comm.post.keys import CurveKeys

DOMAIN = b"pliant"
_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class Gate:
    """Lets in who has the job's client key. To be made before the socket that it guards is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: CurveKeys) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(_ADDRESS)
        self._expected = [_VERSION, DOMAIN, b"CURVE", z85.decode(keys.client_public)]

    def guard(self, socket: zmq.Socket[bytes], keys: CurveKeys) -> None:
        """Have a socket that is to be bound ask this gate, and take nobody without it."""
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, keys.server_secret)
        socket.set(zmq.ZAP_DOMAIN, DOMAIN)
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def answer(self) -> int:
        """Answer all requests that have come.

        Returns:
            How many were refused.
        """
        refused = 0
        while True:
            try:
                request = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return refused
            # Version, number of the request, domain, address, routing id, mechanism, credentials.
            known = len(request) == 7 and [request[0], request[2], *request[5:]] == self._expected
            refused += not known
            number = request[1] if len(request) > 1 else b""
            status = [b"200", b"OK", b"member"] if known else [b"400", b"not a member of this job", b""]
            self.socket.send_multipart([_VERSION, number, *status, b""])

    def close(self) -> None:
        """Nobody gets in any more."""
        self.socket.close()
