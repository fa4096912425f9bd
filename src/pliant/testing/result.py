"""What an elastic job left behind, and whether that is what an undisturbed one leaves."""

from __future__ import annotations

from dataclasses import dataclass

from pliant.wire.api import Event, Report


@dataclass(frozen=True)
class Result:
    """How a ``pliant run`` ended."""

    exit_code: int
    """0: the script ended; 3: it raised; 4: the job was lost; 5: it was stopped."""
    output: str
    """Its stdout: what the main worker printed, and what happened to the job."""
    errors: str
    """Its stderr."""
    report: Report | None
    """None if the job never began."""

    @property
    def steps(self) -> int:
        """Committed steps."""
        return self.report.steps if self.report else 0

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the weights at the end, the same on all workers; None if no worker reached an end."""
        return self.report.weights_sha256 if self.report else None

    @property
    def losses(self) -> list[float | None]:
        """One for each committed step; None where the main worker died before it could tell."""
        return self.report.losses if self.report else []

    @property
    def events(self) -> list[Event]:
        """All that happened to the job, in order."""
        return self.report.events if self.report else []

    def events_of(self, *kinds: str) -> list[Event]:
        """Those of some kinds, for instance ``worker_lost`` or ``workers_joined``."""
        return [event for event in self.events if event.kind in kinds]


def assert_same_weights(result: Result, reference: Result) -> None:
    """The disturbed job ended with the weights of the undisturbed one, bit for bit.

    Raises:
        AssertionError: It did not. The message tells the number of steps, and the first step whose loss differs.
    """
    if result.weights_sha256 is not None and result.weights_sha256 == reference.weights_sha256:
        return
    lines = ["the weights are not those of the undisturbed job"]
    for name, each in (("this job", result), ("undisturbed", reference)):
        weights = each.weights_sha256 or "no weights: it did not come to an end"
        lines.append(f"  {name}: {each.steps} steps, exit code {each.exit_code}, {weights}")
    raise AssertionError("\n".join([*lines, "  " + _reason(result, reference)]))


def _reason(result: Result, reference: Result) -> str:
    if None in (result.weights_sha256, reference.weights_sha256):
        return "a job that failed has nothing to compare; its output says why"
    pairs = zip(result.losses, reference.losses, strict=False)
    for step, (mine, expected) in enumerate(pairs):
        if mine is not None and expected is not None and mine != expected:
            return (
                f"the loss of step {step} is the first that differs: {mine!r}, undisturbed {expected!r}. The step "
                f"before it, or what happened to the job then, made the difference: {_around(result, step)}"
            )
    if result.steps != reference.steps:
        return "all losses that both have are equal: compare jobs that take the same number of steps"
    return "all losses are equal: only the last step's update, or a buffer that no loss depends on, differs"


def _around(result: Result, step: int) -> str:
    """The last thing that happened to the job up to a step."""
    before = [event for event in result.events if event.step <= step]
    return f"{before[-1].kind} at step {before[-1].step} ({before[-1].message})" if before else "nothing is known of it"
