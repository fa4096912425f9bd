"""What schemathesis cannot know of a service: bodies that are no JSON, and what JSON Schema has no words for."""

import io
import json
from math import prod

import numpy as np
import schemathesis
from hypothesis import strategies as st

PATIENT_MS = 60_000


def npy(rows, by_columns, order):
    array = np.array(rows, np.dtype("f4").newbyteorder(order))
    file = io.BytesIO()
    np.save(file, np.asfortranarray(array) if by_columns else array)
    return file.getvalue()


row = st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3)
files = st.builds(npy, st.lists(row, min_size=1, max_size=32), st.booleans(), st.sampled_from("<>"))
for kind in ("application/octet-stream", "application/x-npy"):
    schemathesis.openapi.media_type(kind, files)


@schemathesis.deserializer("application/octet-stream")
def deserialize(ctx, response):
    """An .npy file, or tensors behind their JSON: raises if they are not what they say."""
    lengths = response.headers.get("inference-header-content-length")
    if lengths is None:
        return np.load(io.BytesIO(response.content), allow_pickle=False).tolist()
    text, data = response.content[: int(lengths[0])], response.content[int(lengths[0]) :]
    told = json.loads(text)
    sizes = [output["parameters"]["binary_data_size"] for output in told["outputs"] if "data" not in output]
    if sum(sizes) != len(data):
        raise ValueError(f"the outputs say {sizes}, and {len(data)} bytes came")
    return told


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Make good requests of those that are meant to be."""
    be_patient(case.headers)
    if case.path.endswith("/infer") and case.meta is not None and case.meta.generation.mode.is_positive:
        case.headers.pop("Inference-Header-Content-Length", None)
        if case.media_type == "application/json":
            fit(case.body)
        elif isinstance(case.body, bytes):
            case.body, length = as_binary(case.body)
            case.headers["Inference-Header-Content-Length"] = str(length)


def be_patient(headers):
    """Deadlines that may pass while the answer is computed are no test of the description."""
    try:
        given = float(headers["X-Deadline-Ms"])
    except (KeyError, ValueError, TypeError):
        return
    if 0 < given < PATIENT_MS:
        headers["X-Deadline-Ms"] = str(PATIENT_MS)


def fit(body):
    """As many numbers as the shape says, in the body and not behind it."""
    for tensor in body["inputs"]:
        tensor.pop("parameters", None)
        leaves = [leaf for leaf in tensor.get("data") or () if not isinstance(leaf, list)] or [0.5]
        size = prod(map(int, tensor["shape"]))  # 2.0 is an integer to JSON Schema
        tensor["data"] = (leaves * size)[:size]


def as_binary(file):
    """The array of an .npy file as an inference request with its bytes behind it."""
    array = np.load(io.BytesIO(file)).astype("<f4")
    tensor = {"name": "x", "shape": array.shape, "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": len(array) % 2 == 0}}).encode()
    return text + array.tobytes(), len(text)
