"""What a system is asked to serve. Goes to the server's process as JSON in its environment."""

from __future__ import annotations

import os

import msgspec

VARIABLE = "SERVING_ORDER"
THREADS = "1"


class Order(msgspec.Struct, frozen=True):
    """One model, on a fixed or a changing number of replicas."""

    model: str
    replicas: int = 1
    """At the beginning, and at least."""
    most: int = 0
    """Replicas at most; 0: as many as at the beginning, always."""
    batch: int = 1
    """Rows that are computed together at most; 1: without batching."""
    target: int = 8
    """Requests that one replica should hold, where the number of replicas changes."""
    pids: bool = False
    """Whether answers say which process computed them."""

    @property
    def elastic(self) -> bool:
        """Whether the number of replicas follows the load."""
        return self.most > self.replicas

    def variables(self) -> dict[str, str]:
        """For the server's environment."""
        return {VARIABLE: msgspec.json.encode(self).decode()}


def given_order() -> Order:
    """In the server's process."""
    return msgspec.json.decode(os.environ[VARIABLE], type=Order)
