"""HTTP: the token, refusals, limits."""

import http.client
import json
import re
from urllib.parse import quote

import pytest

from pliant.control.openapi import OPERATIONS, SOCKETS
from pliant.errors import CoordinatorError
from pliant.wire.address import Address
from pliant.wire.api import JobSpec, PlanEvent
from pliant.wire.http import Client
from pliant.wire.token import read_token


@pytest.fixture
def ask(shared):
    """Raw HTTP; returns (status, headers, body)."""
    token = read_token(shared.home.token)

    def ask(method, path, *, body=None, headers=None, authorization=f"Bearer {token}"):
        connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
        sent = {**({"Authorization": authorization} if authorization else {}), **(headers or {})}
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        answer = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return answer

    return ask


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic abc", "wrong", "Bearer \xe9"])
def test_without_the_token_nothing_is_learnt(ask, authorization):
    answers = []
    for method, path in [
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/none"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/no/such/path"),
        ("DELETE", "/v1/jobs"),
        ("GET", "/v1/workers"),
        ("GET", "/healthz/"),
    ]:
        status, headers, body = ask(method, path, body=b"{" if method == "POST" else None, authorization=authorization)
        headers.pop("date", None)
        answers.append((status, headers, body))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 401
    assert answers[0][2] == b""


def test_health_needs_no_token_and_says_nothing(ask):
    status, _, body = ask("GET", "/healthz", authorization=None)
    assert (status, body) == (204, b"")


def test_unknown_path_and_method(ask):
    status, _, body = ask("GET", "/nope")
    assert status == 404
    assert "/openapi.json" in json.loads(body)["error"]
    assert ask("DELETE", "/v1/jobs")[0] == 405


def test_unknown_job_names_those_there_are(shared):
    with shared.client() as client:
        client.create_job(JobSpec("known", "t.py"))
        for call in (client.job, client.events, client.report, client.stop, lambda name: client.scale(name, 1)):
            with pytest.raises(CoordinatorError, match=r"no job named 'x y/z'; known jobs: .*known") as caught:
                call("x y/z")
            assert caught.value.status == 404


def test_two_jobs_of_one_name(shared):
    with shared.client() as client:
        client.create_job(JobSpec("twice", "t.py"))
        with pytest.raises(
            CoordinatorError, match=r"named twice is already running .*--name.*pliant stop twice"
        ) as caught:
            client.create_job(JobSpec("twice", "t.py"))
        assert caught.value.status == 409
        client.stop("twice", now=True)
        client.stop("twice", now=True)
        assert client.create_job(JobSpec("twice", "other.py")).script == "other.py"


def test_scale_out_of_bounds(shared):
    with shared.client() as client:
        client.create_job(JobSpec("bounded", "t.py", max_workers=3))
        for workers in (0, 4):
            with pytest.raises(CoordinatorError, match=f"{workers} workers: choose a number from 1 to 3") as caught:
                client.scale("bounded", workers)
            assert caught.value.status == 422
        assert client.scale("bounded", 3).target_workers == 3


def test_all_problems_of_a_spec_at_once(shared):
    plan = [PlanEvent(-1, scale=9), PlanEvent(1), PlanEvent(1, kill=0)]
    spec = JobSpec("../x", "t.py", min_workers=0, max_workers=-1, plan=plan, patience_s=0)
    with shared.client() as client, pytest.raises(CoordinatorError) as caught:
        client.create_job(spec)
    assert caught.value.status == 422
    text = str(caught.value)
    for part in (
        "'../x'",
        "min_workers is 0",
        "max_workers (-1)",
        "patience_s is 0",
        "at_step is -1",
        "exactly one",
        "kill is 0",
    ):
        assert part in text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"name": 1}', b'{"name":"a","script":"b","more":1}', b"[" * 100_000],
)
def test_malformed_bodies(ask, body):
    status, _, answer = ask("POST", "/v1/jobs", body=body)
    assert status == 422
    assert "not a valid JobSpec" in json.loads(answer)["error"]
    assert ask("GET", "/v1/jobs")[0] == 200


def test_oversized_body(ask, shared):
    status, _, answer = ask("POST", "/v1/jobs", body=b" " * (2 << 20))
    assert status == 413
    assert "1048576" in json.loads(answer)["error"]
    with shared.client() as client:
        assert all(job.name.isalpha() for job in client.list_jobs())


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "²", ""])
def test_bad_after(ask, after):
    status, _, answer = ask("GET", f"/v1/jobs/any/events?after={quote(after)}")
    assert status == 422
    assert "give the last seq" in json.loads(answer)["error"]


def test_wrong_token_is_explained(shared):
    client = Client(Address(shared.process.pid, "127.0.0.1", shared.port), token="wrong")
    with client, pytest.raises(CoordinatorError, match="PLIANT_HOME") as caught:
        client.list_jobs()
    assert caught.value.status == 401


def test_openapi_has_every_route(ask):
    status, _, body = ask("GET", "/openapi.json")
    assert status == 200
    described = json.loads(body)
    assert set(described["paths"]) == {operation.path for operation in OPERATIONS} | set(SOCKETS)
    names = [call["operationId"] for path in described["paths"].values() for call in path.values()]
    assert len(names) == len(set(names))
    references = set(re.findall(r'"\$ref":"#/components/schemas/(\w+)"', body.decode()))
    assert references <= set(described["components"]["schemas"])
    assert {"JobSpec", "JobStatus", "Report", "Event", "Problem"} <= references


def test_metrics_are_prometheus_text(ask, shared):
    with shared.client() as client:
        client.create_job(JobSpec("measured", "t.py", max_workers=2, start_workers=2))
    status, headers, body = ask("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    sample = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+')
    lines = body.decode().splitlines()
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert 'pliant_job_workers{job="measured",state="starting"} 2' in lines
    assert 'pliant_job_target_workers{job="measured"} 2' in lines
    assert 'pliant_job_events_total{job="measured",kind="job_started"} 1' in lines
