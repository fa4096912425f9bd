"""The comparison of serving systems: a client that counts right, and accounts that follow from its records."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

import pytest
from benchmarks.peers.processes import Unit, environment, free_port, run_python
from benchmarks.serving.accounts import (
    MemoryRun,
    Turn,
    kill_of,
    quantile,
    ratios,
    turn_of,
    turns_of,
    weights_bytes,
)
from benchmarks.serving.base import StartError
from benchmarks.serving.http_answer import AnswerReader, NoHttpError
from benchmarks.serving.load import Load
from benchmarks.serving.load_records import Failure, Job, Records
from benchmarks.serving.models import build
from benchmarks.serving.order import VARIABLE, Order, given_order
from benchmarks.serving.scenarios import check
from benchmarks.serving.shapes import ROWS
from benchmarks.serving.usage import cpu_s, memory_of, ticks_of

SIZED = b'HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 32\r\n\r\n{"output":[[1.5]],"pid": [4321]}'
CHUNKED = (
    b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n"
)
LIMIT_S = 60.0


# ------------------------------------------------------------ answers


def test_an_answer_is_put_together_from_any_pieces():
    for cut in range(1, len(SIZED)):
        reader = AnswerReader()
        assert reader.feed(SIZED[:cut]) is None
        answer = reader.feed(SIZED[cut:])
        assert answer is not None
        assert (answer.status, answer.pid, answer.closes) == (200, 4321, False)


def test_a_chunked_answer_is_put_together_from_any_pieces():
    for cut in range(1, len(CHUNKED)):
        reader = AnswerReader()
        assert reader.feed(CHUNKED[:cut]) is None
        answer = reader.feed(CHUNKED[cut:])
        assert answer is not None
        assert (answer.status, answer.body, answer.pid, answer.closes) == (503, b"abcde", 0, True)


def test_a_reader_takes_one_answer_after_the_other():
    reader = AnswerReader()
    assert [reader.feed(each) is not None for each in (SIZED, CHUNKED, SIZED)] == [True] * 3


@pytest.mark.parametrize("wrong", [b"SSH-2.0\r\n\r\n", SIZED + b"x", b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n"])
def test_what_is_no_answer_is_refused(wrong):
    with pytest.raises(NoHttpError):
        AnswerReader().feed(wrong)


# ------------------------------------------------------------ the client, against real sockets


def job(port: int, **more) -> Job:
    return Job(**{"port": port, "path": "/predict", "body": "[[1]]", "connections": 4, **more})


@pytest.fixture
def trivial(tmp_path):
    """A port that answers everything."""
    port = free_port()
    unit = Unit(run_python("-m", "benchmarks.serving.trivial", "--port", str(port)), environment(), tmp_path / "log")
    end_s = time.monotonic() + LIMIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert time.monotonic() < end_s
            time.sleep(0.01)
    yield port
    unit.close()


class Rude:
    """A port that reads a request and then does ``what`` with the connection, for each connection in turn."""

    def __init__(self, *what) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, args=(what,))
        self._thread.start()

    def _run(self, what) -> None:
        for one in what:
            connection, _ = self._socket.accept()
            connection.recv(1 << 16)
            one(connection)
            self._kept.append(connection)

    def close(self) -> None:
        self._thread.join()
        for each in [*self._kept, self._socket]:
            each.close()


def test_every_answer_of_the_window_is_counted(trivial):
    with Load(job(trivial, warm_s=0.1, seconds=0.3, fresh=1)) as load:
        assert load.wait("over", limit_s=LIMIT_S)
        records = load.finish()
    turn = turn_of(Turn(0, "x", "mlp", False, 4), records, cpu_s=1.0)
    assert turn.requests > 10
    assert turn.requests < len(records.ended_s)
    assert records.failures == []
    assert 0 < turn.p50_s <= turn.p99_s < LIMIT_S


def test_a_request_that_is_never_answered_counts_as_hung():
    rude = Rude(lambda connection: None)
    with Load(job(rude.port, connections=1, timeout_s=0.3)) as load:
        assert load.wait("begun", limit_s=LIMIT_S)
        records = load.finish()
    rude.close()
    assert [failure.kind for failure in records.failures] == ["hung"]
    assert records.failures[0].ended_s - records.failures[0].began_s >= 0.3


def test_cut_connections_and_errors_count_as_failed_and_are_tried_again():
    wrong = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"
    rude = Rude(
        lambda connection: connection.close(),
        lambda connection: connection.sendall(wrong),
        lambda connection: connection.sendall(SIZED),
    )
    with Load(job(rude.port, connections=1, pids=True, timeout_s=0.5)) as load:
        assert load.wait_for_pids(1, limit_s=LIMIT_S) == [4321]
        records = load.finish()
    rude.close()
    assert [failure.kind for failure in records.failures][:2] == ["cut", "status 500"]
    assert len(records.ended_s) == 1


def test_a_port_that_nobody_listens_on_is_tried_until_somebody_does(tmp_path):
    port = free_port()
    with Load(job(port, connections=1, pids=True)) as load:
        assert load.wait("begun", limit_s=LIMIT_S)
        unit = Unit(
            run_python("-m", "benchmarks.serving.trivial", "--port", str(port)), environment(), tmp_path / "log"
        )
        try:
            assert load.wait_for_pids(1, limit_s=LIMIT_S) == [0]  # it does not say which process it is
        finally:
            unit.close()
        records = load.finish()
    assert {failure.kind for failure in records.failures} <= {"refused", "cut"}
    assert records.ended_s


# ------------------------------------------------------------ accounts


def records(latencies, *, failures=()) -> Records:
    """An answer each tenth of a second; the window is from 1 s to 2 s."""
    ended = [0.1 * (number + 1) for number in range(len(latencies))]
    return Records(0.0, 1.0, 2.0, 0.5, ended, list(latencies), [Failure(kind, 0.0, 1.0) for kind in failures])


def test_a_turn_counts_what_ended_in_its_window():
    turn = turn_of(Turn(0, "x", "mlp", False, 4), records([9.0] * 10 + [0.1] * 9 + [0.5] + [9.0] * 5), cpu_s=2.0)
    assert (turn.requests, turn.p50_s, turn.p99_s) == (10, 0.1, 0.5)
    assert (turn.rate, turn.cpu_per_request_s, turn.client_share) == (10.0, 0.2, 0.5)


def test_a_turn_without_an_answer_says_so():
    turn = turn_of(Turn(0, "x", "mlp", False, 4), records([], failures=["cut", "cut"]), cpu_s=2.0)
    assert turn.problem
    assert turn.failures == {"cut": 2}
    assert (turn.rate, turn.cpu_per_request_s) == (0.0, 0.0)


def test_quantiles_are_values_that_occurred():
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([3.0], 0.99) == 3.0


def test_ratios_are_to_the_bare_process_of_the_same_round():
    def turn(number, system, requests, batched=False):
        return Turn(number, system, "mlp", batched, 8, requests, 1.0)

    turns = [turn(0, "bare", 100), turn(0, "x", 50), turn(1, "bare", 200), turn(1, "x", 50), turn(2, "x", 7)]
    cell = turns_of(turns, "x", "mlp", 8, batched=False)
    assert ratios(turns, cell, lambda each: each.rate) == [0.5, 0.25]
    assert turns_of(turns, "x", "mlp", 8, batched=True) == []


def test_hung_and_failed_requests_of_a_kill_are_told_apart():
    kinds = ["cut", "hung", "status 500", "refused", "hung", "hung"]
    run = kill_of("x", records([], failures=kinds), replaced_s=0.2, went_down=False)
    assert (run.failed, run.hung, run.replaced_s) == (3, 3, 0.2)


def test_tries_at_a_server_that_is_gone_as_a_whole_are_not_counted():
    run = kill_of("x", records([], failures=["cut", *["refused"] * 50]), replaced_s=None, went_down=True)
    assert (run.failed, run.hung, run.went_down) == (1, 0, True)


def test_weights_are_the_difference_between_two_models():
    runs = [MemoryRun("x", "wide", 2, 3, 1000, 0), MemoryRun("x", "mlp", 2, 3, 400, 0), MemoryRun("x", "mlp", 4)]
    assert weights_bytes(runs, "x", 2, large="wide", small="mlp") == 600
    assert weights_bytes(runs, "x", 4, large="wide", small="mlp") is None


# ------------------------------------------------------------ processes and models


def test_processor_time_has_the_children_in_it_and_any_command_can_be_read():
    stat = b"7 (a ) (b) S 1 7 7 0 -1 4 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7"
    assert ticks_of(stat) == 127


def test_processor_time_of_a_child_that_has_ended_is_its_parents():
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        used_s = cpu_s([process.pid])
        process.communicate("\n")
    assert used_s >= 0.25
    assert cpu_s([process.pid]) == 0.0


def test_memory_is_read_from_the_kernels_words():
    text = "55-7f ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 300 kB\nPrivate_Clean: 10 kB\nPrivate_Dirty: 30 kB\n"
    found = memory_of(text)
    assert (found.pss_bytes, found.private_bytes) == (300 * 1024, 40 * 1024)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_models_have_the_weights_that_the_page_says(name):
    assert sum(each.numel() * each.element_size() for each in build(name).parameters()) == ROWS[name].weights_bytes


def test_an_order_arrives_in_the_servers_process(monkeypatch):
    order = Order("mlp", replicas=2, most=4, batch=8, pids=True)
    monkeypatch.setenv(VARIABLE, order.variables()[VARIABLE])
    assert given_order() == order
    assert order.elastic
    assert not Order("mlp", replicas=2).elastic


def test_a_server_that_computes_something_else_is_found_out():
    check([[1.0, 2.00001]], [[1.0, 2.0]], with_pid=False)
    check({"output": [[1.0, 2.0]], "pid": [1]}, [[1.0, 2.0]], with_pid=True)
    for wrong in ([[1.0, 2.1]], [[1.0]], [[1.0, 2.0], [1.0, 2.0]]):
        with pytest.raises(StartError):
            check(wrong, [[1.0, 2.0]], with_pid=False)
