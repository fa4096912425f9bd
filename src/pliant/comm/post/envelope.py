"""The first frame of everything that goes over a connection: what it is, of which connection, and its number. Pure.

A connection has a random number, chosen by the side that connects. That side begins with HELLO, to which the other
one answers WELCOME; only then letters go, numbered from 0 in each direction.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from pliant.comm.post.base import MAX_FRAMES, MAX_HEADER_BYTES, Buffer, Limits
from pliant.errors import ConfigError, ProtocolError

MAX_PARTS = MAX_FRAMES + 3
"""Of a message: routing id, envelope, header, frames."""
_FORMAT = struct.Struct("<4sBQQH")
_MAGIC = b"PLP1"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Kind(IntEnum):
    """Of a message."""

    HELLO = 1
    """With the name of the receiver: a port may have been given to another process since."""
    WELCOME = 2
    REFUSAL = 3
    """Answer to HELLO, with a text."""
    LETTER = 4
    LOSS = 5
    """The sender has missed letters, or does not know the connection: begin a new one. With a text."""


_KINDS = {int(kind): kind for kind in Kind}


class Envelope(NamedTuple):
    """First frame of a message."""

    kind: Kind
    connection: int
    number: int = 0
    frames: int = 0
    """Of a letter: one may be cut off when what sends it is interrupted."""

    def pack(self) -> bytes:
        """As bytes."""
        return _FORMAT.pack(_MAGIC, *self)


def unpack(frame: Buffer) -> Envelope | None:
    """The envelope in a frame; None if it is none."""
    if len(frame) != _FORMAT.size:
        return None
    magic, kind, connection, number, frames = _FORMAT.unpack(frame)
    if magic != _MAGIC or kind not in _KINDS:
        return None
    return Envelope(_KINDS[kind], connection, number, frames)


def missing(envelope: Envelope, *, expected: int, frames: int) -> str | None:
    """What has been lost, if this letter comes with so many frames where number ``expected`` was the next."""
    if envelope.number > expected:
        return f"{envelope.number - expected} letters"
    return None if envelope.frames == frames else "parts of a letter"


def peer_name(frame: Buffer) -> str | None:
    """The name in a routing id; None if it cannot be one."""
    try:
        name = bytes(frame).decode("ascii")
    except UnicodeDecodeError:
        return None
    return name if _NAME.fullmatch(name) else None


def check_name(name: str) -> str:
    """A name that can stand in endpoints and file names.

    Raises:
        ConfigError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a peer: up to 64 letters, digits, '_', '-' and '.' can")
    return name


def check_letter(header: bytes, frames: Sequence[memoryview], limits: Limits) -> int:
    """Size of a letter in bytes.

    Raises:
        ProtocolError: A receiver would not take it.
    """
    size = len(header) + sum(frame.nbytes for frame in frames)
    if not all(frame.contiguous for frame in frames):
        raise ProtocolError("a frame of a letter is not contiguous in memory: send a copy")
    if len(header) > MAX_HEADER_BYTES:
        raise ProtocolError(f"the header of a letter has {len(header)} bytes, at most {MAX_HEADER_BYTES} are taken")
    if len(frames) > MAX_FRAMES:
        raise ProtocolError(f"a letter has {len(frames)} frames, at most {MAX_FRAMES} are taken: send several")
    if size > limits.letter_bytes:
        raise ProtocolError(f"a letter has {size} bytes, at most {limits.letter_bytes} are taken: send several")
    return size
