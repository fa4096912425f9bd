import numpy as np
import pytest

from pliant.parallel.tables import arena as arenas
from pliant.parallel.tables.arena import CHUNK_ROWS, Arena, put_rows, take_rows


@pytest.mark.parametrize("shape", [(), (3,), (1,), (32,), (2, 5)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_rows_come_back_after_growing(shape, dtype):
    arena = Arena(shape, dtype)
    random = np.random.default_rng(0)
    expected = random.integers(0, 100, (3 * CHUNK_ROWS, *shape)).astype(dtype)
    for chunk in range(3):
        stop = (chunk + 1) * CHUNK_ROWS
        arena.reserve(stop)
        positions = random.permutation(np.arange(chunk * CHUNK_ROWS, stop))
        arena.put(positions, expected[positions])
    some = random.integers(0, 3 * CHUNK_ROWS, 1000)
    assert (arena.take(some) == expected[some]).all()
    assert arena.take(some).dtype == dtype


def test_growing_by_a_row_makes_room_for_many():
    arena = Arena((2,), "float32")
    arena.reserve(1)
    before = arena.array
    arena.reserve(CHUNK_ROWS)
    assert arena.array is before


def test_who_still_looks_keeps_the_old_memory():
    arena = Arena((2,), "float32")
    arena.reserve(10)
    arena.put(np.arange(10), np.ones((10, 2)))
    view = arena.array[:10]
    arena.reserve(CHUNK_ROWS + 1)
    arena.put(np.arange(10), np.zeros((10, 2)))
    assert (view == 1).all()
    assert (arena.take(np.arange(10)) == 0).all()


def test_nothing_is_copied_to_grow():
    """A page that was not yet written has no memory: after growing, the bytes lie in the very pages they were in."""
    arena = Arena((1024,), "float32")  # 256 MiB a chunk
    arena.reserve(1)
    arena.put(np.array([CHUNK_ROWS - 1]), np.ones((1, 1024)))
    before = resident_bytes()
    arena.reserve(CHUNK_ROWS + 1)
    assert resident_bytes() - before < 64 << 20
    assert (arena.take(np.array([CHUNK_ROWS - 1])) == 1).all()


def test_released_memory_goes_back_to_the_system():
    arena = Arena((1024,), "float32")
    arena.reserve(20_000)
    arena.array[:20_000] = 1  # 80 MB
    before = resident_bytes()
    arena.release(1)
    assert before - resident_bytes() > 60 << 20
    assert (arena.take(np.array([0])) == 1).all()
    arena.put(np.array([19_999]), np.full((1, 1024), 2))
    assert (arena.take(np.array([19_999])) == 2).all()


def test_releasing_an_empty_arena_is_nothing():
    Arena((3,), "float32").release(0)


def test_a_kernel_without_huge_pages_will_do(monkeypatch):
    monkeypatch.setattr(arenas, "_HUGE_BYTES", 0)
    monkeypatch.setattr(arenas.mmap, "MADV_HUGEPAGE", 12345)  # an advice that no kernel takes
    arena = Arena((), "int64")
    arena.reserve(5)
    arena.put(np.arange(5), np.arange(5))
    assert arena.take(np.arange(5)).tolist() == [0, 1, 2, 3, 4]


def test_positions_that_are_not_there_are_an_error():
    with pytest.raises(IndexError):
        take_rows(np.zeros((3, 2)), np.array([3]))
    with pytest.raises(IndexError):
        put_rows(np.zeros((3, 2)), np.array([3]), np.zeros((1, 2)))


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * arenas.mmap.PAGESIZE
