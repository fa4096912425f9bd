"""KServe's Python client at work: ``python kserve_session.py URL`` prints what each call gave, as JSON.

Runs under an interpreter that has kserve (.ci/setup-clients), and nothing of Pliant.
"""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

VALUES = {
    "BOOL": [[True, False]],
    "UINT8": [[0, 255]],
    "UINT16": [[0, 65535]],
    "UINT32": [[0, 2**32 - 1]],
    "UINT64": [[0, 2**64 - 1]],
    "INT8": [[-128, 127]],
    "INT16": [[-32768, 32767]],
    "INT32": [[-(2**31), 2**31 - 1]],
    "INT64": [[-(2**63), 2**63 - 1]],
    "FP16": [[0.5, 65504.0]],
    "FP32": [[0.1, -7.0]],
    "FP64": [[0.1, 1.7e308]],
}
DTYPES = {"BOOL": "bool", **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)}}
BF16 = {"name": "BF16", "shape": [1, 2], "datatype": "BF16", "data": [0.5, -3]}
"""The client has no numpy type for it, and takes it as numbers."""


def inputs(*, binary, values=VALUES):
    found = [InferInput("BF16", [1, 2], "BF16", data=BF16["data"])]
    for name, rows in values.items():
        found.append(InferInput(name, [len(rows), len(rows[0])], name))
        array = np.array(rows, DTYPES.get(name, name.lower()))
        found[-1].set_data_from_numpy(array, binary_data=binary or name == "FP16")  # the client sends no FP16 as JSON
    return found


def told(response, headers):
    length = headers.get("inference-header-content-length")
    return {
        "id": response.id,
        "model": response.model_name,
        "binary bytes": 0 if length is None else int(headers["content-length"]) - int(length),
        "outputs": {output.name: output.data for output in response.outputs},
        "shapes": {output.name: list(output.shape) for output in response.outputs},
    }


async def session(url):
    found = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        async def infer(inputs, **more):
            request = inputs if isinstance(inputs, dict) else InferRequest("model", inputs, **more)
            headers = {}
            return told(await client.infer(url, request, model_name="model", response_headers=headers), headers)

        async def refusal(data, **more):
            try:
                await client.infer(url, data, **{"model_name": "model", **more})
            except httpx.HTTPStatusError as error:
                return {"status": error.response.status_code, "message": str(error)}

        found["live"] = await client.is_server_live(url)
        found["ready"] = await client.is_server_ready(url)
        found["model ready"] = await client.is_model_ready(url, "model")
        found["other ready"] = await client.is_model_ready(url, "other")
        found["json"] = await infer(inputs(binary=False), request_id="seven")
        rest = [RequestedOutput(name) for name in VALUES]
        wanted = [*rest, RequestedOutput("BF16", {"binary_data": False})]
        as_bytes = {"binary_data_output": True}
        found["bytes"] = await infer(inputs(binary=True), parameters=as_bytes, request_outputs=wanted)
        wanted = [RequestedOutput("FP32", {"binary_data": True}), RequestedOutput("INT8")]
        found["some"] = await infer(inputs(binary=True), request_outputs=wanted)
        as_dict = [{"name": n, "shape": [1, 2], "datatype": n, "data": v} for n, v in VALUES.items()]
        found["dict"] = await infer({"inputs": [*as_dict, BF16]})
        found["missing"] = await refusal({"inputs": as_dict})
        found["other"] = await refusal({"inputs": as_dict}, model_name="other")
        narrow = inputs(binary=True, values=VALUES | {"FP32": [[0.1]]})
        found["narrow"] = await refusal(InferRequest("model", narrow))
        empty = inputs(binary=True, values=VALUES | {"FP32": [[]]})
        found["empty"] = await refusal(InferRequest("model", empty))
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(session(sys.argv[1]))))
