"""Who is taken for hung, and who never is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.membership.silence_plan import ProcessLook, Sight, SilenceWatch, longest_gap_s
from pliant.timeouts import Timeouts

TICK_S = 0.25
TIMES = Timeouts(10.0)


class Worker:
    """One worker and its agent, told what to do; and the watch that looks at it."""

    def __init__(self, *, answers: bool = True) -> None:
        self.watch = SilenceWatch(TIMES)
        self.now_s = 500.0
        self.heard_s = 0.0
        self.answers = answers
        self.stopped = self.owing = self.expelled = False
        self.cpu_s = 3.0
        self.seen: ProcessLook | None = None
        self.found: list[tuple[str, float]] = []
        self.details: list[str] = []

    def go(self, seconds: float, *, heard: bool = False, busy: float = 0.0, tick_s: float = TICK_S) -> Worker:
        for _ in range(round(seconds / tick_s)):
            self.now_s += tick_s
            self.cpu_s += busy * tick_s
            if heard:
                self.heard_s = self.now_s
            sight = Sight("w1", self.heard_s, self.owing, self.expelled, self.seen)
            for finding in self.watch.look([sight], now_s=self.now_s):
                if finding.what == "probe" and self.answers:
                    self.seen = ProcessLook(self.now_s, self.stopped, self.cpu_s)
                elif finding.what != "probe":
                    self.found.append((finding.what, self.now_s))
                    self.details.append(finding.detail)
                self.expelled = self.expelled or finding.what == "expel"
        return self

    @property
    def kinds(self) -> list[str]:
        return [what for what, _ in self.found]


def test_a_worker_that_is_heard_is_never_touched():
    assert Worker().go(100, heard=True).found == []


def test_a_stopped_process_is_expelled_after_the_patience_and_killed_after_another():
    worker = Worker().go(5, heard=True)
    worker.stopped, began_s = True, worker.now_s
    worker.go(30)
    (expel, expelled_s), (kill, killed_s) = worker.found[:2]
    assert (expel, kill) == ("expel", "kill")
    assert TIMES.silent_s <= expelled_s - began_s <= TIMES.silent_s + 2 * TICK_S
    assert abs(killed_s - expelled_s - TIMES.kill_s) <= 2 * TICK_S
    assert worker.details[0].endswith("its process is stopped")


def test_an_expelled_worker_that_speaks_again_has_time_to_leave_but_not_for_ever():
    worker = Worker()
    worker.stopped = True
    worker.go(11)
    worker.stopped = False
    assert worker.go(55, heard=True).kinds == ["expel"]
    assert worker.go(16, heard=True).kinds == ["expel", "kill"]


def test_a_process_that_only_waits_is_expelled():
    worker = Worker().go(12, busy=0.01)
    assert worker.kinds == ["expel"]
    assert "only waits" in worker.details[0]


def test_a_busy_process_is_named_once_and_given_six_times_the_patience():
    worker = Worker().go(59, busy=0.9)
    assert worker.kinds == ["slow"]
    assert "busy" in worker.details[0]
    assert worker.go(2, busy=0.9).kinds == ["slow", "expel"]


def test_a_busy_process_that_speaks_again_is_forgiven():
    worker = Worker().go(30, busy=1.0).go(1, heard=True).go(30, busy=1.0)
    assert worker.kinds == ["slow", "slow"]


def test_a_busy_process_that_stops_is_expelled_at_once():
    worker = Worker().go(20, busy=1.0)
    worker.stopped = True
    assert worker.go(2.5).kinds == ["slow", "expel"]


def test_without_an_agents_word_silence_alone_counts_a_little_later():
    worker = Worker(answers=False).go(12.25)
    assert worker.kinds == []
    worker.go(0.75)
    assert worker.kinds == ["expel"]
    assert worker.now_s - 500.0 <= TIMES.hang_s + 2 * TICK_S


def test_who_owes_an_answer_is_expelled_although_it_is_heard():
    worker = Worker()
    worker.owing = True
    assert worker.go(11, heard=True).kinds == ["expel"]


def test_an_answer_given_in_time_costs_nothing():
    worker = Worker()
    for _ in range(20):
        worker.owing = True
        worker.go(8, heard=True)
        worker.owing = False
        worker.go(1, heard=True)
    assert worker.found == []


def test_silence_while_the_coordinator_stood_still_does_not_count():
    """It was stopped for a minute between two looks; the worker's words of that minute come with the next one."""
    worker = Worker().go(4)
    worker.now_s += 60.0
    worker.go(TICK_S).go(4)
    assert worker.found == []
    worker.go(4)
    assert worker.kinds == ["expel"], "only a second of the minute counted"


def test_a_worker_that_is_not_seen_any_more_is_forgotten():
    worker = Worker().go(9)
    worker.watch.look([], now_s=worker.now_s)
    assert worker.go(9).found == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 40.0), st.floats(0.0, 0.99), st.floats(0.0, 0.04)), max_size=60),
    st.floats(0.5, 60.0),
)
def test_nobody_that_is_heard_within_the_patience_is_expelled_however_the_looks_come(looks, patience_s):
    """(time to the next look, where in it a message comes, share of a processor): at most a patience between words."""
    watch, now_s, heard_s = SilenceWatch(Timeouts(patience_s)), 0.0, 0.0
    for gap_s, where, share in looks:
        if now_s + gap_s - heard_s >= 0.9 * patience_s:
            heard_s = now_s + gap_s * where
        now_s += gap_s
        look = ProcessLook(now_s, False, share * now_s)
        found = watch.look([Sight("w1", heard_s, look=look)], now_s=now_s)
        assert not [finding for finding in found if finding.what in ("expel", "kill")]


@settings(deadline=None)
@given(st.lists(st.floats(0.05, 60.0), min_size=1, max_size=40), st.floats(2.0, 60.0))
def test_a_stopped_worker_is_expelled_once_the_coordinator_was_awake_for_long_enough(gaps, patience_s):
    times = Timeouts(patience_s)
    watch, now_s, awake_s = SilenceWatch(times), 0.0, 0.0
    watch.look([Sight("w1", 0.0)], now_s=0.0)
    for gap_s in gaps:
        now_s += gap_s
        awake_s += min(gap_s, longest_gap_s(times))
        found = watch.look([Sight("w1", 0.0, look=ProcessLook(now_s, True, 1.0))], now_s=now_s)
        expelled = any(finding.what == "expel" for finding in found)
        assert expelled == (awake_s >= times.silent_s) or abs(awake_s - times.silent_s) < 1e-6
        if expelled:
            return
