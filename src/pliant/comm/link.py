"""Is the other machine still there? What the kernel knows of one TCP connection, and what follows from it.

A peer may be silent for minutes, because it computes; its kernel still answers keepalive probes, data and window
probes. A link on which *nothing* is answered is dead: cable, machine or route are gone.

Why not ``TCP_USER_TIMEOUT``: it also ends connections to a peer that is well but does not read, because it
computes and its window is full (tests/comm/test_link.py shows it). So the kernel's keepalive watches idle links, and
:class:`LinkWatch` those with something under way, for which keepalive is off.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

from pliant.timeouts import Timeouts

_TCP_RTO_MAX_MS = 44
"""Linux 6.15 and later. Without it a full window is probed more and more seldom, and a link that dies meanwhile is
found after about as long as it had been standing still."""
_INFO = struct.Struct("<8B24I")
_RETRANSMITS, _PROBES, _UNACKED, _LAST_ACK_MS = 2, 3, 8 + 4, 8 + 12


def keep_alive(sock: socket.socket, timeouts: Timeouts) -> None:
    """Have the kernel probe the connection while it is idle."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, timeouts.keepalive_idle_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, timeouts.keepalive_every_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, timeouts.keepalive_count)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, max(1000, int(1000 * timeouts.look_s)))


@dataclass(frozen=True)
class LinkState:
    """What the kernel says at one moment."""

    unanswered: bool
    """Something was sent again, or probed, and no answer to that has come."""
    quiet_s: float
    """Since the last acknowledgement of anything."""


def link_state(sock: socket.socket) -> LinkState:
    """Ask the kernel. A socket that is broken already counts as answered: using it tells more."""
    try:
        found = _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    except (OSError, struct.error):
        return LinkState(unanswered=False, quiet_s=0.0)
    resent = found[_RETRANSMITS] > 0 and found[_UNACKED] > 0
    return LinkState(unanswered=resent or found[_PROBES] > 0, quiet_s=found[_LAST_ACK_MS] / 1000)


class LinkWatch:
    """Judges one link from what is seen now and then. Pure."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s: float | None = None

    def is_dead(self, state: LinkState, *, now_s: float) -> bool:
        """Nothing has been answered for the limit, as far as it was watched.

        The age of the last acknowledgement alone proves nothing: a link may have been idle for an hour. Nor does
        the time watched: an answer may have come in between.
        """
        if not state.unanswered:
            self._since_s = None
            return False
        self._since_s = now_s if self._since_s is None else max(self._since_s, now_s - state.quiet_s)
        return now_s - self._since_s >= self._limit_s
