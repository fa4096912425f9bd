"""Sources with real loader processes."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from data_samples import Broken, BrokenOwn, Logged, Noisy, Plain, lengths, stream

from pliant.data import Loader, SampleLedger
from pliant.data.shards_plan import sample_range
from pliant.membership.deal_plan import deal_shards, quotas

DEADLINE_S = 30.0


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.005)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


OTHERS = set()
"""Children of this process that are not of the test: templates that other tests keep for the whole run."""


def loader_processes():
    return {child.pid for child in multiprocessing.active_children()} - OTHERS


@pytest.fixture(autouse=True)
def no_process_is_left():
    OTHERS.clear()
    OTHERS.update(loader_processes())
    yield
    wait_until(lambda: not loader_processes(), "all loader processes ended")


@pytest.fixture
def opened():
    sources = []

    def open_source(loader):
        sources.append(loader.source())
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()
        source.close()


def take(source, step, shard, epoch=0):
    batch = source.batch(epoch=epoch, step=step, shard=shard)
    return None if batch is None else [part.tolist() for part in batch.data]


def same(dataset, *, epochs, opened, **options):
    """Run inline and with processes side by side, the latter through a random history of resizes."""
    options = {"batch_size": 16, "shards": 4, "seed": 2, **options}
    inline = opened(Loader(dataset, **options))
    ahead = opened(Loader(dataset, **options, num_workers=2))
    dice = random.Random(1)
    compared = 0
    for epoch in range(epochs):
        for step in range(5):
            held = sorted(dice.sample(range(4), dice.randint(0, 4)))
            ahead.assign(held, epoch=epoch, step=step)
            inherited = dice.randrange(4)
            for shard in dict.fromkeys([*held, inherited]):
                expected = take(inline, step, shard, epoch)
                assert take(ahead, step, shard, epoch) == expected
                compared += expected is not None
                more = inline.more(epoch=epoch, step=step, shard=shard)
                assert ahead.more(epoch=epoch, step=step, shard=shard) == more
    assert compared > 10


def test_processes_give_the_same_bits_through_any_resizes(opened):
    same(Noisy(70), epochs=4, opened=opened)


def test_streams_give_the_same_bits_through_any_resizes(opened):
    same(stream, epochs=4, opened=opened)


def test_streams_in_processes_end_and_begin_anew(opened):
    source = opened(Loader(stream, batch_size=16, shards=4, num_workers=2))
    source.assign(range(4), epoch=0, step=0)
    for epoch in range(3):
        for step in range(4):
            for shard in range(4):
                found = take(source, step, shard, epoch)
                expected = range(step * 4, min(step * 4 + 4, lengths(shard)))
                assert (found[0] if found else []) == [shard * 1000 + epoch * 100 + n for n in expected]
                assert source.more(epoch=epoch, step=step, shard=shard) == (step * 4 + 4 < lengths(shard))


def test_prefetch_survives_resizes_without_new_processes_or_repeated_work(opened, tmp_path):
    dataset = Logged(800, tmp_path / "log")
    source = opened(Loader(dataset, batch_size=8, shards=4, num_workers=2, shuffle=False))
    hands = [[0, 1, 2, 3], [0, 1], [0, 1, 2], [0], [0, 1, 2, 3]]
    for step in range(12):
        held = hands[step % 5]
        source.assign(held, epoch=0, step=step)
        for shard in held:
            assert source.batch(epoch=0, step=step, shard=shard).data.tolist() == [
                step * 8 + shard * 2,
                step * 8 + shard * 2 + 1,
            ]
        if step == 0:
            processes = loader_processes()
    assert loader_processes() == processes
    assert len(processes) == 2
    entries = dataset.read()
    fetched_by_loaders = {pid for pid, _index in entries} - {os.getpid()}
    assert fetched_by_loaders == processes
    # Shard 0 was held throughout: each of its samples was fetched once, and by a loader process.
    held_throughout = [(pid, index) for pid, index in entries if index % 8 < 2 and index < 96]
    assert sorted(index for _pid, index in held_throughout) == [i for i in range(96) if i % 8 < 2]
    assert all(pid in processes for pid, _index in held_throughout)


def test_after_a_resize_the_loader_processes_take_over_the_new_shards(opened, tmp_path):
    dataset = Logged(800, tmp_path / "log")
    source = opened(Loader(dataset, batch_size=8, shards=4, num_workers=2, shuffle=False))
    source.assign([0], epoch=0, step=0)
    assert source.batch(epoch=0, step=0, shard=0).samples == 2
    source.assign([2, 3], epoch=0, step=1)
    for step in range(1, 20):
        for shard in (2, 3):
            assert source.batch(epoch=0, step=step, shard=shard).data[0] == step * 8 + shard * 2
    inline = [index for pid, index in dataset.read() if pid == os.getpid()]
    # At most what was not under way yet when the shards changed hands: one window of orders.
    assert len(inline) <= 2 * 4


def test_shards_of_a_dead_worker_are_fetched_at_once_and_own_ones_are_not_repeated(opened, tmp_path):
    dataset = Logged(64, tmp_path / "log")
    source = opened(Loader(dataset, batch_size=8, shards=4, num_workers=1, shuffle=False))
    source.assign([0, 1], epoch=0, step=0)
    for shard in (0, 1):
        source.batch(epoch=0, step=0, shard=shard)
    source.assign([0, 1, 2, 3], epoch=0, step=0)
    assert [source.batch(epoch=0, step=0, shard=shard).data.tolist() for shard in (2, 3)] == [[4, 5], [6, 7]]
    source.assign([0, 1, 2, 3], epoch=0, step=1)
    assert source.batch(epoch=0, step=1, shard=0).data.tolist() == [8, 9]
    assert [index for _pid, index in dataset.read()].count(0) == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_every_sample_once_over_a_history_of_members(num_workers, opened):
    loader = Loader(Plain(203), batch_size=24, shards=8, num_workers=num_workers)
    members = [opened(loader) for _ in range(3)]
    ledger = SampleLedger(8)
    seen = []
    dice = random.Random(3)
    for step in range(loader.steps_per_epoch):
        count = dice.randint(1, 3)
        for member, held in zip(members, deal_shards(range(8), takes=quotas([0] * count, missing=8)), strict=False):
            member.assign(held, epoch=0, step=step)
            for shard in held:
                batch = member.batch(epoch=0, step=step, shard=shard)
                place = sample_range(step=step, shard=shard, batch_size=24, shards=8, size=203, drop_last=False)
                ledger.commit(epoch=0, step=step, shard=shard, positions=place)
                seen += batch.data[1].tolist() if batch else []
    assert ledger.exactly_once(0, 203)
    assert sorted(seen) == list(range(203))


def test_an_error_in_the_dataset_arrives_when_its_shard_is_asked_for(opened):
    source = opened(Loader(Broken(64, bad=20), batch_size=8, shards=4, num_workers=2, shuffle=False))
    source.assign(range(4), epoch=0, step=0)
    for step in range(2):
        for shard in range(4):
            source.batch(epoch=0, step=step, shard=shard)
    for shard in (0, 1):
        source.batch(epoch=0, step=2, shard=shard)
    with pytest.raises(KeyError) as caught:
        source.batch(epoch=0, step=2, shard=2)
    for part in ("sample 20 is broken", "data_samples.py", "shard 2 of step 2 of epoch 0", "__getitem__"):
        assert part in str(caught.value)
    assert source.batch(epoch=0, step=2, shard=3).data.tolist() == [22, 23]


def test_an_error_class_that_cannot_travel_is_still_told(opened):
    source = opened(Loader(BrokenOwn(64), batch_size=8, shards=4, num_workers=1))
    source.assign([0], epoch=0, step=0)
    with pytest.raises(RuntimeError, match="LocalError"):
        source.batch(epoch=0, step=0, shard=0)


def test_the_scripts_own_random_stream_is_not_touched_by_starting(opened):
    source = opened(Loader(Plain(64), batch_size=8, shards=4, num_workers=1))
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.get_rng_state(), random.getstate()
    source.assign([0], epoch=0, step=0)
    assert torch.equal(torch.get_rng_state(), expected[0])
    assert random.getstate() == expected[1]


def test_a_worker_that_holds_no_shards_can_get_some_later(opened):
    source = opened(Loader(Plain(64), batch_size=8, shards=4, num_workers=1, shuffle=False))
    source.assign([0], epoch=0, step=0)
    source.batch(epoch=0, step=0, shard=0)
    source.assign([], epoch=0, step=1)
    assert source.batch(epoch=0, step=1, shard=3).data[1].tolist() == [14, 15]
    source.assign([1], epoch=0, step=2)
    assert source.batch(epoch=0, step=2, shard=1).data[1].tolist() == [18, 19]
    assert source.batch(epoch=0, step=3, shard=1).data[1].tolist() == [26, 27]


CRASHING = """
import multiprocessing, sys, threading
from pliant.data import Loader
source = Loader(list(range(640)), batch_size=8, shards=4, num_workers=2).source()
source.assign(range(4), epoch=0, step=0)
source.batch(epoch=0, step=0, shard=0)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_loader_processes_die_with_a_killed_worker():
    worker = subprocess.Popen([sys.executable, "-c", CRASHING], stdout=subprocess.PIPE, text=True)
    with worker:
        children = [int(pid) for pid in worker.stdout.readline().split()]
        assert len(children) == 2
        assert all(alive(pid) for pid in children)
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.wait(DEADLINE_S) == -signal.SIGKILL
        killed = time.monotonic()
        wait_until(lambda: not any(alive(pid) for pid in children), "loader processes of a killed worker ended")
        # DataLoader's own watchdog would have taken 5 s to look.
        assert time.monotonic() - killed < 4
