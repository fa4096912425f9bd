"""Replicas share one copy of the weights."""

from pathlib import Path

from service_lab import parent_of


def memory_of(pid):
    """Proportional memory of a process without mapped files, and private memory, in bytes (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(size.split()[0]) << 10 for name, size in (line.split(":") for line in lines)}
    return sizes["Pss_Anon"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def total_with_three_replicas(service):
    """Memory of the template and three replicas that have each answered; the largest private part of a replica."""
    replicas = service.wait_replicas(3)
    service.hold()
    answers = [service.later([[1, 1, 1]]) for _ in range(3)]
    service.wait_held(3)
    service.release()
    assert [answer.result().json() for answer in answers] == [[[2, 2, 2]]] * 3
    template = parent_of(replicas[0]["pid"])
    found = [memory_of(pid) for pid in (template, *(replica["pid"] for replica in replicas))]
    return sum(proportional for proportional, _ in found), max(private for _, private in found[1:])


def test_the_weights_are_there_once(serve):
    weights = 64 << 20
    small, _ = total_with_three_replicas(serve("Double", "--replicas", "3", "--batch", "1"))
    large, private = total_with_three_replicas(serve("Heavy", "--replicas", "3", "--batch", "1"))
    assert private < weights / 2, "a replica has a copy of its own"
    assert large - small < 1.1 * weights + (8 << 20)  # and what is different from one start to the next
