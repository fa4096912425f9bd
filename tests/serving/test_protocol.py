"""Bodies to tensors and back: what is taken, and that everything else is the client's mistake and no crash."""

import functools
import io
import json
import re
import tracemalloc

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


def npy_of(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_head(descr, shape):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


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
        ("INT32", [1.0, -2.0, 3]),
        ("BF16", [1, -2.5, 3.0]),
        ("BOOL", [True, False, True]),
    ],
)
def test_numbers_come_through_as_they_are(datatype, data):
    request = v2.parse(body(tensor(data, datatype=datatype)))
    (found,) = request.inputs
    assert found.head == TensorHead("x", datatype, (1, 3))
    if datatype in NUMPY:
        assert np.frombuffer(found.data, NUMPY[datatype]).tolist() == data
    assert to_json(found.head, found.data) == data


@pytest.mark.parametrize(
    ("each", "told"),
    [
        (tensor([1, 2]), "is 3 numbers, and 2 were sent"),
        (tensor([[1, 2], [3]]), "no array of numbers"),
        (tensor(["a", "b", "c"]), "its data are text"),
        (tensor([1, None, 3]), "its data are null; JSON has no NaN"),
        (tensor([1, {}, 3]), "its data are objects"),
        (tensor([True, 2, 3]), "its data are booleans"),
        (tensor([0, 1, 1], datatype="BOOL"), "should be BOOL, and its data are whole numbers"),
        (tensor(7), "its data are whole numbers; expected a list"),
        (tensor([[1], [2], [3]]), "nested as [3, 1]; expected the same, or one flat list"),
        (tensor([0.5, 2, 3], datatype="UINT8"), "numbers with fractions"),
        (tensor([1e300, 2, 3], datatype="INT64"), "numbers with fractions"),
        (tensor([1e39, 2, 3], datatype="BF16"), "BF16, which cannot hold numbers as large"),
        (tensor([1] * 3, shape=[1, 0, 1 << 70]), "which cannot be"),
        (tensor([1], name="n" * 257), "has 257 characters; at most 256"),
        (tensor([1, 2, 3], parameters={"shared_memory_region": "r"}), "shared_memory_region is not supported"),
        (tensor(functools.reduce(lambda inner, _: [inner], range(40), 1)), "nested deeper than 32 lists"),
        (tensor([1.5, 2, 3], datatype="INT32"), "should be INT32, and its data are numbers with fractions"),
        (tensor([300, 2, 3], datatype="UINT8"), "numbers from 0 to 255"),
        (tensor([-1, 2, 3], datatype="UINT8"), "numbers from 0 to 255"),
        (tensor([1e300, 2, 3]), "cannot hold numbers as large"),
        (tensor([1, 2, 3], datatype="BYTES"), "datatype 'BYTES' (strings are not served, numbers only); expected"),
        (tensor([1, 2, 3], datatype="fp32"), "datatype 'fp32'; expected one of BOOL, UINT8"),
        (tensor([1, 2, 3], shape=[1, -3]), "which cannot be"),
        (tensor([1, 2, 3], shape=[1] * 33), "which cannot be"),
        ({"name": "x", "shape": [1, 3], "datatype": "FP32"}, "neither data nor"),
        (tensor([1, 2, 3], parameters={"binary_data_size": 12}), "both data and"),
        (binary(12), "0 bytes are left"),
        (binary("a"), "binary_data_size 'a'; expected a whole number"),
        (binary(11.5), "binary_data_size 11.5; expected a whole number"),
        (binary(-1), "binary_data_size -1, and 0 bytes are left"),
        (tensor([1, 2, 3], shape=[1, 2.5]), "shape 2.5; expected a whole number"),
        (tensor([1 << 70, 2, 3], datatype="INT64"), "numbers from -9223372036854775808"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(each, told):
    with pytest.raises(BadRequestError, match=re.escape(told)):
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
    with pytest.raises(BadRequestError, match="the array is object; expected one of BOOL"):
        plain.parse_npy(file.getvalue(), SIGNATURE)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)),
        np.arange(12, dtype="<f4").reshape(2, 6)[:, ::2],
    ],
)
def test_npy_of_another_byte_order_or_layout(array):
    (found,) = plain.parse_npy(npy_of(array), SIGNATURE).inputs
    assert np.frombuffer(found.data, "<f4").reshape(found.head.shape).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (npy_of(np.ones((1, 3), np.float32))[:-1], "which is 12 bytes, and 11 bytes were sent"),
        (npy_of(np.ones((1, 3), np.float32)) + b"!", "which is 12 bytes, and 13 bytes were sent"),
        (npy_of(np.ones((1, 3), complex)), "the array is complex128; expected one of BOOL"),
        (npy_of(np.array([[1, 2, 3]], np.uint8).view(bool)), "BOOL, and has a byte of 3"),
        (npy_head("'<f4'", "(1099511627776,)"), "which cannot be"),
        (npy_head("'<f4'", "(1, 0, 99999999999999999999)"), "which cannot be"),
        (npy_head("()", "(1,)"), "no .npy file with numbers"),
        (npy_head("-" * 5000 + "1", "(1,)"), "no .npy file with numbers"),
        (npy_head("(" * 200, "(1,)"), "no .npy file with numbers"),
        (b"PK\x03\x04", "no .npy file with numbers"),
        (npy_of(np.ones((1, 3)))[:6] + b"\x03\x00" + bytes(20), "format 3.0 is neither"),
    ],
)
def test_npy_that_is_none(content, told):
    with pytest.raises(BadRequestError, match=re.escape(told)):
        plain.parse_npy(content, SIGNATURE)


def test_npy_takes_true_for_a_size_and_the_replicas_do_not():
    (found,) = plain.parse_npy(npy_head("'<f4'", "(1, True)") + bytes(4), Signature()).inputs
    assert [type(size) for size in found.head.shape] == [int, int]


def request_of(*heads):
    return InferRequest(tuple(Tensor(head, bytes(head.size_bytes)) for head in heads))


X = TensorHead("x", "FP32", (2, 3))


@pytest.mark.parametrize(
    ("request_", "signature", "told"),
    [
        (request_of(), SIGNATURE, "there is no input; expected x: FP32 [-1, 3]"),
        (request_of(X, X), SIGNATURE, "input x: the name is there twice"),
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


def test_more_inputs_than_any_model_has():
    with pytest.raises(BadRequestError, match="257 inputs in one request; at most 256"):
        checked(request_of(*(TensorHead(str(number), "FP32", (1,)) for number in range(257))), Signature(), most_rows=8)


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


def test_short_strings_beside_a_long_one_take_no_more_memory_than_they_are():
    text = body(tensor(["a"] * 3000 + ["b" * 1_000_000]))
    tracemalloc.start()
    with pytest.raises(BadRequestError, match="its data are text"):
        v2.parse(text)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 3 * len(text)  # numpy would have made 11 GiB of it


@pytest.mark.parametrize("word", ["NaN", "-Infinity"])
def test_numbers_that_json_has_not(word):
    with pytest.raises(BadRequestError, match=f"JSON has no {word.strip('-')}; send them as binary data"):
        v2.parse(body(tensor([1, 2, 3])).replace(b"[1, 2", f"[{word}, 2".encode()))


OUTPUTS = [Tensor(TensorHead(name, "FP32", (1, 1)), np.array([[5]], np.float32).tobytes()) for name in ("y", "z")]


@pytest.mark.parametrize(
    ("outputs", "all_binary", "expected"),
    [
        ([], None, {"y": False, "z": False}),
        ([], True, {"y": True, "z": True}),
        (["y"], None, {"y": False}),
        (["z"], True, {"z": True}),
        (["y", ("z", True)], None, {"y": False, "z": True}),
        (["y", ("z", False)], True, {"y": True, "z": False}),
        ([("z", True), "y"], False, {"y": False, "z": True}),
    ],
)
def test_which_outputs_come_and_which_as_bytes(outputs, all_binary, expected):
    wanted = [
        {"name": each} if isinstance(each, str) else {"name": each[0], "parameters": {"binary_data": each[1]}}
        for each in outputs
    ]
    more = {} if all_binary is None else {"parameters": {"binary_data_output": all_binary}}
    request = v2.parse(body(tensor([1, 2, 3]), outputs=wanted, **more))
    parts, json_bytes = v2.respond(request, OUTPUTS, model="m", version="1")
    text = b"".join(parts)
    told = json.loads(text[:json_bytes])
    assert {each["name"]: "data" not in each for each in told["outputs"]} == expected
    sizes = [each["parameters"]["binary_data_size"] for each in told["outputs"] if "data" not in each]
    assert (json_bytes is None) == (sizes == [])
    assert text[json_bytes or len(text) :] == np.full(len(sizes), 5, np.float32).tobytes()


def test_an_output_that_the_model_turns_out_not_to_have():
    request = v2.parse(body(tensor([1, 2, 3]), outputs=[{"name": "y"}, {"name": "w"}]))
    with pytest.raises(BadRequestError, match="there is no output w; the model has y, z"):
        v2.respond(request, OUTPUTS, model="m", version="1")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "output y is asked for twice"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "binary_data is 1; expected true or false"),
        ({"parameters": {"binary_data_output": "no"}}, "binary_data_output is 'no'; expected true or false"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification is not supported"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared_memory_region is not"),
        ({"parameters": {"sequence_id": 7}}, "sequence_id is not supported; requests are independent"),
        ({"outputs": [{"name": str(number)} for number in range(257)]}, "257 outputs are asked for; at most 256"),
    ],
)
def test_what_is_not_supported_is_not_silently_left_out(more, told):
    with pytest.raises(BadRequestError, match=told):
        v2.parse(body(tensor([1, 2, 3]), **more))


def test_what_is_optional_may_be_null_and_what_is_unknown_is_ignored():
    more = {"id": None, "parameters": {"priority": 1, "mine": {"a": []}}, "outputs": None, "model_name": "m"}
    request = v2.parse(body(tensor([1, 2, 3], parameters=None), **more))
    assert (request.id, request.outputs, request.all_binary) == (None, (), False)
    empty = tensor(None, shape=[1, 0], parameters={"binary_data_size": 0})  # as KServe's client sends no numbers
    text = body(empty)
    assert v2.parse(text, header_bytes=len(text)).inputs[0].head.shape == (1, 0)


@pytest.mark.parametrize("given", [None, "", "seven"])
def test_an_id_comes_back_if_there_was_one(given):
    more = {} if given is None else {"id": given}
    parts, _ = v2.respond(v2.parse(body(tensor([1, 2, 3]), **more)), OUTPUTS, model="m", version="1")
    assert json.loads(parts[0]).get("id") == given


def test_binary_booleans_are_0_and_1():
    head = {"name": "x", "shape": [1, 3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}}
    text = body(head)
    assert bytes(v2.parse(text + b"\x00\x01\x00", header_bytes=len(text)).inputs[0].data) == b"\x00\x01\x00"
    with pytest.raises(BadRequestError, match="has a byte of 2; expected 0 and 1"):
        v2.parse(text + b"\x00\x02\x00", header_bytes=len(text))


def test_binary_data_without_their_header():
    with pytest.raises(BadRequestError, match="Inference-Header-Content-Length says how many bytes"):
        v2.parse(body(binary(12)) + bytes(12))
