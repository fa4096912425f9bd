"""New weights while requests come: none fails, none mixes two versions, and what cannot be loaded changes nothing."""

import os
import signal
import threading
from collections import Counter

import pytest
import torch
from raw_http import parsed, request_bytes, talk
from service_lab import parent_of, wait_until
from service_models import Scale

from pliant.testing.processes import is_alive
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint

POSITION = {
    "call": 0,
    "passes": 0,
    "step": 0,
    "step_of_call": 0,
    "epoch": 0,
    "step_of_epoch": 0,
    "samples": 0,
    "loss": None,
    "ended": [],
}


@pytest.fixture
def checkpoint(tmp_path):
    """Write one whose weight is the given number."""

    def write(factor):
        model = Scale()
        with torch.no_grad():
            model.factor.fill_(factor)
        snapshot = take_snapshot({"model": model}, POSITION | {"step": factor}, job="train", staging=Staging())
        return write_checkpoint(tmp_path / "checkpoints", snapshot, keep=9)[0]

    return write


def push(service, *words):
    return service.pliant("push", "model", *words)


def factor_of(answer):
    """Which weights gave it, after a look at whether it says so itself."""
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()
    assert row[0] == row[1]
    return row[0]


def test_new_weights_without_a_gap(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)), "--replicas", "1:2", "--target", "4")
    found, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answer = service.predict([[1, 1]])
            found.append((answer.headers["x-pliant-version"], factor_of(answer)))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(found) > 50, "some requests are answered")
    done = push(service, "--checkpoint", checkpoint(5))
    assert done.returncode == 0, done.stderr
    assert "version 2 answers" in done.stderr
    after = service.predict([[1, 1]])
    begin = len(found)
    wait_until(lambda: len(found) > begin + 50, "some more are answered")
    stop.set()
    for thread in threads:
        thread.join()
    assert factor_of(after) == 5
    assert set(found) == {("1", 3.0), ("2", 5.0)}
    assert Counter(version for version, _ in found[begin + 10 :]).keys() == {"2"}
    wait_until(lambda: {r["version"] for r in service.status()["replicas"]} == {2}, "the old replicas have gone")
    assert (service.status()["failed"], service.status()["refused"]) == (0, 0)


def test_weights_that_cannot_be_loaded_change_nothing(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)))
    damaged = checkpoint(5)
    file = damaged / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    done = push(service, "--checkpoint", damaged)
    assert done.returncode != 0
    assert "model.safetensors" in done.stderr
    answer = service.predict([[1, 1]])
    assert (factor_of(answer), answer.headers["x-pliant-version"]) == (3, "1")
    assert push(service, "--checkpoint", checkpoint(7)).returncode == 0
    assert factor_of(service.predict([[1, 1]])) == 7


@pytest.fixture
def loading(begin, checkpoint):
    """A service whose first version is being loaded, which takes for ever."""
    return begin("SlowFirst", "--checkpoint", str(checkpoint(3))).wait_first_held()


def test_weights_that_are_loaded_before_the_first_ones_make_the_service_ready(loading, checkpoint):
    """As happens to a service that follows a job on a busy machine."""
    early = loading.later([[1, 1]])
    done = push(loading, "--checkpoint", checkpoint(5))
    assert done.returncode == 0, done.stderr
    loading.wait_ready()
    assert factor_of(early.result()) == 5
    assert factor_of(loading.predict([[1, 1]])) == 5
    assert loading.end() == 0
    assert "model_failed" not in {event["kind"] for event in loading.events}


def test_a_service_that_ends_before_its_model_is_loaded_says_so_to_whoever_waits(loading):
    def end():
        assert loading.client.get(f"{loading.url}/healthz").status_code == 200  # it has the request before this one
        assert loading.end() == 0

    answer = parsed(talk(loading.url, request_bytes("/predict", b"[[1, 1]]"), meanwhile=end))
    assert (answer.status, answer.error) == (503, "the service ends before its model is loaded")


def test_a_canary_gets_its_share_is_promoted_and_rolled_back(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)), "--replicas", "1")
    done = push(service, "--checkpoint", checkpoint(5), "--canary", "25%")
    assert "version 2 answers 25% of the requests, version 1 the others" in done.stderr, done.stderr
    assert Counter(factor_of(service.predict([[1, 1]])) for _ in range(40)) == {3: 30, 5: 10}
    assert "a canary: promote it or roll it back first" in push(service, "--checkpoint", checkpoint(7)).stderr
    by_name = f"{service.url}/v2/models/model/versions/2/infer"
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}
    assert service.client.post(by_name, json={"inputs": [tensor]}).json()["model_version"] == "2"
    about = service.client.get(f"{service.url}/v2/models/model").json()
    assert about["versions"] == ["1", "2"]
    for version in about["versions"]:
        assert service.client.get(f"{service.url}/v2/models/model/versions/{version}/ready").json()["ready"]
    assert push(service, "--rollback").returncode == 0
    assert service.client.get(f"{service.url}/v2/models/model").json()["versions"] == ["1"]
    assert service.client.get(f"{service.url}/v2/models/model/versions/2/ready").status_code == 404
    assert {factor_of(service.predict([[1, 1]])) for _ in range(8)} == {3}
    assert push(service, "--checkpoint", checkpoint(7), "--canary", "50%").returncode == 0
    assert push(service, "--promote").returncode == 0
    assert {factor_of(service.predict([[1, 1]])) for _ in range(8)} == {7}
    done = push(service, "--rollback")
    assert "version 4 answers" in done.stderr, done.stderr
    assert {factor_of(service.predict([[1, 1]])) for _ in range(8)} == {3}
    assert push(service, "--promote").returncode != 0


def test_a_new_router_serves_the_weights_that_were_pushed(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)), "--replicas", "1")
    assert push(service, "--checkpoint", checkpoint(5)).returncode == 0
    (replica,) = service.wait_replicas(1)
    killed = service.router
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), "the router is gone")
    answer = service.predict_anew([[1, 1]])
    assert (factor_of(answer), answer.headers["x-pliant-version"]) == (5, "2")
    assert [each["pid"] for each in service.wait_replicas(1)] == [replica["pid"]]


def test_only_who_has_the_token_changes_a_service(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)))
    body = {"checkpoint": str(checkpoint(5))}
    for headers in ({}, {"Authorization": "Bearer x"}):
        assert service.client.post(f"{service.url}/admin/push", json=body, headers=headers).status_code == 401
    assert factor_of(service.predict([[1, 1]])) == 3


def test_what_push_says_of_mistakes(serve, checkpoint, tmp_path):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)))
    done = push(service, "--checkpoint", tmp_path / "none", "--canary", "110%")
    assert done.returncode == 2
    assert "none is no directory" in done.stderr
    assert "--canary 110% is no share" in done.stderr
    service.end()
    assert "does not answer" in push(service, "--rollback").stderr


def zygote_of(service):
    """The parent of the template, which is the parent of a replica."""
    return parent_of(parent_of(service.wait_replicas(1)[0]["pid"]))


def test_the_zygote_dies_and_weights_can_be_pushed_all_the_same(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)), "--replicas", "1", "--idle", "60")
    (replica,) = service.wait_replicas(1)
    killed = zygote_of(service)
    os.kill(killed, signal.SIGKILL)
    assert push(service, "--checkpoint", checkpoint(5)).returncode == 0
    assert factor_of(service.predict([[1, 1]])) == 5
    wait_until(lambda: not is_alive(replica["pid"]), "the old replica has gone")
    assert zygote_of(service) != killed


def test_a_template_that_outlives_its_zygote_is_replaced_when_it_dies(serve, checkpoint):
    service = serve("Scaled", "--checkpoint", str(checkpoint(3)), "--replicas", "1:2", "--target", "1", "--idle", "60")
    (replica,) = service.wait_replicas(1)
    template = parent_of(replica["pid"])
    for pid in (zygote_of(service), template, replica["pid"]):
        os.kill(pid, signal.SIGKILL)
    assert factor_of(service.predict([[1, 1]])) == 3
    assert service.wait_replicas(1)[0]["pid"] != replica["pid"]
