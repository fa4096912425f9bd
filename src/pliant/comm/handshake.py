"""Who is at the other end of a mesh connection: both prove that they know the job's key, nothing secret is sent.

HMAC-SHA256 over both sides' nonces and names (challenge-response as in RFC 2104's intended use). A stranger on the
port gets no answer that depends on the key, and is cut off after ``timeout_s``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import struct
from typing import TypeVar

import msgspec

from pliant.errors import ProtocolError

MAX_HELLO_BYTES = 1024
T = TypeVar("T")
_SIZE = struct.Struct("<I")


class MeshHello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First message on a connection; ``nonce`` is 32 hex digits."""

    job: str
    generation: int
    sender: str
    receiver: str
    nonce: str


class _Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nonce: str
    mac: str


def job_key(token: str, job: str) -> bytes:
    """The mesh key of one job, derived from the coordinator's token."""
    return hmac.new(token.encode(), f"pliant-mesh:{job}".encode(), hashlib.sha256).digest()


def introduce(sock: socket.socket, key: bytes, hello: MeshHello) -> None:
    """Connecting side. Raises ProtocolError if the other side cannot prove itself, OSError if it is gone."""
    _send(sock, msgspec.json.encode(hello))
    proof = _decode(_receive(sock), _Proof)
    if not hmac.compare_digest(proof.mac.encode(), _mac(key, "accept", hello, proof.nonce).encode()):
        raise ProtocolError(f"{hello.receiver} does not know the key of job {hello.job}")
    _send(sock, _mac(key, "connect", hello, proof.nonce).encode())


def accept(sock: socket.socket, key: bytes) -> MeshHello:
    """Accepting side. Returns the peer's hello once it has proved itself."""
    hello = _decode(_receive(sock), MeshHello)
    nonce = secrets.token_hex(16)
    _send(sock, msgspec.json.encode(_Proof(nonce=nonce, mac=_mac(key, "accept", hello, nonce))))
    if not hmac.compare_digest(_receive(sock), _mac(key, "connect", hello, nonce).encode()):
        raise ProtocolError("a stranger tried to join the mesh")
    return hello


def new_nonce() -> str:
    """A nonce for :class:`MeshHello`."""
    return secrets.token_hex(16)


def _mac(key: bytes, side: str, hello: MeshHello, nonce: str) -> str:
    text = msgspec.json.encode([side, hello, nonce])
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"malformed mesh handshake: {error}") from error


def _send(sock: socket.socket, body: bytes) -> None:
    sock.sendall(_SIZE.pack(len(body)) + body)


def _receive(sock: socket.socket) -> bytes:
    (size,) = _SIZE.unpack(_exactly(sock, _SIZE.size))
    if size > MAX_HELLO_BYTES:
        raise ProtocolError(f"mesh handshake of {size} bytes, at most {MAX_HELLO_BYTES} are allowed")
    return _exactly(sock, size)


def _exactly(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = sock.recv(size - len(got))
        if not part:
            raise ConnectionError("closed during the handshake")
        got += part
    return bytes(got)
