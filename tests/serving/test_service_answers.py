"""A service that nothing happens to: what it answers, to whom, and how."""

import io
import json

import numpy as np
import pytest
import torch
from raw_http import parsed, request_bytes, talk
from service_models import RAISES, Net

import pliant


def test_from_zero_replicas_and_back(serve):
    service = serve("Double", "--idle", "0.5")
    assert service.status()["replicas"] == []
    answer = service.predict([[1, 2, 3], [4, 5, 6]])
    assert answer.status_code == 200, answer.text
    assert answer.json() == [[2, 4, 6], [8, 10, 12]]
    assert answer.headers["x-pliant-version"] == "1"
    service.wait_replicas(0)
    assert service.predict([[1, 1, 1]]).json() == [[2, 2, 2]]


def test_more_requests_more_replicas(serve):
    service = serve("Double", "--replicas", "0:3", "--target", "2", "--batch", "2", "--idle", "1")
    service.hold()
    answers = [service.later([[n, n, n]]) for n in range(1, 9)]
    service.wait_requests(8)
    assert len(service.wait_replicas(3)) == 3
    service.release()
    assert [answer.result().json() for answer in answers] == [[[2.0 * n] * 3] for n in range(1, 9)]
    service.wait_replicas(0)
    assert service.status()["answered"] == 8


def test_the_open_inference_protocol(share):
    service = share("Double")
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
    answer = service.infer({"id": "seven", "inputs": [tensor]})
    assert answer.json() == {
        "model_name": "model",
        "model_version": "1",
        "id": "seven",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [2, 3], "data": [2, 4, 6, 8, 10, 12]}],
    }
    get = service.client.get
    assert get(f"{service.url}/v2/models/model").json()["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
    ]
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/model/ready", "/docs", "/openapi.json"):
        assert get(service.url + path).status_code == 200, path
        head = service.client.head(service.url + path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-length"] != "0", path
    assert get(f"{service.url}/v2").json()["version"] == pliant.__version__
    assert get(f"{service.url}/v2/health/live").json() == {"live": True}
    assert get(f"{service.url}/v2/health/ready").json() == {"live": True, "ready": True}
    for path in ("ready", "versions/1/ready"):
        assert get(f"{service.url}/v2/models/model/{path}").json() == {"name": "model", "ready": True}
    assert get(f"{service.url}/v2/models/other").status_code == 404
    wrong = get(f"{service.url}/v2/models/model/infer")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    wrong = service.client.post(f"{service.url}/v2")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_a_body_that_does_not_come(serve):
    service = serve("Double", "--timeout", "1")
    text = request_bytes("/predict", b"[[1, 2, 3]]")
    answer = parsed(talk(service.url, text[:-1]))
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert answer.error == "the body did not come within 1 s"
    assert parsed(talk(service.url, text)).status == 200


def test_an_output_that_an_undeclared_model_does_not_have(share):
    service = share("Sum")
    tensors = [{"name": name, "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} for name in "ab"]
    answer = service.infer({"inputs": tensors, "outputs": [{"name": "product"}]})
    assert answer.status_code == 400
    assert answer.json() == {"error": "there is no output product; the model has sum, difference"}
    answer = service.infer({"inputs": tensors, "outputs": [{"name": "sum"}]})
    assert answer.json()["outputs"] == [{"name": "sum", "datatype": "FP32", "shape": [1, 2], "data": [2, 4]}]


def test_binary_tensors(share):
    service = share("Double")
    data = np.arange(6, dtype=np.float32)
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": data.nbytes}}
            ],
            "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    url = f"{service.url}/v2/models/model/infer"
    answer = service.client.post(url, content=head + data.tobytes(), headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    told = json.loads(answer.content[:length])
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(answer.content[length:], np.float32).tolist() == (data * 2).tolist()


def test_npy_in_and_out(share):
    service = share("Double")
    file = io.BytesIO()
    np.save(file, np.ones((2, 3), np.float32))
    headers = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
    answer = service.client.post(f"{service.url}/predict", content=file.getvalue(), headers=headers)
    assert np.load(io.BytesIO(answer.content)).tolist() == [[2.0] * 3] * 2


def test_several_inputs_and_outputs(share):
    service = share("Sum")
    assert service.predict({"a": [[1, 2]], "b": [[3, 5]]}).json() == {"sum": [[4, 7]], "difference": [[-2, -3]]}


@pytest.mark.parametrize("model", ["Counting", "CountingLater"])
def test_a_model_that_yields_is_streamed(share, model):
    service = share(model)
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.5]}
    for path, body in (("predict", [[1.5]]), ("v2/models/model/infer", {"inputs": [tensor]})):
        with service.client.stream("POST", f"{service.url}/{path}", json=body) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            lines = [line for line in answer.iter_lines() if line]
        assert lines == ["data: [[1.5]]", "data: [[2.5]]", "data: [[3.5]]", "event: end", "data: {}"]


def test_a_stream_that_raises_in_the_middle_says_so(share):
    service = share("Counting")
    with service.client.stream("POST", f"{service.url}/predict", json=[[RAISES]]) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-2] == "event: error"
    assert "in the middle" in lines[-1]
    assert service.predict([[1.0]]).status_code == 200


def archives(directory):
    """The same module in every form that is served without a wrapper."""
    net = Net().eval()
    torch.jit.trace(net, torch.ones(1, 3)).save(str(directory / "net.pt"))
    rows = {"x": {0: torch.export.Dim("rows", min=1, max=64)}}
    torch.export.save(torch.export.export(net, (torch.ones(2, 3),), dynamic_shapes=rows), directory / "net.pt2")


@pytest.mark.parametrize("form", ["Net", "net.pt", "net.pt2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_plain_module_and_archives(serve, tmp_path, form):
    archives(tmp_path)
    service = serve(form if form == "Net" else str(tmp_path / form))
    for rows in (1, 3):
        answer = service.predict([[1.0, 2.0, 3.0]] * rows)
        assert answer.status_code == 200, answer.text
        assert answer.json() == [[3.0, 3.0]] * rows


def test_an_api_key(monkeypatch, serve):
    monkeypatch.setenv("PLIANT_API_KEY", "sesame")
    service = serve("Double")
    assert service.client.get(f"{service.url}/v2/health/live").status_code == 200
    refused = service.predict([[1, 2, 3]])
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert service.predict([[1, 2, 3]], headers={"Authorization": "Bearer sesam"}).status_code == 401
    assert service.predict([[1, 2, 3]], headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert service.client.get(f"{service.url}/status").status_code == 401
