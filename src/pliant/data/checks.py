"""What can be wrong with a loader's arguments, all of it at once, each with its value and the way out."""

from __future__ import annotations

import inspect
import operator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

_FUNCTION = (
    "give a function (shard, shards, epoch, start) that returns an iterator over the samples of that shard, "
    "from its sample number `start` on"
)


@dataclass(frozen=True)
class Options:
    """The checked arguments, unchecked: anything may be in here."""

    batch_size: Any
    shards: Any
    seed: Any
    num_workers: Any
    collate_fn: Any
    prefetch_factor: Any


def problems_with(dataset: Any, options: Options) -> list[str]:
    """One message for each problem; empty if the loader can work."""
    problems: list[str] = []
    batch_size = _whole("batch_size", options.batch_size, least=1, problems=problems)
    shards = _whole("shards", options.shards, least=1, problems=problems)
    _whole("seed", options.seed, least=None, problems=problems)
    _whole("num_workers", options.num_workers, least=0, problems=problems)
    _whole("prefetch_factor", options.prefetch_factor, least=1, problems=problems)
    if batch_size and shards and batch_size % shards:
        problems.append(_indivisible(batch_size, shards))
    if options.collate_fn is not None and not callable(options.collate_fn):
        problems.append(
            f"collate_fn is {options.collate_fn!r}; give a function from a list of samples to a batch, or None"
        )
    wrong_kind = _wrong_kind(dataset)
    if wrong_kind is not None:
        problems.append(wrong_kind)
        return problems
    size = dataset_size(dataset)
    if size is not None and size < 1:
        needed = f"at least batch_size = {batch_size} samples" if batch_size else "at least one batch"
        problems.append(f"the dataset is empty ({size} samples); training needs {needed}")
    elif size is not None and batch_size and size < batch_size:
        problems.append(
            f"the dataset has {size} samples, fewer than one batch of {batch_size}; "
            f"use batch_size {size - size % (shards or 1) or size} or less, or more data"
        )
    return problems


def dataset_size(dataset: Any) -> int | None:
    """Samples of a map-style dataset; None for a stream function."""
    return len(dataset) if hasattr(dataset, "__getitem__") else None


def _whole(name: str, value: Any, *, least: int | None, problems: list[str]) -> int | None:
    """The value as an int, or None after noting what is wrong with it."""
    bound = "a whole number" if least is None else f"a whole number of at least {least}"
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        problems.append(f"{name} is {value!r}; give {bound}")
        return None
    return number


def _indivisible(batch_size: int, shards: int) -> str:
    below = batch_size - batch_size % shards
    sizes = f"{below} or {below + shards}" if below else f"{shards}"
    divisors = [count for count in range(1, batch_size + 1) if batch_size % count == 0]
    nearest = min(divisors, key=lambda count: abs(count - shards))
    return (
        f"batch_size {batch_size} is not divisible by {shards} shards, so the shards would not be alike; "
        f"use batch_size {sizes}, or {nearest} shards"
    )


def _wrong_kind(dataset: Any) -> str | None:
    """Why this is neither a map-style dataset nor a stream function; None if it is one."""
    kind = type(dataset).__name__
    if isinstance(dataset, IterableDataset):
        return (
            f"the dataset is an IterableDataset ({kind}), which can only be read from its beginning by one reader; "
            f"{_FUNCTION}, for example: lambda shard, shards, epoch, start: "
            f"itertools.islice(iter(dataset), shard + start * shards, None, shards)"
        )
    if isinstance(dataset, DataLoader):
        return f"the dataset is a {kind}, which makes batches already; give its dataset: Loader(loader.dataset, ...)"
    if hasattr(dataset, "__getitem__"):
        try:
            len(dataset)
        except (TypeError, NotImplementedError) as error:
            return f"the dataset ({kind}) has no usable length ({error}); give it __len__, or for a stream {_FUNCTION}"
        return None
    if callable(dataset):
        return _wrong_signature(dataset)
    if hasattr(dataset, "__iter__"):
        return f"the dataset is a {kind}, which can be read only once and from its beginning; {_FUNCTION}"
    return f"the dataset is a {kind} without __len__ and __getitem__; add both, or for a stream {_FUNCTION}"


def _wrong_signature(function: Any) -> str | None:
    try:
        inspect.signature(function).bind(0, 1, 0, 0)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        return f"the dataset function {name} cannot be called with (shard, shards, epoch, start): {error}; {_FUNCTION}"
    except ValueError:
        return None  # Written in C, without a signature: the first call will tell.
    return None
