"""The coordinator as a process."""

import json
import socket
import stat
import subprocess
import sys

import pytest

from pliant.errors import CoordinatorError
from pliant.wire.api import JobSpec
from pliant.wire.http import Client, find_coordinator


def test_files_are_the_owners_only_and_sigterm_is_graceful(coordinator):
    home = coordinator.home
    address = json.loads(home.coordinator.read_text())
    assert address["pid"] == coordinator.process.pid
    for path in (home.token, home.coordinator, home.journal):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert coordinator.end() == 0
    assert not home.coordinator.exists()
    assert find_coordinator(home) is None
    with pytest.raises(CoordinatorError, match="no coordinator is running"):
        Client.of(home)


def test_second_one_of_a_home_leaves_quietly(coordinator, start_coordinator):
    second = start_coordinator(wait=False)
    assert second.process.wait(20) == 0
    assert find_coordinator(coordinator.home).pid == coordinator.process.pid


def test_port_in_use(start_coordinator):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = start_coordinator("--port", str(port), wait=False)
        assert running.process.wait(20) == 1
    text = running.log.read_text()
    assert f"127.0.0.1:{port}" in text
    assert "--port" in text


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_impossible_port(start_coordinator, port):
    running = start_coordinator("--port", port, wait=False)
    assert running.process.wait(20) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in running.log.read_text()


def test_given_port(start_coordinator):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert start_coordinator("--port", str(port)).port == port


def test_ends_when_nobody_needs_it(start_coordinator):
    running = start_coordinator("--idle-s", "0.3", wait=False)
    assert running.process.wait(20) == 0
    assert "nobody has needed it" in running.log.read_text()


def test_stays_for_a_live_job(start_coordinator, wait_for):
    running = start_coordinator("--idle-s", "0.5")
    with running.client() as client:
        client.create_job(JobSpec("j", "t.py"))
        # Longer than the idle time, watched through the unchanging process: the log grows by nothing else.
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(1.5)
        client.stop("j", now=True)
    assert running.process.wait(20) == 0


def test_never_imports_torch():
    code = "import sys, pliant.control.coordinator; print('torch' in sys.modules, 'numpy' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert output.stdout.split() == ["False", "False"]


def test_client_imports_little():
    heavy = "{'torch', 'asyncio', 'websockets', 'starlette'}"
    code = f"import sys, pliant.wire.http; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert output.stdout.strip() == "[]"


def test_restart_remembers_what_was(coordinator, start_coordinator):
    with coordinator.client() as client:
        client.create_job(JobSpec("done", "t.py"))
        client.stop("done", now=True)
        client.create_job(JobSpec("live", "t.py"))
        last = client.events("live")[-1].seq
        report = client.report("done")
    coordinator.process.kill()
    coordinator.process.wait()
    with start_coordinator().client() as client:
        assert [(job.name, job.state, job.failure) for job in client.list_jobs()] == [
            ("done", "stopped", None),
            ("live", "starting", None),
        ]
        assert client.report("done") == report
        assert [event.kind for event in client.events("done")] == ["job_started", "stop_requested", "job_stopped"]
        (returned,) = client.events("live", after=last)
        assert returned.kind == "coordinator_returned"
        assert client.scale("live", 1).target_workers == 1
        assert client.stop("live", now=True).state == "stopped"
        with pytest.raises(CoordinatorError, match="cannot be scaled"):
            client.scale("done", 1)


def test_damaged_journal_is_moved_aside(start_coordinator, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "journal.sqlite").write_bytes(b"not a database at all" * 1000)
    with start_coordinator().client() as client:
        assert client.list_jobs() == []
    assert (home / "journal.sqlite.damaged").exists()
