"""A FastAPI application with the model in the process that answers: ``uvicorn benchmarks.serving.server_bare:app``."""

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from benchmarks.serving.models import answer, as_tensor, build
from benchmarks.serving.order import given_order

order = given_order()
torch.set_num_threads(1)
net = build(order.model)
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> JSONResponse:
    rows = await request.json()
    with torch.inference_mode():
        output = net(as_tensor(order.model, rows))
    return JSONResponse(answer(output, with_pid=order.pids))
