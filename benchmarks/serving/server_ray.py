"""The same model under Ray Serve: ``serve run benchmarks.serving.server_ray:build``."""

import os

import torch
from ray import serve
from ray.serve.config import AutoscalingConfig
from starlette.requests import Request
from starlette.responses import JSONResponse

from benchmarks.serving.models import answer, as_tensor
from benchmarks.serving.models import build as build_net
from benchmarks.serving.order import Order, given_order

QUICK = {"upscale_delay_s": 0.0, "metrics_interval_s": 0.1, "look_back_period_s": 0.2}
"""The shortest that the guide "Advanced Ray Serve Autoscaling" describes."""


class Single:
    """Without batching."""

    def __init__(self, order: Order) -> None:
        torch.set_num_threads(1)
        self.order = order
        self.net = build_net(order.model)

    async def __call__(self, request: Request) -> JSONResponse:
        rows = await request.json()
        with torch.inference_mode():
            output = self.net(as_tensor(self.order.model, rows))
        return JSONResponse(answer(output, with_pid=self.order.pids))


class Batched(Single):
    """With ``@serve.batch``; a batch is what is there."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.compute.set_max_batch_size(order.batch)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.0)
    async def compute(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        with torch.inference_mode():
            return list(self.net(torch.cat(inputs)).split(1))

    async def __call__(self, request: Request) -> JSONResponse:
        output = await self.compute(as_tensor(self.order.model, await request.json()))
        return JSONResponse(answer(output, with_pid=self.order.pids))


def build(args: dict) -> serve.Application:
    """``args`` is empty: the order comes from the environment, as with the other systems."""
    order, tuned = given_order(), os.environ["RAY_SERVE_TUNED"] == "yes"
    options = {"ray_actor_options": {"num_cpus": 0.1}}
    if tuned:
        options["max_ongoing_requests"] = 256
    if order.elastic:
        quick = {**QUICK, "target_ongoing_requests": order.target} if tuned else {}
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=order.replicas, initial_replicas=order.replicas, max_replicas=order.most, **quick
        )
    else:
        options["num_replicas"] = order.replicas
    kind = Batched if order.batch > 1 else Single
    return serve.deployment(kind, name="Model").options(**options).bind(order)
