"""How many replicas there should be, by example and over random loads."""

from hypothesis import given
from hypothesis import strategies as st

from pliant.serving.autoscale_plan import Autoscaler, ScaleRules, Sight

RULES = ScaleRules(least=0, most=8, target=8, stable_s=3, panic_s=1, panic_at=2, idle_s=10, tick_s=0.2)


def wanted(scaler, now_s, ready, starting=0, **sight):
    return scaler.decide(now_s, Sight(ready, starting, **sight)).wanted


def hold(scaler, begin_s, end_s, ready, starting=0):
    """Look as often as the scaler wants to be asked; returns what it wanted."""
    now_s, found = begin_s, []
    while now_s <= end_s:
        found.append(wanted(scaler, now_s, ready, starting))
        now_s += RULES.tick_s
    return found


def test_nothing_to_do_nothing_there():
    scaler = Autoscaler(RULES)
    assert wanted(scaler, 0.0, 0) == 0
    assert scaler.next_look_s(0.0, Sight(0)) is None


def test_from_zero_as_many_at_once_as_the_queue_needs():
    scaler = Autoscaler(RULES)
    scaler.load(5.0, 1)
    assert wanted(scaler, 5.0, 0) == 1
    scaler.load(5.0, 20)
    assert wanted(scaler, 5.0, 0) == 3
    scaler.load(5.0, 500)
    decision = scaler.decide(5.0, Sight(0))
    assert decision.wanted == 8
    assert "63 would be needed, 8 are allowed" in decision.why


def test_more_than_there_is_for_is_looked_at_at_once():
    scaler = Autoscaler(RULES)
    scaler.load(0.0, 8)
    assert scaler.next_look_s(0.0, Sight(1)) == RULES.tick_s
    scaler.load(0.0, 9)
    assert scaler.next_look_s(0.0, Sight(1)) == 0.0
    assert scaler.next_look_s(0.0, Sight(1, 1)) == RULES.tick_s
    scaler.load(0.0, 900)
    assert scaler.next_look_s(0.0, Sight(8)) == RULES.tick_s


def test_those_that_start_already_are_not_started_again():
    scaler = Autoscaler(RULES)
    scaler.load(0.0, 20)
    assert wanted(scaler, 0.0, 0, 3) == 3
    assert wanted(scaler, 0.0, 1, 2) == 3


def test_a_newcomer_that_would_come_too_late_is_not_started():
    slow, quick = Autoscaler(RULES), Autoscaler(RULES)
    for scaler in (slow, quick):
        scaler.load(0.0, 24)
    assert wanted(slow, 0.0, 1, rate=10.0, start_s=0.3) == 3
    assert wanted(quick, 0.0, 1, rate=100.0, start_s=0.3) == 1


def test_a_burst_is_a_panic_which_never_shrinks():
    scaler = Autoscaler(RULES)
    scaler.load(0.0, 40)
    assert scaler.decide(0.0, Sight(1)).panic
    scaler.load(0.5, 0)
    decisions = [scaler.decide(0.5 + n * 0.2, Sight(5)) for n in range(12)]
    assert {decision.wanted for decision in decisions} == {5}
    assert decisions[0].panic


def test_after_a_burst_it_goes_down_to_what_was_needed_lately_and_then_to_zero():
    scaler = Autoscaler(RULES)
    scaler.load(0.0, 40)
    wanted(scaler, 0.0, 1)
    scaler.load(0.5, 6)
    assert set(hold(scaler, 0.5, 2.9, 5)) == {5}
    assert hold(scaler, 3.1, 3.2, 5) == [3]
    assert hold(scaler, 3.4, 7.2, 3)[-1] == 1
    scaler.load(7.2, 0)
    assert hold(scaler, 7.2, 17.0, 1)[-1] == 1
    last = scaler.decide(17.3, Sight(1))
    assert (last.wanted, last.why) == (0, "no request for 10 s")


def test_a_steady_load_keeps_its_replicas():
    scaler = Autoscaler(RULES)
    scaler.load(0.0, 12)
    assert set(hold(scaler, 0.0, 30.0, 2)) == {2}


def test_the_least_number_is_kept():
    scaler = Autoscaler(ScaleRules(least=2, most=4))
    assert wanted(scaler, 0.0, 0) == 2
    assert wanted(scaler, 1000.0, 2) == 2
    assert scaler.next_look_s(1000.0, Sight(2)) is None


def test_an_idle_service_is_looked_at_once_more_and_then_not_at_all():
    scaler = Autoscaler(RULES)
    scaler.load(0.0, 1)
    scaler.load(0.1, 0)
    assert scaler.next_look_s(4.0, Sight(1)) == 10 - 3.9
    assert wanted(scaler, 10.1, 1) == 0
    assert scaler.next_look_s(10.1, Sight(0)) is None


LOADS = st.lists(st.tuples(st.floats(0, 4), st.integers(0, 90)), min_size=1, max_size=30)


@given(LOADS, st.integers(0, 3), st.integers(0, 5))
def test_whatever_comes(loads, least, more):
    rules = ScaleRules(least=least, most=least + more + 1, target=8, stable_s=3, idle_s=10)
    scaler, now_s, there = Autoscaler(rules), 0.0, 0
    for gap_s, requests in loads:
        end_s = now_s + gap_s
        while True:  # as the router does: look when it is time to, start and stop at once
            decision = scaler.decide(now_s, Sight(there))
            assert rules.least <= decision.wanted <= rules.most
            if decision.panic:
                assert decision.wanted >= there
            there = decision.wanted
            delay_s = scaler.next_look_s(now_s, Sight(there))
            if delay_s is None or now_s + delay_s > end_s:
                break
            now_s += delay_s
        now_s = end_s
        scaler.load(now_s, requests)
    there = scaler.decide(now_s, Sight(there)).wanted
    assert there >= min(1, scaler.requests)
    scaler.load(now_s, 0)
    looks = 0
    while (delay_s := scaler.next_look_s(now_s, Sight(there))) is not None:
        now_s, looks = now_s + delay_s, looks + 1
        there = scaler.decide(now_s, Sight(there)).wanted
        assert looks < 100, "an idle service comes to rest"
    assert there == rules.least
