"""The OpenAPI 3.1 description, made from the very types that the API decodes and encodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from pliant.wire.api import (
    Event,
    JobSpec,
    JobStatus,
    MisbehaveRequest,
    Problem,
    Report,
    ScaleRequest,
    StopRequest,
    StreamItem,
    Weights,
    WeightsRequest,
)

_VERSION = "1"


@dataclass(frozen=True)
class Operation:
    """One call of the API: also what the app routes, so that the two cannot differ."""

    method: str
    path: str
    name: str
    summary: str
    answer: Any = None
    body: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    media: str = "application/json"


OPERATIONS = (
    Operation(
        "POST",
        "/v1/jobs",
        "create_job",
        "Create a job; it waits for its agent.",
        JobStatus,
        JobSpec,
        201,
        refusals=(409, 413, 422),
    ),
    Operation("GET", "/v1/jobs", "list_jobs", "All jobs, oldest first.", list[JobStatus]),
    Operation("GET", "/v1/jobs/{name}", "get_job", "One job.", JobStatus, refusals=(404,)),
    Operation(
        "POST",
        "/v1/jobs/{name}/scale",
        "scale_job",
        "Change the wanted number of workers, or of parameter servers.",
        JobStatus,
        ScaleRequest,
        refusals=(404, 409, 413, 422),
    ),
    Operation(
        "POST",
        "/v1/jobs/{name}/stop",
        "stop_job",
        "Stop a job at a step boundary, or at once.",
        JobStatus,
        StopRequest,
        refusals=(404, 413, 422),
    ),
    Operation(
        "POST",
        "/v1/jobs/{name}/misbehave",
        "misbehave_job",
        "A fault on purpose, for tests: a worker or server becomes slow, or loses its connections.",
        JobStatus,
        MisbehaveRequest,
        refusals=(404, 409, 413, 422),
    ),
    Operation(
        "POST",
        "/v1/jobs/{name}/weights",
        "get_weights",
        "The weights of a running job, written by a worker from its memory; answers when they are there.",
        Weights,
        WeightsRequest,
        refusals=(404, 409, 413, 422, 503),
    ),
    Operation(
        "GET",
        "/v1/jobs/{name}/events",
        "get_events",
        "Events with a larger seq.",
        list[Event],
        query=("after",),
        refusals=(404, 422),
    ),
    Operation(
        "GET", "/v1/jobs/{name}/report", "get_report", "The report so far, or the final one.", Report, refusals=(404,)
    ),
    Operation("GET", "/metrics", "get_metrics", "Prometheus metrics.", media="text/plain"),
    Operation("GET", "/openapi.json", "get_openapi", "This description.", dict[str, Any]),
    Operation("GET", "/healthz", "health", "Whether a coordinator is here. Needs no token.", status=204),
)
SOCKETS = {
    "/v1/events": (
        "stream_events",
        "WebSocket: past and new events, and statuses twice a second.",
        StreamItem,
        ("job", "after"),
    ),
    "/v1/workers": ("worker_socket", "WebSocket of workers (pliant.wire.messages).", None, ()),
    "/v1/servers": ("server_socket", "WebSocket of parameter servers (pliant.wire.server_messages).", None, ()),
    "/v1/agents": ("agent_socket", "WebSocket of agents (pliant.wire.messages).", None, ()),
}


@cache
def openapi_text() -> bytes:
    """The description as JSON."""
    return msgspec.json.encode(_describe())


def _describe() -> dict[str, Any]:
    types = [kind for operation in OPERATIONS for kind in (operation.answer, operation.body) if kind is not None]
    schemas, components = msgspec.json.schema_components(
        [*types, Problem, StreamItem], ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(map(repr, [*types, Problem, StreamItem]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, by_type)
    for path, (name, summary, frame, query) in SOCKETS.items():
        answers: dict[str, Any] = {"101": {"description": "Switching to WebSocket."}}
        if frame is not None:
            answers["101"]["x-frame"] = by_type[repr(frame)]
        paths[path] = {
            "get": {"operationId": name, "summary": summary, "parameters": _query(query), "responses": answers}
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pliant coordinator", "version": _VERSION},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(operation: Operation, by_type: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.answer is not None:
        answer["content"] = {operation.media: {"schema": by_type[repr(operation.answer)]}}
    elif operation.status != 204:
        answer["content"] = {operation.media: {"schema": {"type": "string"}}}
    responses = {str(operation.status): answer}
    problem = {"application/json": {"schema": by_type[repr(Problem)]}}
    for status in operation.refusals:
        responses[str(status)] = {"description": "Refused; the body says why.", "content": problem}
    described: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary, "responses": responses}
    described["parameters"] = _query(operation.query)
    if "{name}" in operation.path:
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        described["parameters"] = [name, *described["parameters"]]
    if operation.body is not None:
        content = {"application/json": {"schema": by_type[repr(operation.body)]}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.name == "health":
        described["security"] = []
    else:
        responses["401"] = {"description": "Wrong or missing token. No body."}
    return described


def _query(names: tuple[str, ...]) -> list[dict[str, Any]]:
    kinds = {"after": "integer", "job": "string"}
    return [{"name": name, "in": "query", "required": False, "schema": {"type": kinds[name]}} for name in names]
