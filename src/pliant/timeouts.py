"""Every time-out of a job, derived from one number: the user's ``--patience``. Pure.

Positive signals (a connection reset, a process exit seen by its agent) are acted upon at once. The times here are for
what gives no signal: a process that stands still, a link that swallows everything. They fit together: a connection
that is dead is replaced (``ping_s + pong_s``) well before the silence on it counts against anybody (``silent_s``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

DEFAULT_PATIENCE_S = 10.0
"""Also what a process goes by until it is told what the user chose."""


@dataclass(frozen=True)
class Timeouts:
    """All in seconds, derived from ``patience_s``."""

    patience_s: float = DEFAULT_PATIENCE_S

    # ------------------------------------------------------------ workers and coordinator

    @property
    def beat_s(self) -> float:
        """A worker that has said nothing for so long says ``StillHere``."""
        return self.patience_s / 5

    @property
    def silent_s(self) -> float:
        """A worker that was not heard for so long hangs, unless its process is seen to be busy."""
        return self.patience_s

    @property
    def probe_s(self) -> float:
        """From this silence on the agent looks at the worker's process, so often that its progress is seen in time."""
        return self.patience_s / 2

    @property
    def probe_every_s(self) -> float:
        """Between two looks at one process."""
        return self.patience_s / 8

    @property
    def hang_s(self) -> float:
        """A hang is found after at most so long, also when the agent does not answer."""
        return 1.25 * self.patience_s

    @property
    def busy_s(self) -> float:
        """A process that computes, but lets no thread of Python run, hangs after so long all the same."""
        return 6 * self.patience_s

    @property
    def kill_s(self) -> float:
        """An expelled worker has so long to wake up and leave by itself; then it is killed."""
        return self.patience_s

    @property
    def orphan_s(self) -> float:
        """A worker that can go on only with the coordinator's word, and is without it for so long, gives up."""
        return 6 * self.patience_s

    @property
    def milestone_s(self) -> float:
        """The main worker waits so long for the plan's events: a coordinator that is away must not hold up training."""
        return self.patience_s / 2

    @property
    def dismissal_s(self) -> float:
        """A worker whose script has ended waits so long until the coordinator knows."""
        return self.patience_s / 5

    # ------------------------------------------------------------ control connections

    @property
    def ping_s(self) -> float:
        """A control connection is pinged so often."""
        return self.patience_s / 8

    @property
    def pong_s(self) -> float:
        """It is dead if the answer takes longer; connecting may take as long too."""
        return self.patience_s / 4

    # ------------------------------------------------------------ mesh

    @property
    def form_s(self) -> float:
        """A generation's connections must stand within so long."""
        return self.patience_s

    @property
    def handshake_s(self) -> float:
        """Someone who connects to a mesh port must have proved itself within so long."""
        return self.patience_s / 2

    @property
    def unanswered_s(self) -> float:
        """A mesh link is dead when the other machine's kernel has answered nothing for so long."""
        return self.patience_s / 2

    @property
    def look_s(self) -> float:
        """Mesh links are looked at so often while somebody waits for them."""
        return self.patience_s / 8

    @property
    def keepalive_idle_s(self) -> int:
        """TCP keepalive: first probe of an idle link. Whole seconds, as the kernel wants them."""
        return max(1, floor(self.patience_s / 4))

    @property
    def keepalive_every_s(self) -> int:
        """TCP keepalive: between two probes."""
        return max(1, floor(self.patience_s / 8))

    @property
    def keepalive_count(self) -> int:
        """TCP keepalive: a link is dead after so many unanswered probes."""
        return max(2, floor(self.unanswered_s / self.keepalive_every_s))

    @property
    def link_s(self) -> float:
        """A mesh link that carries nothing any more is found after at most so long."""
        by_us = self.look_s + self.unanswered_s + 1.0  # the kernel's own first retransmissions
        by_kernel = self.keepalive_idle_s + self.keepalive_every_s * (self.keepalive_count + 1.0)
        return max(by_us, by_kernel)

    def summary(self) -> str:
        """One line for the user: what is found when."""
        return (
            f"patience {self.patience_s:g} s: a crash is seen at once, a hang after at most {self.hang_s:g} s, "
            f"a dead link between workers after at most {self.link_s:g} s"
        )
