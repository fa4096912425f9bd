"""NVIDIA's public client, tritonclient[http], against a service: what its users do works, what does not is told."""

import ml_dtypes
import numpy as np
import pytest
from service_models import DATATYPES
from tritonclient import http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

SERVED = ("Echo", "--batch", "8")
INFINITE = np.array([[np.inf, np.nan], [-np.inf, 1]])
VALUES = {
    "BOOL": np.array([[True, False], [False, True]]),
    "FP16": np.array([[0.5, 65504], [-2, 0.1]], np.float16),
    "BF16": np.array([[0.5, 3e38], [-2, 0.1]], ml_dtypes.bfloat16),
    "FP32": np.array([[0.1, 3.4e38], [-1e-45, 7]], np.float32),
    "FP64": np.array([[0.1, 1.7e308], [-5e-324, 7]]),
    **{
        f"{sign}{bits}": np.array([[0, 1], [np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)
        for sign, letter in (("UINT", "u"), ("INT", "i"))
        for bits in (8, 16, 32, 64)
        for dtype in [np.dtype(f"{letter}{bits // 8}")]
    },
}
"""One array for each datatype, with its extremes."""


@pytest.fixture
def client(shared):
    with http.InferenceServerClient(shared.url.removeprefix("http://")) as client:
        yield client


def inputs(values=VALUES, *, as_json=(), only=None):
    found = []
    for name, array in values.items():
        found.append(http.InferInput(only or name, list(array.shape), np_to_triton_dtype(array.dtype)))
        found[-1].set_data_from_numpy(array, binary_data=name not in as_json)
    return found


def assert_same(result, values=VALUES):
    for name, array in values.items():
        found = result.as_numpy(name)
        assert found.dtype == array.dtype, name
        assert found.shape == array.shape, name
        assert found.tobytes() == array.tobytes(), name


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("model")
    assert client.is_model_ready("model", "1")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("model", "2")


def test_metadata(client):
    server = client.get_server_metadata()
    assert server["name"] == "pliant"
    assert server["extensions"] == ["binary_tensor_data"]
    for metadata in (client.get_model_metadata("model"), client.get_model_metadata("model", "1")):
        assert metadata["name"] == "model"
        assert metadata["versions"] == ["1"]
        tensors = [{"name": name, "datatype": name, "shape": [-1, 2]} for name in DATATYPES]
        assert metadata["inputs"] == metadata["outputs"] == tensors


def test_every_datatype_as_bytes(client):
    result = client.infer("model", inputs(), request_id="seven")
    assert_same(result)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("seven", "model", "1")
    assert all("binary_data_size" in output["parameters"] for output in response["outputs"])


def test_every_datatype_as_json(client):
    outputs = [http.InferRequestedOutput(name, binary_data=False) for name in VALUES]
    result = client.infer("model", inputs(as_json=VALUES.keys() - {"BF16"}), outputs=outputs)
    assert_same(result)
    assert all("data" in output for output in result.get_response()["outputs"])


def test_json_and_bytes_beside_each_other_in_and_out(client):
    wanted = {"FP64": True, "BOOL": False, "INT8": True}
    outputs = [http.InferRequestedOutput(name, binary_data=binary) for name, binary in wanted.items()]
    result = client.infer("model", inputs(as_json={"FP32", "UINT64", "BOOL"}), outputs=outputs)
    assert_same(result, {name: VALUES[name] for name in wanted})
    assert {output["name"] for output in result.get_response()["outputs"]} == {"FP64", "BOOL", "INT8"}
    assert "data" in result.get_output("BOOL")
    assert "data" not in result.get_output("INT8")


def test_infinity_comes_through_as_bytes_and_is_null_in_json(client):
    values = VALUES | {"FP64": INFINITE}
    assert_same(client.infer("model", inputs(values)), {"FP64": INFINITE})
    outputs = [http.InferRequestedOutput("FP64", binary_data=False)]
    assert client.infer("model", inputs(values), outputs=outputs).get_output("FP64")["data"] == [None, None, None, 1]


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_packed_requests(client, packing):
    rows = {name: array[:1] for name, array in VALUES.items()}
    for as_json in ((), ("FP32", "INT64")):
        result = client.infer(
            "model",
            inputs(rows, as_json=as_json),
            request_compression_algorithm=packing,
            response_compression_algorithm=packing,
        )
        assert_same(result, rows)


def test_a_version_of_the_model(client):
    result = client.infer("model", inputs(), model_version="1")
    assert result.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException, match="there is no version '2' of model; there is 1") as caught:
        client.infer("model", inputs(), model_version="2")
    assert caught.value.status() == "404"


def test_requests_at_the_same_time(shared):
    with http.InferenceServerClient(shared.url.removeprefix("http://"), concurrency=8) as client:
        rows = [{name: np.roll(array, number) for name, array in VALUES.items()} for number in range(24)]
        waiting = [client.async_infer("model", inputs(row)) for row in rows]
        for row, request in zip(rows, waiting, strict=True):
            assert_same(request.get_result(), row)


def test_what_is_in_triton_and_not_here(client):
    asked = [
        lambda: client.get_model_config("model"),
        client.get_model_repository_index,
        lambda: client.load_model("model"),
        client.get_inference_statistics,
        client.get_system_shared_memory_status,
        client.get_trace_settings,
        client.get_log_settings,
    ]
    for ask in asked:
        with pytest.raises(InferenceServerException, match=r"there is (nothing at /v2/|no model)") as caught:
            ask()
        assert caught.value.status() == "404"


def refused(client, told, status, *, model="model", values=VALUES, outputs=None, **more):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs(values) if isinstance(values, dict) else values, outputs=outputs, **more)
    assert told in caught.value.message()
    assert caught.value.status() == str(status)


def test_mistakes_come_as_the_clients_exception_with_our_message(client):
    refused(client, "there is no model 'other'; this service serves 'model'", 404, model="other")
    refused(client, "input FP64 is missing", 400, values={k: v for k, v in VALUES.items() if k != "FP64"})
    refused(client, "there is no input mine", 400, values=VALUES | {"mine": VALUES["FP32"]})
    refused(client, "input INT8 is INT16, expected INT8", 400, values=VALUES | {"INT8": VALUES["INT16"]})
    refused(
        client, "input FP32 has shape [2, 3], expected [-1, 2]", 400, values=VALUES | {"FP32": np.ones((2, 3), "f4")}
    )
    refused(client, "different numbers of rows", 400, values=VALUES | {"FP32": np.ones((1, 2), "f4")})
    refused(client, "9 rows in one request; at most 8", 413, values={k: v[[0] * 9] for k, v in VALUES.items()})
    refused(client, "at least one", 400, values={k: v[:0] for k, v in VALUES.items()})
    refused(client, "there is no output w", 400, outputs=[http.InferRequestedOutput("w")])
    refused(client, "input FP32: the name is there twice", 400, values=inputs() + inputs({"FP32": VALUES["FP32"]}))
    text = {"INT8": np.array([[b"a", b"b"]], np.object_)}
    refused(client, "datatype 'BYTES' (strings are not served", 400, values=VALUES | text)
    refused(client, "left", 504, headers={"X-Deadline-Ms": "0.001"})
    refused(client, "expected milliseconds", 400, headers={"X-Deadline-Ms": "soon"})
    refused(client, "expected one of gzip and deflate", 415, headers={"Content-Encoding": "br"})
    refused(client, "classification is not supported", 400, outputs=[http.InferRequestedOutput("FP32", class_count=2)])
    refused(client, "sequence_id is not supported", 400, sequence_id=7, sequence_start=True)
    shared_memory = http.InferInput("FP32", [2, 2], "FP32").set_shared_memory("region", 16)
    refused(client, "shared_memory_region is not supported", 400, values=[shared_memory])
    no_number = http.InferInput("FP64", [2, 2], "FP64").set_data_from_numpy(INFINITE, binary_data=False)
    refused(client, "JSON has no NaN and no Infinity; send them as binary data", 400, values=[no_number])
    assert_same(client.infer("model", inputs()))
