"""A service under bad bodies, and bytes that are no HTTP: what is wrong is told, the next request answered."""

import contextlib
import gzip
import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from fuzz_bodies import damaged, entry, huge_shape, messages, mistaken, strings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import DEADLINE_S, parsed, request_bytes, talk

SERVED = ("Three", "--replicas", "2", "--batch", "4")
INFER = "/v2/models/model/infer"
MOST_GROWTH_KIB = 64 << 10
"""Of a process, over hundreds of requests of some hundred bytes each."""
some = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


def infer(service, body, length, **headers):
    return parsed(talk(service.url, request_bytes(INFER, body, Inference_Header_Content_Length=length, **headers)))


def assert_well(service):
    """A right request is answered, rightly."""
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    inputs = [
        entry("a", "FP32", [2, 3], 24),
        {"name": "b", "datatype": "BOOL", "shape": [2, 2], "data": [True] * 4},
        {"name": "c", "datatype": "INT64", "shape": [2], "data": [1, 2]},
    ]
    text = json.dumps({"inputs": inputs}).encode()
    answer = infer(service, text + rows.tobytes(), len(text))
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["outputs"][0]["data"] == (rows * 2).ravel().tolist()


WELL = json.dumps(
    {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]},
            {"name": "b", "datatype": "BOOL", "shape": [1, 2], "data": [True, False]},
            {"name": "c", "datatype": "INT64", "shape": [1], "data": [1]},
        ]
    }
).encode()


def processes(service):
    """The router, and all replicas."""
    return [service.router, *(replica["pid"] for replica in service.status()["replicas"])]


def peak_kib(pid):
    """Of resident memory, ever."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1])


@pytest.fixture
def unharmed(shared):
    """The service, whose processes are afterwards the same as before, well and no larger."""
    assert_well(shared)
    shared.wait_replicas(2)
    before = {pid: peak_kib(pid) for pid in processes(shared)}
    failed = shared.status()["failed"]
    yield shared
    assert_well(shared)
    assert before.keys() == set(processes(shared))
    assert {pid: peak_kib(pid) - kib for pid, kib in before.items() if peak_kib(pid) - kib > MOST_GROWTH_KIB} == {}
    assert shared.status()["failed"] == failed
    shared.wait_requests(0)


@settings(some, max_examples=300)
@given(message=mistaken())
def test_mistakes_are_told(unharmed, message):
    body, length, told = message
    answer = infer(unharmed, body, length)
    assert answer.status in (400, 413), answer.body
    assert re.search(told, answer.error), answer.error


@some
@given(message=mistaken((huge_shape, strings)))
def test_huge_shapes_and_strings_take_no_memory(unharmed, message):
    assert infer(unharmed, *message[:2]).status == 400


@some
@given(message=messages())
def test_right_ones_are_answered(unharmed, message):
    body, length = message.encoded()
    answer = infer(unharmed, body, length)
    assert answer.status == 200, answer.body
    head = answer.headers.get("inference-header-content-length")
    told = json.loads(answer.body[: None if head is None else int(head)])
    assert told.get("id") == message.more.get("id")
    with np.errstate(all="ignore"):
        twice = np.frombuffer(message.tails["a"], "<f4") * np.float32(2)
    if head is not None:
        assert np.array_equal(np.frombuffer(answer.body[int(head) :], "<f4"), twice, equal_nan=True)


@some
@given(message=damaged())
def test_damaged_ones_are_answered_or_told(unharmed, message):
    answer = infer(unharmed, *message)
    assert answer.status in (200, 400, 413), answer.body
    if answer.status != 200:
        assert len(answer.error) > 10


@some
@given(body=st.binary(max_size=300), length=st.none() | st.integers(-3, 310) | st.text("0x9-+ ", max_size=5))
def test_any_bytes_are_told(unharmed, body, length):
    for path in (INFER, "/predict"):
        answer = parsed(talk(unharmed.url, request_bytes(path, body, Inference_Header_Content_Length=length)))
        assert answer.status == 400, answer.body
        assert len(answer.error) > 10


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ({"Content_Encoding": "gzip"}, b"[]", 400, "the body is not what Content-Encoding says, gzip"),
        ({"Content_Encoding": "br"}, b"[]", 415, "expected one of gzip and deflate"),
        ({"X_Deadline_Ms": "nan"}, None, 400, "X-Deadline-Ms is 'nan'; expected milliseconds"),
        ({"X_Deadline_Ms": "-5"}, None, 400, "X-Deadline-Ms is '-5'; expected milliseconds"),
        ({"Inference_Header_Content_Length": "9" * 30}, b"{}", 400, "expected a number of bytes"),
        ({"Inference_Header_Content_Length": "0x10"}, b"{}", 400, "expected a number of bytes"),
    ],
)
def test_headers(unharmed, headers, body, status, told):
    body = WELL if body is None else body
    answer = parsed(talk(unharmed.url, request_bytes(INFER, body, **headers)))
    assert answer.status == status, answer.body
    assert told in answer.error
    assert status != 415 or answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_bomb_is_not_unpacked(shared):
    limit = 64 << 20
    before = peak_kib(shared.router)
    bomb = gzip.compress(bytes(8 * limit), 1)
    answer = parsed(talk(shared.url, request_bytes(INFER, bomb, Content_Encoding="gzip")))
    assert answer.status == 413
    assert answer.error == f"unpacked, the body has more than {limit} bytes, which are taken at most"
    assert (peak_kib(shared.router) - before) << 10 < 3 * limit
    assert_well(shared)


RIGHT = request_bytes("/predict", b'{"a": [[1, 2, 3]], "b": [[true, false]], "c": [1]}')
NO_HTTP = [
    b"",
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n\r\n",  # no Host
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/models/%00%ff%2f/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET " + b"/a" * 50_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nX\x00: y\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1e3\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nabc",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nabc",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nExpect: the unexpected\r\nContent-Length: 3\r\n\r\nabc",
]


def answers(service, data):
    """What has come back when the service has answered somebody else meanwhile, and has nothing more to do."""

    def meanwhile():
        assert_well(service)
        service.wait_requests(0)

    return talk(service.url, data, meanwhile=meanwhile)


def statuses(back):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", back)]


@pytest.mark.parametrize("data", NO_HTTP, ids=range(len(NO_HTTP)))
def test_what_is_no_http(unharmed, data):
    assert all(400 <= status < 500 for status in statuses(answers(unharmed, data)))


def test_a_head_that_is_too_long(unharmed):
    for header in (b"X: " + b"y" * 70_000, b"X: y\r\n" * 20_000):
        answer = parsed(answers(unharmed, b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n"))
        assert answer.status == 431
        assert answer.error == "the request line and the headers have more than 65536 bytes, which are taken at most"


def test_a_head_without_an_end(unharmed):
    where = urlsplit(unharmed.url)
    with socket.create_connection((where.hostname, where.port), timeout=DEADLINE_S) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: ")
        sent = 0
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it hangs up
            while sent < 100_000_000:
                sent += connection.send(b"y" * 100_000)
    assert sent < 100_000_000


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
def test_the_body_of_a_request_for_another_protocol_is_not_lost(unharmed, name):
    """As Java's HTTP client sends it, and curl --http2."""
    asks = b"Connection: Upgrade, HTTP2-Settings\r\n" + name + b": h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    text = RIGHT.replace(b"Connection: close\r\n", asks)
    back = talk(unharmed.url, text + RIGHT)
    assert statuses(back) == [200] * 2, back
    assert back.count(b"[[2.0,4.0,6.0]]") == 2


def test_a_request_for_another_protocol_is_answered_as_a_plain_one(unharmed):
    for protocol in (b"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"h2c"):
        text = b"GET /v2 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        assert statuses(answers(unharmed, text)) == [200]


@some
@given(data=st.data())
def test_damaged_http(unharmed, data):
    text, new = RIGHT, st.binary(max_size=5) | st.sampled_from([b"\r\n", b"\r\n\r\n", b":", b" "])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(len(text), at + 30)))
        text = text[:at] + data.draw(new) + text[end:]
    assert all(status < 500 for status in statuses(answers(unharmed, text)))


def test_two_requests_in_one_write(unharmed):
    text = RIGHT.replace(b"Connection: close\r\n", b"")
    back = talk(unharmed.url, text + RIGHT)
    assert statuses(back) == [200, 200]
    assert back.count(b"[[2.0,4.0,6.0]]") == 2


def test_a_client_that_leaves_in_the_middle_of_its_request(unharmed):
    for end in range(1, len(RIGHT), 7):
        assert statuses(answers(unharmed, RIGHT[:end])) == []
    assert statuses(answers(unharmed, RIGHT)) == [200]
