"""The same model under LitServe: ``python -m benchmarks.serving.server_litserve PORT``."""

import os
import sys

import litserve
import torch

from benchmarks.serving.models import answer, as_tensor, build
from benchmarks.serving.order import given_order


class Api(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        self.order = given_order()
        self.net = build(self.order.model)

    def decode_request(self, request):
        return as_tensor(self.order.model, request)

    def predict(self, x):
        with torch.inference_mode():
            return self.net(x)

    def encode_response(self, output):
        return answer(output, with_pid=self.order.pids)


class BatchedApi(Api):
    def batch(self, inputs):
        return torch.cat(inputs)

    def unbatch(self, output):
        return list(output.split(1))


if __name__ == "__main__":
    order = given_order()
    api = BatchedApi(max_batch_size=order.batch, batch_timeout=0.001) if order.batch > 1 else Api()
    tuned = os.environ["LITSERVE_TUNED"] == "yes"
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=order.replicas,
        fast_queue=tuned,
        restart_workers=tuned,
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
