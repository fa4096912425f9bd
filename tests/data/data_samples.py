"""Datasets and streams for the loader's tests; at module level, so that they can be sent to any process."""

import os
import random

import numpy as np
import torch


class Plain:
    """Sample i is (tensor(i), i)."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.tensor(float(index)), index


class Noisy(Plain):
    """Draws from all three global generators for each sample."""

    def __getitem__(self, index):
        return index, torch.rand(2), random.random(), np.random.rand()


class Logged(Plain):
    """Writes ``pid index`` into a file for every sample that is fetched."""

    def __init__(self, size, path):
        super().__init__(size)
        self.path = path

    def __getitem__(self, index):
        with open(self.path, "a") as log:
            log.write(f"{os.getpid()} {index}\n")
        return index

    def read(self):
        with open(self.path) as log:
            return [tuple(map(int, line.split())) for line in log]


class Broken(Plain):
    """Cannot give sample ``bad``."""

    def __init__(self, size, bad):
        super().__init__(size)
        self.bad = bad

    def __getitem__(self, index):
        if index == self.bad:
            raise KeyError(f"sample {index} is broken")
        return index


class BrokenOwn(Plain):
    """Raises an error whose class no other process could import."""

    def __getitem__(self, index):
        class LocalError(Exception):
            pass

        raise LocalError(f"sample {index} is broken")


def lengths(shard):
    """Samples in the test streams: they end at different steps, one at once, one in the middle of a batch."""
    return {0: 9, 1: 12, 2: 0, 3: 7}[shard]


def stream(shard, shards, epoch, start):
    for number in range(start, lengths(shard)):
        yield shard * 1000 + epoch * 100 + number, torch.rand(1)
