"""What every kind of post does."""

import pytest
from post_kit import note

from pliant.comm.post.base import MAX_FRAMES, MAX_HEADER_BYTES, Limits, PeerConnected, PostFullError
from pliant.errors import ConfigError, ProtocolError


def test_a_letter_goes_there_and_an_answer_comes_back(lab):
    server, worker = lab.pair()
    frames = [b"", b"x", bytes(range(256)) * 300, memoryview(bytearray(b"y" * 70_000)), bytearray(b"z")]
    sent = worker.post.send("s1", note("push"), frames)
    lab.until(server.letters)
    got = server.last()
    assert (got.peer, got.inbound, got.header.text) == ("w1", True, "push")
    assert [bytes(frame) for frame in got.frames] == [bytes(frame) for frame in frames]
    lab.until(lambda: sent.done)
    assert sent.wait(0.0)
    assert server.post.answer("w1", note("done"), frames[2:3]) is not None
    lab.until(worker.letters)
    got = worker.last()
    assert (got.peer, got.inbound, got.header.text) == ("s1", False, "done")
    assert bytes(got.frames[0]) == frames[2]
    assert (server.post.dropped, worker.post.dropped) == (0, 0)


def test_memory_that_came_may_be_written_and_outlives_the_post(lab):
    server, worker = lab.pair()
    worker.post.send("s1", note("push"), [b"a" * 100_000, b"b" * 10])
    lab.until(server.letters)
    large, small = server.last().frames
    lab.close(server)
    large[:3], small[:3] = b"123", b"456"
    assert (bytes(large[:5]), bytes(small)) == (b"123aa", b"456bbbbbbb")


def test_letters_keep_their_order_also_when_they_have_to_wait(lab):
    server, worker = lab.pair()
    count = 3000  # more than ZeroMQ itself queues
    for index in range(count):
        assert worker.post.send("s1", note(f"there {index}")) is not None
    lab.until(lambda: len(server.letters()) == count)
    for index in range(count):
        assert server.post.answer("w1", note(f"back {index}"), [bytes(100)]) is not None
    lab.until(lambda: len(worker.letters()) == count)
    assert server.letters() == [f"there {index}" for index in range(count)]
    assert worker.letters() == [f"back {index}" for index in range(count)]


def test_a_letter_may_have_thousands_of_frames(lab):
    server, worker = lab.pair()
    frames = [index.to_bytes(2, "big") for index in range(MAX_FRAMES)]
    worker.post.send("s1", note("many"), frames)
    lab.until(server.letters)
    assert [bytes(frame) for frame in server.last().frames] == frames


def test_a_server_hears_many_and_answers_each(lab):
    server = lab.post("s1")
    workers = [lab.post(f"w{index}", listens=False) for index in range(5)]
    for worker in workers:
        worker.post.connect("s1", server.post.endpoint)
        worker.post.send("s1", note(worker.post.name))
    lab.until(lambda: len(server.letters()) == len(workers))
    assert sorted(server.letters()) == [worker.post.name for worker in workers]
    for worker in workers:
        assert server.letters(worker.post.name) == [worker.post.name]
        server.post.answer(worker.post.name, note(f"to {worker.post.name}"))
    lab.until(lambda: all(worker.letters() for worker in workers))
    assert [worker.letters() for worker in workers] == [[f"to {worker.post.name}"] for worker in workers]


def test_servers_talk_to_each_other_on_two_connections(lab):
    left, right = lab.post("s1"), lab.post("s2")
    left.post.connect("s2", right.post.endpoint)
    right.post.connect("s1", left.post.endpoint)
    left.post.send("s2", note("l sends"))
    right.post.send("s1", note("r sends"))
    lab.until(lambda: left.letters() and right.letters())
    left.post.answer("s2", note("l answers"))
    right.post.answer("s1", note("r answers"))
    lab.until(lambda: len(left.letters()) == len(right.letters()) == 2)
    ways = {event.header.text: event.inbound for event in [*left.events, *right.events] if hasattr(event, "header")}
    assert ways == {"l sends": True, "r sends": True, "l answers": False, "r answers": False}


def test_whoever_is_not_known_gets_nothing(lab):
    server, worker = lab.pair()
    assert worker.post.send("s2", note("x")) is None
    assert server.post.answer("w2", note("x")) is None
    assert worker.post.answer("w1", note("x")) is None


def test_a_header_that_the_decoder_refuses_is_dropped_and_counted(lab):
    server, worker = lab.pair()
    for header in (b"", b"\xc1", note("x")[:-1], b"\x81\xa4text\x07", b"\x91" * 5000):
        worker.post.send("s1", header, [b"frame"])
    worker.post.send("s1", note("good"))
    lab.until(server.letters)
    assert server.letters() == ["good"]
    assert server.post.dropped == 5
    assert server.losses("w1") == []


def test_a_letter_that_would_not_be_taken_is_refused(lab):
    server, worker = lab.pair(limits=Limits(letter_bytes=100_000))
    with pytest.raises(ProtocolError, match="header of a letter has 65537 bytes, at most 65536"):
        worker.post.send("s1", bytes(MAX_HEADER_BYTES + 1))
    with pytest.raises(ProtocolError, match="4097 frames"):
        worker.post.send("s1", note("x"), [b""] * (MAX_FRAMES + 1))
    with pytest.raises(ProtocolError, match=r"a letter has \d+ bytes, at most 100000"):
        server.post.answer("w1", note("x"), [bytes(60_000), bytes(60_000)])
    worker.post.send("s1", note("good"))
    lab.until(server.letters)
    assert server.letters() == ["good"]


def test_what_waits_for_a_server_is_bounded(lab):
    worker = lab.post("w1", listens=False, limits=Limits(queued_letters=3))
    worker.post.connect("s1", "memory://s1" if lab.kind == "memory" else "ipc:///nowhere/s1.sock")
    sent = [worker.post.send("s1", note(str(index))) for index in range(3)]
    with pytest.raises(PostFullError, match="s1 takes nothing: 3 letters"):
        worker.post.send("s1", note("4"))
    assert [each.done for each in sent] == [False] * 3
    assert [each.wait(0.0) for each in sent] == [False] * 3
    worker.post.disconnect("s1")
    assert [each.done for each in sent] == [True] * 3


def test_a_name_that_cannot_stand_in_a_path_is_refused(lab):
    for name in ("", "../s1", "a b", "s" * 65, "ü"):
        with pytest.raises(ConfigError, match="cannot name a peer"):
            lab.post(name)


def test_the_loss_of_a_server_is_told_once_and_what_it_said_before_came(lab):
    server, worker = lab.pair()
    assert worker.post.trouble() == {}
    for index in range(900):
        server.post.answer("w1", note(str(index)))
    lab.close(server)
    lab.until(lambda: not worker.connected("s1"))
    assert worker.letters() == [str(index) for index in range(900)]
    assert len(worker.losses("s1")) == 1
    assert list(worker.post.trouble()) == ["s1"]
    waiting = worker.post.send("s1", note("into the void"))
    assert not waiting.done
    for _ in range(20):
        lab.turn()
    assert len(worker.losses("s1")) == 1


def test_the_loss_of_a_client_is_told_and_what_it_said_before_came(lab):
    server, worker = lab.pair()
    for index in range(500):
        worker.post.send("s1", note(str(index)))
    lab.close(worker)
    lab.until(lambda: not server.connected("w1"))
    assert server.letters() == [str(index) for index in range(500)]
    assert len(server.losses("w1")) == 1
    assert server.post.answer("w1", note("x")) is None


def test_a_server_that_was_given_up_hears_of_it_and_nothing_more_is_told_of_it(lab):
    server, worker = lab.pair()
    before = len(worker.events)
    worker.post.disconnect("s1")
    assert worker.post.send("s1", note("x")) is None
    lab.until(lambda: not server.connected("w1"))
    assert worker.events[before:] == []
    worker.post.connect("s1", server.post.endpoint)
    lab.until(lambda: worker.connected("s1") and server.connected("w1"))
    assert [type(event) for event in server.events[-2:]].count(PeerConnected) >= 1


def test_connecting_again_changes_nothing(lab):
    server, worker = lab.pair()
    worker.post.connect("s1", server.post.endpoint)
    worker.post.send("s1", note("x"))
    lab.until(server.letters)
    assert server.losses("w1") == worker.losses("s1") == []


def test_the_thing_at_the_endpoint_is_another_server(lab):
    server = lab.post("s2")
    worker = lab.post("w1", listens=False)
    worker.post.connect("s1", server.post.endpoint)
    waiting = worker.post.send("s1", note("for s1 alone"))
    if lab.kind == "memory":
        lab.exchange.deliver_all()
    else:
        lab.until(lambda: "s2 listens there now, not s1" in worker.post.trouble()["s1"])
    assert not waiting.done
    assert not server.letters()
    assert not server.connected("w1")
