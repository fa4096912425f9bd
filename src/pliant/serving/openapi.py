"""The description of a service's HTTP interface, and a page that shows it without anything from elsewhere."""

from __future__ import annotations

from html import escape
from importlib.metadata import version as version_of
from typing import Any

import msgspec

from pliant.serving.openapi_schemas import Schema, components, example_request, example_rows, ref
from pliant.wire.service_api import ServiceSpec
from pliant.wire.tensors import Signature

VERSION = version_of("pliant")
MOST_DEADLINE_MS = 1e12
_JSON, _BYTES, _NPY = "application/json", "application/octet-stream", "application/x-npy"
_REASONS = {
    "400": "The request is wrong: the message says what was expected",
    "401": "An API key is wanted",
    "404": "There is no such model, version or path",
    "405": "Another method is wanted: see Allow",
    "406": "The answer cannot be given as Accept wants it",
    "408": "The body did not come in time",
    "413": "More bytes or rows than are taken at a time",
    "415": "Another Content-Encoding is wanted: see Accept-Encoding",
    "429": "No room: Retry-After says when to come again",
    "500": "The model failed on this input",
    "503": "The service ends, or its model cannot be loaded",
    "504": "The deadline, or the service's own limit",
}


def openapi(spec: ServiceSpec, signature: Signature | None) -> dict[str, Any]:
    """OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0). ``signature``: of the model, once it is loaded."""
    about = signature or Signature()
    name = f"/v2/models/{spec.name}"
    paths: dict[str, Any] = {
        "/v2": _get("Name and version of the server", "Server"),
        "/v2/health/live": _get("Whether the router answers", "Live", open_to_all=True),
        "/v2/health/ready": _get("Whether requests are answered", "Ready", not_ready=True),
    }
    for model, what in ((name, ""), (name + "/versions/{version}", ", of one version")):
        paths |= {
            model: _get(f"Inputs and outputs of the model{what}", "ModelMetadata"),
            f"{model}/ready": _get(f"Whether requests are answered{what}", "Ready", not_ready=True),
            f"{model}/infer": _infer(f"Open Inference Protocol v2, with the binary tensor data extension{what}", about),
        }
    paths |= {
        "/predict": _predict("An array with the rows as its first dimension, as JSON or as an .npy file", about),
        "/status": _get("Replicas and requests, now", "ServiceStatus"),
        "/metrics": _get("The same in numbers, for Prometheus", None, kind="text/plain"),
    }
    for path, operations in paths.items():
        if "{version}" in path:
            operations["parameters"] = [_VERSION]
    security: dict[str, Any] = {"security": [{"key": []}]} if spec.api_key else {}
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if spec.api_key else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": spec.name, "version": VERSION, "description": "Served by Pliant"},
        "paths": paths,
        "components": {"schemas": components(about, most_rows=1 if about.streams else spec.batch), **schemes},
        **security,
    }


def docs_page(spec: ServiceSpec, signature: Signature | None) -> str:
    """A plain page: every path with what it is for."""
    rows = []
    for path, operations in openapi(spec, signature)["paths"].items():
        for method in operations.keys() & {"get", "post"}:
            told = operations[method]
            rows.append(
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
                f"<td>{escape(told['summary'])}</td></tr>"
            )
    name = escape(spec.name)
    body = example_rows(signature or Signature()) or [[0.1, 0.2]]
    example = (
        f"curl http://{escape(spec.host)}:{spec.port}/predict -H 'Content-Type: application/json' "
        f"-d '{escape(msgspec.json.encode(body).decode())}'"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.2rem .8rem .2rem 0;vertical-align:top}pre{background:#f4f4f4;padding:1rem;overflow:auto}</style>"
        f"<h1>{name}</h1><table>{''.join(rows)}</table><pre>{example}</pre>"
        "<p>The whole description: <a href=/openapi.json>/openapi.json</a></p></html>"
    )


_VERSION: Schema = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "Of the weights: the one that answers, or the canary's",
    "schema": {"type": "string", "pattern": "^[1-9][0-9]*$", "examples": ["1"]},
}
_DEADLINE: Schema = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "required": False,
    "description": "The answer is of use for so many milliseconds from now",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": MOST_DEADLINE_MS},
}
_LENGTH: Schema = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "How many bytes of the body are JSON; binary tensors follow. Without it all is JSON",
    "schema": {"type": "integer", "minimum": 0},
}


def _get(
    summary: str, schema: str | None, *, kind: str = _JSON, open_to_all: bool = False, not_ready: bool = False
) -> dict[str, Any]:
    content: Schema = {"type": "string"} if schema is None else ref(schema)
    responses = {
        "200": {"description": "What was asked for", "content": {kind: {"schema": content}}},
        **_errors("404", "405", *([] if open_to_all else ["401"])),
    }
    if not_ready:
        responses["503"] = {
            "description": _REASONS["503"],
            "content": {_JSON: {"schema": ref("NotReady")}},
        }
    no_key: Schema = {"security": []} if open_to_all else {}
    return {"get": {"summary": summary, "responses": responses, **no_key}}


def _infer(summary: str, signature: Signature) -> dict[str, Any]:
    body = {_JSON: _with_example(ref("InferRequest"), example_request(signature)), _BYTES: {"schema": {}}}
    answer = {_JSON: {"schema": ref("InferResponse")}, _BYTES: {"schema": {}}}
    return _post(summary, body, _EVENTS if signature.streams else answer, parameters=[_DEADLINE, _LENGTH])


def _predict(summary: str, signature: Signature) -> dict[str, Any]:
    body = {_JSON: _with_example(ref("Rows"), example_rows(signature))}
    if len(signature.inputs) < 2:
        body |= {_NPY: {"schema": {}}, _BYTES: {"schema": {}}}
    answer = {_JSON: {"schema": ref("Answer")}, _BYTES: {"schema": {}}}
    return _post(summary, body, _EVENTS if signature.streams else answer, parameters=[_DEADLINE])


_EVENTS: Schema = {"text/event-stream": {"schema": {"type": "string"}}}


def _post(summary: str, body: Schema, answer: Schema, *, parameters: list[Schema]) -> dict[str, Any]:
    version = {"description": "Of the weights that answered", "required": True, "schema": {"type": "string"}}
    responses = {
        "200": {"description": "The answer", "content": answer, "headers": {"X-Pliant-Version": version}},
        **_errors("400", "401", "404", "405", "406", "408", "413", "415", "429", "500", "503", "504"),
    }
    return {
        "post": {
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"required": True, "content": body},
            "responses": responses,
        }
    }


def _errors(*statuses: str) -> dict[str, Any]:
    content = {_JSON: {"schema": ref("Error")}}
    return {status: {"description": _REASONS[status], "content": content} for status in sorted(statuses)}


def _with_example(schema: Schema, example: Any) -> dict[str, Any]:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}
