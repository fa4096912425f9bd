"""The work that all systems do: benchmarks/workload.py's models and data, with each sample's number beside it."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable

import torch
from torch.utils.data import TensorDataset

from benchmarks.workload import Workload
from benchmarks.workload import build as build_workload

SNAPSHOT_EVERY = 10
"""Steps between the snapshots of the systems that restart from disk."""


def options() -> argparse.Namespace:
    """The command line of every training script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("gpt", "mlp"), required=True)
    parser.add_argument("--context", type=int, default=32, help="tokens of a GPT's window")
    parser.add_argument("--batch", type=int, required=True, help="samples of a step over all workers")
    parser.add_argument("--shards", type=int, required=True, help="of the batch; only Pliant has them")
    parser.add_argument("--steps", type=int, required=True, help="one epoch of the data has so many steps")
    parser.add_argument("--books", required=True, help="directory for the books, see benchmarks/peers/book.py")
    return parser.parse_args()


def build(args: argparse.Namespace) -> Workload:
    """Model and data; the same bits on every call, one intra-op thread. A batch is (sample numbers, x, y)."""
    torch.set_num_threads(1)
    samples = args.batch * args.steps
    work = build_workload(args.model, samples=samples, context=args.context)
    return Workload(work.model, TensorDataset(torch.arange(samples), *work.dataset.tensors))


def save_atomically(path: str, save: Callable[[str], None]) -> None:
    """Call ``save`` with a temporary name beside ``path``, then rename: a kill leaves the old file."""
    handle, name = tempfile.mkstemp(dir=os.path.dirname(path))
    os.close(handle)
    save(name)
    os.replace(name, path)
