import socket
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pliant.comm.mesh import MeshGroup
from pliant.errors import ConnectionLostError, ProtocolError
from pliant.transfer import move
from pliant.transfer.move import cut, receive_state, send_state
from pliant.transfer.spec import decode, encode

DEADLINE_S = 30.0


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
        return made[-size:]

    yield make
    for group in made:
        group.abort()
        group.close()


def outcomes(functions):
    found = [None] * len(functions)

    def run(place, function):
        try:
            found[place] = function()
        except BaseException as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "a transfer hangs"
    return found


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "big": torch.randn(3, 1 << 20, generator=generator),
        "turned": torch.randn(7, 5, generator=generator).t(),
        "half": torch.randn(33, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(True),
        "plain": {"steps": 7, "names": ["a", "ü"], "rate": 0.1, "none": None},
    }


def same(left, right):
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


@given(st.lists(st.integers(0, 3 * move.PIECE_BYTES), max_size=12), st.integers(1, 6))
def test_pieces_cover_everything_once_and_are_balanced(sizes, sources):
    shares = cut(sizes, sources=sources)
    assert len(shares) == sources
    numbered = [pair for share in shares for pair in share]
    assert [number for number, _ in numbered] == list(range(len(numbered)))
    reached = dict.fromkeys(range(len(sizes)), 0)
    for _, piece in numbered:
        assert piece.start == reached[piece.tensor]
        assert 0 < piece.stop - piece.start <= move.PIECE_BYTES
        reached[piece.tensor] = piece.stop
    assert list(reached.values()) == sizes
    loads = [sum(piece.stop - piece.start for _, piece in share) for share in shares]
    assert max(loads) - sum(sizes) / sources <= move.PIECE_BYTES


@pytest.mark.parametrize(("sources", "newcomers"), [([0], [1]), ([0, 1], [2]), ([1, 3], [0, 2]), ([0, 1, 2], [3, 4])])
def test_newcomers_get_the_state_bit_for_bit(mesh, sources, newcomers):
    groups = mesh(len(sources) + len(newcomers))
    original = state()

    def source(rank):
        return send_state(groups[rank], encode(state()), sources=sources, newcomers=newcomers)

    def newcomer(rank):
        encoded, size_bytes = receive_state(groups[rank], sources=sources)
        return decode(encoded.meta, encoded.tensors), size_bytes

    found = outcomes(
        [lambda rank=rank: source(rank) if rank in sources else newcomer(rank) for rank in range(len(groups))]
    )
    total = sum(t.numel() * t.itemsize for t in encode(original).tensors)
    for rank in newcomers:
        assert not isinstance(found[rank], BaseException), found[rank]
        received, size_bytes = found[rank]
        assert same(original, received)
        assert size_bytes == total
    sent = [found[rank] for rank in sources]
    assert sum(sent) == total * len(newcomers)
    assert max(sent) - min(sent) <= 2 * move.PIECE_BYTES * len(newcomers)


def test_a_state_without_tensors(mesh):
    left, right = mesh(2)
    found = outcomes(
        [
            lambda: send_state(left, encode({"step": 3}), sources=[0], newcomers=[1]),
            lambda: receive_state(right, sources=[0]),
        ]
    )
    assert found[0] == 0
    encoded, size_bytes = found[1]
    assert (decode(encoded.meta, encoded.tensors), size_bytes) == ({"step": 3}, 0)


def test_the_group_is_ready_for_the_next_round_afterwards(mesh):
    groups = mesh(3)

    def source(rank):
        send_state(groups[rank], encode(state()), sources=[0, 1], newcomers=[2])
        return groups[rank].exchange(bytes([rank]))

    def newcomer():
        receive_state(groups[2], sources=[0, 1])
        return groups[2].exchange(b"\x02")

    assert outcomes([lambda: source(0), lambda: source(1), newcomer]) == [[b"\x00", b"\x01", b"\x02"]] * 3


def test_a_source_that_dies_fails_the_newcomer_and_leaves_the_other_source_whole(mesh):
    groups = mesh(3)
    original = encode(state())
    before = [tensor.clone() for tensor in original.tensors]
    groups[1].abort()

    def newcomer():
        try:
            receive_state(groups[2], sources=[0, 1])
        except ConnectionLostError:
            groups[2].abort()  # as the session does: nobody may wait for it
            raise

    found = outcomes([lambda: send_state(groups[0], original, sources=[0, 1], newcomers=[2]), newcomer])
    assert isinstance(found[1], ConnectionLostError)
    assert all(torch.equal(a, b) for a, b in zip(before, original.tensors, strict=True))


def test_a_newcomer_that_dies_fails_the_source(mesh):
    left, right = mesh(2)
    big = encode({"x": torch.zeros(16 << 20)})
    right.abort()
    (error,) = outcomes([lambda: send_state(left, big, sources=[0], newcomers=[1])])
    assert isinstance(error, ConnectionLostError)


@pytest.mark.parametrize(
    ("kind", "index", "size"),
    [(move.DATA, 0, 4), (99, 0, 4), (move.META, 0, move.MAX_META_BYTES + 1), (move.META, 0, (1 << 64) - 1)],
)
def test_frames_that_break_the_protocol_are_refused(mesh, kind, index, size):
    left, right = mesh(2)
    header = kind.to_bytes(4, "little") + index.to_bytes(4, "little") + size.to_bytes(8, "little")
    left._channels[1].sock.sendall(header)
    with pytest.raises(ProtocolError, match="rank 0 sent a frame"):
        receive_state(right, sources=[0])


def test_a_piece_of_another_size_or_number_is_refused(mesh):
    encoded = encode({"x": torch.zeros(10)})
    for index, size in ((0, 39), (1, 40)):
        left, right = mesh(2)
        left.post(1, move.META, 0, encoded.meta)
        left.post(1, move.DATA, index, bytes(size))
        left.drive(move._Nothing(), lambda: True)
        with pytest.raises(ProtocolError, match="bytes of state"):
            receive_state(right, sources=[0])
