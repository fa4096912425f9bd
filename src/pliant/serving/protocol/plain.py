"""``POST /predict``: a JSON array (or an object of arrays by input's name), or the bytes of an ``.npy`` file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pliant.serving.protocol import npy
from pliant.serving.protocol.json_numbers import array_from_json, no_numbers, unnest
from pliant.serving.protocol.request import BadRequestError, InferRequest, Tensor
from pliant.serving.protocol.values import check_head, check_name, nested, to_json
from pliant.wire.tensors import Signature, TensorSpec

DEFAULT_NAME = "input"
_decoder = msgspec.json.Decoder()


def parse_json(body: bytes, signature: Signature) -> InferRequest:
    """An array with the rows as its first dimension; several inputs as an object of them by name.

    Where the signature names no datatype, numbers with fractions are FP32 and others INT64.

    Raises:
        BadRequestError: It is something else.
    """
    try:
        told = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is no JSON: {error}{no_numbers(body)}") from error
    specs = {spec.name: spec for spec in signature.inputs}
    if isinstance(told, dict):
        given: dict[str, Any] = told
    elif isinstance(told, list):
        given = {_only(signature): told}
    else:
        raise BadRequestError("the body should be an array of rows, or an object of such arrays by the input's name")
    return InferRequest(tuple(_tensor(name, data, specs.get(name)) for name, data in given.items()))


def parse_npy(body: bytes, signature: Signature) -> InferRequest:
    """The model's one input in numpy's own format.

    Raises:
        BadRequestError: It is something else.
    """
    return npy.parse(body, _only(signature))


def respond_json(outputs: Sequence[Tensor]) -> bytes:
    """The only output as nested arrays; several as an object of them by name."""
    values = {each.head.name: nested(each.head, to_json(each.head, each.data)) for each in outputs}
    return msgspec.json.encode(values if len(values) != 1 else next(iter(values.values())))


def _only(signature: Signature) -> str:
    """The name of the model's one input."""
    if len(signature.inputs) > 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise BadRequestError(f"the model has several inputs ({names}): send an object with an array for each")
    return signature.inputs[0].name if signature.inputs else DEFAULT_NAME


def _tensor(name: str, data: Any, spec: TensorSpec | None) -> Tensor:
    check_name(name)
    datatype = _guess(name, data) if spec is None else spec.datatype
    array = array_from_json(name, datatype, data)
    return Tensor(check_head(name, datatype, array.shape), array.tobytes())


def _guess(name: str, data: Any) -> str:
    return {frozenset({bool}): "BOOL", frozenset({int}): "INT64"}.get(frozenset(unnest(name, data).kinds), "FP32")
