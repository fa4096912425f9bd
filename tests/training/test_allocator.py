import resource

import torch

from pliant.training.allocator import keep_freed_memory


def faults():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def test_memory_of_one_step_is_there_for_the_next():
    assert keep_freed_memory()
    for _ in range(3):
        torch.ones(1 << 20)  # 4 MiB: a thousand pages
    before = faults()
    for _ in range(20):
        torch.ones(1 << 20)
    assert faults() - before < 2000, "each of the twenty tensors was faulted in anew"
