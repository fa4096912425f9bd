"""The HTTP calls: bodies in, jobs asked, bodies out. Every refusal is a :class:`~pliant.wire.api.Problem`."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pliant.control.job import Job
from pliant.control.metrics import render
from pliant.control.openapi import openapi_text
from pliant.control.registry import Registry
from pliant.errors import CoordinatorError
from pliant.wire.api import (
    JobSpec,
    MisbehaveRequest,
    Problem,
    ScaleRequest,
    StopRequest,
    Weights,
    WeightsRequest,
)
from pliant.wire.codec import MAX_MESSAGE_BYTES
from pliant.wire.messages import WeightsOrder, WeightsPublished

_log = logging.getLogger(__name__)
Kind = TypeVar("Kind")
_LONGEST_WAIT_S = 60.0


async def create_job(request: Request) -> Response:
    """``POST /v1/jobs``."""
    spec = await _body(request, JobSpec)
    return _json(_registry(request).create(spec).status(), status=201)


async def list_jobs(request: Request) -> Response:
    """``GET /v1/jobs``."""
    return _json([job.status() for job in _registry(request).jobs.values()])


async def get_job(request: Request) -> Response:
    """``GET /v1/jobs/NAME``."""
    return _json(_registry(request).find(_name(request)).status())


async def scale_job(request: Request) -> Response:
    """``POST /v1/jobs/NAME/scale``."""
    asked = await _body(request, ScaleRequest)
    return _json(_registry(request).scale(_name(request), asked.workers, servers=asked.servers).status())


async def stop_job(request: Request) -> Response:
    """``POST /v1/jobs/NAME/stop``."""
    asked = await _body(request, StopRequest)
    return _json(_registry(request).stop(_name(request), now=asked.now).status())


async def misbehave_job(request: Request) -> Response:
    """``POST /v1/jobs/NAME/misbehave``."""
    asked = await _body(request, MisbehaveRequest)
    return _json(_registry(request).misbehave(_name(request), asked).status())


async def get_weights(request: Request) -> Response:
    """``POST /v1/jobs/NAME/weights``: answered when a worker has written them, or nothing has come for a while."""
    asked = await _body(request, WeightsRequest)
    if not asked.directory.startswith("/") or asked.every < 1 or asked.after < 0:
        raise CoordinatorError("directory: an absolute path; every: at least 1; after: at least 0", status=422)
    if not 0 <= asked.wait_s <= _LONGEST_WAIT_S:
        raise CoordinatorError(f"wait_s is {asked.wait_s:g}: from 0 to {_LONGEST_WAIT_S:g}", status=422)
    job = _registry(request).find(_name(request))
    if not isinstance(job, Job):
        raise CoordinatorError(
            f"job {job.status().name} is {job.status().state}: no more weights will come", status=409
        )
    return _json(await _weights(job, WeightsOrder(asked.directory, asked.every, asked.after), wait_s=asked.wait_s))


async def _weights(job: Job, order: WeightsOrder, *, wait_s: float) -> Weights:
    """Waits for them.

    Raises:
        CoordinatorError: 409: the job is over; 503: they could not be written.
    """
    waiting: asyncio.Future[WeightsPublished | None] = asyncio.get_running_loop().create_future()

    def answer(published: WeightsPublished | None) -> None:
        if not waiting.done():
            waiting.set_result(published)

    job.ask_weights(order, answer)
    try:
        found = await asyncio.wait_for(waiting, wait_s)
    except TimeoutError:
        return Weights()
    finally:
        job.drop_weights(order)
    if found is None:
        return Weights()  # superseded, or the job has just ended: asking again tells which
    if found.error:
        raise CoordinatorError(f"the weights before step {found.step} could not be written: {found.error}", status=503)
    return Weights(found.step, found.path, found.size_bytes, found.seconds)


async def get_events(request: Request) -> Response:
    """``GET /v1/jobs/NAME/events?after=SEQ``."""
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdecimal()):
        raise CoordinatorError(f"after={after[:50]!r} is not a number; give the last seq that you have", status=422)
    return _json(_registry(request).find(_name(request)).events(after=int(after)))


async def get_report(request: Request) -> Response:
    """``GET /v1/jobs/NAME/report``."""
    return _json(_registry(request).find(_name(request)).report())


async def get_metrics(request: Request) -> Response:
    """``GET /metrics``."""
    return Response(render(_registry(request)), media_type="text/plain; version=0.0.4")


async def get_openapi(request: Request) -> Response:
    """``GET /openapi.json``."""
    return Response(openapi_text(), media_type="application/json")


async def health(request: Request) -> Response:
    """``GET /healthz``: says nothing but that somebody is here."""
    return Response(status_code=204)


async def on_refusal(request: Request, error: Exception) -> Response:
    """A :class:`~pliant.errors.CoordinatorError`, as its HTTP answer."""
    status = error.status if isinstance(error, CoordinatorError) and error.status else 500
    return _json(Problem(str(error)), status=status)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = {404: "there is no such path", 405: f"{request.method} is not possible here"}.get(status, str(error))
    return _json(Problem(f"{what}: {request.url.path[:200]}; GET /openapi.json lists what there is"), status=status)


async def on_bug(request: Request, error: Exception) -> Response:
    """Anything else: logged by the server, not told."""
    return _json(Problem("internal error in the coordinator; its log has the details"), status=500)


def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _json(value: Any, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


async def _body(request: Request, kind: type[Kind]) -> Kind:
    """The request's body, read no further than the limit.

    Raises:
        CoordinatorError: 413: it is too large; 422: it is not a ``kind``.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_MESSAGE_BYTES:
            raise CoordinatorError(f"the body is larger than {MAX_MESSAGE_BYTES} bytes", status=413)
    try:
        return msgspec.json.decode(bytes(data), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CoordinatorError(f"the body is not a valid {kind.__name__}: {error}", status=422) from error
