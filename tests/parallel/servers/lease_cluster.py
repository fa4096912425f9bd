"""Workers that wait for no other, and servers, in one process: pushes whose sums tell how often each was applied.

Every slot has a counter (SGD with a rate of 1 and whole numbers, so that a sum is exact in any order), or moments
(Adam, whose bits depend on the order). Lease ``l`` adds ``4**l`` to the even elements of a counter, and ``4**l`` times
1, 2 or 3 to the odd ones, by whichever attempt it is: so the digits tell what was applied, how often, and of whom.
"""

from collections import Counter
from functools import partial

import torch
from server_faults import FaultyCluster
from torch import nn

from pliant.parallel.layout import Layout, trained
from pliant.parallel.leases.ledger import CALL, UNBOUNDED, Asked, CallShape, Finished
from pliant.parallel.pass_messages import pack_bits
from pliant.parallel.servers.conversation import Conversation
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.frames import frames_of
from pliant.parallel.servers.lease_work import AskWork, PushName, PushWork, ReadWork
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.served_parameters import ServedParameters
from pliant.parallel.servers.slot_server import SlotServer
from pliant.parallel.servers.targets import FlatTarget
from pliant.wire.server_messages import SLOTS

MOST_LEASES = 12
"""So many digits fit the whole numbers of float32."""
STARTS = ("count", "moments")
"""Optimizers, in the order of a lease's parts."""


class PushesBrokenError(AssertionError):
    """A push was applied twice or not at all, or a reader was shown what it had seen undone."""


def build():
    """Half of the slots count, half have moments."""
    model = nn.Module()
    model.counter, model.weights = nn.Parameter(torch.zeros(32 * 32)), nn.Parameter(torch.zeros(32 * 32))
    count = torch.optim.SGD([model.counter], lr=1.0)
    moments = torch.optim.Adam([model.weights], lr=0.1)
    return model, {"count": count, "moments": moments}


def digits(value):
    """How often each lease was applied, or for odd elements by which attempt."""
    value = -int(value)
    return [value // 4**lease % 4 for lease in range(MOST_LEASES)]


class LeaseWorker:
    """Asks for a lease, reads, pushes, and asks again; goes on a bit each time that it has its answers."""

    def __init__(self, name, cluster, rank):
        self.name, self.cluster, self.rank = name, cluster, rank
        model, optimizers = build()
        self.served = ServedParameters({"model": model}, optimizers)
        self.talk = Conversation(partial(cluster.net.put, "command", name), begin=self.begin)
        self.talk.era = 1
        self.talk.placed(cluster.coordinator.placement)
        self.work = self.request = self.given = self.finished = None
        self.target = FlatTarget(self.served.ranges, self.served.layout.new_flats())
        self.over, self.attempt = False, 0
        self.seen = {}
        """By slot: the newest update that it was shown, and the leases that it saw applied."""

    def begin(self, slots):
        return 0, self.served.first_states(slots)

    def check(self):
        assert self.talk.trouble is None, self.talk.trouble

    def advance(self):
        """What was asked is answered: ask the next."""
        work = self.request
        if self.over or (work is not None and work.pending):
            return
        if work is not None:
            self.talk.end_request()
        match work:
            case AskWork() if work.given.what == "over":
                self.over, self.request = True, None
                return
            case AskWork():
                self.given, self.attempt = work.given, self.cluster.attempt(work.given.index)
                self.ask(ReadWork(self.served.ranges, self.target))
            case PushWork() if work.optimizer == STARTS[-1]:
                self.finished = Finished(self.given.index, samples=1, staleness=0)
                self.ask(AskWork(self.asked))
            case ReadWork():
                self.ask(self.push(1 if isinstance(work, PushWork) else 0))
            case _:
                self.ask(AskWork(self.asked))

    def ask(self, work):
        self.request = work
        self.talk.ask(work)

    def asked(self):
        return Asked(self.cluster.shape, self.cluster.generation, self.cluster.members, finished=self.finished)

    def push(self, part):
        """The gradients of the lease, for one optimizer."""
        lease, layout = self.given.index, self.served.layout
        gradients = layout.new_flats()
        for index in range(len(layout.params)):
            values = layout.view(gradients, index)
            values[0::2], values[1::2] = 4.0**lease, 4.0**lease * (1 + self.attempt % 3)
        present = [layout.names[index].endswith(("counter", "weights")[part]) for index in range(len(layout.params))]
        optimizer = self.served.optimizers[STARTS[part]]
        options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        first = self.cluster.shape.call * CALL
        return PushWork(
            self.served.ranges, self.target, optimizer=STARTS[part], present=pack_bits(present),
            name=PushName(first + lease, part, first + self.given.floor, lease // self.cluster.shape.shards),
            option_frames=frames_of(options)[0], gradients=gradients,
        )  # fmt: skip


class LeaseCluster(FaultyCluster):
    """Leases are computed by workers that come and go, and pushed to servers that do."""

    make_worker = LeaseWorker

    def __init__(self, *, steps=4, shards=3, staleness=UNBOUNDED, **more):
        self.shape = CallShape(1, "steps", 0, steps, shards, staleness=staleness)
        self.attempts = Counter()
        self.newest = [0] * SLOTS
        """By slot: the newest update that anybody was shown."""
        self.names = 0
        super().__init__(make_optimizer=None, **more)
        self.names = len(self.workers)
        self.members = [worker.name for worker in self.workers]

    def new_server(self):
        self.number += 1
        name = f"s{self.number}"
        model, optimizers = build()
        layout = Layout(trained({"model": model}))
        store = DenseStore(layout, ranges=SlotRanges(layout), optimizers=optimizers)
        self.servers[name] = SlotServer(
            name, self.mail(name), store, report=lambda said: self.reports.append((name, said.version, said.slots))
        )
        return name

    def attempt(self, lease):
        self.attempts[lease] += 1
        return self.attempts[lease] - 1

    # ------------------------------------------------------------ faults

    def plan(self, *, faults, within):
        super().plan(faults=faults, within=within)
        for _ in range(faults // 2):
            event = self.dice.choice([self.lose_worker, self.lose_worker, self.add_worker, self.orphan_worker])
            self.events.setdefault(self.dice.randint(1, within), []).append(event)

    def lose_worker(self):
        """SIGKILL; of what it has sent, some arrives."""
        if len(self.members) > 1:
            name = self.dice.choice(self.members)
            self.workers = [worker for worker in self.workers if worker.name != name]
            self.net.lose(name)
            self._meet([member for member in self.members if member != name])
            self.count("worker killed")

    def orphan_worker(self):
        """It counts as dead, and goes on with its lease."""
        if len(self.members) > 1:
            name = self.dice.choice(self.members)
            self._meet([member for member in self.members if member != name])
            self.count("worker orphaned")

    def add_worker(self):
        self.names += 1
        worker = self.make_worker(f"w{self.names}", self, self.names)
        self.workers = [*self.workers, worker]
        self._meet([*self.members, worker.name])
        self.count("worker joined")

    def _meet(self, members):
        self.members = members
        self.generation += 1
        for worker in self.workers:
            worker.talk.ask_again()

    # ------------------------------------------------------------ events

    def tick(self):
        super().tick()
        for worker in self.workers:
            worker.advance()

    def deliver(self, kind, sender, to, letter, frames):
        worker = next((each for each in self.workers if each.name == to), None)
        work = None if worker is None else worker.request
        pending = set() if work is None else set(work.pending)
        super().deliver(kind, sender, to, letter, frames)
        if isinstance(work, ReadWork):
            self.look_at(worker, work, set(range(SLOTS)) - work.pending)
            self.look_at_leaders(pending - work.pending)

    def hear(self):
        super().hear()
        self.look_at_leaders(range(SLOTS))

    def look_at(self, worker, work, slots):
        """What a worker was shown, and has in its hands."""
        for slot in slots:
            number, values = work.numbers[slot], work.target.cut(slot)
            before, known = worker.seen.get(slot, (0, set()))
            if number < before:
                raise PushesBrokenError(f"{worker.name} has slot {slot} at update {number}, and had it at {before}")
            leases = known if not counts(worker.served, slot) else applied(values[0], f"{worker.name}, slot {slot}")
            if not known <= leases:
                raise PushesBrokenError(f"{worker.name} has slot {slot} with leases {leases}, and had it with {known}")
            mine = worker.given.index
            if isinstance(work, PushWork) and counts(worker.served, slot) and mine not in leases:
                raise PushesBrokenError(f"{worker.name} does not find its push of {mine} in slot {slot}: {leases}")
            worker.seen[slot] = number, leases
            self.newest[slot] = max(self.newest[slot], number)

    def look_at_leaders(self, slots):
        """Who has heard the newest placement, and leads a slot by it, has all that anybody was shown."""
        for slot in slots:
            holders, _ = self.coordinator.places[slot]
            server = self.servers.get(holders[0]) if holders else None
            if server is None or server.state.version != self.coordinator.version:
                continue
            number = max(0, server.state.slots[slot].number)
            if number < self.newest[slot]:
                raise PushesBrokenError(
                    f"{holders[0]} leads slot {slot} at update {number}, and {self.newest[slot]} was shown"
                )

    # ------------------------------------------------------------ all of it

    def train(self):
        """All leases, and then until nothing is under way any more."""
        self.run_until(lambda: all(worker.over for worker in self.workers if worker.name in self.members))
        self.workers = [worker for worker in self.workers if worker.name in self.members]
        self.net.held.clear()
        self.events.clear()
        for server in sorted(self.cut_off & self.servers.keys()):
            del self.servers[server]
            self.net.lose(server)
        self.run_until(self.quiet)

    def quiet(self):
        if self.net.movable() or self.news or self.reports:
            return False
        for server in self.servers.values():
            server.flush()
        return not self.net.movable()

    def holders(self):
        """(slot, server, all that it holds of the slot), bytes."""
        for slot, (names, _) in enumerate(self.coordinator.places):
            for name in names:
                server = self.servers[name]
                value = server._filling._slot_frames(slot)
                yield slot, name, [bytes(frame) for frame in value], server._holdings.store.params(slot)[0]


def counts(served, slot):
    """It is a counter's slot."""
    return all(served.layout.names[piece.param].endswith("counter") for piece in served.ranges.pieces[slot])


def applied(values, where):
    """The leases in a counter: each once, all elements alike."""
    first, second = digits(values[0]), digits(values[1])
    if not torch.equal(values[0::2], values[0].expand(len(values) // 2)) or max(first) > 1:
        raise PushesBrokenError(f"{where}: leases were applied so often: {first}")
    if [digit > 0 for digit in first] != [digit > 0 for digit in second]:
        raise PushesBrokenError(f"{where}: leases {first} were applied by attempts {second}")
    return {lease for lease, digit in enumerate(first) if digit}
