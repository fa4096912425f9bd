"""Bodies to tensors and back: what is taken, and that everything else is the client's mistake and no crash."""

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.serving.protocol import plain, v2
from pliant.serving.protocol.request import BadRequestError, InferRequest, Tensor, checked
from pliant.serving.protocol.values import NUMPY, to_json
from pliant.wire.tensors import Signature, TensorHead, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (3,)),), (TensorSpec("y", "FP32", (3,)),))
TWO = Signature((TensorSpec("a", "FP32", (2,)), TensorSpec("b", "INT64", (-1,))))


def body(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


def binary(size_bytes):
    return {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": size_bytes}}


def tensor(data, name="x", shape=(1, 3), datatype="FP32", **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data, **more}


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", [1, 2.5, -3]),
        ("FP64", [1e300, 0.1, 0]),
        ("FP16", [0.5, 1, 2]),
        ("INT64", [-(1 << 63), 0, (1 << 63) - 1]),
        ("UINT64", [0, 1, (1 << 64) - 1]),
        ("INT8", [-128, 0, 127]),
        ("UINT8", [0, 128, 255]),
        ("BOOL", [True, False, True]),
    ],
)
def test_numbers_come_through_as_they_are(datatype, data):
    request = v2.parse(body(tensor(data, datatype=datatype)))
    (found,) = request.inputs
    assert found.head == TensorHead("x", datatype, (1, 3))
    assert np.frombuffer(found.data, NUMPY[datatype]).tolist() == data
    assert to_json(found.head, found.data) == data


@pytest.mark.parametrize(
    ("each", "told"),
    [
        (tensor([1, 2]), "is 3 numbers, and 2 were sent"),
        (tensor([[1, 2], [3]]), "no array of numbers"),
        (tensor(["a", "b", "c"]), "its data are text"),
        (tensor([1, None, 3]), "no plain numbers"),
        (tensor([1.5, 2, 3], datatype="INT32"), "should be INT32, and its data are numbers with fractions"),
        (tensor([300, 2, 3], datatype="UINT8"), "numbers from 0 to 255"),
        (tensor([-1, 2, 3], datatype="UINT8"), "numbers from 0 to 255"),
        (tensor([1e300, 2, 3]), "cannot hold numbers as large"),
        (tensor([1, 2, 3], datatype="BYTES"), "datatype 'BYTES'; expected one of BOOL, UINT8"),
        (tensor([1, 2, 3], datatype="BF16"), "only be sent as binary data"),
        (tensor([1, 2, 3], shape=[1, -3]), "which cannot be"),
        (tensor([1, 2, 3], shape=[1] * 33), "which cannot be"),
        ({"name": "x", "shape": [1, 3], "datatype": "FP32"}, "neither data nor"),
        (tensor([1, 2, 3], parameters={"binary_data_size": 12}), "both data and"),
        (binary(12), "0 bytes are left"),
        (binary("a"), "binary_data_size"),
        (tensor([1 << 70, 2, 3], datatype="INT64"), "numbers from -9223372036854775808"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(each, told):
    with pytest.raises(BadRequestError, match=told.replace("(", r"\(")):
        v2.parse(body(each))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"null", b'{"inputs": 3}', b'{"inputs": [{"name": NaN}]}', b"[" * 100_000, b"\xff"]
)
def test_no_request_at_all(text):
    with pytest.raises(BadRequestError, match="the body is no inference request"):
        v2.parse(text)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (-1, "the body has"),
        (10_000, "the body has"),
        (None, "no inference request"),
    ],
)
def test_lengths_of_the_binary_extension(head, told):
    data = body({"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}) + bytes(12)
    assert v2.parse(data, header_bytes=len(data) - 12).inputs[0].head.shape == (1, 3)
    with pytest.raises(BadRequestError, match=told):
        v2.parse(data, header_bytes=head)
    with pytest.raises(BadRequestError, match="2 bytes are left behind"):
        v2.parse(data + b"ab", header_bytes=len(data) - 12)
    with pytest.raises(BadRequestError, match="11 bytes are left"):
        v2.parse(data[:-1], header_bytes=len(data) - 12)


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(-5, 300)))
def test_any_bytes_are_the_clients_mistake(data, head):
    with pytest.raises(BadRequestError):
        v2.parse(data, header_bytes=head)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, JSON, JSON, st.sampled_from([*NUMPY, "BYTES"]), st.binary(max_size=30))
def test_any_json_is_taken_or_told(shape, data, parameters, datatype, rest):
    each = {"name": "x", "shape": shape, "datatype": datatype, "data": data, "parameters": parameters}
    text = json.dumps({"inputs": [each]}).encode()
    for parse in (
        lambda: v2.parse(text),
        lambda: v2.parse(text + rest, header_bytes=len(text)),
        lambda: plain.parse_json(json.dumps(data).encode(), SIGNATURE),
        lambda: plain.parse_json(json.dumps(data).encode(), Signature()),
    ):
        try:
            request = parse()
        except BadRequestError:
            continue
        for found in request.inputs:
            assert memoryview(found.data).nbytes == found.head.size_bytes


@given(st.binary(max_size=300))
def test_any_npy_is_taken_or_told(data):
    for content in (data, b"\x93NUMPY" + data, b"\x93NUMPY\x01\x00" + data):
        try:
            plain.parse_npy(content, SIGNATURE)
        except BadRequestError:
            continue


def test_npy_of_objects_is_not_unpickled():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadRequestError, match=r"no \.npy file with numbers"):
        plain.parse_npy(file.getvalue(), SIGNATURE)


def test_npy_of_another_byte_order():
    file = io.BytesIO()
    np.save(file, np.arange(3, dtype=">f4").reshape(1, 3))
    (found,) = plain.parse_npy(file.getvalue(), SIGNATURE).inputs
    assert np.frombuffer(found.data, "<f4").tolist() == [0, 1, 2]


def request_of(*heads):
    return InferRequest(tuple(Tensor(head, bytes(head.size_bytes)) for head in heads))


X = TensorHead("x", "FP32", (2, 3))


@pytest.mark.parametrize(
    ("request_", "signature", "told"),
    [
        (request_of(), SIGNATURE, "there is no input; expected x: FP32 [-1, 3]"),
        (request_of(X, X), SIGNATURE, "a name is there twice"),
        (request_of(TensorHead("z", "FP32", (2, 3))), SIGNATURE, "there is no input z; input x is missing"),
        (request_of(TensorHead("x", "FP64", (2, 3))), SIGNATURE, "input x is FP64, expected FP32"),
        (request_of(TensorHead("x", "FP32", (2, 4))), SIGNATURE, "input x has shape [2, 4], expected [-1, 3]"),
        (request_of(TensorHead("x", "FP32", (3,))), SIGNATURE, "input x has shape [3], expected [-1, 3]"),
        (request_of(TensorHead("x", "FP32", (0, 3))), SIGNATURE, "at least one"),
        (request_of(TensorHead("x", "FP32", (9, 3))), SIGNATURE, "9 rows in one request; at most 8"),
        (request_of(TensorHead("b", "INT64", (2, 7))), TWO, "input a is missing"),
        (
            request_of(TensorHead("b", "INT64", (2, 7)), TensorHead("a", "FP32", (3, 2))),
            TWO,
            "different numbers of rows (b: 2, a: 3)",
        ),
        (request_of(TensorHead("any", "FP32", ())), Signature(), "its first dimension are the rows"),
    ],
)
def test_what_the_model_does_not_take(request_, signature, told):
    with pytest.raises(BadRequestError) as caught:
        checked(request_, signature, most_rows=8)
    assert told in str(caught.value)


def test_inputs_are_put_in_the_models_order():
    request = request_of(TensorHead("b", "INT64", (2, 7)), TensorHead("a", "FP32", (2, 2)))
    assert [each.head.name for each in checked(request, TWO, most_rows=8).inputs] == ["a", "b"]
    assert [each.head.name for each in checked(request, Signature(), most_rows=8).inputs] == ["a", "b"]


def test_an_output_that_is_not_there():
    request = InferRequest(request_of(X).inputs, outputs=("z",))
    with pytest.raises(BadRequestError, match="there is no output z; the model has y"):
        checked(request, SIGNATURE, most_rows=8)


def test_bfloat16_comes_out_as_numbers_and_what_json_has_no_word_for_as_null():
    head = TensorHead("y", "BF16", (2,))
    assert to_json(head, np.array([0x3F80, 0xC000], "<u2").tobytes()) == [1.0, -2.0]
    infinite = Tensor(TensorHead("y", "FP32", (1, 2)), np.array([np.nan, 1], np.float32).tobytes())
    assert plain.respond_json([infinite]) == b"[[null,1.0]]"
