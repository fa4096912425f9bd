"""The agent as a real process, obeying a coordinator: starts, signals, exits, logs, and nothing left over."""

import os
import re
import signal
from pathlib import Path

import pytest
from backend_helpers import wait_until
from fake_coordinator import DEADLINE_S

from pliant.processes import process_state
from pliant.wire.agent_messages import (
    AgentLeaving,
    ProbeWorker,
    SignalWorker,
    StartWorker,
    StopAgent,
    WorkerExited,
    WorkerProbed,
    WorkerStarted,
)


def log(coordinator, worker="w1"):
    path = coordinator.home.job("j") / f"{worker}.log"
    return path.read_text() if path.exists() else ""


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def start_worker(coordinator, worker="w1"):
    coordinator.send(StartWorker(worker=worker))
    started = coordinator.expect(WorkerStarted)
    assert started.worker == worker
    return started.pid


def stop(coordinator, agent, grace_s=10.0):
    coordinator.send(StopAgent(grace_s=grace_s))
    assert agent.wait(timeout=DEADLINE_S) == 0


def greet(coordinator):
    return coordinator.hellos.get(timeout=DEADLINE_S)


def test_hello_names_job_node_and_pid(coordinator, start_agent):
    agent = start_agent()
    hello = greet(coordinator)
    assert (hello.job, hello.pid, hello.workers) == ("j", agent.pid, {})
    assert hello.node
    stop(coordinator, agent)


def test_worker_logs_line_by_line_and_its_exit_code_is_reported(coordinator, start_agent):
    agent = start_agent("print=hello", "say-raw=from C", "complain=warned", "group=", "exit=7")
    greet(coordinator)
    pid = start_worker(coordinator)
    assert coordinator.expect(WorkerExited) == WorkerExited(worker="w1", pid=pid, exit_code=7)
    assert log(coordinator) == "hello\nfrom C\nwarned\ngroup True session True\n"
    mode = (coordinator.home.job("j") / "w1.log").stat().st_mode & 0o777
    assert mode == 0o600
    stop(coordinator, agent)


def test_a_parameter_server_is_a_worker_with_another_role(coordinator, start_agent):
    agent = start_agent("role=", "exit=3")
    greet(coordinator)
    coordinator.send(StartWorker("s1", "server"))
    pid = coordinator.expect(WorkerStarted).pid
    assert coordinator.expect(WorkerExited) == WorkerExited(worker="s1", pid=pid, exit_code=3)
    assert log(coordinator, "s1") == "s1 is a server\n"
    stop(coordinator, agent)


def test_a_full_disk_silences_a_worker_but_does_not_end_it(coordinator, start_agent):
    directory = coordinator.home.job("j")
    directory.mkdir(parents=True)
    (directory / "w1.log").symlink_to("/dev/full")
    agent = start_agent("print=hello", "complain=warned", "exit=7")
    greet(coordinator)
    start_worker(coordinator)
    assert coordinator.expect(WorkerExited).exit_code == 7
    stop(coordinator, agent)


def test_an_exception_is_exit_code_1_with_its_traceback_in_the_log(coordinator, start_agent):
    agent = start_agent("raise=no such luck")
    greet(coordinator)
    start_worker(coordinator)
    assert coordinator.expect(WorkerExited).exit_code == 1
    assert "ValueError: no such luck" in log(coordinator)
    stop(coordinator, agent)


def test_a_normal_end_is_exit_code_0(coordinator, start_agent):
    agent = start_agent("print=x")
    greet(coordinator)
    start_worker(coordinator)
    assert coordinator.expect(WorkerExited).exit_code == 0
    stop(coordinator, agent)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signalled_worker_is_reported_with_the_negative_signal(coordinator, start_agent, number):
    agent = start_agent("wait=")
    greet(coordinator)
    pid = start_worker(coordinator)
    coordinator.send(SignalWorker(worker="w1", signal=number))
    assert coordinator.expect(WorkerExited) == WorkerExited(worker="w1", pid=pid, exit_code=-number)
    assert gone(pid)
    stop(coordinator, agent)


def test_a_kill_from_outside_is_seen_and_takes_the_workers_children_along(coordinator, start_agent):
    agent = start_agent("child=", "wait=")
    greet(coordinator)
    pid = start_worker(coordinator)
    wait_until(lambda: "waiting" in log(coordinator), "the worker waits")
    child = int(re.search(r"child (\d+)", log(coordinator))[1])
    assert not gone(child)
    os.kill(pid, signal.SIGKILL)
    assert coordinator.expect(WorkerExited).exit_code == -9
    wait_until(lambda: gone(child), "the worker's child is gone")
    stop(coordinator, agent)


def test_a_probe_tells_whether_a_worker_is_stopped_and_what_it_has_used(coordinator, start_agent):
    agent = start_agent("spin=")
    greet(coordinator)

    def probe(worker="w1"):
        coordinator.send(ProbeWorker(worker=worker))
        return coordinator.expect(WorkerProbed)

    assert not probe().exists
    pid = start_worker(coordinator)
    first = probe()
    assert (first.exists, first.stopped) == (True, False)
    wait_until(lambda: process_state(pid).cpu_s > first.cpu_s + 0.2, "it uses processor time")
    assert probe().cpu_s > first.cpu_s + 0.1
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: process_state(pid).stopped, "it is stopped")
    assert probe().stopped
    os.kill(pid, signal.SIGKILL)
    assert coordinator.expect(WorkerExited).exit_code == -9
    assert not probe("w7").exists
    stop(coordinator, agent)


def test_signal_for_an_unknown_worker_is_ignored(coordinator, start_agent):
    agent = start_agent("wait=")
    greet(coordinator)
    coordinator.send(SignalWorker(worker="w9", signal=9))
    start_worker(coordinator)
    stop(coordinator, agent, grace_s=0)
    assert coordinator.expect(WorkerExited).exit_code == -9


def test_a_signal_right_behind_the_start_reaches_the_worker(coordinator, start_agent):
    agent = start_agent("wait=")
    greet(coordinator)
    coordinator.send(StartWorker(worker="w1"))
    coordinator.send(SignalWorker(worker="w1", signal=9))
    coordinator.expect(WorkerStarted)
    assert coordinator.expect(WorkerExited).exit_code == -9
    stop(coordinator, agent)


def test_a_worker_that_ignores_everything_is_killed_after_the_grace(coordinator, start_agent):
    agent = start_agent("ignore-term=", "wait=")
    greet(coordinator)
    start_worker(coordinator)
    wait_until(lambda: "waiting" in log(coordinator), "the worker waits")
    stop(coordinator, agent, grace_s=0.1)
    assert coordinator.expect(WorkerExited).exit_code == -9


def test_sigterm_to_the_agent_ends_its_workers_and_reports_them(coordinator, start_agent):
    agent = start_agent("wait=")
    greet(coordinator)
    start_worker(coordinator)
    wait_until(lambda: "waiting" in log(coordinator), "the worker waits")
    agent.send_signal(signal.SIGTERM)
    assert coordinator.expect(AgentLeaving).reason == "SIGTERM"
    assert coordinator.expect(WorkerExited).exit_code == -15
    assert agent.wait(timeout=DEADLINE_S) == 0


def test_a_second_sigterm_does_not_wait_for_the_grace(coordinator, start_agent):
    agent = start_agent("ignore-term=", "wait=")
    greet(coordinator)
    start_worker(coordinator)
    wait_until(lambda: "waiting" in log(coordinator), "the worker waits")
    agent.send_signal(signal.SIGTERM)
    said = coordinator.home.path / "agent.err"
    wait_until(lambda: "SIGTERM: ending the workers" in said.read_text(), "the agent has seen the first one")
    agent.send_signal(signal.SIGTERM)
    assert coordinator.expect(AgentLeaving).reason == "SIGTERM"
    assert coordinator.expect(WorkerExited).exit_code == -9
    assert agent.wait(timeout=DEADLINE_S) == 0


def test_reconnects_with_its_workers_and_reports_what_ended_meanwhile(coordinator, start_agent):
    agent = start_agent("wait=")
    greet(coordinator)
    first, second = start_worker(coordinator, "w1"), start_worker(coordinator, "w2")
    coordinator.drop()
    os.kill(first, signal.SIGKILL)
    hello = greet(coordinator)
    assert hello.workers["w2"] == second
    assert coordinator.expect(WorkerExited) == WorkerExited(worker="w1", pid=first, exit_code=-9)
    stop(coordinator, agent, grace_s=0)


def test_workers_outlive_a_killed_agent(coordinator, start_agent):
    agent = start_agent("wait=")
    greet(coordinator)
    pid = start_worker(coordinator)
    wait_until(lambda: "waiting" in log(coordinator), "the worker waits")
    agent.kill()
    agent.wait(timeout=DEADLINE_S)
    assert not gone(pid)
    os.killpg(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid), "the worker is gone")


def test_a_killed_template_costs_no_worker_and_is_replaced(coordinator, start_agent, mark):
    agent = start_agent("wait=")
    greet(coordinator)
    first = start_worker(coordinator, "w1")
    template = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(template, signal.SIGKILL)
    wait_until(lambda: gone(template), "the template is gone")
    assert not gone(first)
    second = start_worker(coordinator, "w2")
    assert not gone(first)
    os.kill(first, signal.SIGKILL)
    assert coordinator.expect(WorkerExited) == WorkerExited(worker="w1", pid=first, exit_code=255)
    os.kill(second, signal.SIGKILL)
    assert coordinator.expect(WorkerExited).exit_code == -9
    stop(coordinator, agent)


def test_an_agent_without_workers_and_coordinator_ends(coordinator, start_agent):
    agent = start_agent(options=("--lonely-s", "0.1"))
    greet(coordinator)
    coordinator.home.coordinator.unlink()
    coordinator.drop()
    assert agent.wait(timeout=DEADLINE_S) == 1


def test_an_agent_whose_workers_have_ended_does_not_wait_for_another_coordinator(coordinator, start_agent):
    agent = start_agent("print=x")
    greet(coordinator)
    start_worker(coordinator)
    coordinator.expect(WorkerExited)
    coordinator.home.coordinator.unlink()
    coordinator.drop()
    assert agent.wait(timeout=DEADLINE_S) == 1


def test_the_agents_modules_are_not_imported_again_in_a_worker(coordinator, start_agent):
    agent = start_agent("modules=json,torch,pliant.backends.agent.__main__,websockets")
    greet(coordinator)
    start_worker(coordinator)
    coordinator.expect(WorkerExited)
    assert log(coordinator) == "modules: json\n"
    stop(coordinator, agent)


def test_threads_and_gpus_reach_the_workers_environment(coordinator, start_agent):
    agent = start_agent(
        "environment=OMP_NUM_THREADS",
        "environment=CUDA_VISIBLE_DEVICES",
        "wait=",
        options=("--threads", "3"),
        CUDA_VISIBLE_DEVICES="4,GPU-5",
    )
    greet(coordinator)
    for worker in ("w1", "w2"):
        start_worker(coordinator, worker)
    for worker, gpu in (("w1", "4"), ("w2", "GPU-5")):
        wait_until(lambda worker=worker: "waiting" in log(coordinator, worker), f"{worker} waits")
        assert log(coordinator, worker) == f"OMP_NUM_THREADS=3\nCUDA_VISIBLE_DEVICES={gpu}\nwaiting\n"
    stop(coordinator, agent, grace_s=0)
