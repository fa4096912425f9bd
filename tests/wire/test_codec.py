import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.errors import ProtocolError
from pliant.wire import agent_messages, messages, server_messages
from pliant.wire.codec import (
    FROM_AGENT,
    FROM_SERVER,
    FROM_WORKER,
    MAX_MESSAGE_BYTES,
    TO_AGENT,
    TO_SERVER,
    TO_WORKER,
    Decoder,
    encode,
)
from pliant.wire.messages import CallEnded, GenerationEntered, Retire, StepsCommitted, Welcome, WorkerHello

DECODERS = [FROM_WORKER, FROM_AGENT, FROM_SERVER, TO_WORKER, TO_AGENT, TO_SERVER]
KINDS = {
    name: kind
    for module in (messages, agent_messages, server_messages)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, messages.Message)
}

PLACEMENT = server_messages.PlaceSlots(
    4, [server_messages.SlotPlace(["s1", "s2"], ["s3"])], [server_messages.ServerAddress("s1", "tcp://h:1")]
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (FROM_WORKER, WorkerHello("j", "w1", 1, "h", 2, generation=3, stateful=True)),
        (FROM_WORKER, StepsCommitted(4, [1.5, 2.5], [0.5, None], 1, 64)),
        (FROM_WORKER, CallEnded(1, "evaluate", msgspec.Raw(b'{"a":[1,2.5]}'))),
        (TO_WORKER, Welcome("j", 10.0, False, calls=[CallEnded(0, "steps")], loss=None)),
        (TO_WORKER, Retire("ü\n")),
        (FROM_AGENT, agent_messages.AgentHello("j", "n", 1, {"w1": 5})),
        (TO_AGENT, agent_messages.SignalWorker("w1", 9)),
        (TO_AGENT, agent_messages.StartWorker("s1", "server")),
        (FROM_SERVER, server_messages.SlotsFilled(3, [0, 63], 12)),
        (TO_SERVER, PLACEMENT),
        (TO_WORKER, PLACEMENT),
    ],
)
def test_there_and_back(decoder, message):
    assert decoder.decode(encode(message)) == message
    assert decoder.decode(encode(message).decode()) == message


def test_numbers_that_json_lacks_become_null():
    message = FROM_WORKER.decode(encode(StepsCommitted(0, [1.0, 2.0], [float("nan"), float("inf")], 0, 1)))
    assert message.losses == [None, None]


def test_only_messages_of_its_direction():
    with pytest.raises(ProtocolError, match="Retire"):
        FROM_WORKER.decode(encode(Retire("x")))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[",
        b"\xff",
        b'{"type":"GenerationEntered"}',
        b'{"type":"GenerationEntered","generation":"1","step":0,"shards":[]}',
        b'{"type":"GenerationEntered","generation":1,"step":0,"shards":[],"more":1}',
        b'{"type":"StepsCommitted","first_step":0,"times_s":[1e999],"losses":[1],"epoch":0,"samples":1}',
        b'{"type":"CallEnded","call":0,"kind":"steps","result":{]}',
        b"[" * 100_000,
        b'{"type":"CallEnded","call":0,"kind":"steps","result":' + b"[" * 100_000,
        '{"type":"\ud800"}',
    ],
)
def test_wrong_ones_are_refused_with_a_reason(data):
    with pytest.raises(ProtocolError, match=r"not a valid message: ."):
        FROM_WORKER.decode(data)


def test_too_long_is_refused_unread():
    with pytest.raises(ProtocolError, match=f"{MAX_MESSAGE_BYTES + 1} bytes"):
        FROM_WORKER.decode(b"x" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(ProtocolError, match="results of evaluate"):
        encode(CallEnded(0, "evaluate", msgspec.Raw(b'"' + b"x" * MAX_MESSAGE_BYTES + b'"')))


@given(st.binary() | st.text(alphabet=st.characters()) | json_values.map(json.dumps))
def test_rubbish_never_raises_anything_else(data):
    for decoder in DECODERS:
        with pytest.raises(ProtocolError):
            decoder.decode(data)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    fields=st.dictionaries(
        st.sampled_from(sorted({f for kind in KINDS.values() for f in kind.__struct_fields__})), json_values
    ),
)
def test_nearly_right_ones_decode_or_are_refused(kind, fields):
    data = json.dumps({"type": kind, **fields})
    for decoder in DECODERS:
        try:
            message = decoder.decode(data)
        except ProtocolError:
            continue
        assert type(message).__name__ == kind
        assert decoder.decode(encode(message)) == message


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1), st.lists(st.integers(0, 1000)))
def test_valid_ones_survive(step, shards):
    message = GenerationEntered(1, step, shards)
    assert Decoder(GenerationEntered).decode(encode(message)) == message
