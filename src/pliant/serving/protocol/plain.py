"""``POST /predict``: a JSON array (or an object of arrays by input's name), or the bytes of an ``.npy`` file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from pliant.serving.protocol.request import BadRequestError, InferRequest, Tensor
from pliant.serving.protocol.values import NAMES, NUMPY, array_from_json, nested, to_json
from pliant.wire.tensors import Signature, TensorHead, TensorSpec

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
        raise BadRequestError(f"the body is no JSON: {error}") from error
    specs = {spec.name: spec for spec in signature.inputs}
    if isinstance(told, dict):
        given: dict[str, Any] = told
    elif isinstance(told, list):
        given = {_only(signature): told}
    else:
        raise BadRequestError("the body should be an array of rows, or an object of such arrays by the input's name")
    return InferRequest(tuple(_tensor(name, data, specs.get(name)) for name, data in given.items()))


def parse_npy(body: bytes, signature: Signature) -> InferRequest:
    """One array in numpy's own format; nothing in it is unpickled.

    Raises:
        BadRequestError: It is something else.
    """
    name = _only(signature)
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError, MemoryError, OverflowError) as error:
        raise BadRequestError(f"the body is no .npy file with numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        raise BadRequestError("the body is an archive of arrays; send one .npy array")
    datatype = NAMES.get(array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype)
    if datatype is None:
        raise BadRequestError(f"the array is {array.dtype}; expected one of {', '.join(NUMPY)}")
    data = np.ascontiguousarray(array.astype(NUMPY[datatype], copy=False)).tobytes()
    return InferRequest((Tensor(TensorHead(name, datatype, array.shape), data),))


def respond_json(outputs: Sequence[Tensor]) -> bytes:
    """The only output as nested arrays; several as an object of them by name."""
    values = {each.head.name: nested(each.head, to_json(each.head, each.data)) for each in outputs}
    return msgspec.json.encode(values if len(values) != 1 else next(iter(values.values())))


def respond_npy(outputs: Sequence[Tensor]) -> bytes:
    """The only output in numpy's format.

    Raises:
        BadRequestError: There are several, or it is BF16.
    """
    if len(outputs) != 1 or outputs[0].head.datatype not in NUMPY:
        names = ", ".join(f"{each.head.name} ({each.head.datatype})" for each in outputs)
        raise BadRequestError(
            f"the answer ({names}) is not one array that .npy can hold; ask for application/json", status=406
        )
    head = outputs[0].head
    file = io.BytesIO()
    np.save(file, np.frombuffer(outputs[0].data, NUMPY[head.datatype]).reshape(head.shape), allow_pickle=False)
    return file.getvalue()


def _only(signature: Signature) -> str:
    """The name of the model's one input."""
    if len(signature.inputs) > 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise BadRequestError(f"the model has several inputs ({names}): send an object with an array for each")
    return signature.inputs[0].name if signature.inputs else DEFAULT_NAME


def _tensor(name: str, data: Any, spec: TensorSpec | None) -> Tensor:
    datatype = _guess(name, data) if spec is None else spec.datatype
    array = array_from_json(name, datatype, data)
    return Tensor(TensorHead(name, datatype, array.shape), array.tobytes())


def _guess(name: str, data: Any) -> str:
    try:
        kind = np.asarray(data).dtype.kind
    except (ValueError, OverflowError, TypeError) as error:
        raise BadRequestError(f"input {name}: the data are no array of numbers (rows of different lengths?)") from error
    return {"f": "FP32", "i": "INT64", "u": "INT64", "b": "BOOL"}.get(kind, "FP32")
