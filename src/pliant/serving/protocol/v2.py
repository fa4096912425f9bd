"""The Open Inference Protocol v2 over HTTP, with the binary tensor data extension.

Sources: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

import msgspec

from pliant.serving.protocol.json_numbers import bytes_from_json, no_numbers
from pliant.serving.protocol.request import MOST_TENSORS, BadRequestError, InferRequest, Tensor, check_outputs
from pliant.serving.protocol.values import check_bytes, check_head, check_name, to_json
from pliant.wire.tensors import Signature, TensorHead, TensorSpec

HEADER_LENGTH = b"inference-header-content-length"


class _Input(msgspec.Struct):
    name: str
    shape: list[int | float]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    """Optional fields may be null, as some clients have it. Fields that are not here are ignored."""

    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


_decoder = msgspec.json.Decoder(_Body)
_encoder = msgspec.json.Encoder()


def parse(body: bytes, *, header_bytes: int | None = None) -> InferRequest:
    """The request in ``body``, of which the first ``header_bytes`` are JSON (None: all) and the rest binary tensors.

    Raises:
        BadRequestError: It is none.
    """
    if header_bytes is not None and not 0 <= header_bytes <= len(body):
        raise BadRequestError(f"Inference-Header-Content-Length is {header_bytes}, and the body has {len(body)} bytes")
    text = body if header_bytes is None else memoryview(body)[:header_bytes]
    try:
        codecs.utf_8_decode(text, "strict", True)  # fields that are ignored are not looked at by the decoder
        told = _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        hint = no_numbers(text)
        if header_bytes is None and b'"binary_data_size"' in body:
            hint = "; with binary data, Inference-Header-Content-Length says how many bytes of the body are JSON"
        raise BadRequestError(f"the body is no inference request: {error}{hint}") from error
    _refuse(told.parameters, ("sequence_id",), "requests are independent of each other")
    rest = memoryview(body)[len(text) :]
    inputs = []
    for each in told.inputs:
        tensor, rest = _input(each, rest)
        inputs.append(tensor)
    if len(rest):
        raise BadRequestError(f"{len(rest)} bytes are left behind the last input's binary data")
    outputs, binary, all_binary = _outputs(told)
    return InferRequest(tuple(inputs), told.id, outputs, binary, all_binary)


def respond(
    request: InferRequest, outputs: Sequence[Tensor], *, model: str, version: str
) -> tuple[list[bytes | memoryview], int | None]:
    """The parts of the answer's body, and the length of its JSON if binary data follow it.

    Raises:
        BadRequestError: An output is asked for that the model has not. If it declares its outputs, this was found
            before (:func:`pliant.serving.protocol.request.checked`).
    """
    check_outputs(request, [tensor.head.name for tensor in outputs])
    listed: list[dict[str, Any]] = []
    tails: list[bytes | memoryview] = []
    for tensor in outputs:
        head = tensor.head
        if request.outputs and head.name not in request.outputs:
            continue
        entry: dict[str, Any] = {"name": head.name, "datatype": head.datatype, "shape": head.shape}
        if head.name in request.binary or (request.all_binary and not request.outputs):
            entry["parameters"] = {"binary_data_size": head.size_bytes}
            tails.append(tensor.data)
        else:
            entry["data"] = to_json(head, tensor.data)
        listed.append(entry)
    told: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": listed}
    if request.id is not None:
        told["id"] = request.id
    text = _encoder.encode(told)
    return [text, *tails], len(text) if tails else None


def metadata(signature: Signature, *, model: str, versions: Sequence[str]) -> dict[str, Any]:
    """The answer of ``GET /v2/models/NAME``. ``versions``: that can be asked for."""
    return {
        "name": model,
        "versions": list(versions),
        "platform": "pytorch_pliant",
        "inputs": [_described(spec) for spec in signature.inputs],
        "outputs": [_described(spec) for spec in signature.outputs],
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]}


def _input(each: _Input, rest: memoryview) -> tuple[Tensor, memoryview]:
    """One input, with what is left of the binary data behind it."""
    head: TensorHead = check_head(each.name, each.datatype, [_whole(each, "shape", size) for size in each.shape])
    parameters = each.parameters or {}
    _refuse(parameters, ("shared_memory_region",), "send the data in the body")
    size = parameters.get("binary_data_size")
    if size is None:
        if each.data is None:
            raise BadRequestError(f"input {each.name} has neither data nor parameters.binary_data_size")
        return Tensor(head, bytes_from_json(each.name, each.datatype, head.shape, each.data)), rest
    if each.data is not None:
        raise BadRequestError(f"input {each.name} has both data and parameters.binary_data_size")
    size = _whole(each, "binary_data_size", size)
    if not 0 <= size <= len(rest):
        raise BadRequestError(f"input {each.name} has binary_data_size {size!s:.60}, and {len(rest)} bytes are left")
    if size != head.size_bytes:
        raise BadRequestError(
            f"input {each.name} has binary_data_size {size}, and {each.datatype} {list(head.shape)} has "
            f"{head.size_bytes} bytes"
        )
    check_bytes(each.name, each.datatype, rest[:size])
    return Tensor(head, rest[:size]), rest[size:]


def _whole(each: _Input, what: str, value: Any) -> int:
    """A size. To JSON, 2.0 is the same number as 2."""
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise BadRequestError(f"input {each.name[:60]} has {what} {value!r:.60}; expected a whole number")
    return int(value)


def _outputs(told: _Body) -> tuple[tuple[str, ...], frozenset[str], bool]:
    """The names that are asked for, those of them that are wanted as bytes, and whether all are, unless named."""
    all_binary = _flag(told.parameters, "binary_data_output", default=False)
    binary: dict[str, bool] = {}
    if told.outputs and len(told.outputs) > MOST_TENSORS:
        raise BadRequestError(f"{len(told.outputs)} outputs are asked for; at most {MOST_TENSORS} can be")
    for output in told.outputs or ():
        check_name(output.name)
        if output.name in binary:
            raise BadRequestError(f"output {output.name} is asked for twice")
        _refuse(output.parameters, ("classification",), "ask for the numbers")
        _refuse(output.parameters, ("shared_memory_region",), "take the data from the answer's body")
        binary[output.name] = _flag(output.parameters, "binary_data", default=all_binary)
    return tuple(binary), frozenset(name for name, wanted in binary.items() if wanted), all_binary


def _flag(parameters: dict[str, Any] | None, name: str, *, default: bool) -> bool:
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"parameters.{name} is {value!r:.60}; expected true or false")
    return value


def _refuse(parameters: dict[str, Any] | None, names: Sequence[str], instead: str) -> None:
    """What would change the answer is not silently left out. 0 and empty strings ask for nothing."""
    for name in names:
        if (parameters or {}).get(name):
            raise BadRequestError(f"parameters.{name} is not supported; {instead}")
