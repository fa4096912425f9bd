"""Knative's default rule for the number of replicas, to compare with.

Source: https://knative.dev/docs/serving/autoscaling/ and the KPA's ``algorithm.go``: the mean concurrency of the last
60 s (stable) and 6 s (panic), each over the target; panic when the panic window wants twice what there is, and then
never down until the stable window has passed without that; at most halved in one step; one look every 2 s; zero after a
stable window without requests and 30 s of grace.
"""

from __future__ import annotations

from math import ceil, floor

from pliant.serving.autoscale_plan import ScaleDecision, ScaleRules, Sight
from pliant.serving.load_state import LoadHistory

STABLE_S, PANIC_S, PANIC_AT, TICK_S, GRACE_S = 60.0, 6.0, 2.0, 2.0, 30.0


class KnativeScaler:
    """As :class:`pliant.serving.autoscale_plan.Autoscaler`, of whose rules it takes the bounds and the target."""

    def __init__(self, rules: ScaleRules) -> None:
        self.rules = rules
        self._load = LoadHistory(keep_s=STABLE_S, bucket_s=1.0)
        self._panic_s: float | None = None
        self._most_in_panic = 0
        self._zero_since_s: float | None = None

    def load(self, now_s: float, requests: int) -> None:
        """There are so many requests from now on."""
        self._load.change(now_s, requests)

    def decide(self, now_s: float, sight: Sight) -> ScaleDecision:
        """How many replicas there should be now."""
        ready = max(sight.ready, 1)
        stable, panic = (ceil(self._load.mean(now_s, w) / self.rules.target - 1e-9) for w in (STABLE_S, PANIC_S))
        if sight.ready == 0 and self._load.count:
            stable = max(stable, 1)
        stable = max(stable, floor(ready / 2) if sight.ready > 1 else 0)
        if panic / ready >= PANIC_AT:
            self._panic_s = now_s
        wanted = stable
        if self._panic_s is not None and now_s - self._panic_s < STABLE_S:
            self._most_in_panic = max(self._most_in_panic, sight.ready, stable, panic)
            wanted = self._most_in_panic
        else:
            self._panic_s, self._most_in_panic = None, 0
        wanted = self._after_grace(now_s, wanted, sight)
        return ScaleDecision(min(max(wanted, self.rules.least), self.rules.most), "Knative's rule")

    def next_look_s(self, now_s: float, sight: Sight) -> float | None:
        """Seconds until the next one."""
        del now_s
        there = sight.ready + sight.starting
        if self._load.count and not there:
            return 0.0  # the activator pokes it
        return TICK_S if there else None

    def _after_grace(self, now_s: float, wanted: int, sight: Sight) -> int:
        """The last replica goes only after some more time."""
        if wanted > 0:
            self._zero_since_s = None
            return wanted
        if self._zero_since_s is None:
            self._zero_since_s = now_s
        return 1 if now_s - self._zero_since_s < GRACE_S and sight.ready else 0
