"""A service as a live view, drawn to text, and as lines."""

import io

import msgspec
from rich.console import Console

from pliant.dashboard.service_live import LAST_EVENTS, MOST_REPLICAS, LiveServiceView, render
from pliant.dashboard.service_plain import PlainServiceView
from pliant.dashboard.service_text import milliseconds, service_text
from pliant.wire.service_api import Canary, ReplicaStatus, ServiceEvent, ServiceStatus

STATUS = ServiceStatus(
    name="digits",
    state="ready",
    version=3,
    replicas=[
        ReplicaStatus(4, 812, "ready", 2, 3, batches=1234),
        ReplicaStatus(5, 0, "starting", 0, 4),
    ],
    requests=7,
    waiting=5,
    answered=12345,
    failed=0,
    refused=2,
    least=0,
    most=4,
    url="http://127.0.0.1:8080",
    p50_s=0.0042,
    p99_s=0.0318,
)
LOST = ServiceEvent(7, 1_000_000.0, "replica_lost", "replica 3 is gone: [bold]exit code -9[/nonsense]\nand more")


def changed(**fields):
    return msgspec.structs.replace(STATUS, **fields)


def drawn(status, events=(), width=120, rate=None):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, legacy_windows=False)
    console.print(render(status, events, rate=rate))
    return console.file.getvalue()


def test_before_there_is_a_status():
    assert "waiting for the service" in drawn(None)


def test_requests_replicas_and_latency():
    text = drawn(STATUS, rate=411.6)
    assert "digits  ready  1 of 0:4 replicas (+1 starting)  version 3  http://127.0.0.1:8080" in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "2 running 5 waiting 412 answers/s p50 4.2 ms p99 32 ms" in rows
    assert "12,345 answered 2 refused 0 failed" in rows
    assert "replica state version computes batches pid" in rows
    assert "r4 ready 3 2 1,234 812" in rows
    assert "r5 starting 4 · 0 –" in rows


def test_nobody_answered_lately_a_problem_and_a_canary():
    status = changed(p50_s=None, p99_s=None, problem="no weights", canary=Canary(4, 0.1, "/c"), state="broken")
    text = drawn(status)
    assert "nobody was answered lately" in text
    assert "error: no weights" in text
    assert "canary: version 4 answers 10% of the requests" in text


def test_the_last_events_in_a_line_each_and_without_markup():
    text = drawn(STATUS, [LOST], width=140)
    assert "✖  replica lost  replica 3 is gone: [bold]exit code -9[/nonsense]" in text
    assert "and more" not in text
    many = [msgspec.structs.replace(LOST, seq=n, message=f"event number {n}") for n in range(20)]
    text = drawn(STATUS, many)
    assert text.count("event number") == LAST_EVENTS
    assert "event number 19" in text


def test_many_replicas_are_cut_and_counted_and_a_narrow_terminal_is_enough():
    replicas = [ReplicaStatus(n, n, "ready", 0, 3) for n in range(1, MOST_REPLICAS + 4)]
    assert "and 3 more replicas" in drawn(changed(replicas=replicas))
    assert all(len(line) <= 60 for line in drawn(changed(replicas=replicas), [LOST], width=60).splitlines())


def test_the_view_counts_answers_a_second_and_restores_the_terminal():
    console = Console(file=io.StringIO(), width=120, force_terminal=True, legacy_windows=False)
    now_s = 100.0
    view = LiveServiceView(lambda: now_s, console=console)
    view.start()
    for second in range(6):
        now_s = 100.0 + second
        view.status(changed(answered=50 * second * second))
    view.event(LOST)
    view.note("a note")
    view.close()
    text = console.file.getvalue()
    assert "350 answers/s" in text  # 50 · (5² - 2²) in the last 3 s
    assert "a note" in text
    assert "replica lost" in text
    assert text.rstrip().endswith("\x1b[?25h")
    view.status(changed(answered=3))
    assert view._rate is None, "another router counts from 0"


def test_lines_when_something_changes():
    out, now_s = io.StringIO(), 0.0
    view = PlainServiceView(out=out, clock=lambda: now_s)
    view.start()
    view.status(STATUS)
    view.status(changed(answered=12350, p50_s=None))  # only requests: not yet
    view.status(changed(answered=12350, failed=1))
    now_s = 4.9
    view.status(changed(answered=12360, failed=1))
    now_s = 5.1
    view.status(changed(answered=12370, failed=1, p50_s=None))
    now_s = 99.0
    view.status(changed(answered=12370, failed=1, p50_s=None))
    view.event(LOST)
    view.close()
    lines = out.getvalue().splitlines()
    assert [line.partition(" answered")[0].rpartition(" ")[2] for line in lines[:3]] == ["12345", "12350", "12370"]
    assert lines[0] == (
        "digits · ready · 1 of 0:4 replicas (+1 starting) · 2 running, 5 waiting · 12345 answered, 0 failed, 2 refused "
        "· p50 4.2 ms, p99 32 ms · version 3"
    )
    assert "replica lost: replica 3 is gone" in lines[3]


def test_the_text_of_a_plain_status():
    lines = service_text(changed(canary=Canary(4, 0.1, "/c"))).splitlines()
    assert lines[1] == "requests: 2 running, 5 waiting; 12345 answered, 0 failed, 2 refused; p50 4.2 ms, p99 32 ms"
    assert lines[2] == "canary: version 4 answers 10% of the requests"
    assert lines[5].split() == ["r4", "ready", "3", "812", "2", "1234"]


def test_milliseconds():
    values = [0.00042, 0.000999, 0.0042, 0.00996, 0.042, 1.234]
    assert [milliseconds(value) for value in values] == ["0.42 ms", "1.0 ms", "4.2 ms", "10 ms", "42 ms", "1,234 ms"]
