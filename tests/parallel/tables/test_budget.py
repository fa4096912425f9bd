import pytest

from pliant.errors import MemoryLimitError
from pliant.parallel.tables.budget import Budget, growing, require_rows


class Holder:
    def __init__(self, size_bytes):
        self.size_bytes = size_bytes


def test_a_budget_is_shared_and_says_what_to_do():
    budget = Budget(10_000_000)
    budget.add(Holder(4_000_000))
    budget.add(Holder(3_000_000))
    budget.require("users", rows=1000, more_rows=500, more_bytes=3_000_000)
    with pytest.raises(MemoryLimitError) as caught:
        budget.require("users", rows=1000, more_rows=500, more_bytes=3_000_001)
    for part in ("table users", "500 more rows", "1,000", "3.0 MB", "7.0 MB", "10.0 MB", "expire_after_steps"):
        assert part in str(caught.value)


def test_no_limit():
    budget = Budget()
    budget.add(Holder(4_000_000))
    budget.require("users", rows=1, more_rows=1, more_bytes=1 << 60)
    require_rows("users", rows=1, more_rows=1 << 60, most=None)


def test_max_rows():
    require_rows("users", rows=90, more_rows=10, most=100)
    with pytest.raises(MemoryLimitError, match=r"table users: 11 more rows beside the 90 .* max_rows of 100;"):
        require_rows("users", rows=90, more_rows=11, most=100)


def test_the_limit_can_be_set_later():
    budget = Budget()
    budget.add(Holder(10))
    budget.limit_bytes = 10
    budget.require("users", rows=0, more_rows=1, more_bytes=0)
    with pytest.raises(MemoryLimitError):
        budget.require("users", rows=0, more_rows=1, more_bytes=1)


def test_when_the_system_gives_none():
    message = r"table users: the system has no memory for 5 more rows beside the 1,000 .*\(Cannot allocate memory\)"
    with pytest.raises(MemoryLimitError, match=message), growing("users", rows=1000, more_rows=5):
        raise OSError(12, "Cannot allocate memory")
