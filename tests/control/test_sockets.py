"""WebSockets of a real coordinator, with fake workers and agents; frames that no honest one would send."""

import itertools
import json

import msgspec
import pytest
from control_fakes import wait_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pliant.control.links import REPLACED
from pliant.wire.agent_messages import AgentHello, StartWorker, StopAgent, WorkerExited, WorkerStarted
from pliant.wire.api import JobSpec, StreamItem
from pliant.wire.codec import TO_AGENT, TO_SERVER, TO_WORKER, encode
from pliant.wire.messages import (
    FormGeneration,
    GenerationEntered,
    Refused,
    Retire,
    StepsCommitted,
    Taken,
    Welcome,
    WorkerFinished,
    WorkerHello,
    WorkerReady,
)
from pliant.wire.server_messages import PlaceSlots, ServerHello, ServerWelcome, SlotsFilled
from pliant.wire.token import read_token

_names = itertools.count()


@pytest.fixture
def dial(shared):
    """Opens WebSockets; all are closed at the end."""
    opened = []

    def dial(path, *, token=None):
        token = read_token(shared.home.token) if token is None else token
        manager = connect(
            f"ws://127.0.0.1:{shared.port}{path}",
            additional_headers={"Authorization": f"Bearer {token}"},
            proxy=None,
            compression=None,
            max_size=None,
            ping_interval=None,  # its thread draws from `random`, for which hypothesis would blame the test
        )
        opened.append(manager)
        return manager.__enter__()

    yield dial
    for manager in opened:
        manager.__exit__(None, None, None)


@pytest.fixture
def name():
    """Of a job, unique in the file."""
    return f"job{next(_names)}"


def say(socket, message):
    socket.send(encode(message).decode())


def hear(socket, kind, decoder=TO_WORKER):
    """The next message but acknowledgements, which has to be a ``kind``."""
    message = Taken(0)
    while isinstance(message, Taken):
        message = decoder.decode(socket.recv(timeout=20))
    assert isinstance(message, kind), message
    return message


def closed(socket):
    """(code, reason) once the other side has closed."""
    try:
        while True:
            socket.recv(timeout=20)
    except ConnectionClosed as error:
        return error.rcvd.code, error.rcvd.reason


def train(shared, dial, name, *, steps=3):
    """A one-worker job that runs: its agent's and its worker's sockets."""
    with shared.client() as client:
        client.create_job(JobSpec(name, "t.py"))
    agent = dial("/v1/agents")
    say(agent, AgentHello(name, "here", 7))
    assert hear(agent, StartWorker, TO_AGENT).worker == "w1"
    say(agent, WorkerStarted("w1", 8))
    worker = dial("/v1/workers")
    say(worker, WorkerHello(name, "w1", 8, "127.0.0.1", 9))
    assert hear(worker, Welcome).founding
    say(worker, WorkerReady(4, 16))
    form = hear(worker, FormGeneration)
    say(worker, GenerationEntered(form.generation, 0, [0, 1, 2, 3]))
    say(worker, StepsCommitted(0, [float(step) for step in range(steps)], [1.5] * steps, 0, 16 * steps))
    with shared.client() as client:
        # What follows may end the connection, and frames of the same read as an oversized one are never handed over.
        wait_for(lambda: client.job(name).step == steps, "the commits were handled")
    return agent, worker


def test_a_whole_job(shared, dial, name):
    agent, worker = train(shared, dial, name, steps=3)
    events = dial(f"/v1/events?job={name}")
    with shared.client() as client:
        say(worker, WorkerFinished("abc", 3, 48, 1.5))
        hear(worker, Retire)
        hear(agent, StopAgent, TO_AGENT)
        status, report = client.job(name), client.report(name)
    assert (status.state, status.weights_sha256, status.samples) == ("finished", "abc", 48)
    assert (report.steps, report.losses, report.final_loss) == (3, [1.5] * 3, 1.5)
    kinds = []
    while "job_finished" not in kinds:
        item = msgspec.json.decode(events.recv(timeout=20), type=StreamItem)
        assert (item.event is None) != (item.status is None)
        kinds += [item.event.kind] if item.event else []
    assert kinds[0] == "job_started"
    item = msgspec.json.decode(events.recv(timeout=20), type=StreamItem)
    while item.status is None or item.status.state != "finished":
        item = msgspec.json.decode(events.recv(timeout=20), type=StreamItem)


@pytest.mark.parametrize("path", ["/v1/workers", "/v1/servers", "/v1/agents", "/v1/events", "/v1/nope"])
@pytest.mark.parametrize("token", ["wrong", ""])
def test_upgrade_needs_the_token(dial, path, token):
    with pytest.raises(InvalidStatus) as caught:
        dial(path, token=token)
    assert caught.value.response.status_code == 401
    assert not caught.value.response.body


def test_a_server_is_welcomed_placed_and_replaced_by_its_next_connection(shared, dial, name):
    with shared.client() as client:
        client.create_job(JobSpec(name, "t.py", strategy="parameter-server", max_servers=1))
    hello = ServerHello(name, "s1", 9, "ipc:///s1")
    server = dial("/v1/servers")
    say(server, hello)
    hear(server, ServerWelcome, TO_SERVER)
    assert hear(server, PlaceSlots, TO_SERVER).slots[63].holders == ["s1"]
    say(server, SlotsFilled(9, [1]))
    assert "SlotsFilled of placement 9; the newest is 1" in hear(server, Refused, TO_SERVER).reason
    again = dial("/v1/servers")
    say(again, msgspec.structs.replace(hello, version=1))
    hear(again, ServerWelcome, TO_SERVER)
    assert hear(again, PlaceSlots, TO_SERVER).version == 1
    assert closed(server)[0] == REPLACED
    other = dial("/v1/servers")
    say(other, ServerHello("nobody's", "s1", 9, "ipc:///s1"))
    assert "knows no running job" in hear(other, Retire, TO_SERVER).reason
    with shared.client() as client:
        assert [server.server for server in client.job(name).servers] == ["s1"]
        client.stop(name, now=True)
    hear(again, Retire, TO_SERVER)


def test_what_a_server_says_first_is_its_hello(dial):
    server = dial("/v1/servers")
    say(server, SlotsFilled(1, [0]))
    assert "the first message must be ServerHello" in hear(server, Refused, TO_SERVER).reason
    assert closed(server)[0] == 1008


def test_stream_of_an_unknown_job(dial):
    with pytest.raises(InvalidStatus) as caught:
        dial("/v1/events?job=nobody")
    assert caught.value.response.status_code == 404
    assert "nobody" in json.loads(caught.value.response.body)["error"]
    with pytest.raises(InvalidStatus) as caught:
        dial("/v1/events?after=x")
    assert caught.value.response.status_code == 422


def test_first_message_must_be_hello(dial):
    worker = dial("/v1/workers")
    say(worker, GenerationEntered(1, 0, []))
    assert "WorkerHello" in hear(worker, Refused).reason
    assert closed(worker)[0] == 1008
    agent = dial("/v1/agents")
    say(agent, WorkerExited("w1", 1, 0))
    assert "AgentHello" in hear(agent, Refused, TO_AGENT).reason
    assert closed(agent)[0] == 1008


def test_strangers_are_sent_away(shared, dial, name):
    stranger = dial("/v1/workers")
    say(stranger, WorkerHello("no-such-job", "w1", 1, "h", 1))
    assert "no-such-job" in hear(stranger, Retire).reason
    assert closed(stranger)[0] == 1000
    train(shared, dial, name)
    stranger = dial("/v1/workers")
    say(stranger, WorkerHello(name, "w77", 1, "h", 1))
    hear(stranger, Retire)
    assert closed(stranger)[0] == 1000
    thief = dial("/v1/agents")
    say(thief, AgentHello(name, "elsewhere", 12345))
    assert "another agent" in hear(thief, Refused, TO_AGENT).reason
    assert closed(thief)[0] == 1008


def test_agent_may_come_before_its_job(shared, dial, name):
    agent = dial("/v1/agents")
    say(agent, AgentHello(name, "here", 7))
    say(agent, WorkerStarted("w1", 8))
    assert "no job yet" in hear(agent, Refused, TO_AGENT).reason
    with shared.client() as client:
        client.create_job(JobSpec(name, "t.py"))
    assert hear(agent, StartWorker, TO_AGENT).worker == "w1"


def test_agent_of_a_job_that_is_over_is_stopped(shared, dial, name):
    train(shared, dial, name)
    with shared.client() as client:
        client.stop(name, now=True)
    again = dial("/v1/agents")
    say(again, AgentHello(name, "here", 7))
    hear(again, StopAgent, TO_AGENT)
    other = dial("/v1/agents")
    say(other, AgentHello(name, "here", 99, {"w1": 8}))
    hear(other, StopAgent, TO_AGENT)


def test_oversized_frame_ends_only_its_connection(shared, dial, name):
    _, worker = train(shared, dial, name)
    worker.send("x" * ((1 << 20) + 1))
    assert closed(worker)[0] == 1009
    back = dial("/v1/workers")
    say(back, WorkerHello(name, "w1", 8, "127.0.0.1", 9, generation=1, stateful=True))
    welcome = hear(back, Welcome)
    assert (welcome.founding, welcome.step, welcome.loss) == (False, 3, 1.5)
    with shared.client() as client:
        assert client.job(name).state == "running"


def test_a_newer_connection_replaces_the_older(shared, dial, name):
    _, worker = train(shared, dial, name)
    again = dial("/v1/workers")
    say(again, WorkerHello(name, "w1", 8, "127.0.0.1", 9, generation=1, stateful=True))
    hear(again, Welcome)
    assert closed(worker)[0] == 4001
    say(again, StepsCommitted(3, [9.0], [1.0], 0, 64))
    say(again, GenerationEntered(5, 3, []))
    assert "generation 5" in hear(again, Refused).reason
    with shared.client() as client:
        assert client.job(name).step == 4


def test_out_of_order_messages_are_refused_one_by_one(shared, dial, name):
    with shared.client() as client:
        client.create_job(JobSpec(name, "t.py"))
        agent = dial("/v1/agents")
        say(agent, AgentHello(name, "here", 7))
        worker = dial("/v1/workers")
        say(worker, WorkerHello(name, "w1", 8, "h", 9))
        hear(worker, Welcome)
        for message, word in [
            (GenerationEntered(1, 0, []), "not a member"),
            (StepsCommitted(0, [1.0], [1.0], 0, 1), "not entered"),
            (WorkerHello(name, "w1", 8, "h", 9), "first"),
            (WorkerFinished("x", 1, 1, None), "not entered"),
        ]:
            say(worker, message)
            assert word in hear(worker, Refused).reason
        say(worker, WorkerReady(4, 16))
        assert hear(worker, FormGeneration).generation == 1
        assert client.job(name).state == "starting"


def test_too_many_refusals_close_the_connection(shared, dial, name):
    _, worker = train(shared, dial, name)
    for _ in range(20):
        worker.send("rubbish")
    assert closed(worker) == (1008, "20 messages refused")
    with shared.client() as client:
        assert client.job(name).state == "running"


_rubbish = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps),
    st.builds(
        lambda kind, fields: json.dumps({"type": kind, **fields}),
        st.sampled_from(
            ["WorkerHello", "StepsCommitted", "GenerationEntered", "CallEnded", "WorkerReady", "Interrupted"]
        ),
        st.dictionaries(
            st.sampled_from(
                ["generation", "step", "shards", "first_step", "times_s", "losses", "call", "kind", "epoch"]
            ),
            st.integers() | st.lists(st.integers(), max_size=3) | st.sampled_from(["steps", "evaluate"]) | st.none(),
        ),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(_rubbish, min_size=1, max_size=10))
def test_no_frame_hurts_the_coordinator_or_the_job(shared, dial, frames):
    name = f"job{next(_names)}"
    _, worker = train(shared, dial, name)
    for frame in frames:
        try:
            worker.send(frame)
        except ConnectionClosed:
            break
    back = dial("/v1/workers")
    say(back, WorkerHello(name, "w1", 8, "127.0.0.1", 9, generation=1, stateful=True))
    hear(back, Welcome)
    with shared.client() as client:
        assert client.job(name).state == "running"
        client.stop(name, now=True)
