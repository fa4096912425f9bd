"""One distinct type for each kind of identity, so that a type checker tells them apart."""

from __future__ import annotations

from typing import NewType

JobName = NewType("JobName", str)
"""Chosen by the user (or derived from the script); unique among the running jobs of one coordinator."""

WorkerId = NewType("WorkerId", str)
"""``w1``, ``w2``, ...: unique within a job and never used again, also after the worker is gone."""

ServerId = NewType("ServerId", str)
"""``s1``, ``s2``, ...: a parameter server; unique within a job and never used again, also after it is gone."""

NodeId = NewType("NodeId", str)
"""A machine, as named by its agent."""

Generation = NewType("Generation", int)
"""Strictly increasing within a job; 0 means "none yet", the first real one is 1."""

Shard = NewType("Shard", int)
"""0 .. V-1: one part of every global batch."""


def worker_number(worker: WorkerId) -> int:
    """The number in a worker's id: ``w12`` is 12. Lower is older."""
    return int(worker[1:])
