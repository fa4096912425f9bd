import socket
import threading

import msgspec
import pytest
import torch

from pliant.comm.mesh import MeshGroup
from pliant.errors import ProtocolError
from pliant.training.sync import Standing, synchronize
from pliant.transfer.spec import decode, encode

DEADLINE_S = 20.0


@pytest.fixture
def mesh():
    made = []

    def make(size):
        sockets = [{} for _ in range(size)]
        with socket.create_server(("127.0.0.1", 0)) as server:
            for left in range(size):
                for right in range(left + 1, size):
                    sockets[left][right] = socket.create_connection(server.getsockname())
                    sockets[right][left], _ = server.accept()
        made.extend(MeshGroup(1, rank, mine) for rank, mine in enumerate(sockets))
        return made

    yield make
    for group in made:
        group.abort()
        group.close()


def standing(rank, *, stateful=True, done=5, full=False, held=(), shards=0):
    return Standing(worker=f"w{rank + 1}", stateful=stateful, passes_done=done, full=full, held=held, shards=shards)


def all_sync(groups, standings, kind):
    found = [None] * len(groups)
    captured = []

    def run(rank):
        def capture():
            captured.append(rank)
            return encode({"x": torch.arange(1000.0), "step": 5})

        try:
            found[rank] = synchronize(groups[rank], kind=kind, standing=standings[rank], capture=capture)
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(len(groups))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    return found, sorted(captured)


def test_founding_begins_from_the_state_of_rank_0(mesh):
    groups = mesh(3)
    found, captured = all_sync(groups, [standing(rank, stateful=False, done=0) for rank in range(3)], "founding")
    assert captured == [0]
    assert found[0].state is None
    for rank in (1, 2):
        state = decode(found[rank].state.meta, found[rank].state.tensors)
        assert torch.equal(state["x"], torch.arange(1000.0))
        assert found[rank].bytes_received == 4000
    assert found[0].bytes_sent == 8000


def test_a_newcomer_gets_the_state_from_those_who_have_it(mesh):
    groups = mesh(3)
    standings = [standing(0), standing(1, stateful=False, done=0), standing(2)]
    found, captured = all_sync(groups, standings, "planned")
    assert captured == [0, 2]
    assert found[1].decision.newcomers == (1,)
    assert decode(found[1].state.meta, found[1].state.tensors)["step"] == 5
    assert {each.shards for each in found} == {0}


def test_without_newcomers_no_state_is_captured(mesh):
    groups = mesh(2)
    found, captured = all_sync(groups, [standing(0), standing(1)], "planned")
    assert captured == []
    assert [each.state for each in found] == [None, None]


def test_after_a_crash_the_missing_shards_are_dealt_and_all_decide_alike(mesh):
    groups = mesh(2)
    standings = [standing(0, held=(0, 1, 2), shards=8), standing(1, held=(3, 4), shards=8)]
    found, _ = all_sync(groups, standings, "recovery")
    assert found[0].decision == found[1].decision
    decision = found[0].decision
    assert decision.commit == ()
    assert decision.keep == ((0, 1, 2), (3, 4))
    assert sorted(shard for hand in decision.deal for shard in hand) == [5, 6, 7]
    assert [each.shards for each in found] == [8, 8]


def test_who_is_one_pass_behind_commits_what_it_holds(mesh):
    groups = mesh(2)
    standings = [standing(0, done=6), standing(1, done=5, full=True, held=(4, 5), shards=8)]
    found, _ = all_sync(groups, standings, "recovery")
    assert found[0].decision.commit == (1,)
    assert found[0].decision.in_flight == 6


def test_when_all_hold_the_gradient_all_commit_and_the_next_pass_is_a_new_one(mesh):
    groups = mesh(2)
    standings = [standing(rank, full=True, held=(rank,), shards=2) for rank in range(2)]
    found, _ = all_sync(groups, standings, "recovery")
    assert found[0].decision.commit == (0, 1)
    assert [each.shards for each in found] == [0, 0]


def test_standings_that_cannot_be_are_refused_by_all(mesh):
    groups = mesh(2)
    found, _ = all_sync(groups, [standing(0, done=9), standing(1, done=5)], "recovery")
    assert [type(each) for each in found] == [ProtocolError] * 2


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode({"a": 1})])
def test_a_malformed_report_is_refused(mesh, payload):
    groups = mesh(2)
    other = threading.Thread(target=lambda: groups[1].exchange(payload), daemon=True)
    other.start()
    with pytest.raises(ProtocolError, match="malformed report in generation 1"):
        synchronize(groups[0], kind="recovery", standing=standing(0), capture=lambda: encode({}))
    other.join(DEADLINE_S)
    assert not other.is_alive()
