"""The words for what happens to servers, and what is counted."""

import pytest

from pliant.control.event_log import EventLog
from pliant.control.progress import Progress
from pliant.control.server_changes import ServerChanges, slots_text
from pliant.wire.server_messages import SlotPlace


class Changes:
    """With a log that can be read."""

    def __init__(self):
        numbers = iter(range(1, 100))
        self.log = EventLog("j", now_s=lambda: 0.0, next_seq=lambda: next(numbers), publish=lambda _: None)
        self.changes = ServerChanges(self.log, Progress())

    def placed(self, *holders, thin=0, filling=(), now_s=0.0):
        places = [SlotPlace(list(names), list(filling)) for names in holders]
        self.changes.placed(places, thin=thin, copies=2, now_s=now_s)
        return places

    def told(self):
        return [(event.kind, event.message) for event in self.log.after(0)]


@pytest.mark.parametrize(
    ("slots", "text"),
    [([7], "slot 7"), ([0, 1, 2, 40, 63], "slots 0-2, 40, 63"), ([5, 3, 4], "slots 3-5"), (range(64), "slots 0-63")],
)
def test_slots_are_named_in_runs(slots, text):
    assert slots_text(list(slots)) == text


def test_one_server_cannot_hold_two_copies_and_the_event_says_so():
    it = Changes()
    it.placed(["s1"], ["s1"])
    assert it.told() == [
        (
            "servers_founded",
            "s1 holds the slots: 1 server, 1 copy of each (should one die, the job goes back to its last checkpoint, "
            "if it has any; --servers 2 keeps 2 copies)",
        )
    ]


def test_nothing_is_restored_if_fewer_copies_are_wanted_now():
    it = Changes()
    places = it.placed(["s1", "s2"])
    it.changes.lost("s2", "killed", places=places, now_s=1.0)
    it.placed(["s1"])
    assert [kind for kind, _ in it.told()] == ["servers_founded", "server_lost"]


def test_a_newcomer_has_joined_once_it_is_sent_nothing_any_more():
    it = Changes()
    it.placed(["s1", "s2"], ["s2", "s1"])
    it.changes.readied("s3", now_s=1.0)
    it.placed(["s1", "s2"], ["s2", "s1"], filling=["s3"], now_s=1.0)
    it.placed(["s1", "s2", "s3"], ["s2", "s1"], filling=["s3"], now_s=2.0)
    assert len(it.told()) == 1
    it.placed(["s1", "s3"], ["s2", "s1"], now_s=3.0)
    assert it.told()[1:] == [("servers_joined", "s3 joined: 3 servers; it got 1 slot in 2.00 s")]
    assert it.changes.over_time == [(0.0, 2), (2.0, 3)]
    it.changes.readied("s3", now_s=3.5)
    it.placed(["s1", "s3"], ["s2", "s3"], now_s=4.0)
    assert len(it.told()) == 2, "it has only connected anew"
    it.changes.left("s9")
    assert it.told()[2:] == [("server_left", "s9 left, others hold its slots: 3 servers")]


def test_a_newcomer_that_is_let_go_before_it_held_all_is_not_news():
    it = Changes()
    it.placed(["s1"])
    it.changes.readied("s2", now_s=1.0)
    it.changes.left("s2")
    assert len(it.told()) == 1
