"""The same commands as for jobs, on a service."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import pytest
from service_lab import wait_until

from pliant.testing.processes import is_alive


class Screen:
    """What a command has drawn on a terminal so far, without colours."""

    def __init__(self, master):
        self._master, self._data = master, b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while True:
            try:
                self._data += os.read(self._master, 1 << 16)
            except OSError:  # nobody has the other end open any more
                return

    @property
    def text(self):
        return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", self._data.decode(errors="replace"))

    def close(self):
        self._thread.join()
        os.close(self._master)


def watch(service, *words, **more):
    command = [sys.executable, "-P", "-m", "pliant.cli.main", "status", "model", "--watch", *words]
    environment = {**os.environ, "PLIANT_HOME": str(service.home), "COLUMNS": "120", "TERM": "xterm"}
    return subprocess.Popen(command, env=environment, **more)


@pytest.fixture
def on_terminal():
    """Start a watch on a terminal of its own; returns its process and its screen."""
    begun = []

    def start(service):
        master, slave = pty.openpty()
        process = watch(service, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        begun.append((process, Screen(master)))
        return begun[-1]

    yield start
    for process, screen in begun:
        process.kill()
        process.wait()
        screen.close()


def test_the_live_view(serve, on_terminal):
    service = serve("Double", "--replicas", "1:1", "--batch", "1")
    (replica,) = service.wait_replicas(1)
    service.predict([[1, 1, 1]])
    process, screen = on_terminal(service)
    wait_until(lambda: "1 answered" in screen.text, "it shows what was answered")
    assert "model  ready  1 of 1:1 replicas  version 1" in screen.text
    assert f"{replica['pid']}" in screen.text
    assert re.search(r"p50 +[\d.]+ ms +p99", screen.text)
    service.hold()
    answers = [service.later([[n, n, n]]) for n in (2, 3, 4)]
    wait_until(lambda: re.search(r"1 running +2 waiting", screen.text), "it shows what waits")
    killed = service.router
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), "the router is gone")
    service.release()
    wait_until(lambda: screen.text.count("service started") > 1, "it goes on with the next router")
    for answer in answers:
        assert answer.exception() is not None, "what the killed router had is lost"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert service.predict_anew([[1, 1, 1]]).status_code == 200
    process, screen = on_terminal(service)
    wait_until(lambda: "1 answered" in screen.text, "it shows the next one's answer")
    service.end()
    wait_until(lambda: "service model has ended" in screen.text, "it says that it is over")
    assert process.wait(30) == 0


def test_status_scale_events_and_stop(serve):
    service = serve("Double", "--replicas", "1:1")
    service.wait_replicas(1)
    service.predict([[1, 1, 1]])
    (told,) = json.loads(service.pliant("status", "--json").stdout)
    assert (told["name"], told["state"], told["answered"], told["url"]) == ("model", "ready", 1, service.url)
    assert "1 of 1:1" in service.pliant("status").stdout
    text = service.pliant("status", "model").stdout
    assert "1 answered, 0 failed, 0 refused" in text
    assert f"{service.ready()[0]['pid']}" in text
    done = service.pliant("scale", "model", "2:3")
    assert "model: 2 to 3 replicas" in done.stderr, done.stderr
    service.wait_replicas(2)
    for wrong in ("3:2", "0:0", "x"):
        assert service.pliant("scale", "model", wrong).returncode == 2
    follower = subprocess.Popen(
        [sys.executable, "-P", "-m", "pliant.cli.main", "events", "model", "--follow"],
        env={**os.environ, "PLIANT_HOME": str(service.home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    watcher = watch(service, "--json", stdout=subprocess.PIPE, text=True)
    teller = watch(service, stdout=subprocess.PIPE, text=True)
    for process in (watcher, teller):
        assert process.stdout is not None
    before = json.loads(watcher.stdout.readline())
    assert (before["name"], before["requests"]) == ("model", 0)
    assert "2 of 2:3 replicas · 0 running, 0 waiting · 1 answered, 0 failed, 0 refused" in teller.stdout.readline()
    service.hold()
    answer = service.later([[2, 2, 2]])
    service.wait_held()
    after = json.loads(watcher.stdout.readline())
    assert (after["requests"], after["waiting"], after["answered"]) == (1, 0, 1)
    assert "model ends once its 1 requests are answered" in service.pliant("stop", "model").stderr
    assert any(json.loads(line)["state"] == "stopping" for line in watcher.stdout)
    assert any("model · stopping" in line for line in teller.stdout)
    service.release()
    assert answer.result().status_code == 200
    assert service.process.wait(30) == 0
    followed, _ = follower.communicate(timeout=30)
    watcher.communicate(timeout=30)
    told, _ = teller.communicate(timeout=30)
    assert (follower.returncode, watcher.returncode, teller.returncode) == (0, 0, 0)
    assert "service ended: all processes have ended" in told
    events = json.loads(service.pliant("events", "model", "--json").stdout)
    kinds = [event["kind"] for event in events]
    assert kinds[:2] == ["service_started", "model_loaded"]
    assert kinds[-2:] == ["service_stopping", "service_ended"]
    assert "bounds_changed" in kinds
    assert "scaled" in kinds
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert followed.count("\n") == len(events)
    assert service.pliant("status", "--json").stdout.strip() == "[]"
    assert service.pliant("stop", "model").returncode == 6
