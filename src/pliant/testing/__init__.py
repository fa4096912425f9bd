"""Faults for the tests of your own training script: real processes, real signals, and one measure, the weights.

The pytest fixture ``elastic`` (:mod:`pliant.testing.plugin`) is a :class:`Lab`; without pytest, make one yourself.
"""

from __future__ import annotations

from pliant.testing.elastic_job import ElasticJob
from pliant.testing.lab import Lab
from pliant.testing.result import Result, assert_same_weights
from pliant.testing.waiting import wait_until

__all__ = ["ElasticJob", "Lab", "Result", "assert_same_weights", "wait_until"]
