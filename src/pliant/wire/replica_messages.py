"""What a service's router, its template and its replicas say to each other, over a Unix socket.

A frame is a head and a payload: two little-endian 32-bit lengths, the head as msgpack, the payload as it is (raw
tensors, in the order of the head's). Nothing is unpickled. The socket lies in a directory that its owner alone can
enter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec
from typing_extensions import Buffer

from pliant.errors import ProtocolError
from pliant.wire.tensors import Signature, TensorHead

MAX_HEAD_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = (1 << 32) - 1
Part = bytes | bytearray | memoryview
"""Of a payload."""
_LENGTHS = struct.Struct("<II")


class Frame(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all heads."""


# ---------------------------------------------------------------- replica -> router


class ReplicaHello(Frame, frozen=True):
    """First frame of a replica, which can compute now."""

    replica: int
    pid: int
    version: int
    launch: str


class BatchAnswer(Frame, frozen=True):
    """Payload: the outputs, each with the batch's rows as its first dimension. ``last``: nothing more will come."""

    batch: int
    outputs: tuple[TensorHead, ...]
    seconds: float = 0.0
    """That ``predict`` took."""
    last: bool = True
    requests: tuple[tuple[TensorHead, ...], ...] = ()
    """The outputs of each request of an uneven batch, in place of ``outputs``."""


class BatchRaised(Frame, frozen=True):
    """``predict`` raised; the traceback, with this id, is in the replica's log."""

    batch: int
    error: str
    error_id: str


# ---------------------------------------------------------------- template -> router


class TemplateHello(Frame, frozen=True):
    """First frame of a template, which has the model loaded. ``replicas``: number to pid, of those alive."""

    pid: int
    version: int
    launch: str
    signature: Signature
    load_s: float
    replicas: dict[int, int] = {}


class TemplateFailed(Frame, frozen=True):
    """The model could not be loaded; the template ends."""

    version: int
    error: str


class ReplicaExited(Frame, frozen=True):
    """It is gone. ``exit_code`` is negative for a signal."""

    replica: int
    exit_code: int


# ---------------------------------------------------------------- zygote -> router


class ZygoteHello(Frame, frozen=True):
    """First frame of a zygote. ``templates``: version to pid, of those that it has forked and that live."""

    pid: int
    launch: str
    templates: dict[int, int] = {}


class TemplateExited(Frame, frozen=True):
    """It is gone. ``exit_code`` is negative for a signal."""

    version: int
    exit_code: int


# ---------------------------------------------------------------- router -> replica, template and zygote


class RunBatch(Frame, frozen=True):
    """Payload: the inputs, each with ``rows`` as its first dimension."""

    batch: int
    rows: int
    inputs: tuple[TensorHead, ...]
    requests: tuple[tuple[TensorHead, ...], ...] = ()
    """The inputs of each request, one request's behind the other's, in place of ``inputs``: an uneven batch, whose
    requests may differ in shape."""


class CancelBatch(Frame, frozen=True):
    """Nobody wants the rest of this answer."""

    batch: int


class EndReplica(Frame, frozen=True):
    """It owes nothing: it is to end."""


class ForkReplica(Frame, frozen=True):
    """To a template."""

    replica: int


class EndTemplate(Frame, frozen=True):
    """It is to end; its replicas live on."""


class ForkTemplate(Frame, frozen=True):
    """To a zygote."""

    version: int
    directory: str
    """Of its socket and its log."""
    checkpoint: str = ""
    tile: int = 0
    """Rows that every batch is padded to; 0: none."""


class StopTemplate(Frame, frozen=True):
    """To a zygote: SIGTERM, or SIGKILL, to one of its templates."""

    version: int
    kill: bool = False


class EndZygote(Frame, frozen=True):
    """It is to end; its templates live on."""


ToRouter = ReplicaHello | BatchAnswer | BatchRaised | TemplateHello | TemplateFailed | ReplicaExited
ZygoteToRouter = ZygoteHello | TemplateExited
ToReplica = RunBatch | CancelBatch | EndReplica
ToTemplate = ForkReplica | EndTemplate
ToZygote = ForkTemplate | StopTemplate | EndZygote

Heads = TypeVar("Heads")
_encoder = msgspec.msgpack.Encoder()


def encode(head: Frame, payload: Sequence[Part] = ()) -> list[Part]:
    """The frame as parts to be sent one after the other; the payload's are not copied."""
    data = _encoder.encode(head)
    size_bytes = sum(memoryview(part).nbytes for part in payload)
    if len(data) > MAX_HEAD_BYTES or size_bytes > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"{type(head).__name__} of {len(data)} + {size_bytes} bytes is too large for a frame")
    return [_LENGTHS.pack(len(data), size_bytes) + data, *payload]


class FrameReader(Generic[Heads]):
    """Puts frames together from what a socket gives.

    Args:
        kind: the union of heads that may come.
        limit_bytes: a payload that is larger breaks the connection.
    """

    def __init__(self, kind: object, *, limit_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._decoder: msgspec.msgpack.Decoder[Heads] = msgspec.msgpack.Decoder(kind)
        self._limit_bytes = limit_bytes
        self._data = bytearray()

    def feed(self, data: Buffer) -> Iterator[tuple[Heads, bytes]]:
        """The frames that are complete now, as (head, payload).

        Raises:
            ProtocolError: Not a frame, or too large a one. The connection is of no use any more.
        """
        self._data += data
        while len(self._data) >= _LENGTHS.size:
            head_bytes, payload_bytes = _LENGTHS.unpack_from(self._data)
            if head_bytes > MAX_HEAD_BYTES or payload_bytes > self._limit_bytes:
                raise ProtocolError(f"a frame of {head_bytes} + {payload_bytes} bytes is too large")
            begin = _LENGTHS.size + head_bytes
            end = begin + payload_bytes
            if len(self._data) < end:
                return
            with memoryview(self._data) as view:
                head_data, payload = bytes(view[_LENGTHS.size : begin]), bytes(view[begin:end])
            del self._data[:end]
            try:
                head = self._decoder.decode(head_data)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise ProtocolError(f"not a frame of this conversation: {error}") from error
            yield head, payload
