import random

import numpy as np
import torch

from pliant.data.streams import seed_streams


def draws():
    return (torch.randn(3).tolist(), torch.rand(2).tolist(), random.random(), random.gauss(0, 1), np.random.randn())


def test_the_stream_is_a_function_of_the_path_alone():
    seed_streams(1, "train", 2, 3)
    first = draws()
    draws()
    seed_streams(1, "train", 2, 3)
    assert draws() == first


def test_all_generators_differ_between_paths():
    seen = []
    for path in [
        (1, 2),
        ("1", 2),
        (12,),
        ("12",),
        (2, 1),
        (1, "2"),
        ("a", "b"),
        ("ab",),
        (-1,),
        (1 << 90,),
        ("\ud800",),
        (),
    ]:
        seed_streams(*path)
        seen.append(draws())
    for values in zip(*seen, strict=True):
        assert len({repr(value) for value in values}) == len(seen)


def test_leftovers_of_pairwise_normals_are_forgotten():
    seed_streams("x")
    expected = draws()
    seed_streams("y")
    torch.randn(1), random.gauss(0, 1), np.random.randn()
    seed_streams("x")
    assert draws() == expected
