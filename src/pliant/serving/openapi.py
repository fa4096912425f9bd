"""The description of a service's HTTP interface, and a page that shows it without anything from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from pliant.wire.service_api import ServiceSpec
from pliant.wire.tensors import SIZES

_ERROR = {
    "description": "What was wrong, or why there is no answer",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def openapi(spec: ServiceSpec) -> dict[str, Any]:
    """OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""
    model = f"/v2/models/{spec.name}"
    infer = {"$ref": "#/components/schemas/InferRequest"}
    paths: dict[str, Any] = {
        "/v2": _get("Name and version of the server"),
        "/v2/health/live": _get("Whether the router answers"),
        "/v2/health/ready": _get("Whether requests are answered", "503"),
        model: _get("Inputs and outputs of the model"),
        f"{model}/ready": _get("Whether requests are answered", "503"),
        f"{model}/infer": _post(
            "Open Inference Protocol v2, with the binary tensor data extension",
            {"application/json": {"schema": infer}, "application/octet-stream": {}},
            {"application/json": {"schema": {"$ref": "#/components/schemas/InferResponse"}}},
        ),
        "/predict": _post(
            "An array with the rows as its first dimension, as JSON or as an .npy file",
            {"application/json": {"schema": {}}, "application/octet-stream": {}},
            {"application/json": {"schema": {}}, "application/octet-stream": {}, "text/event-stream": {}},
        ),
        "/status": _get("Replicas and requests, now"),
        "/metrics": _get("The same in numbers, for Prometheus"),
    }
    security: dict[str, Any] = {"security": [{"key": []}]} if spec.api_key else {}
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if spec.api_key else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": spec.name, "version": "1", "description": "Served by Pliant"},
        "paths": paths,
        "components": {"schemas": _schemas(), **schemes},
        **security,
    }


def docs_page(spec: ServiceSpec) -> str:
    """A plain page: every path with what it is for."""
    rows = []
    for path, methods in openapi(spec)["paths"].items():
        for method, told in methods.items():
            rows.append(
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
                f"<td>{escape(told['summary'])}</td></tr>"
            )
    name = escape(spec.name)
    example = (
        f"curl http://{escape(spec.host)}:{spec.port}/predict -H 'Content-Type: application/json' -d '[[0.1, 0.2]]'"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"
        "<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.2rem .8rem .2rem 0;vertical-align:top}pre{background:#f4f4f4;padding:1rem;overflow:auto}</style>"
        f"<h1>{name}</h1><table>{''.join(rows)}</table><pre>{example}</pre>"
        "<p>The whole description: <a href=/openapi.json>/openapi.json</a></p></html>"
    )


def _get(summary: str, *more: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": "Yes"}, **dict.fromkeys(more, _ERROR)}}}


def _post(summary: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    statuses = ("400", "401", "406", "413", "429", "500", "503", "504")
    header = {
        "name": "X-Deadline-Ms",
        "in": "header",
        "required": False,
        "description": "The answer is of use for so many milliseconds from now",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9},
    }
    return {
        "post": {
            "summary": summary,
            "parameters": [header],
            "requestBody": {"required": True, "content": body},
            "responses": {
                "200": {"description": "The answer", "content": answer},
                **dict.fromkeys(statuses, _ERROR),
            },
        }
    }


def _schemas() -> dict[str, Any]:
    datatype = {"type": "string", "enum": list(SIZES)}
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": shape,
            "datatype": datatype,
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    }
    output = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    return {
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "inputs": {"type": "array", "items": tensor},
                "outputs": {"type": "array", "items": output},
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {"type": "array", "items": tensor},
            },
        },
    }
