"""The CURVE keys of a job's post, derived from the job's key: who knows it is a member, nobody else.

Every server of a job has the same pair of keys, and so has every client. A server takes this one client key only
(``gate.py``), so knowing the server's public key is of no use.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

from pliant.errors import ConfigError


@dataclass(frozen=True)
class CurveKeys:
    """Z85 texts of 40 characters, as ZeroMQ takes them."""

    server_public: bytes
    server_secret: bytes = field(repr=False)
    client_public: bytes
    client_secret: bytes = field(repr=False)


def curve_keys(job_key: bytes) -> CurveKeys:
    """The keys that follow from a job's key (``handshake.job_key``).

    Raises:
        ConfigError: This machine's ZeroMQ cannot encrypt.
    """
    if not zmq.has("curve"):
        raise ConfigError(
            f"parameter servers on several machines need ZeroMQ with CURVE, which version {zmq.zmq_version()} here "
            "was built without: install pyzmq from its wheel (pip install --force-reinstall pyzmq)"
        )
    server, client = (z85.encode(_derived(job_key, side)) for side in (b"server", b"client"))
    return CurveKeys(
        server_public=zmq.curve_public(server),
        server_secret=server,
        client_public=zmq.curve_public(client),
        client_secret=client,
    )


def _derived(job_key: bytes, side: bytes) -> bytes:
    return hmac.new(job_key, b"pliant-post-" + side, hashlib.sha256).digest()
