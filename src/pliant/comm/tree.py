"""The one fixed binary tree over the V shards in which everything is summed.

A node is a half-open range ``(start, stop)`` of shards. A node of more than one shard splits at the largest power of
two below its size, so that 8 shards give ``((0+1)+(2+3))+((4+5)+(6+7))``. Any set of shards is covered by its
*maximal subtrees*: the fewest nodes that hold exactly these shards. A worker adds up within those
(its partial sums), and whoever adds the partial sums of all workers continues in the same tree: so who held
which shard never changes the order of the additions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

Node = tuple[int, int]
T = TypeVar("T")


def split(node: Node) -> tuple[Node, Node]:
    """The two children of a node of at least two shards."""
    start, stop = node
    half = 1 << ((stop - start - 1).bit_length() - 1)
    return (start, start + half), (start + half, stop)


def maximal_subtrees(held: Collection[int], shards: int) -> list[Node]:
    """The fewest nodes of the tree over ``shards`` that together hold exactly ``held``, in order."""
    wanted = frozenset(held)
    found: list[Node] = []

    if wanted:
        _visit((0, shards), wanted, found)
    return found


def sibling_merge(nodes: Collection[Node], node: Node, shards: int) -> Node | None:
    """The node that is the other child of ``node``'s parent, if it is among ``nodes``."""
    at: Node = (0, shards)
    while at != node:
        if at[1] - at[0] < 2:
            return None
        left, right = split(at)
        if node in (left, right):
            other = right if node == left else left
            return other if other in nodes else None
        at = left if node[1] <= left[1] else right
    return None


def fold(partials: Mapping[Node, T], shards: int, add: Callable[[T, T], T]) -> T:
    """Add up partial sums that together cover all shards, in the tree's order.

    Raises:
        KeyError: a shard is covered by none of ``partials``.
    """
    return _value((0, shards), partials, add)


# Not within the functions above: a function that calls itself by a name around it is a cycle, which would hold what it
# has seen until Python looks for such.


def _visit(node: Node, wanted: Collection[int], found: list[Node]) -> None:
    inside = sum(1 for shard in range(*node) if shard in wanted)
    if inside == node[1] - node[0]:
        found.append(node)
    elif inside:
        for child in split(node):
            _visit(child, wanted, found)


def _value(node: Node, partials: Mapping[Node, T], add: Callable[[T, T], T]) -> T:
    found = partials.get(node)
    if found is not None:
        return found
    if node[1] - node[0] < 2:
        raise KeyError(node[0])
    left, right = split(node)
    return add(_value(left, partials, add), _value(right, partials, add))
