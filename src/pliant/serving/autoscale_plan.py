"""How many replicas a service should have: a function of the requests running and waiting. Pure.

What is counted is the number of requests at the front door, from arrival to the last byte of the answer. One replica is
meant to hold ``target`` of them. Three numbers come from that:

* *now*: what the requests of this instant need, less what will be answered before a new replica could help.
* *panic*: what the mean of the last ``panic_s`` seconds needs.
* *stable*: what the mean of the last ``stable_s`` seconds needs.

Up at once, down slowly: the service grows to the largest of the three as soon as it is seen. When *now* or *panic* is
``panic_at`` times what there is, the service is in a panic, and does not shrink before the need has been below that
for ``stable_s``. Otherwise it shrinks to the largest need of the last ``stable_s``. Without any request for ``idle_s``
it goes down to the least number, which may be zero; from zero it goes to *now* with the first request.

The idea of two windows is Knative's (https://knative.dev/docs/serving/autoscaling/kpa-specific/). It averages over 60
and 6 seconds, because a container takes seconds to start; a replica that is forked takes a tenth of one, so that
windows can be short, and growing on the spot is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pliant.serving.load_state import LoadHistory


@dataclass(frozen=True)
class ScaleRules:
    """All numbers of the decision. Times are in seconds."""

    least: int = 0
    most: int = 4
    target: float = 8.0
    """Requests that one replica should hold at a time, running and waiting."""
    stable_s: float = 3.0
    panic_s: float = 1.0
    panic_at: float = 2.0
    """Panic when so many times the replicas that there are would be needed."""
    idle_s: float = 10.0
    """Without a request for so long, the number falls to ``least``."""
    tick_s: float = 0.2
    """How often the service is looked at while anything moves."""


@dataclass(frozen=True)
class Sight:
    """What there is, at one moment.

    Args:
        ready: replicas that answer.
        starting: replicas that have been asked for and do not answer yet.
        start_s: how long a replica takes to start, as measured.
        rate: requests that one busy replica answers in a second, as measured; 0 if unknown.
    """

    ready: int
    starting: int = 0
    start_s: float = 0.3
    rate: float = 0.0


@dataclass(frozen=True)
class ScaleDecision:
    """How many there should be, and why, in words for the service's log."""

    wanted: int
    why: str
    panic: bool = False


class Autoscaler:
    """Follows one service's load. Called by the router, in its event loop; never blocks."""

    def __init__(self, rules: ScaleRules) -> None:
        self.rules = rules
        self._load = LoadHistory(keep_s=max(rules.stable_s, rules.panic_s), bucket_s=rules.tick_s / 2)
        self._needs: list[tuple[float, int]] = []
        """(time, need) of the last ``stable_s``, needs falling: the first is the largest."""
        self._panic_until_s: float | None = None
        self._busy_s: float | None = None
        """When there was a request for the last time; None before the first."""

    @property
    def requests(self) -> int:
        """At the front door now."""
        return self._load.count

    def load(self, now_s: float, requests: int) -> None:
        """There are so many requests from now on, running and waiting."""
        if requests or self._load.count:
            self._busy_s = now_s
        self._load.change(now_s, requests)

    def begin(self, now_s: float, replicas: int) -> None:
        """So many are there because a load is about to come: as if it had been there until now."""
        self._busy_s = now_s
        self._remember(now_s, replicas)

    def decide(self, now_s: float, sight: Sight) -> ScaleDecision:
        """How many replicas there should be now."""
        rules, there = self.rules, sight.ready + sight.starting
        burst = max(self._need_now(sight), self._need(self._load.mean(now_s, rules.panic_s)))
        need = max(burst, self._need(self._load.mean(now_s, rules.stable_s)))
        self._remember(now_s, need)
        if burst >= rules.panic_at * max(sight.ready, 1) and burst > sight.ready:
            self._panic_until_s = now_s + rules.stable_s
        panic = self._panic_until_s is not None and now_s < self._panic_until_s
        if need > there:
            return self._bounded(need, f"{self.requests} requests, {rules.target:g} for each replica", panic)
        if self.idle_for_s(now_s) >= rules.idle_s:
            return self._bounded(0, f"no request for {rules.idle_s:g} s", panic=False)
        if panic:
            return self._bounded(there, "no shrinking so soon after a burst", panic)
        largest = max(self._needs[0][1], 1 if there else 0)
        if largest < there:
            return self._bounded(largest, f"no more were needed for {rules.stable_s:g} s", panic)
        return self._bounded(there, "as many as are needed", panic)

    def idle_for_s(self, now_s: float) -> float:
        """Seconds since the last request; without end if there was none."""
        if self._load.count:
            return 0.0
        return now_s - self._busy_s if self._busy_s is not None else float("inf")

    def next_look_s(self, now_s: float, sight: Sight) -> float | None:
        """Seconds until :meth:`decide` can say something new; None: not before the load changes.

        Ask anew when the load has changed: 0 means that there is no time to lose.
        """
        rules, there = self.rules, sight.ready + sight.starting
        if self._load.count:
            return 0.0 if min(self._need_now(sight), rules.most) > there else rules.tick_s
        if there <= rules.least and not sight.starting:
            return None
        idle_s = self.idle_for_s(now_s)
        if idle_s <= rules.stable_s + rules.tick_s and there > max(rules.least, 1):
            return rules.tick_s
        return max(rules.tick_s, rules.idle_s - idle_s)

    # ------------------------------------------------------------ parts

    def _need(self, requests: float) -> int:
        return ceil(requests / self.rules.target - 1e-9)

    def _need_now(self, sight: Sight) -> int:
        """For the requests of this instant, but for those that are answered before a newcomer could take any."""
        requests = self._load.count
        if sight.ready == 0:
            return self._need(requests)
        answered = sight.ready * sight.rate * sight.start_s
        return self._need(max(0.0, requests - answered))

    def _remember(self, now_s: float, need: int) -> None:
        while self._needs and self._needs[-1][1] <= need:
            self._needs.pop()
        self._needs.append((now_s, need))
        while self._needs[0][0] < now_s - self.rules.stable_s:
            self._needs.pop(0)

    def _bounded(self, wanted: int, why: str, panic: bool) -> ScaleDecision:
        rules = self.rules
        if wanted > rules.most:
            return ScaleDecision(rules.most, f"{why}; {wanted} would be needed, {rules.most} are allowed", panic)
        if wanted < rules.least:
            return ScaleDecision(rules.least, "the least that is allowed", panic)
        return ScaleDecision(wanted, why, panic)
