"""The digits of ``digits_cnn.py``, served.

pliant run --checkpoint-every 25 examples/digits_cnn.py
pliant serve examples/digits_service.py:Digits --checkpoint ~/.pliant/jobs/digits_cnn/checkpoints/step-00000100
"""

from __future__ import annotations

import torch
from digits_cnn import network  # beside this file

import pliant


class Digits(pliant.Model):
    """An image of 8 x 8, from 0 to 1, to ten probabilities."""

    inputs = {"image": ("float32", (1, 8, 8))}
    outputs = {"output": ("float32", (10,))}

    def load(self) -> None:
        """Once for each version of the weights."""
        self.net = self.weights(network())

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """(rows, 1, 8, 8) to (rows, 10)."""
        return self.net(batch).softmax(dim=-1)
