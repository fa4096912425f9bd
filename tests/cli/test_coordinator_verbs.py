"""``up``, ``down``, and what the other verbs say without a coordinator or a job."""

import json
import socket
import subprocess

from pliant.config import Home
from pliant.wire.api import JobSpec
from pliant.wire.http import Client


def test_up_is_idempotent_and_down_ends_it(pliant):
    first = json.loads(pliant("up", "--json").stdout)
    again = pliant("up", "--json")
    assert json.loads(again.stdout) == first
    assert f"is running already: http://127.0.0.1:{first['port']}" in pliant("up").stderr
    assert json.loads(pliant("down", "--json").stdout) == {"ended": first["pid"]}
    assert "no coordinator is running" in pliant("down").stderr


def test_two_at_once_start_one(pliant):
    commands = [
        subprocess.Popen(pliant.command("up", "--json"), env=pliant.environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    answers = [json.loads(command.communicate(timeout=60)[0]) for command in commands]
    assert answers[0] == answers[1] == answers[2]


def test_a_port_in_use_is_said_with_the_end_of_the_log(pliant):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = pliant("up", "--port", str(port))
    assert done.returncode == 6
    assert "the coordinator ended at once" in done.stderr
    assert str(port) in done.stderr.partition("coordinator.log")[2]


def test_a_port_that_is_none(pliant):
    for port in ("0", "65536", "http"):
        done = pliant("up", "--port", port)
        assert done.returncode == 2
        assert f"--port {port} is not a port" in done.stderr
    assert not pliant.home.exists()


def test_another_port_than_that_of_the_running_one(pliant):
    port = json.loads(pliant("up", "--json").stdout)["port"]
    other = port - 1 if port > 1 else port + 1
    done = pliant("up", "--port", str(other))
    assert done.returncode == 2
    assert f"a coordinator runs already, on port {port}" in done.stderr


def test_without_a_coordinator(pliant):
    status = pliant("status", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (0, [])
    for words in (("status", "x"), ("scale", "x", "2"), ("stop", "x"), ("events", "x")):
        done = pliant(*words)
        assert done.returncode == 6
        assert "no coordinator is running" in done.stderr
        assert done.stdout == ""


def test_an_unknown_job(pliant):
    pliant("up")
    for words in (("status", "x"), ("scale", "x", "2"), ("stop", "x"), ("events", "x"), ("events", "x", "--follow")):
        done = pliant(*words)
        assert done.returncode == 6, words
        assert "'x'" in done.stderr


def test_watch_and_report_need_a_name(pliant):
    done = pliant("status", "--watch")
    assert done.returncode == 2
    assert "need the name of a job" in done.stderr


def test_scale_needs_a_number_that_is_one(pliant):
    for words, text in (
        (("scale", "x"), "nothing to change"),
        (("scale", "x", "0"), "K is 0, not a whole number of at least 1"),
        (("scale", "x", "--servers", "many"), "--servers is many, not a whole number of at least 1"),
    ):
        done = pliant(*words)
        assert done.returncode == 2
        assert text in done.stderr
        assert "hint: " in done.stderr


def test_scale_of_servers_that_a_job_has_not(pliant, script):
    pliant("up")
    with Client.of(Home(pliant.home)) as client:
        client.create_job(JobSpec("j", str(script)))
    done = pliant("scale", "j", "--servers", "2")
    assert done.returncode != 0
    assert "job j has no servers: they are for jobs with --strategy parameter-server" in done.stderr


def test_scale_of_servers(pliant, script):
    pliant("up")
    with Client.of(Home(pliant.home)) as client:
        client.create_job(JobSpec("j", str(script), strategy="parameter-server", max_workers=2))
    done = pliant("scale", "j", "2", "--servers", "3")
    assert done.stderr.strip() == "j: 0 workers, 2 wanted; 0 servers, 3 wanted"
    shown = pliant("status", "j").stdout
    assert "3 servers wanted (1 to 4)" in shown
    assert [line.split()[:2] for line in shown.splitlines() if line.startswith("s")] == [
        ["s1", "starting"],
        ["s2", "starting"],
        ["s3", "starting"],
    ]
