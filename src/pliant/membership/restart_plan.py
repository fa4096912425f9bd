"""How often a job may go on from a checkpoint after all who held its state were lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FRUITLESS = 3
"""Restarts in a row that got no further than the job had been before: another one would not either."""


@dataclass
class Restarts:
    """The restarts of one job."""

    furthest: int = -1
    """The most steps that were ever committed when the state was lost."""
    fruitless: int = 0
    """Restarts since the job last got further than ever before."""

    def allow(self, reached: int) -> bool:
        """The state is lost after ``reached`` committed steps: is it worth another restart? Counts it if so."""
        if reached > self.furthest:
            self.furthest, self.fruitless = reached, 0
        if self.fruitless >= MAX_FRUITLESS:
            return False
        self.fruitless += 1
        return True
