"""The OpenAPI description says what is so: schemathesis tries it on a running service, hypothesis on the parser."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_lab import services
from service_models import DATATYPES

from pliant.serving.openapi import docs_page, openapi
from pliant.serving.protocol import plain, v2
from pliant.serving.protocol.request import BadRequestError, checked
from pliant.wire.service_api import ServiceSpec
from pliant.wire.tensors import Signature, TensorSpec

HERE = Path(__file__).parent
KEY = {"Authorization": "Bearer sesame"}
POST = {200, 400, 401, 405}
SEEN = {
    "GET /v2": {200, 401, 405},
    "GET /v2/health/live": {200, 405},
    "GET /v2/health/ready": {200, 401, 405},
    "GET /v2/models/model": {200, 401, 405},
    "GET /v2/models/model/ready": {200, 401, 405},
    "GET /v2/models/model/versions/{version}": {200, 401, 404, 405},
    "GET /v2/models/model/versions/{version}/ready": {200, 401, 404, 405},
    "POST /v2/models/model/infer": POST,
    "POST /v2/models/model/versions/{version}/infer": POST | {404},
    "POST /predict": POST | {413},
    "GET /status": {200, 401, 405},
    "GET /metrics": {200, 401, 405},
}
"""What each operation has answered at least, when schemathesis is through with it."""


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A service that wants a key."""
    with pytest.MonkeyPatch.context() as patch, services(tmp_path_factory.mktemp("locked")) as start:
        patch.setenv("PLIANT_API_KEY", "sesame")
        yield start("Double").wait_ready()


def statuses_of(report):
    """Which statuses came from which operation."""
    found = defaultdict(set)
    for line in report.read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder") or {}
        for number, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][number]["value"]
            label = recorder["label"] if recorder["label"] in SEEN else f"{case['method']} {case['path']}"
            if interaction["response"] is not None:
                found[label].add(interaction["response"]["status_code"])
    return found


@pytest.mark.few(0)
def test_schemathesis_finds_no_answer_that_is_not_described(locked, tmp_path):
    report, description = tmp_path / "report.ndjson", tmp_path / "openapi.json"
    description.write_bytes(locked.client.get(f"{locked.url}/openapi.json", headers=KEY).content)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"),
        "run", str(description), "--url", locked.url, "--generation-deterministic", "--max-examples", "40",
        "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "60", "--report", "ndjson", "--report-ndjson-path", str(report), "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNINGS" not in done.stdout, done.stdout
    found = statuses_of(report)
    assert {label: wanted - found[label] for label, wanted in SEEN.items() if wanted - found[label]} == {}
    assert all(status < 500 for statuses in found.values() for status in statuses)
    assert locked.predict([[1, 2, 3]], headers=KEY).json() == [[2, 4, 6]]


def test_every_described_operation_is_expected_to_be_tried(locked):
    described = locked.client.get(f"{locked.url}/openapi.json", headers=KEY).json()
    operations = {
        f"{method.upper()} {path}"
        for path, methods in described["paths"].items()
        for method in methods.keys() - {"parameters"}
    }
    assert operations == SEEN.keys()


def schema_of(name, signature, most_rows=4):
    spec = ServiceSpec(name="model", target="", python="", directory="", batch=most_rows)
    described = openapi(spec, signature)
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def taken(parse, signature, most_rows=4):
    try:
        checked(parse(), signature, most_rows=most_rows)
    except BadRequestError:
        return False
    return True


edges = [0, 1, -1, 127, 128, 255, 256, 65503.9, 65519.99, 65520, 3.39e38, 3.3961e38, 3.4028235e38, 3.4028236e38, 2**63]
number = st.sampled_from(edges) | st.integers(-300, 300) | st.floats(allow_nan=False, allow_infinity=False)
leaf = number | st.booleans() | st.none() | st.text(max_size=3)
names = st.sampled_from(["a", "b", "c"])


def rows(leaves):
    inner = st.lists(st.lists(leaves, min_size=1, max_size=3), min_size=1, max_size=5)
    flat = st.lists(leaves, min_size=1, max_size=3)
    return inner | flat | st.lists(st.lists(flat, min_size=2, max_size=2), min_size=1, max_size=3) | leaves


specs = st.builds(
    TensorSpec, names, st.sampled_from(DATATYPES), st.sampled_from([(), (2,), (3,), (2, 2), (1,)]),
)  # fmt: skip
signatures = st.lists(specs, min_size=1, max_size=2, unique_by=lambda spec: spec.name).map(
    lambda found: Signature(tuple(found))
)
bodies = st.one_of(rows(number), rows(leaf), st.dictionaries(names, rows(number) | rows(leaf), max_size=3))


@given(signatures, bodies)
def test_what_predict_takes_is_what_its_schema_says(signature, body):
    text = json.dumps(body).encode()
    assert taken(lambda: plain.parse_json(text, signature), signature) == schema_of("Rows", signature).is_valid(body)


def tensors(spec):
    """Inference inputs near what the spec wants."""
    size = st.integers(0, 5)
    shape = st.lists(size, max_size=3) | st.just([1, *spec.shape]) | st.just([2, *spec.shape])
    return st.fixed_dictionaries(
        {
            "name": st.just(spec.name) | names,
            "datatype": st.just(spec.datatype) | st.sampled_from(DATATYPES),
            "shape": shape,
            "data": st.lists(number, max_size=12) | rows(leaf) | st.just([0] * 2) | st.just([1] * 4),
        }
    )


@given(st.data(), signatures)
def test_no_inference_request_is_taken_that_its_schema_refuses(data, signature):
    body = {"inputs": [data.draw(tensors(spec)) for spec in signature.inputs]}
    text = json.dumps(body).encode()
    if taken(lambda: v2.parse(text), signature):
        assert schema_of("InferRequest", signature).is_valid(body)


EXAMPLES = [
    Signature((TensorSpec("x", "FP32", (3,)),), (TensorSpec("y", "FP32", (2,)),)),
    Signature((TensorSpec("a", "BOOL", ()), TensorSpec("b", "INT64", (2, 2)))),
    Signature((TensorSpec("x", "BF16", (1, 8, 8)),), streams=True),
]


@pytest.mark.parametrize("signature", EXAMPLES)
def test_the_examples_are_taken(signature):
    spec = ServiceSpec(name="model", target="", python="", directory="")
    paths = openapi(spec, signature)["paths"]
    parsers = {"/predict": lambda text: plain.parse_json(text, signature), "/v2/models/model/infer": v2.parse}
    for path, parse in parsers.items():
        text = json.dumps(paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]).encode()
        assert taken(lambda parse=parse, text=text: parse(text), signature)
    kinds = paths["/predict"]["post"]["responses"]["200"]["content"].keys()
    assert (kinds == {"text/event-stream"}) == signature.streams
    assert "'example':" not in str(openapi(spec, Signature()))
    assert "curl http://127.0.0.1:0/predict" in docs_page(spec, signature)


def test_an_example_that_would_fill_the_page_is_left_out():
    spec = ServiceSpec(name="model", target="", python="", directory="")
    assert len(json.dumps(openapi(spec, Signature((TensorSpec("x", "FP32", (3, 224, 224)),))))) < 30_000
