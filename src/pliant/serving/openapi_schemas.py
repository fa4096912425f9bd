"""JSON Schemas (2020-12) of what a service takes and gives, as narrow as its model's signature allows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import msgspec
import numpy as np

from pliant.serving.protocol.plain import DEFAULT_NAME
from pliant.serving.protocol.request import MOST_TENSORS
from pliant.serving.protocol.values import MOST_DIMENSIONS, MOST_NAME, NUMPY
from pliant.wire.service_api import ServiceStatus
from pliant.wire.tensors import SIZES, Signature, TensorSpec

Schema = dict[str, Any]
_ABOVE = {"FP16": 2.0**16 - 2.0**4, "FP32": 2.0**128 - 2.0**103, "BF16": 2.0**128 - 2.0**119 - 2.0**103}
"""From here on, numbers are rounded to infinity: half a step above the largest one (BF16 is rounded twice)."""
_MOST_SHOWN = 1024
"""Numbers in an example."""


def ref(name: str) -> Schema:
    """A reference to one of :func:`components`."""
    return {"$ref": f"#/components/schemas/{name}"}


def components(signature: Signature, *, most_rows: int) -> dict[str, Schema]:
    """All of them, by name."""
    _, status = msgspec.json.schema_components([ServiceStatus], ref_template="#/components/schemas/{name}")
    return {
        **status,
        "Error": _object({"error": {"type": "string"}}),
        "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}),
        "Live": _object({"live": {"type": "boolean"}}),
        "Ready": _object({"ready": {"type": "boolean"}, "live": {"type": "boolean"}}, optional=("live",)),
        "NotReady": _object({"ready": {"const": False}, "error": _TEXT}),
        "ModelMetadata": _object(
            {
                "name": _TEXT,
                "versions": {"type": "array", "items": _TEXT, "minItems": 1},
                "platform": _TEXT,
                "inputs": {"type": "array", "items": ref("TensorMetadata")},
                "outputs": {"type": "array", "items": ref("TensorMetadata")},
            }
        ),
        "TensorMetadata": _object(
            {
                "name": _TEXT,
                "datatype": _DATATYPE,
                "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
            }
        ),
        "Rows": _rows_of(signature.inputs, most_rows),
        "Answer": {} if not signature.outputs else _answer(signature.outputs),
        "InferRequest": _infer_request(signature, most_rows),
        "InferResponse": _object(
            {
                "model_name": _TEXT,
                "model_version": _TEXT,
                "id": _TEXT,
                "outputs": {"type": "array", "items": _tensor_out()},
            },
            optional=("id",),
        ),
    }


def example_rows(signature: Signature) -> Any:
    """One row that the model takes; None if it does not say what it takes, or takes too much for a page."""
    specs = signature.inputs
    if not specs or any(-1 in spec.shape or prod(spec.shape) > _MOST_SHOWN for spec in specs):
        return None
    rows = {spec.name: [_zeros(spec, spec.shape)] for spec in signature.inputs}
    return rows if len(rows) > 1 else next(iter(rows.values()))


def example_request(signature: Signature) -> Any:
    """The same as an inference request."""
    if example_rows(signature) is None:
        return None
    inputs = [
        {
            "name": spec.name,
            "shape": [1, *spec.shape],
            "datatype": spec.datatype,
            "data": [_zeros(spec, spec.shape)],
        }
        for spec in signature.inputs
    ]
    return {"id": "1", "inputs": inputs}


_TEXT: Schema = {"type": "string"}
_DATATYPE: Schema = {"type": "string", "enum": list(SIZES)}


def _object(properties: dict[str, Schema], *, optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _rows_of(specs: Sequence[TensorSpec], most_rows: int) -> Schema:
    """The body of ``/predict``: one input's rows alone, or an object of them."""
    if not specs:
        rows: Schema = {"type": "array", "minItems": 1, "maxItems": most_rows}
        return {"anyOf": [rows, {"type": "object", "minProperties": 1, "additionalProperties": rows}]}
    by_name = {spec.name: _rows(spec, most_rows, nulls=False) for spec in specs}
    whole = {**_object(by_name), "additionalProperties": False}
    return whole if len(specs) > 1 else {"anyOf": [by_name[specs[0].name], whole]}


def _answer(specs: Sequence[TensorSpec]) -> Schema:
    by_name = {spec.name: _rows(spec, None, nulls=True) for spec in specs}
    return _object(by_name) if len(specs) > 1 else by_name[specs[0].name]


def _rows(spec: TensorSpec, most_rows: int | None, *, nulls: bool) -> Schema:
    inner = _number(spec.datatype, nulls=nulls)
    for size in reversed(spec.shape):
        inner = {"type": "array", "items": inner}
        if size >= 0:
            inner |= {"minItems": size, "maxItems": size}
    bound = {} if most_rows is None else {"maxItems": most_rows}
    return {"type": "array", "items": inner, "minItems": 1, **bound}


def _number(datatype: str, *, nulls: bool) -> Schema:
    if datatype == "BOOL":
        return {"type": "boolean"}
    dtype = NUMPY.get(datatype)
    if dtype is not None and dtype.kind in "ui":
        bounds: np.iinfo[Any] = np.iinfo(str(dtype))
        return {"type": "integer", "minimum": int(bounds.min), "maximum": int(bounds.max)}
    if nulls:
        return {"type": ["number", "null"]}
    above = _ABOVE.get(datatype)
    return {"type": "number", **({} if above is None else {"exclusiveMinimum": -above, "exclusiveMaximum": above})}


def _infer_request(signature: Signature, most_rows: int) -> Schema:
    tensors = [_tensor_in(spec, most_rows) for spec in signature.inputs] or [_any_tensor_in(most_rows)]
    inputs: Schema = {"type": "array", "items": tensors[0] if len(tensors) == 1 else {"anyOf": tensors}}
    many = len(signature.inputs)
    inputs |= {"minItems": many, "maxItems": many} if many else {"minItems": 1, "maxItems": MOST_TENSORS}
    name: Schema = {"type": "string", "maxLength": MOST_NAME}
    wanted: Schema = {"type": ["array", "null"], "maxItems": MOST_TENSORS}
    if signature.outputs:
        name = {"type": "string", "enum": [spec.name for spec in signature.outputs]}
        wanted["maxItems"] = len(signature.outputs)
    binary: Schema = {"type": ["object", "null"], "properties": {"binary_data": {"type": "boolean"}}}
    output = _object({"name": name, "parameters": binary}, optional=("parameters",))
    return _object(
        {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"], "properties": {"binary_data_output": {"type": "boolean"}}},
            "inputs": inputs,
            "outputs": {**wanted, "items": output},
        },
        optional=("id", "parameters", "outputs"),
    )


def _tensor_in(spec: TensorSpec, most_rows: int) -> Schema:
    rows: Schema = {"type": "integer", "minimum": 1, "maximum": most_rows}
    sizes = [rows, *({"type": "integer", "minimum": 0} if size < 0 else {"const": size} for size in spec.shape)]
    shape: Schema = {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}
    return _input({"name": {"const": spec.name}, "datatype": {"const": spec.datatype}, "shape": shape}, spec.datatype)


def _any_tensor_in(most_rows: int) -> Schema:
    rows: Schema = {"type": "integer", "minimum": 1, "maximum": most_rows}
    size: Schema = {"type": "integer", "minimum": 0}
    shape: Schema = {
        "type": "array", "prefixItems": [rows], "items": size, "minItems": 1, "maxItems": MOST_DIMENSIONS,
    }  # fmt: skip
    name: Schema = {"type": "string", "maxLength": MOST_NAME, "examples": [DEFAULT_NAME]}
    return _input({"name": name, "datatype": _DATATYPE, "shape": shape}, None)


def _input(properties: dict[str, Schema], datatype: str | None) -> Schema:
    """``data``: flat, or nested as the shape says; absent where ``binary_data_size`` stands."""
    data: Schema = {"type": ["array", "null"]}
    if datatype is not None:
        data["items"] = {"anyOf": [_number(datatype, nulls=False), {"type": "array"}]}
    size: Schema = {"type": ["object", "null"], "properties": {"binary_data_size": {"type": "integer", "minimum": 0}}}
    return _object({**properties, "parameters": size, "data": data}, optional=("parameters", "data"))


def _tensor_out() -> Schema:
    shape: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    size: Schema = _object({"binary_data_size": {"type": "integer", "minimum": 0}})
    data: Schema = {"type": "array", "items": {"type": ["number", "boolean", "null"]}}
    return _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": shape, "parameters": size, "data": data},
        optional=("parameters", "data"),
    )


def _zeros(spec: TensorSpec, shape: Sequence[int]) -> Any:
    if not shape:
        return False if spec.datatype == "BOOL" else 0
    return [_zeros(spec, shape[1:])] * shape[0]
