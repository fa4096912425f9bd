"""Workers and agents find the next coordinator of their home by themselves, on whatever port."""

import os
import queue

from pliant.wire.address import agents_url, workers_url
from pliant.wire.agent_messages import AgentHello, StartWorker, StopAgent, WorkerStarted
from pliant.wire.api import JobSpec
from pliant.wire.codec import TO_AGENT
from pliant.wire.messages import (
    FormGeneration,
    GenerationEntered,
    Retire,
    StepsCommitted,
    Welcome,
    WorkerHello,
    WorkerReady,
)
from pliant.wire.socket import ControlSocket
from pliant.wire.token import read_token


def hear(messages, kind):
    message = messages.get(timeout=20)
    assert isinstance(message, kind), message
    return message


def test_sockets_outlive_the_coordinator(coordinator, start_coordinator, wait_for):
    home, pid = coordinator.home, os.getpid()
    token = read_token(home.token)
    with coordinator.client() as client:
        client.create_job(JobSpec("j", "t.py"))
        to_agent, to_worker = queue.Queue(), queue.Queue()
        alive = {}
        agent = ControlSocket(
            agents_url(home),
            token,
            lambda: AgentHello("j", "here", pid, dict(alive)),
            to_agent.put,
            decoder=TO_AGENT,
        )
        agent.start()
        assert hear(to_agent, StartWorker).worker == "w1"
        alive["w1"] = pid
        agent.send(WorkerStarted("w1", pid))
        worker = ControlSocket(
            workers_url(home), token, lambda: WorkerHello("j", "w1", pid, "127.0.0.1", 1), to_worker.put
        )
        worker.start()
        hear(to_worker, Welcome)
        worker.send(WorkerReady(4, 16))
        worker.send(GenerationEntered(hear(to_worker, FormGeneration).generation, 0, [0]))
        worker.send(StepsCommitted(0, [1.0, 2.0], [1.0, 1.0], 0, 32))
        wait_for(lambda: client.job("j").step == 2, "the commits have arrived")
    coordinator.process.kill()
    coordinator.process.wait()
    wait_for(lambda: not worker.connected and not agent.connected, "the loss is noticed")
    worker.send(StepsCommitted(2, [3.0], [1.0], 0, 48))
    again = start_coordinator()
    # They are the job's workers and agent as before: nothing is said to them but who they are.
    assert hear(to_worker, Welcome).step == 2
    with again.client() as client:
        wait_for(lambda: client.job("j").step == 3, "what was said meanwhile has arrived")
        assert client.job("j").state == "running"
        assert client.job("j").workers[0].rank == 0
        assert client.scale("j", 1).generation == 1
        client.stop("j", now=True)
    hear(to_worker, Retire)
    hear(to_agent, StopAgent)
    for socket in (worker, agent):
        socket.close(flush_s=0)
