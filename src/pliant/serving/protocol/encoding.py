"""Bodies that the client has compressed (``Content-Encoding``, RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib

from pliant.serving.protocol.request import BadRequestError

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""What zlib calls the formats: gzip's, and zlib's own, which HTTP calls deflate."""
TAKEN = "gzip, deflate"


def decoded(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """The body as it was before the client compressed it. Never more than ``most_bytes`` are unpacked.

    Raises:
        BadRequestError: 415 for another encoding or several, 413 for too large a body, 400 for a damaged one.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOW_BITS:
        raise BadRequestError(
            f"Content-Encoding is {encoding[:60]!r}; expected one of gzip and deflate, or none", status=415
        )
    machine = zlib.decompressobj(_WINDOW_BITS[name])
    try:
        unpacked = machine.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise BadRequestError(f"the body is not what Content-Encoding says, {name}: {error}") from error
    if len(unpacked) > most_bytes:
        raise BadRequestError(
            f"unpacked, the body has more than {most_bytes} bytes, which are taken at most", status=413
        )
    if not machine.eof:
        raise BadRequestError(f"the body is {name} data without their end: {len(body)} bytes came")
    if machine.unused_data:
        raise BadRequestError(f"{len(machine.unused_data)} bytes are left behind the end of the body's {name} data")
    return unpacked
