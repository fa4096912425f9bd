"""The same commands as for jobs, on a service."""

import json
import os
import subprocess
import sys

from service_lab import wait_until


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
    watcher = subprocess.Popen(
        [sys.executable, "-P", "-m", "pliant.cli.main", "status", "model", "--watch", "--json"],
        env={**os.environ, "PLIANT_HOME": str(service.home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert json.loads(watcher.stdout.readline())["name"] == "model"
    service.hold()
    answer = service.later([[2, 2, 2]])
    service.wait_held()
    assert "model ends once its 1 requests are answered" in service.pliant("stop", "model").stderr
    wait_until(lambda: service.status()["state"] == "stopping", "it is told to end")
    service.release()
    assert answer.result().status_code == 200
    assert service.process.wait(30) == 0
    followed, _ = follower.communicate(timeout=30)
    watcher.communicate(timeout=30)
    assert (follower.returncode, watcher.returncode) == (0, 0)
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
