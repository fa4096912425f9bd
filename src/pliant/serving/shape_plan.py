"""Which requests of different shapes may share a batch, and to which sizes they are padded there. Pure.

A dimension that a model's signature names and pads (``Signature.pads``) has *buckets*: sizes that it is padded to.
Requests of one bucket may share a batch; without buckets any may, and are padded to the longest of them. A dimension
that is not padded keeps requests of different sizes apart, unless the model puts them together itself.

The router asks :func:`misfits` and :func:`batch_key` when a request comes; the replica asks :func:`sizes_of` and
:func:`padded_sizes` when it has a batch. Both see the same signature, so they agree.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from pliant.wire.tensors import Signature, TensorHead, TensorSpec

Shapes = Mapping[str, Sequence[int]]
"""Of each input of one request, by name; the first dimension are the rows."""


def sizes_of(shapes: Shapes, signature: Signature) -> dict[str, int]:
    """The named dimensions of one request, which :func:`misfits` has found to fit."""
    return {dim: size for _, dim, size in _named(shapes, signature)}


def padded_sizes(requests: Sequence[Mapping[str, int]], signature: Signature) -> dict[str, int]:
    """What the named dimensions of a batch are padded to.

    Args:
        requests: the sizes of each request, at least one request.
        signature: of the model.
    """
    largest = {dim: max(sizes[dim] for sizes in requests) for dim in requests[0]}
    return {dim: _bucket(size, signature.pads.get(dim, ())) for dim, size in largest.items()}


def batch_key(heads: Sequence[TensorHead], signature: Signature) -> Hashable:
    """Requests with the same one may share a batch.

    Args:
        heads: of a request's inputs, in the signature's order.
        signature: of the model.
    """
    if not signature.uneven:
        return tuple((head.name, head.datatype, head.shape[1:]) for head in heads)
    specs = {spec.name: spec for spec in signature.inputs}
    return tuple((head.name, head.datatype, _open_shape(head, specs.get(head.name), signature)) for head in heads)


def misfits(shapes: Shapes, signature: Signature) -> list[str]:
    """What of a request's named dimensions cannot be; empty if nothing. For whoever has sent it."""
    problems: list[str] = []
    seen: dict[str, tuple[str, int]] = {}
    for name, dim, size in _named(shapes, signature):
        buckets = signature.pads.get(dim, ())
        if buckets and size > buckets[-1]:
            problems.append(f"input {name} has {dim} {size}; at most {buckets[-1]} is taken")
        first, other = seen.setdefault(dim, (name, size))
        if size != other:
            problems.append(f"input {name} has {dim} {size}, and input {first} has {dim} {other}: they should be equal")
    return problems


def _named(shapes: Shapes, signature: Signature) -> Iterator[tuple[str, str, int]]:
    """(Input, dimension, size) of every dimension with a name, as far as the request has it."""
    for spec in signature.inputs:
        for dim, size in zip(spec.dims, shapes.get(spec.name, ())[1:], strict=False):
            if dim:
                yield spec.name, dim, size


def _bucket(size: int, buckets: Sequence[int]) -> int:
    """The smallest one that is large enough; the size itself if there is none."""
    return next((bucket for bucket in buckets if bucket >= size), size)


def _open_shape(head: TensorHead, spec: TensorSpec | None, signature: Signature) -> tuple[int | None, ...] | None:
    """The row's shape, with None where a request of any size may join, and the bucket where there are some."""
    row = head.shape[1:]
    if spec is None:
        return None if signature.collates else row
    found: list[int | None] = []
    for (dim, wanted), size in zip(spec.axes, row, strict=True):
        if buckets := signature.pads.get(dim, ()):
            found.append(_bucket(size, buckets))
        else:
            is_open = dim in signature.pads or (signature.collates and wanted == -1)
            found.append(None if is_open else size)
    return tuple(found)
