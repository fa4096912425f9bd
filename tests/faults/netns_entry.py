"""The worker's entry of tests with a real network: move into the worker's own network namespace, then train.

Imported in the template; called in a fresh fork, before anything has opened a socket.
"""

import ctypes
import dataclasses
import os

from pliant.config import WorkerSpec
from pliant.training import worker

CLONE_NEWNET = 0x40000000


def enter(namespace: str) -> None:
    """Move the calling thread into a named network namespace (``os.setns`` came with Python 3.12)."""
    descriptor = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {namespace}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def run(spec: WorkerSpec) -> None:
    """``PLIANT_TEST_NET``: ``PREFIX 10.A.B``; worker ``wN`` lives in namespace ``PREFIXnN`` at ``10.A.B.(10+N)``."""
    prefix, subnet = os.environ["PLIANT_TEST_NET"].split()
    number = int(spec.worker[1:])
    enter(f"{prefix}n{number}")
    worker.run(dataclasses.replace(spec, host=f"{subnet}.{10 + number}"))
