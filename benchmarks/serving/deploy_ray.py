"""Deploys an application on a running Ray, and returns: ``python -m benchmarks.serving.deploy_ray PORT``."""

import sys

import ray
from ray import serve

from benchmarks.serving.server_ray import build

if __name__ == "__main__":
    ray.init(namespace="serve", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(build({}), name="bench", route_prefix="/")
