"""What happens to a service, and that no request pays for it that need not."""

import contextlib
import os
import signal
import threading
from collections import Counter

import pytest
from service_lab import parent_of, wait_until
from service_models import DIES, RAISES

from pliant.testing.processes import is_alive


def replica_logs(service):
    return "".join(path.read_text() for path in service.directory.glob("v*/r*.log"))


@pytest.fixture
def one_replica(share):
    return share("Double", "--replicas", "1")


@pytest.fixture
def one_at_a_time(share):
    return share("Double", "--replicas", "1", "--batch", "1", "--queue", "3")


def test_a_replica_is_killed_while_it_computes(one_replica):
    service, before = one_replica, one_replica.status()
    service.hold()
    answers = [service.later([[n, n, n]]) for n in range(1, 6)]
    service.wait_requests(5)
    (pid,) = service.wait_held()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the replica is gone")
    wait_until(lambda: [r for r in service.ready() if r["pid"] != pid], "another one has come")
    service.release()
    assert [answer.result().json() for answer in answers] == [[[2.0 * n] * 3] for n in range(1, 6)]
    assert service.status()["failed"] == before["failed"]


def test_a_replica_is_stopped_while_it_computes(one_replica):
    service, before = one_replica, len(one_replica.events)
    service.hold()
    answer = service.later([[1, 1, 1]])
    (pid,) = service.wait_held()
    os.kill(pid, signal.SIGSTOP)
    (service.gate / "hold").unlink()
    assert answer.result().json() == [[2, 2, 2]]
    assert not is_alive(pid)
    (hung,) = [event for event in service.events[before:] if event["kind"] == "replica_hung"]
    assert "it was stopped by a signal" in hung["message"]


def test_killed_again_and_again_under_load_no_request_fails(serve):
    service = serve("Double", "--replicas", "2:3", "--target", "4")
    service.wait_replicas(2)
    found, stop, killed = Counter(), threading.Event(), set()

    def ask():
        while not stop.is_set():
            answer = service.predict([[1, 2, 3]])
            found[(answer.status_code, answer.text)] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(8):
        before = found.total()
        wait_until(lambda before=before: found.total() > before + 10, "some more requests are answered")
        busy = [replica for replica in service.ready() if replica["pid"]]
        if busy:
            killed.add(busy[number % len(busy)]["pid"])
            with contextlib.suppress(ProcessLookupError):  # the router has not seen the last one's end yet
                os.kill(busy[number % len(busy)]["pid"], signal.SIGKILL)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(killed) >= 5
    lost = "replica_lost"
    wait_until(lambda: [each["kind"] for each in service.events].count(lost) >= len(killed), "every death is told")
    assert set(found) == {(200, "[[2.0,4.0,6.0]]")}
    assert service.status()["requests"] == 0


def test_an_input_that_kills_its_replica_harms_no_other(one_replica):
    service = one_replica
    service.hold()
    first = service.later([[1, 1, 1]])
    service.wait_held()
    answers = [service.later([[n, n, n]]) for n in (2, DIES, 3)]
    service.wait_requests(4)
    service.release()
    assert first.result().status_code == 200
    assert [answer.result().status_code for answer in answers] == [200, 500, 200]
    assert "3 replicas ended over it" in answers[1].result().json()["error"]
    assert service.predict([[1, 1, 1]]).status_code == 200


def test_an_input_on_which_predict_raises_harms_no_other(one_replica):
    service = one_replica
    service.hold()
    first = service.later([[1, 1, 1]])
    service.wait_held()
    answers = [service.later([[n, n, n]]) for n in (2, 3, RAISES, 4, 5)]
    service.wait_requests(6)
    service.release()
    assert first.result().status_code == 200
    assert [answer.result().status_code for answer in answers] == [200, 200, 500, 200, 200]
    error = answers[2].result().json()["error"]
    assert "ValueError: row 0 is poison" in error
    error_id = error.partition("error id ")[2][:12]
    assert f"error id {error_id}" in replica_logs(service)


def test_outputs_with_other_rows_are_no_answer(serve):
    service = serve("Crooked")
    answer = service.predict([[1.0], [2.0]])
    assert answer.status_code == 500
    assert "was given 2 rows, and its output 'output' has shape [1, 1]" in answer.json()["error"]


def test_load_beyond_capacity_is_refused_at_once(one_at_a_time):
    service, before = one_at_a_time, one_at_a_time.status()
    service.hold()
    answers = [service.later([[1, 1, 1]])]
    service.wait_held()
    answers += [service.later([[n, n, n]]) for n in (2, 3, 4)]
    service.wait_requests(4)
    refused = service.predict([[5, 5, 5]])
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    service.release()
    assert [answer.result().status_code for answer in answers] == [200] * 4
    assert service.status()["refused"] == before["refused"] + 1


def test_a_deadline(one_at_a_time):
    service = one_at_a_time
    assert service.predict([[1, 1, 1]], headers={"X-Deadline-Ms": "30000"}).status_code == 200
    service.hold()
    first = service.later([[1, 1, 1]])
    service.wait_held()
    late = service.predict([[2, 2, 2]], headers={"X-Deadline-Ms": "1"})
    assert late.status_code == 504
    service.release()
    assert first.result().status_code == 200


def test_a_client_that_leaves_is_forgotten(one_at_a_time):
    service, before = one_at_a_time, one_at_a_time.status()
    service.hold()
    first = service.later([[1, 1, 1]])
    service.wait_held()
    gone = [service.later([[n, n, n]], timeout=0.3) for n in (2, 3)]
    service.wait_requests(3)
    for each in gone:
        with pytest.raises(Exception, match="timed out"):
            each.result()
    service.wait_requests(1)
    service.release()
    assert first.result().status_code == 200
    assert service.status()["answered"] == before["answered"] + 1


def test_sigterm_answers_what_was_taken_and_ends(serve):
    service = serve("Double", "--replicas", "2", "--batch", "2")
    service.hold()
    answers = [service.later([[n, n, n]]) for n in range(1, 8)]
    service.wait_requests(7)
    service.wait_held(2)
    service.process.send_signal(signal.SIGTERM)
    wait_until(lambda: service.status()["state"] == "stopping", "it is told to end")
    assert service.predict([[9, 9, 9]]).status_code == 503
    service.release()
    assert [answer.result().json() for answer in answers] == [[[2.0 * n] * 3] for n in range(1, 8)]
    assert service.process.wait(30) == 0


def test_a_model_that_cannot_be_loaded(begin):
    service = begin("Broken")
    assert service.process.wait(60) == 1
    assert "no weights today" in service.stderr


def test_the_template_dies_and_the_service_goes_on(serve):
    service = serve("Double", "--replicas", "1:2", "--target", "1", "--batch", "1", "--idle", "60")
    (replica,) = service.wait_replicas(1)
    os.kill(parent_of(replica["pid"]), signal.SIGKILL)
    assert service.predict([[1, 1, 1]]).status_code == 200
    service.hold()
    answers = [service.later([[n, n, n]]) for n in (1, 2)]
    service.wait_held(2)  # a second replica, of the next template
    service.release()
    assert [answer.result().status_code for answer in answers] == [200, 200]


def test_the_router_is_killed_and_the_next_one_finds_its_replicas(serve):
    service = serve("Double", "--replicas", "2", "--idle", "60")
    before = {replica["pid"] for replica in service.wait_replicas(2)}
    killed = service.router
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), "the router is gone")
    assert service.predict_anew([[1, 1, 1]]).json() == [[2, 2, 2]]  # it waited in the port's queue
    assert {replica["pid"] for replica in service.wait_replicas(2)} == before
    assert service.router != killed
    assert "another one takes over" in service.stderr
    # The template is no child of this router, but what becomes of it is seen.
    os.kill(parent_of(min(before)), signal.SIGKILL)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert service.predict([[1, 1, 1]]).status_code == 200
    assert not {replica["pid"] for replica in service.wait_replicas(2)} & before


def test_replicas_of_an_earlier_service_of_that_name_are_sent_away(begin, serve):
    first = serve("Double", "--replicas", "1")
    (old,) = first.wait_replicas(1)
    for pid in (first.process.pid, first.router):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: first.process.poll() is not None, "all that looked after it is gone")
    assert is_alive(old["pid"])
    second = begin("Sum", home=first.home).wait_ready()
    wait_until(lambda: not is_alive(old["pid"]), "the old replica has gone")
    assert second.predict({"a": [[1]], "b": [[2]]}).json() == {"sum": [[3]], "difference": [[-1]]}


def test_two_services_of_one_name(begin, serve):
    first = serve("Double")
    second = begin("Double", home=first.home)
    assert second.process.wait(30) == 2
    assert "a service model is running already" in second.stderr
