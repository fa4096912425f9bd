"""The base of all messages of the control plane."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages; ``type`` on the wire is the class name."""
