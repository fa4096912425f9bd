"""Where in the script a job is. Travels with the state; a newcomer uses it to find the same place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """Counted over the whole life of the job.

    Attributes:
        call: number of the running ``job.steps`` or ``job.evaluate`` call.
        passes: committed passes (reductions).
        step: next step to be trained (over all calls).
        step_of_call: the same, counted within the call.
        epoch: epoch of that step, within its loader.
        step_of_epoch: the same, within the epoch.
        samples: samples in committed steps.
        loss: of the last committed step.
        updates: optimizer steps that parameter servers have done.
        began_at: what ``updates`` was when the servers of this run got their first state.
        era: the generation in which the job began, or began again from a checkpoint.
        agreed: the step before which all workers' states were compared the last time, and found equal.
        ended: kind and result of every call that has ended.
    """

    call: int = 0
    passes: int = 0
    step: int = 0
    step_of_call: int = 0
    epoch: int = 0
    step_of_epoch: int = 0
    samples: int = 0
    loss: float | None = None
    updates: int = 0
    began_at: int = 0
    era: int = 0
    agreed: int | None = None
    ended: list[tuple[str, Any]] = field(default_factory=list)

    def as_state(self) -> dict[str, Any]:
        """Plain values, for :mod:`pliant.transfer`."""
        return dict(vars(self)) | {"ended": [list(item) for item in self.ended]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Position:
        """The inverse of :meth:`as_state`."""
        return cls(**(state | {"ended": [(kind, result) for kind, result in state["ended"]]}))
