"""Whom a server tells what, whose word it awaits, and what it takes from whom."""

from pliant.parallel.servers.replica_state import ReplicaState
from pliant.wire.server_messages import SlotPlace


def place(*holders, filling=()):
    return SlotPlace(list(holders), list(filling))


def held(server, *holders, number=3, pass_number=5, filling=()):
    """A server that holds slot 0, at some update and pass."""
    state = ReplicaState(server)
    state.place(1, [place(*holders, filling=filling)])
    state.filled(0, number=number, pass_number=pass_number)
    return state


def test_a_mean_is_complete_once_every_copy_has_it():
    state = held("a", "a", "b", "c")
    state.mean_known(0, 6)
    assert not state.complete(0, 6)
    state.got_mean("b", 6, [0])
    state.got_mean("c", 5, [0])  # of an earlier pass
    assert not state.complete(0, 6)
    state.got_mean("c", 6, [0])
    assert state.complete(0, 6)


def test_parameters_are_shown_once_every_copy_has_the_update():
    state = held("a", "a", "b")
    state.update_ordered(0, 4)
    assert not state.shown(0, 4)
    state.got_update("b", 4, [0])
    assert state.shown(0, 4)
    assert not state.shown(0, 5)


def test_nobody_waits_for_the_dead():
    state = held("a", "a", "b")
    state.mean_known(0, 6)
    state.update_ordered(0, 4)
    state.place(2, [place("a")])
    assert state.complete(0, 6)
    assert state.shown(0, 4)


def test_a_filling_copy_is_told_of_commands_after_its_snapshot_and_counts_once_it_has_it():
    state = held("a", "a")
    moved = state.place(2, [place("a", filling=["b"])])
    assert moved.to_fill == [(0, "b")]
    assert state.slots[0].following == set()
    state.snapshot_sent(0, "b")
    assert state.slots[0].following == {"b"}
    state.update_ordered(0, 4)
    assert state.shown(0, 4), "nobody waits for a copy that nobody counts on"
    assert state.got_slots("b", [0], number=3, pass_number=5) == [0]
    state.mean_known(0, 6)
    assert not state.complete(0, 6)
    assert state.place(3, [place("a", "b")]).to_fill == []
    state.got_mean("b", 6, [0])
    assert state.complete(0, 6)


def test_a_copy_that_is_still_being_filled_is_told_again_that_it_counts():
    state = held("a", "a", filling=["b"])
    state.snapshot_sent(0, "b")
    assert state.got_slots("b", [0], number=3, pass_number=5) == [0]
    assert state.got_slots("b", [0], number=3, pass_number=5) == [], "said twice"
    assert state.place(2, [place("a", filling=["b"])]).counted == []
    moved = state.place(4, [place("a", filling=["b"])])  # 3 did not come here
    assert (moved.counted, moved.to_fill) == ([(0, "b")], [])
    state.snapshot_sent(0, "b")  # it was behind: it had to begin anew, of which this server did not hear
    assert state.got_slots("b", [0], number=3, pass_number=5) == [0]
    assert state.place(6, [place("a", "b")]).counted == []


def test_who_is_to_have_a_copy():
    state = held("a", "a", "b", filling=["c"])
    assert [state.wants(0, server) for server in "bcd"] == [True, True, False]
    assert state.in_flight("c") == 0
    state.snapshot_sent(0, "c")
    assert state.in_flight("c") == 1
    state.place(2, [place("a", "b")])
    assert not state.wants(0, "c")
    assert state.in_flight("c") == 0


def test_a_snapshot_acknowledges_what_is_in_it():
    state = held("a", "a", "b")
    state.mean_known(0, 6)
    state.snapshot_sent(0, "b")
    state.update_ordered(0, 4)
    assert state.got_slots("b", [0], number=3, pass_number=6) == []
    assert state.complete(0, 6)
    assert not state.shown(0, 4), "the update came after it"


def test_the_answer_to_an_older_snapshot_acknowledges_nothing():
    state = held("a", "a", "b")
    state.snapshot_sent(0, "b")
    state.update_ordered(0, 4)
    state.snapshot_sent(0, "b")  # its connection was lost meanwhile
    state.got_slots("b", [0], number=3, pass_number=5)
    assert not state.shown(0, 4)
    state.got_slots("b", [0], number=4, pass_number=5)
    assert state.shown(0, 4)


def test_a_copy_takes_commands_in_order_and_from_its_primary_only():
    state = held("b", "a", "b")
    assert state.on_mean("a", 0, 6) == "take"
    assert state.on_mean("a", 0, 5) == "known"
    assert state.on_mean("c", 0, 6) == "ignore"
    assert state.on_update("a", 0, number=4, pass_number=5) == "take"
    assert state.on_update("a", 0, number=3, pass_number=5) == "known"
    assert state.on_update("a", 0, number=5, pass_number=5) == "behind"
    assert state.on_update("a", 0, number=4, pass_number=6) == "behind"
    assert state.on_update("c", 0, number=4, pass_number=5) == "ignore"
    assert state.on_snapshot("a", 0, number=2, pass_number=9) == "known"
    assert state.on_snapshot("a", 0, number=4, pass_number=5) == "take"


def test_a_primary_that_was_asleep_is_not_obeyed():
    state = held("b", "a", "b")
    assert state.place(2, [place("b")]).promoted == [0]
    assert state.on_mean("a", 0, 6) == "ignore"
    assert state.on_update("a", 0, number=4, pass_number=5) == "ignore"
    assert state.on_snapshot("a", 0, number=9, pass_number=9) == "ignore"


def test_who_becomes_primary_brings_the_other_holders_level():
    state = held("b", "a", "b", "c")
    state.place(2, [place("b", "c")])
    assert not state.complete(0, 5), "the dead primary may not have told c"
    state.got_mean("c", 5, [0])
    assert state.complete(0, 5)


def test_who_becomes_primary_shows_nothing_before_the_other_holders_have_its_update():
    state = held("b", "a", "b", "c")
    assert state.place(2, [place("b", "c")]).to_check == [(0, "c")]
    assert not state.shown(0, 3), "the dead primary may not have told c"
    state.got_update("c", 3, [0])
    assert state.shown(0, 3)
    other = held("c", "a", "b", "c", number=2)
    other.place(2, [place("b", "c")])
    assert other.on_check("b", 0, 3) == "behind"
    assert other.on_check("b", 0, 2) == "known"
    assert other.on_check("a", 0, 2) == "ignore"


def test_where_primaries_number_updates_a_new_one_is_believed_after_a_snapshot_only():
    """The same number may be another update: of a push that the dead primary had sent to this copy alone."""
    state = held("c", "a", "b", "c", number=6)
    assert state.on_update("a", 0, number=7, pass_number=None) == "take"
    state.slots[0].number = 7
    state.place(2, [place("b", "c")])
    assert state.on_check("b", 0, 6) == "behind"
    assert state.on_update("b", 0, number=7, pass_number=None) == "behind"
    assert state.on_snapshot("b", 0, number=6, pass_number=-1) == "take"
    state.filled(0, number=6, pass_number=-1)
    assert state.on_update("b", 0, number=7, pass_number=None) == "take"


def test_an_older_placement_changes_nothing():
    state = held("a", "a", "b")
    state.place(3, [place("a")])
    state.place(2, [place("b", "a")])
    assert state.slots[0].role == "primary"
    assert state.version == 3


def test_a_slot_that_goes_away_is_forgotten_and_comes_back_blank():
    state = held("a", "a")
    assert state.place(2, [place("b")]).dropped == [0]
    assert not state.is_primary(0)
    state.place(3, [place("b", filling=["a"])])
    assert state.on_update("b", 0, number=4, pass_number=5) == "behind"
    assert not state.is_blank(0)
    state.place(4, [place("a")])
    assert state.is_blank(0)
