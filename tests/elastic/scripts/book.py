"""For the scripts of these tests: what happened is written down, and a test may hold a worker in a phase."""

import argparse
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import torch

HOLD_DEADLINE_S = 100.0


class Book:
    """Lines of JSON, one file for each process; a line is there as a whole or not at all."""

    def __init__(self, out):
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(self.out / f"book-{os.getpid()}.jsonl", flags, 0o600)
        log = Path(os.readlink("/proc/self/fd/1")).name
        self.worker = log.removesuffix(".log") if log.startswith("w") and log.endswith(".log") else "alone"

    def write(self, *fields):
        os.write(self._file, (json.dumps(fields) + "\n").encode())

    def shard(self, step, samples):
        self.write("shard", step.epoch, step.number, [int(sample) for sample in samples])

    def digest(self, job, step, *tracked):
        """After a step's update: the weights, and everything that is tracked."""
        everything = hashlib.sha256()
        for item in tracked:
            feed(everything, item.state_dict())
        self.write("digest", step.number, job.weights_sha256(), everything.hexdigest())

    def eat_when_asked(self):
        """From now on, in the background: take 512 MB as soon as the test wants it, whatever this process is doing."""

        def wait():
            while not self.held("eat"):
                time.sleep(0.02)
            self.eaten = bytearray(b"x") * (512 << 20)

        threading.Thread(target=wait, daemon=True).start()

    def held(self, phase):
        """Whether the test wants this worker to wait in this phase."""
        return (self.out / f"hold-{phase}-{self.worker}").exists()

    def hold(self, phase):
        """Wait here while the test wants it."""
        if not self.held(phase):
            return
        name = f"{phase}-{self.worker}"
        wanted = self.out / f"hold-{name}"
        (self.out / f"at-{name}").touch()
        end_s = time.monotonic() + HOLD_DEADLINE_S
        while wanted.exists():
            if time.monotonic() > end_s:
                sys.exit(f"held in {name} for too long")
            time.sleep(0.005)

    def spin(self):
        """Where the test wants it: hold the interpreter's lock for so many seconds, as C code may."""
        wanted = self.out / f"spin-{self.worker}"
        if wanted.exists():
            seconds = float(wanted.read_text())
            began_s = time.perf_counter()
            sum(range(10_000_000))
            rate = 10_000_000 / (time.perf_counter() - began_s)
            wanted.rename(self.out / f"spun-{self.worker}")
            sum(range(int(rate * seconds)))


def feed(digest, value):
    """Everything in a state_dict, in order."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            feed(digest, item)
    elif isinstance(value, torch.Tensor):
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    else:
        digest.update(repr(value).encode())


def options(**defaults):
    """``--out DIR`` and one option for each keyword, typed as its default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()
