"""Placements of slots: what follows from each event, and what holds in any history."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slots_driver import SLOTS, SlotsHistory

from pliant.errors import ConfigError
from pliant.membership import slots_events as ev
from pliant.membership.slots_plan import is_balanced
from pliant.membership.slots_state import JobSlots


class Servers:
    """A job's servers, driven by hand; whoever is sent a slot has it when the test says so."""

    def __init__(self, start, **options):
        self.job = JobSlots(start=start, **options)
        self.said = self.job.begin()

    def hear(self, *events):
        self.said = [decision for event in events for decision in self.job.handle(event)]
        self.job.invariants()
        return self.said

    def ready(self, *servers):
        return self.hear(*(ev.ServerReadied(server) for server in servers))

    def gone(self, server):
        return self.hear(ev.ServerGone(server))

    def fill(self):
        """Everybody receives what it is sent, until nobody is sent anything."""
        said = []
        while fills := {name for place in self.job.places for name in place.filling}:
            for name in sorted(fills):
                slots = tuple(slot for slot, place in enumerate(self.job.places) if name in place.filling)
                said += self.hear(ev.SlotsReceived(name, self.job.version, slots))
        self.said = said
        return said

    def kinds(self, kind):
        return [decision for decision in self.said if isinstance(decision, kind)]

    def started(self):
        return [decision.server for decision in self.kinds(ev.StartServer)]

    def retired(self):
        return [decision.server for decision in self.kinds(ev.RetireServer)]


def begun(count, **options):
    servers = Servers(count, **options)
    servers.ready(*(f"s{number + 1}" for number in range(count)))
    servers.hear(ev.JobBegun())
    return servers


def holders(servers, slot):
    return servers.job.places[slot].holders


def test_the_first_placement_waits_for_all_that_are_to_start():
    servers = Servers(2)
    assert servers.started() == ["s1", "s2"]
    assert servers.ready("s2") == []
    (placement,) = servers.ready("s1")
    assert placement.version == 1
    assert placement.moved == 0
    assert [place.holders for place in placement.places] == [["s1", "s2"]] * 32 + [["s2", "s1"]] * 32
    assert not any(place.filling for place in placement.places)
    assert servers.job.settled
    assert servers.job.held("s1") == (32, 32, 0)


def test_a_lost_server_is_followed_by_its_copies_at_once_and_another_is_started():
    servers = begun(3)
    before = servers.job.places
    first, start = servers.gone("s2")
    assert start == ev.StartServer("s4")
    assert first.version == 2
    for old, new in zip(before, first.places, strict=True):
        assert new.holders == [server for server in old.holders if server != "s2"]
        assert len(new.filling) == ("s2" in old.holders), "a new copy begins to be filled at once"
    assert servers.job.thin == first.moved == sum("s2" in place.holders for place in before)
    servers.fill()
    assert servers.job.thin == 0
    servers.ready("s4")
    servers.fill()
    assert servers.job.settled


def test_a_server_more_moves_only_its_share():
    servers = begun(3, maximum=4)
    before = servers.job.places
    servers.hear(ev.WantedChanged(4))
    assert servers.started() == ["s4"]
    placements = servers.ready("s4")
    assert sum(placement.moved for placement in placements) == 2 * 64 // 4
    for placement in placements:
        assert [set(place.holders) for place in placement.places] == [set(place.holders) for place in before]
    servers.fill()
    assert servers.job.settled
    for old, new in zip(before, servers.job.places, strict=True):
        assert set(new.holders) <= {*old.holders, "s4"}
        assert set(new.holders) == set(old.holders) or "s4" in new.holders


def test_a_move_is_filled_then_full_then_leads_then_the_old_one_lets_go():
    servers = begun(1, copies=1, maximum=2)
    servers.hear(ev.WantedChanged(2))
    servers.ready("s2")
    slot = next(slot for slot, place in enumerate(servers.job.places) if place.filling)
    versions = servers.hear(ev.SlotsReceived("s2", servers.job.version, (slot,)))
    assert [(place.places[slot].holders, place.places[slot].filling) for place in versions] == [
        (["s1", "s2"], []),
        (["s2", "s1"], []),
        (["s2"], []),
    ]


def test_who_has_no_room_for_a_slot_is_not_sent_it_again_until_somebody_comes():
    servers = begun(2)
    servers.gone("s2")
    servers.ready("s3")
    version = servers.job.version
    servers.hear(ev.SlotsRefused("s3", version, (0, 1)))
    servers.fill()
    assert servers.job.version > version
    assert [len(place.holders) for place in servers.job.places] == [1, 1, *[2] * 62]
    assert servers.job.settled
    assert servers.job.thin == 2
    servers.hear(ev.WantedChanged(3))
    servers.ready("s4")
    servers.fill()
    assert servers.job.thin == 0


def test_a_move_to_who_has_no_room_is_given_up():
    servers = begun(2)
    servers.hear(ev.WantedChanged(3))
    servers.ready("s3")
    slots = tuple(slot for slot, place in enumerate(servers.job.places) if place.filling)
    before = [holders(servers, slot) for slot in slots]
    servers.hear(ev.SlotsRefused("s3", servers.job.version, slots))
    assert [set(holders(servers, slot)) for slot in slots] == [set(each) for each in before]
    assert not any(place.filling for place in servers.job.places)
    assert servers.job.settled


def test_a_stale_word_of_having_received_a_slot_counts_for_nothing():
    servers = begun(2, maximum=3)
    servers.hear(ev.WantedChanged(3))
    servers.ready("s3")
    version = servers.job.version
    slot = next(n for n, place in enumerate(servers.job.places) if place.holders[0] == "s1" and place.filling)
    servers.gone("s1")  # it was sending the slot; what s3 has of it may be less, or more, than what s2 has
    assert holders(servers, slot) == ["s2"]
    servers.hear(ev.SlotsReceived("s3", version, (slot,)))
    assert holders(servers, slot) == ["s2"]
    servers.hear(ev.SlotsReceived("s3", servers.job.version, (slot,)))
    assert holders(servers, slot) == ["s2", "s3"] or holders(servers, slot) == ["s3", "s2"]


def test_a_word_from_the_future_or_for_another_slot_counts_for_nothing():
    servers = begun(2)
    assert servers.hear(ev.SlotsReceived("s2", 99, (0,)), ev.SlotsReceived("s2", 1, (-1, 64, 0))) == []


def test_both_copies_gone_after_the_beginning_are_lost_with_all_servers_until_there_is_a_state():
    servers = begun(3)
    lost = [slot for slot, place in enumerate(servers.job.places) if set(place.holders) == {"s1", "s2"}]
    servers.gone("s1")
    servers.gone("s2")
    assert servers.said == [
        ev.SlotsLost(tuple(lost), ("s1", "s2")),
        ev.RetireServer("s3", "slots are lost that nobody else holds"),
        ev.RetireServer("s4", "slots are lost that nobody else holds"),
    ]
    assert servers.job.places == ()
    servers.hear(ev.StateFound())
    assert servers.started() == ["s5", "s6", "s7"]
    (placement,) = servers.ready("s5", "s6", "s7")
    assert placement.version > 2
    assert not servers.job.begun


def test_before_the_beginning_lost_slots_are_placed_anew():
    servers = Servers(2)
    servers.ready("s1", "s2")
    servers.gone("s1")
    servers.gone("s2")
    assert not servers.kinds(ev.SlotsLost)
    servers.ready("s3", "s4")
    servers.fill()
    assert servers.job.settled
    assert {server for place in servers.job.places for server in place.holders} == {"s3", "s4"}


def test_workers_may_begin_before_there_is_a_placement():
    servers = Servers(2)
    servers.hear(ev.JobBegun())
    servers.ready("s1", "s2")
    assert servers.job.begun
    servers.gone("s1")
    servers.gone("s2")
    assert servers.kinds(ev.SlotsLost)


def test_the_state_is_lost_elsewhere():
    servers = begun(2)
    servers.hear(ev.StateLost())
    assert servers.retired() == ["s1", "s2"]
    assert servers.gone("s1") == []
    servers.hear(ev.StateFound())
    assert servers.started() == ["s3", "s4"]


def test_a_surplus_server_hands_over_before_it_goes():
    servers = begun(3)
    servers.hear(ev.WantedChanged(2))
    assert not servers.retired()
    assert servers.job.is_leaving("s3")
    servers.fill()
    assert servers.retired() == ["s3"]
    assert servers.job.settled
    assert servers.job.thin == 0


def test_a_server_that_is_not_ready_is_the_first_to_go():
    servers = begun(2, maximum=3)
    servers.hear(ev.WantedChanged(3))
    assert servers.hear(ev.WantedChanged(2)) == [ev.RetireServer("s3", "others hold its slots")]


def test_who_asks_to_leave_at_the_minimum_is_replaced_first():
    servers = begun(2, minimum=2)
    servers.hear(ev.ServerAskedToLeave("s1"))
    assert servers.started() == ["s3"]
    assert all(len(place.holders) == 2 for place in servers.job.places), "nobody can take its place yet"
    servers.ready("s3")
    servers.fill()
    assert servers.retired() == ["s1"]
    assert servers.job.settled


def test_who_asks_to_leave_above_the_minimum_is_not_replaced():
    servers = begun(3)
    servers.hear(ev.ServerAskedToLeave("s1"))
    servers.fill()
    assert servers.retired() == ["s1"]
    assert servers.job.wanted == 2
    assert servers.hear(ev.ServerAskedToLeave("s1"), ev.ServerAskedToLeave("s9")) == []


def test_fewer_copies_and_more():
    servers = begun(3)
    servers.hear(ev.CopiesChanged(1))
    assert all(len(place.holders) == 1 for place in servers.job.places)
    assert is_balanced([place.holders for place in servers.job.places], ["s1", "s2", "s3"])
    servers.hear(ev.CopiesChanged(2))
    assert servers.job.thin == 64
    servers.fill()
    assert servers.job.settled


def test_servers_that_die_before_they_hold_anything_are_not_replaced_for_ever():
    servers = begun(2)
    servers.gone("s2")
    for server in ("s3", "s4", "s5"):
        assert server in servers.started()
        servers.gone(server)
    assert servers.said == []
    assert servers.job.starting_halted
    assert all(place.holders == ["s1"] for place in servers.job.places), "those that are there go on"
    servers.hear(ev.WantedChanged(2))
    assert servers.started() == ["s6"]


def test_a_job_whose_servers_cannot_start_gives_up():
    servers = Servers(1)
    servers.gone("s1")
    servers.gone("s2")
    (verdict,) = servers.gone("s3")
    assert isinstance(verdict, ev.GiveUp)
    assert "3 servers in a row (s1, s2, s3)" in verdict.reason
    assert "s3.log" in verdict.reason
    assert servers.ready("s1") == []


def test_a_server_that_is_not_wanted_any_more_is_told_so():
    servers = begun(1)
    assert [type(said) for said in servers.ready("s7")] == [ev.RetireServer]


@pytest.mark.parametrize("wanted", [0, 1, 5])
def test_numbers_out_of_bounds_are_refused(wanted):
    servers = begun(2, minimum=2, maximum=4)
    with pytest.raises(ConfigError, match=f"{wanted} servers are asked for, but the job has at least 2 and at most 4"):
        servers.hear(ev.WantedChanged(wanted))
    assert servers.job.wanted == 2


def test_impossible_jobs_are_refused():
    for bounds in ({"start": 3, "maximum": 2}, {"start": 1, "minimum": 2}, {"start": 65, "maximum": 65}):
        with pytest.raises(ConfigError, match="servers are to start"):
            JobSlots(**bounds)
    with pytest.raises(ConfigError, match="0 copies"):
        JobSlots(start=1, copies=0)


# ---------------------------------------------------------------- any history

histories = st.builds(SlotsHistory, st.integers(0, 2**32), nonsense=st.sampled_from([0.0, 0.3]))


@settings(max_examples=250)
@given(histories, st.integers(1, 150))
def test_any_history_keeps_the_rules(history, length):
    history.run(length)


@settings(max_examples=250)
@given(histories, st.integers(1, 120))
def test_a_job_left_in_peace_comes_to_rest_and_is_balanced(history, length):
    history.run(length)
    history.settle()
    job = history.job
    if history.given_up or job.starting_halted:
        return
    assert job.settled
    assert job.thin == 0
    servers = sorted({server for place in job.places for server in place.holders})
    assert len(servers) == job.wanted
    assert is_balanced([place.holders for place in job.places], servers)
    assert all(len(place.holders) == min(job.copies, job.wanted) for place in job.places)


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 120), st.sampled_from([0.2, 1.0]))
def test_servers_without_room_leave_each_slot_to_who_has_it(seed, length, full):
    history = SlotsHistory(seed, full=full)
    history.run(length)
    history.settle()
    assert not any(place.filling for place in history.job.places)


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 100))
def test_the_same_history_is_answered_in_the_same_way(seed, length):
    first = SlotsHistory(seed)
    first.run(length)
    again = JobSlots(
        start=first.job.start,
        minimum=first.job.minimum,
        maximum=first.job.maximum,
        copies=SlotsHistory(seed).job.copies,
        slots=SLOTS,
    )
    said = again.begin()
    for event in first.events:
        said += again.handle(event)
    assert said == first.said


@settings(max_examples=100)
@given(histories, st.integers(1, 80))
def test_what_is_said_twice_changes_nothing_the_second_time(history, length):
    history.run(length)
    for event in history.events[-5:]:
        if isinstance(event, ev.ServerGone | ev.SlotsReceived | ev.JobBegun | ev.CopiesChanged):
            history.job.handle(event)
            version = history.job.version
            assert [d for d in history.job.handle(event) if not isinstance(d, ev.RetireServer)] == []
            assert history.job.version == version
