"""The Open Inference Protocol v2 over HTTP, with the binary tensor data extension.

Sources: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pliant.serving.protocol.request import BadRequestError, InferRequest, Tensor
from pliant.serving.protocol.values import bytes_from_json, check_head, to_json
from pliant.wire.tensors import Signature, TensorHead, TensorSpec

HEADER_LENGTH = b"inference-header-content-length"


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = msgspec.UNSET


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


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
        told = _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is no inference request: {error}") from error
    rest = memoryview(body)[len(text) :]
    inputs = []
    for each in told.inputs:
        tensor, rest = _input(each, rest)
        inputs.append(tensor)
    if len(rest):
        raise BadRequestError(f"{len(rest)} bytes are left behind the last input's binary data")
    binary = frozenset(output.name for output in told.outputs if output.parameters.get("binary_data") is True)
    return InferRequest(
        tuple(inputs),
        told.id,
        outputs=tuple(output.name for output in told.outputs),
        binary=binary,
        all_binary=told.parameters.get("binary_data_output") is True,
    )


def respond(
    request: InferRequest, outputs: Sequence[Tensor], *, model: str, version: str
) -> tuple[list[bytes | memoryview], int | None]:
    """The parts of the answer's body, and the length of its JSON if binary data follow it."""
    listed: list[dict[str, Any]] = []
    tails: list[bytes | memoryview] = []
    for tensor in outputs:
        head = tensor.head
        if request.outputs and head.name not in request.outputs:
            continue
        entry: dict[str, Any] = {"name": head.name, "datatype": head.datatype, "shape": head.shape}
        if head.name in request.binary or (request.all_binary and head.name not in request.outputs):
            entry["parameters"] = {"binary_data_size": head.size_bytes}
            tails.append(tensor.data)
        else:
            entry["data"] = to_json(head, tensor.data)
        listed.append(entry)
    told: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": listed}
    if request.id:
        told["id"] = request.id
    text = _encoder.encode(told)
    return [text, *tails], len(text) if tails else None


def metadata(signature: Signature, *, model: str, version: str) -> dict[str, Any]:
    """The answer of ``GET /v2/models/NAME``."""
    return {
        "name": model,
        "versions": [version],
        "platform": "pytorch_pliant",
        "inputs": [_described(spec) for spec in signature.inputs],
        "outputs": [_described(spec) for spec in signature.outputs],
    }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]}


def _input(each: _Input, rest: memoryview) -> tuple[Tensor, memoryview]:
    """One input, with what is left of the binary data behind it."""
    head: TensorHead = check_head(each.name, each.datatype, each.shape)
    size = each.parameters.get("binary_data_size")
    if size is None:
        if each.data is msgspec.UNSET:
            raise BadRequestError(f"input {each.name} has neither data nor parameters.binary_data_size")
        return Tensor(head, bytes_from_json(each.name, each.datatype, each.shape, each.data)), rest
    if each.data is not msgspec.UNSET:
        raise BadRequestError(f"input {each.name} has both data and parameters.binary_data_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise BadRequestError(f"input {each.name} has binary_data_size {size!r:.60}, and {len(rest)} bytes are left")
    if size != head.size_bytes:
        raise BadRequestError(
            f"input {each.name} has binary_data_size {size}, and {each.datatype} {each.shape} has {head.size_bytes}"
        )
    return Tensor(head, rest[:size]), rest[size:]
