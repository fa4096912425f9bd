"""Inference requests with binary data that are right, and what can be wrong with one: strategies, and what is told."""

import json
import math
import struct
from dataclasses import dataclass, field

from hypothesis import strategies as st

from pliant.serving.protocol.values import NUMPY
from pliant.wire.tensors import SIZES, Signature, TensorSpec

THREE = Signature(
    (TensorSpec("a", "FP32", (3,)), TensorSpec("b", "BOOL", (2,)), TensorSpec("c", "INT64", ())),
    (TensorSpec("output", "FP32", (3,)),),
)
"""Of service_models.Three."""
MOST_ROWS = 4


@dataclass
class Message:
    """One request. ``inputs`` as they stand in the JSON; ``tails``: the bytes behind it."""

    inputs: list
    tails: dict
    more: dict = field(default_factory=dict)
    length: int | None = None
    """Told in place of the right one."""
    text: bytes | None = None
    """In place of the right JSON."""

    def encoded(self):
        """The body, and what the header says of it."""
        text = json.dumps({"inputs": self.inputs, **self.more}).encode() if self.text is None else self.text
        body = text + b"".join(self.tails.values())
        return body, len(text) if self.length is None else self.length


def entry(name, datatype, shape, size_bytes):
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size_bytes}}


@st.composite
def messages(draw):
    """Right ones."""
    rows = draw(st.integers(1, MOST_ROWS))
    found = Message([], {})
    for spec in draw(st.permutations(THREE.inputs)):
        shape = [rows, *spec.shape]
        size = SIZES[spec.datatype] * math.prod(shape)
        data = draw(st.binary(min_size=size, max_size=size))
        if spec.datatype == "BOOL":
            data = bytes(byte & 1 for byte in data)
        found.inputs.append(entry(spec.name, spec.datatype, shape, size))
        found.tails[spec.name] = data
    if draw(st.booleans()):
        found.more = {"id": draw(st.text(max_size=5)), "parameters": {"binary_data_output": draw(st.booleans())}}
    return found


# ------------------------------------------------------------ mistakes: each changes a message, and says what is told


def wrong_length(draw, message):
    body, right = message.encoded()
    message.length = draw(st.integers(0, 2 * len(body)).filter(lambda length: length != right))
    return r"and the body has \d+ bytes|no inference request|bytes are left"


def cut(draw, message):
    last = next(reversed(message.tails))
    message.tails[last] = message.tails[last][: -draw(st.integers(1, len(message.tails[last])))]
    return r"has binary_data_size \d+, and \d+ bytes are left"


def longer(draw, message):
    message.tails["more"] = draw(st.binary(min_size=1, max_size=20))
    return r"\d+ bytes are left behind the last input's binary data"


def wrong_size(draw, message):
    parameters = draw(st.sampled_from(message.inputs))["parameters"]
    right = parameters["binary_data_size"]
    sizes = st.integers(-(1 << 70), 1 << 70) | st.integers(right - 9, right + 9)
    parameters["binary_data_size"] = draw(sizes.filter(lambda size: size != right))
    return r"has binary_data_size -?\d+, and (\d+ bytes are left|\w+ \[.*\] has \d+ bytes)"


def no_size(draw, message):
    sizes = st.sampled_from(["12", 12.5, True, [12], {"a": 12}])
    draw(st.sampled_from(message.inputs))["parameters"]["binary_data_size"] = draw(sizes)
    return r"has binary_data_size .*; expected a whole number"


def overlapping(draw, message):
    """Both inputs mean the same bytes."""
    first, *_, last = message.inputs
    message.tails = {first["name"]: message.tails[first["name"]]}
    assert last["parameters"]["binary_data_size"] > 0
    return r"has binary_data_size \d+, and \d+ bytes are left"


def huge_shape(draw, message):
    each = draw(st.sampled_from(message.inputs))
    sizes = st.sampled_from([1, 1 << 20, 1 << 31, 1 << 39, 1 << 63, 1 << 64, 10**30])
    each["shape"] = draw(st.lists(sizes, min_size=3, max_size=9))
    if math.prod(each["shape"]) < 1 << 20:
        each["shape"].append(1 << 39)
    if draw(st.booleans()):
        each["parameters"]["binary_data_size"] = SIZES[each["datatype"]] * math.prod(each["shape"])
    return r"has shape .*, which cannot be: expected|has binary_data_size \d+, and"


def odd_shape(draw, message):
    size = st.integers(-5, -1) | st.sampled_from([0.5, "3", None, [3], True, -(1 << 80)])
    draw(st.sampled_from(message.inputs))["shape"] = draw(
        st.lists(size, min_size=1, max_size=4) | st.sampled_from([None, 3, "3", {}]) | st.just([1] * 40)
    )
    return r"which cannot be: expected at most 32|has shape .*; expected a whole number|no inference request: Expected"


def other_shape(draw, message):
    each = draw(st.sampled_from(message.inputs))
    right = list(each["shape"])
    shapes = st.lists(st.integers(0, 5), max_size=4).filter(lambda shape: shape != right)
    each["shape"] = draw(shapes)
    size = SIZES[each["datatype"]] * math.prod(each["shape"])
    each["parameters"]["binary_data_size"] = size
    message.tails[each["name"]] = bytes(size)
    return (
        r"has shape \[.*\], expected \[-1.*\]|different numbers of rows|its first dimension are the rows, at least one|"
        r"\d+ rows in one request; at most 4 are taken"
    )


def unknown_datatype(draw, message):
    names = st.sampled_from(["fp32", "FLOAT", "INT128", "", "BYTES\0"]) | st.text(max_size=60)
    draw(st.sampled_from(message.inputs))["datatype"] = draw(names.filter(lambda name: name not in (*SIZES, "BYTES")))
    return r"has datatype .*; expected one of BOOL, UINT8"


def other_datatype(draw, message):
    each = draw(st.sampled_from(message.inputs))
    right = each["datatype"]
    each["datatype"] = draw(st.sampled_from([*SIZES]).filter(lambda name: name != right))
    return (
        rf"is {each['datatype']}, expected {right}|has binary_data_size \d+, and \w+ \[.*\] has|BOOL, and has a byte of"
    )


def strings(draw, message):
    """BYTES: elements with their lengths in front, which may be wrong."""
    each = draw(st.sampled_from(message.inputs))
    lengths = st.integers(0, 2**32 - 1) | st.integers(0, 4)
    elements = st.lists(st.tuples(lengths, st.binary(max_size=5)), max_size=4)
    data = b"".join(struct.pack("<I", length) + text for length, text in draw(elements))
    each["datatype"], message.tails[each["name"]] = "BYTES", data
    each["parameters"]["binary_data_size"] = len(data)
    return r"datatype 'BYTES' \(strings are not served, numbers only\); expected one of"


def no_truth(draw, message):
    (each,) = [each for each in message.inputs if each["name"] == "b"]
    wrong = draw(st.integers(2, 255))
    message.tails["b"] = message.tails["b"][:-1] + bytes([wrong])
    return rf"input {each['name']} is BOOL, and has a byte of {wrong}; expected 0 and 1"


def twice(draw, message):
    each = draw(st.sampled_from(message.inputs))
    message.inputs.append(each)
    message.tails["again"] = message.tails[each["name"]]
    return rf"input {each['name']}: the name is there twice"


def missing(draw, message):
    each = message.inputs.pop(draw(st.integers(0, 2)))
    del message.tails[each["name"]]
    return rf"input {each['name']} is missing. Expected a: FP32 \[-1, 3\]"


def unknown_name(draw, message):
    names = st.text(max_size=20) | st.just("n" * 100_000) | st.sampled_from(["A", "a ", "output"])
    draw(st.sampled_from(message.inputs))["name"] = draw(names.filter(lambda name: name not in "abc"))
    return r"there is no input (.|\n)*; input [abc] is missing|characters; at most 256 are taken"


def data_too(draw, message):
    each = draw(st.sampled_from(message.inputs))
    if draw(st.booleans()):
        each["data"] = draw(st.lists(st.integers(), max_size=3))
        return "has both data and parameters.binary_data_size"
    del message.tails[each["name"]], each["parameters"]
    return "has neither data nor parameters.binary_data_size"


def no_number(draw, message):
    """As Python's own json writes it."""
    each = draw(st.sampled_from(message.inputs))
    word = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    del message.tails[each["name"]], each["parameters"]
    each["data"] = [word] * math.prod(each["shape"])
    return r"no inference request: .*JSON has no (NaN|Infinity)"


def no_json_numbers(draw, message):
    each = draw(st.sampled_from(message.inputs))
    del message.tails[each["name"]], each["parameters"]
    bad = st.sampled_from([None, "1", {}, "x" * 1000, [1]])
    each["data"] = [draw(bad), *[1] * (math.prod(each["shape"]) - 1)]
    return r"should be \w+, and its data are|no array of numbers|nested as"


def too_large_for_it(draw, message):
    each = draw(st.sampled_from([each for each in message.inputs if NUMPY[each["datatype"]].kind in "if"]))
    del message.tails[each["name"]], each["parameters"]
    each["data"] = [draw(st.sampled_from([1 << 200, -(1 << 63) - 1, 10**39]))] * math.prod(each["shape"])
    if each["datatype"] == "FP32":
        each["data"][0] = 10**39
    return r"should be (INT64: numbers from -9223372036854775808|FP32, which cannot hold)"


def deep(draw, message):
    depth = draw(st.sampled_from([33, 300, 3000, 100_000]))
    nest = b"[" * depth + b"]" * depth
    where = draw(st.sampled_from([b'"data": ', b'"parameters": {"p": ', b'"unknown": ']))
    head, _, rest = json.dumps({"inputs": message.inputs}).encode().partition(b'"parameters": ')
    _, _, rest = rest.partition(b"}")
    message.text = head + where + nest + (b"}" if b"{" in where else b"") + rest
    return r"nested deeper than 32|no inference request|has neither data nor"


def no_text(draw, message):
    body = json.dumps({"inputs": message.inputs, "id": "i"}).encode()
    at = draw(st.integers(0, len(body)))
    message.text = body[:at] + draw(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00"])) + body[at:]
    return r"no inference request"


def unsupported(draw, message):
    what = draw(st.sampled_from(["sequence_id", "classification", "shared_memory_region", "shared_memory"]))
    if what == "sequence_id":
        message.more["parameters"] = {what: draw(st.integers(1, 9) | st.just("s"))}
    elif what == "shared_memory":
        draw(st.sampled_from(message.inputs))["parameters"] = {"shared_memory_region": "r"}
    else:
        message.more["outputs"] = [{"name": "output", "parameters": {what: 1}}]
    return r"parameters\.\w+ is not supported; "


def odd_outputs(draw, message):
    name = draw(st.sampled_from(["w", "", "Output"]))
    cases = {
        rf"there is no output {name}; the model has output": [{"name": name}],
        r"output output is asked for twice": [{"name": "output"}, {"name": "output"}],
        r"parameters.binary_data is 1; expected true or false": [{"name": "output", "parameters": {"binary_data": 1}}],
        r"no inference request": [{}],
    }
    told = draw(st.sampled_from([*cases]))
    message.more["outputs"] = cases[told]
    return told


MISTAKES = [
    wrong_length, cut, longer, wrong_size, no_size, overlapping, huge_shape, odd_shape, other_shape, unknown_datatype,
    other_datatype, strings, no_truth, twice, missing, unknown_name, data_too, no_number, no_json_numbers,
    too_large_for_it, deep, no_text, unsupported, odd_outputs,
]  # fmt: skip


@st.composite
def mistaken(draw, mistakes=tuple(MISTAKES)):
    """A body with one mistake, what the header says, and a pattern of what is told."""
    message = draw(messages())
    told = draw(st.sampled_from(mistakes))(draw, message)
    return *message.encoded(), told


@st.composite
def damaged(draw):
    """A body that was right, before something happened to its bytes; and what the header says."""
    body, length = draw(messages()).encoded()
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(body)))
        end = draw(st.integers(begin, min(len(body), begin + 40)))
        body = body[:begin] + draw(st.binary(max_size=6) | st.just(body[begin:end] * 2)) + body[end:]
    return body, draw(st.just(length) | st.integers(0, len(body) + 3) | st.none())
