"""KServe's Python client (v2 protocol) against a service, from an environment of its own: .ci/setup-clients."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pliant.wire.tensors import SIZES

SERVED = ("Echo",)
HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / os.environ.get("CLIENTS_VENV", ".venv-clients") / "bin" / "python"
WANTED = os.environ.get("PLIANT_REQUIRE_CLIENTS")
pytestmark = pytest.mark.skipif(
    not PYTHON.exists() and not WANTED, reason="KServe's client is not installed: .ci/setup-clients"
)


@pytest.fixture(scope="module")
def found(shared):
    """What each call of the session gave."""
    command = [str(PYTHON), str(HERE / "kserve_session.py"), shared.url]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SENT = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [0.5, 65504],
    "BF16": [0.5, -3],
    "FP32": [pytest.approx(0.1), -7],
    "FP64": [0.1, 1.7e308],
}


def test_health(found):
    assert (found["live"], found["ready"], found["model ready"], found["other ready"]) == (True, True, True, False)


def test_json(found):
    for each in (found["json"], found["dict"]):
        assert each["outputs"] == SENT
        assert each["binary bytes"] == 0
        assert set(map(tuple, each["shapes"].values())) == {(1, 2)}
    assert (found["json"]["id"], found["json"]["model"]) == ("seven", "model")


def test_bytes(found):
    assert found["bytes"]["outputs"] == SENT
    bf16 = 2 * 2  # was asked for as JSON: the client cannot read its bytes
    assert found["bytes"]["binary bytes"] == 2 * sum(SIZES[name] for name in SENT) - bf16


def test_some_outputs_one_of_them_as_bytes(found):
    assert found["some"]["outputs"] == {name: SENT[name] for name in ("INT8", "FP32")}
    assert found["some"]["binary bytes"] == 2 * SIZES["FP32"]


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        ("missing", 400, "input BF16 is missing"),
        ("other", 404, "there is no model 'other'; this service serves 'model'"),
        ("narrow", 400, "input FP32 has shape [1, 1], expected [-1, 2]"),
        ("empty", 400, "input FP32 has shape [1, 0], expected [-1, 2]"),
    ],
)
def test_mistakes_come_as_the_clients_exception_with_our_message(found, call, status, message):
    assert found[call]["status"] == status
    assert message in found[call]["message"]
