"""Which servers should hold which slots in the end. Pure functions; how they come to hold them: ``slots_state.py``.

A *goal* names for each slot its holders, the primary first. It is made from the one before with as few moves as can be:

* who is not there any more is left out, and the next holder is the primary;
* missing holders are chosen from those that hold least;
* then slots go, one at a time, from those that hold most to those that hold least, until nobody holds more
  than one slot above anybody else. Every move brings the numbers nearer to each other, so a server that joins n others
  gets its share of 1/(n+1) and no other slot moves;
* then primaries are balanced in the same way, which moves nothing. A chain of slots may have to change their primary
  for that (from a server with the most, over others, to one with the fewest); the shortest one is taken. As long as one
  server is primary of two more slots than another there is such a chain, because copies are balanced already.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from pliant.ids import ServerId

Goal = tuple[tuple[ServerId, ...], ...]
"""For each slot its holders, the primary first."""


def first_goal(servers: Sequence[ServerId], *, copies: int, slots: int) -> Goal:
    """The first placement: contiguous runs of slots for each primary, and runs within them for each of their copies.

    Neighbours are sent in one frame.
    """
    count = len(servers)
    goal: list[tuple[ServerId, ...]] = []
    for rank, server in enumerate(servers):
        others = [*servers[rank + 1 :], *servers[:rank]]
        run = slots * (rank + 1) // count - slots * rank // count
        for place in range(run):
            first = place * len(others) // run
            ring = [*others[first:], *others[:first]]
            goal.append((server, *ring[: copies - 1]))
    return _balanced(goal, servers, tuple(goal))


def next_goal(goal: Goal, servers: Sequence[ServerId], *, copies: int, have: Goal | None = None) -> Goal:
    """The goal after ``goal``, for these servers. Without any server it is empty places.

    Args:
        goal: the one before.
        servers: who can hold slots, oldest first.
        copies: wanted holders of each slot.
        have: who holds each slot now, if that differs from ``goal``: it costs nothing to stay with them.
    """
    there = set(servers)
    have = goal if have is None else have
    kept = [tuple(server for server in holders if server in there) for holders in goal]
    wanted = min(copies, len(servers))
    held = _copies(kept, servers)
    for slot in range(len(kept)):
        while len(kept[slot]) > wanted:
            # The last one is no primary; of several copies the fullest server lets go.
            gone = max(kept[slot][1:], key=lambda server: (held[server], servers.index(server)))
            held[gone] -= 1
            kept[slot] = tuple(server for server in kept[slot] if server != gone)
        while len(kept[slot]) < wanted:
            others = [server for server in servers if server not in kept[slot]]
            new = min(others, key=lambda server: (server not in have[slot], held[server], servers.index(server)))
            held[new] += 1
            kept[slot] = (*kept[slot], new)
    return _balanced(kept, servers, have)


def is_balanced(goal: Sequence[Sequence[ServerId]], servers: Sequence[ServerId]) -> bool:
    """Whether copies per server, and primaries per server, are each within one of each other."""
    return _spread(_copies(goal, servers)) <= 1 and _spread(_primaries(goal, servers)) <= 1


def _balanced(goal: list[tuple[ServerId, ...]], servers: Sequence[ServerId], have: Goal) -> Goal:
    if servers:
        _balance_copies(goal, servers, have)
        _balance_primaries(goal, servers)
    return tuple(goal)


def _balance_copies(goal: list[tuple[ServerId, ...]], servers: Sequence[ServerId], have: Goal) -> None:
    held = _copies(goal, servers)
    while _spread(held) > 1:
        fullest, emptiest = max(held.values()), min(held.values())
        # There is one: a server with most slots holds more than one with least, so not all are held by both.
        choice = [
            (slot, most, least)
            for slot, holders in enumerate(goal)
            for most in holders
            if held[most] == fullest
            for least in servers
            if held[least] == emptiest and least not in holders
        ]
        slot, most, least = max(choice, key=lambda move: _merit(goal, have, move))
        goal[slot] = tuple(least if server == most else server for server in goal[slot])
        held[most] -= 1
        held[least] += 1


def _merit(
    goal: Sequence[Sequence[ServerId]], have: Goal, move: tuple[int, ServerId, ServerId]
) -> tuple[bool, bool, bool, int, int]:
    """Better moves have a greater one: best are those that take nothing from anybody who has it already."""
    slot, most, least = move
    no_primary = goal[slot][0] != most
    return least in have[slot], most not in have[slot], no_primary, _neighbours(goal, slot, least), -slot


def _neighbours(goal: Sequence[Sequence[ServerId]], slot: int, server: ServerId) -> int:
    """How many of the slots beside this one the server holds: runs are sent in one frame."""
    return sum(server in goal[beside] for beside in (slot - 1, slot + 1) if 0 <= beside < len(goal))


def _balance_primaries(goal: list[tuple[ServerId, ...]], servers: Sequence[ServerId]) -> None:
    while _spread(count := _primaries(goal, servers)) > 1:
        chain = _shortest_chain(goal, count)
        if chain is None:
            return
        for slot, primary in chain:
            goal[slot] = (primary, *(server for server in goal[slot] if server != primary))


def _shortest_chain(goal: Sequence[Sequence[ServerId]], count: Counter[ServerId]) -> list[tuple[int, ServerId]] | None:
    """Slots with new primaries, after which one with the most is primary of one less, and one with few of one more."""
    most = max(count.values())
    came: dict[ServerId, tuple[int, ServerId] | None] = {server: None for server in count if count[server] == most}
    queue = deque(came)
    while queue:
        server = queue.popleft()
        if count[server] <= most - 2:
            chain = []
            while (step := came[server]) is not None:
                chain.append((step[0], server))
                server = step[1]
            return chain
        for slot, holders in enumerate(goal):
            for other in holders[1:] if holders and holders[0] == server else ():
                if other not in came:
                    came[other] = (slot, server)
                    queue.append(other)
    return None


def _copies(goal: Sequence[Sequence[ServerId]], servers: Sequence[ServerId]) -> Counter[ServerId]:
    count = Counter(dict.fromkeys(servers, 0))
    count.update(server for holders in goal for server in holders)
    return count


def _primaries(goal: Sequence[Sequence[ServerId]], servers: Sequence[ServerId]) -> Counter[ServerId]:
    count = Counter(dict.fromkeys(servers, 0))
    count.update(holders[0] for holders in goal if holders)
    return count


def _spread(count: Counter[ServerId]) -> int:
    return max(count.values(), default=0) - min(count.values(), default=0)
