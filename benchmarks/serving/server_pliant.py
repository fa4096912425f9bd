"""The same model under Pliant: ``pliant serve benchmarks/serving/server_pliant.py:Served``."""

import os

import torch

import pliant
from benchmarks.serving.models import build
from benchmarks.serving.order import given_order
from benchmarks.serving.shapes import ROWS

ORDER = given_order()


class Served(pliant.Model):
    inputs = {"input": (ROWS[ORDER.model].dtype, ROWS[ORDER.model].shape)}  # noqa: RUF012 - as users write it

    def load(self):
        self.net = build(ORDER.model)

    def predict(self, batch):
        output = self.net(batch)
        if not ORDER.pids:
            return output
        return {"output": output, "pid": torch.full((len(output),), os.getpid())}
