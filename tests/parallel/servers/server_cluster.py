"""Servers and workers in one process: letters travel when a seeded dice says so, servers die; there is no time."""

import random
import tempfile
from collections import deque
from pathlib import Path

import msgspec
import torch
from torch import nn

from pliant.comm.tree import maximal_subtrees
from pliant.parallel.layout import Layout, trained
from pliant.parallel.partials import Partials, scaled
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.client_work import PassWork, PullWork, RowUpdateWork
from pliant.parallel.servers.conversation import Conversation
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.served_parameters import ServedParameters
from pliant.parallel.servers.slot_server import SlotServer
from pliant.parallel.tables.embedding import Embedding
from pliant.parallel.tables.merge import RowGrads
from pliant.parallel.tables.row_sums import RowSums
from pliant.parallel.tables.update import update_rows
from pliant.wire.server_messages import SLOTS, PlaceSlots, ServerAddress, SlotPlace, SlotsRefused
from pliant.wire.tables import RowAdagrad

DECODE = msgspec.msgpack.Decoder(le.AnyLetter).decode
ENCODE = msgspec.msgpack.Encoder().encode
AGAIN = 5_000
"""After so many ticks workers say again what has no answer, as they do after a while in real life."""


class Network(nn.Module):
    """Dense layers, and perhaps a table beside them."""

    def __init__(self, table):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 3))
        self.table = Embedding("ids", 3, optimizer=RowAdagrad(lr=0.1)) if table else None

    def forward(self, inputs, ids):
        found = self.dense(inputs)
        return found if self.table is None else found + self.table(ids).sum(dim=1)

    @property
    def tables(self):
        return {} if self.table is None else {"ids": self.table}


def build(make_optimizer, seed=0, table=False):
    """A small model and its optimizer."""
    torch.manual_seed(seed)
    model = Network(table)
    return model, make_optimizer(model.parameters())


def shard_gradients(model, step, shard):
    """A pure function of parameters, step and shard."""
    generator = torch.Generator().manual_seed(1000 * step + shard)
    inputs = torch.randn(4, 12, generator=generator)
    ids = torch.randint(-40, 40, (4, 2), generator=generator)
    model.zero_grad()
    model(inputs, ids).square().mean().backward()


class Net:
    """Queues between pairs: first in, first out each; which one moves next is random."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.queues = {}
        self.down = set()
        self.sent = 0

    def put(self, kind, sender, to, letter, frames):
        if sender in self.down or to in self.down:
            return
        self.sent += 1
        copies = [memoryview(bytearray(frame)) for frame in frames]
        self.queues.setdefault((kind, sender, to), deque()).append((ENCODE(letter), copies))

    def lose(self, name):
        """A process is gone, and all that it was sent; of what it had sent, some still arrives."""
        self.down.add(name)
        for kind, sender, to in list(self.queues):
            if to == name:
                del self.queues[kind, sender, to]
            elif sender == name:
                queue = self.queues[kind, sender, to]
                for _ in range(self.dice.randint(0, len(queue))):
                    queue.pop()

    def movable(self):
        return [key for key, queue in self.queues.items() if queue]

    def step(self, deliver):
        """One letter arrives; False if there is none."""
        waiting = self.movable()
        if not waiting:
            return False
        key = self.dice.choice(waiting)
        header, frames = self.queues[key].popleft()
        deliver(*key, DECODE(header), frames)
        return True


class Mail:
    def __init__(self, net, name):
        self.net, self.name = net, name

    def command(self, server, letter, frames=()):
        self.net.put("command", self.name, server, letter, frames)

    def answer(self, to, letter, frames=()):
        self.net.put("answer", self.name, to, letter, frames)


class Coordinator:
    """Places slots simply: copies of the dead are filled at whoever has least."""

    def __init__(self, servers, *, copies, tell):
        self.copies, self.tell, self.version = copies, tell, 0
        self.servers = list(servers)
        count = len(self.servers)
        self.places = [
            [[self.servers[(slot * count // SLOTS + more) % count] for more in range(min(copies, count))], []]
            for slot in range(SLOTS)
        ]
        self.lost_slots = []
        self.since = [0] * SLOTS
        self.publish()

    def publish(self):
        self.version += 1
        self.placement = PlaceSlots(
            self.version,
            [SlotPlace(list(holders), list(filling)) for holders, filling in self.places],
            [ServerAddress(server, "memory") for server in self.servers],
        )
        self.tell(self.placement)

    def load(self, server):
        return sum(server in holders + filling for holders, filling in self.places)

    def lost(self, server):
        self.servers.remove(server)
        for slot, (holders, filling) in enumerate(self.places):
            if holders and holders[0] == server:
                self.since[slot] = self.version + 1
            for names in (holders, filling):
                if server in names:
                    names.remove(server)
            if not holders:
                self.lost_slots.append(slot)
        self.refill()
        self.publish()

    def joined(self, server):
        self.servers.append(server)
        self.refill()
        self.publish()

    def move(self, slot, server):
        """Give a slot to a server, which becomes its primary once it is filled."""
        holders, filling = self.places[slot]
        if server not in holders + filling:
            filling.append(server)
            self.publish()

    def refill(self):
        for holders, filling in self.places:
            while holders and len(holders) + len(filling) < self.copies:
                free = [server for server in self.servers if server not in holders + filling]
                if not free:
                    break
                filling.append(min(free, key=self.load))

    def filled(self, server, version, slots):
        for slot in slots:
            holders, filling = self.places[slot]
            if server in filling and version >= self.since[slot]:
                filling.remove(server)
                if len(holders) >= self.copies:  # a move: the newcomer leads, the old primary lets go
                    holders[0] = server
                    self.since[slot] = self.version + 1
                else:
                    holders.append(server)
        self.publish()


class Worker:
    """Computes its shards, and goes through a step as a worker does, a bit each time it is asked to."""

    def __init__(self, name, cluster, rank):
        self.name, self.cluster, self.rank = name, cluster, rank
        self.model, self.optimizer = build(cluster.make_optimizer, table=cluster.table)
        self.rows = RowSums(self.model.tables, cluster.shards)
        for table in self.model.tables.values():
            table.source = self
        self.served = ServedParameters({"model": self.model}, {"optimizer": self.optimizer})
        self.partials = Partials(self.served.layout, cluster.shards)
        self.updates = 0
        self.talk = Conversation(self.send, begin=self.begin)
        self.talk.era = 1
        self.talk.placed(cluster.coordinator.placement)
        self.step, self.work, self.request = 0, None, None

    def send(self, server, letter, frames):
        self.cluster.net.put("command", self.name, server, letter, frames)

    def begin(self, slots):
        return None if self.updates else (0, self.served.first_states(slots))

    def start_step(self, held, generation):
        """Compute, and begin to send."""
        self.partials.reset()
        self.rows.begin(self.step)
        for shard in held:
            shard_gradients(self.model, self.step, shard)
            self.partials.take_leaf(shard)
            self.rows.take(shard)
        self.partials.flatten()
        layout = self.served.layout
        hail = le.Hail(
            0, generation, self.step, self.rank, len(self.cluster.workers), self.cluster.shards, layout.fingerprint,
            list(held), [1.0] * len(held), list(self.rows.tables),
        )  # fmt: skip
        nodes = maximal_subtrees(held, self.cluster.shards)
        self.work = PassWork(
            hail,
            nodes,
            self.partials,
            self.served.ranges,
            lambda: None,
            ready=[True] * len(layout.buckets),
            rows=self.rows.nodes,
        )
        self.talk.begin_pass(self.work)

    def pull(self, table, ids):
        """Rows, as they are now."""
        work = PullWork(table, ids, dim=3, number=self.updates, step=self.step + 1)
        return self.ask(work).rows

    def state(self, table):
        """Of a table."""
        return self.served.rows(self, self.updates, table, Path(tempfile.gettempdir()))

    def ask(self, work):
        """As a client's: letters travel until all answers are here."""
        self.request = work
        self.talk.ask(work)
        self.cluster.asked(self, work)
        self.cluster.run_until(lambda: not work.pending)
        self.talk.end_request()
        self.request = None
        return work

    def check(self):
        assert self.talk.trouble is None, self.talk.trouble

    def finish_step(self, clip):
        """The user's part after the inner loop."""
        self.talk.end_pass(self.work)
        if self.rows.tables:
            self.updates += 1
            self.ask(RowUpdateWork(self.updates, self.step))
        self.served.place_gradients(self, self.step, [True] * len(self.served.layout.params))
        if clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.updates += 1
        mine = {slot for slot in range(SLOTS) if slot % len(self.cluster.workers) == self.rank}
        self.served.update(self, "optimizer", number=self.updates, mine=mine)
        self.served.drop_state()
        self.step += 1


class Cluster:
    """Runs steps on servers that come and go; see ``test_simulated.py``."""

    make_net, make_worker = Net, Worker

    def __init__(
        self, *, seed, make_optimizer, servers=3, workers=2, shards=5, copies=2, clip=0.0, twice=0.0, table=False
    ):
        self.net, self.dice = self.make_net(seed), random.Random(seed + 1)
        self.make_optimizer, self.shards, self.clip, self.twice = make_optimizer, shards, clip, twice
        self.table = table
        self.refused = []
        """(server, what it said) of slots that it had no room for."""
        self.servers, self.reports, self.killed, self.generation = {}, [], 0, 1
        self.workers = []
        self.number = 0
        self.news = deque()
        names = [self.new_server() for _ in range(servers)]
        self.coordinator = Coordinator(names, copies=copies, tell=self.tell)
        self.workers = [self.make_worker(f"w{rank + 1}", self, rank) for rank in range(workers)]
        self.events = {}
        """By tick: what happens then."""
        self.ticks = 0

    def new_server(self):
        self.number += 1
        name = f"s{self.number}"
        model, optimizer = build(self.make_optimizer, seed=77, table=self.table)  # it gets the workers' state
        layout = Layout(trained({"model": model}))
        store = DenseStore(layout, ranges=SlotRanges(layout), optimizers={"optimizer": optimizer})
        self.servers[name] = SlotServer(
            name, self.mail(name), store, tables={key: table.store for key, table in model.tables.items()},
            report=lambda said, name=name: self.told(name, said),
        )  # fmt: skip
        return name

    def told(self, name, said):
        """To the coordinator."""
        if isinstance(said, SlotsRefused):
            self.refused.append((name, said))
        else:
            self.reports.append((name, said.version, said.slots))

    def mail(self, name):
        return Mail(self.net, name)

    def tell(self, placement):
        """The news arrive at each at another moment."""
        for name in [*self.servers, *(worker.name for worker in self.workers)]:
            self.news.append((name, placement))

    def tick(self):
        """Something happens: a letter arrives, somebody hears of a placement, a server looks what is ready."""
        self.ticks += 1
        if not self.ticks % AGAIN:
            for worker in self.workers:
                worker.talk.again()
        for event in self.events.pop(self.ticks, ()):
            event()
        roll = self.dice.random()
        if self.news and roll < 0.3:
            self.hear()
        elif self.reports and roll < 0.4:
            name, version, slots = self.reports.pop(0)
            if name in self.servers:
                self.coordinator.filled(name, version, slots)
        elif roll < 0.8 and self.net.step(self.deliver):
            pass
        else:
            for worker in self.workers:
                worker.talk.say()
                if self.dice.random() < self.twice:
                    worker.talk.again()
                worker.check()
            if self.servers:
                self.servers[self.dice.choice(sorted(self.servers))].flush()

    def hear(self):
        """In order for each."""
        name = self.dice.choice(sorted({name for name, _ in self.news}))
        at = next(index for index, item in enumerate(self.news) if item[0] == name)
        _, placement = self.news[at]
        del self.news[at]
        if name in self.servers:
            self.servers[name].placed(placement)
        for worker in self.workers:
            if worker.name == name:
                worker.talk.placed(placement)

    def deliver(self, kind, sender, to, letter, frames):
        if to in self.servers:
            self.servers[to].handle(sender, letter, frames)
            assert not self.servers[to].dropped
        for worker in self.workers:
            if worker.name == to:
                worker.talk.take(sender, letter, frames)

    def run_until(self, done, most=100_000):
        for _ in range(most):
            if done():
                return
            self.tick()
        raise AssertionError(f"stuck after {self.ticks} ticks:\n{self.waiting_for()}")

    def asked(self, worker, work):
        """A worker begins to wait for answers. Nothing, here."""

    def waiting_for(self):
        """What has no answer, and how its slots are."""
        lines = []
        for worker in self.workers:
            for work in (worker.talk._pass, worker.talk._request):
                for slot in [] if work is None else sorted(work.pending)[:3]:
                    lines.append(f"{worker.name} {type(work).__name__} {slot}: {self.coordinator.places[slot]}")
                    lines += [
                        f"  {name} v{server.state.version}: {server.state.slots.get(slot)}"
                        for name, server in self.servers.items()
                    ]
        return "\n".join(lines)

    # ------------------------------------------------------------ faults

    def spare(self, server):
        """No slot has this server alone."""
        return all(holders != [server] for holders, _ in self.coordinator.places)

    def kill_one(self):
        """SIGKILL of a server that others can stand in for."""
        able = [server for server in self.coordinator.servers if self.spare(server)]
        if not able:
            return
        self.kill(self.dice.choice(able))

    def kill(self, victim):
        del self.servers[victim]
        self.net.lose(victim)
        self.news = deque(item for item in self.news if item[0] != victim)
        self.reports = [item for item in self.reports if item[0] != victim]
        self.coordinator.lost(victim)
        self.killed += 1

    def add_one(self):
        self.coordinator.joined(self.new_server())

    def move_some(self):
        for slot in self.dice.sample(range(SLOTS), 6):
            self.coordinator.move(slot, self.dice.choice(self.coordinator.servers))

    # ------------------------------------------------------------ training

    def train(self, steps):
        """So many steps; the parameters of the first worker."""
        for _ in range(steps):
            self.generation += self.dice.random() < 0.2
            deal = [self.dice.randrange(len(self.workers)) for _ in range(self.shards)]
            for worker in self.workers:
                held = [shard for shard in range(self.shards) if deal[shard] == worker.rank]
                worker.start_step(held, self.generation)
            self.run_until(lambda: not any(worker.work.pending for worker in self.workers))
            for worker in self.dice.sample(self.workers, len(self.workers)):
                worker.finish_step(self.clip)
        found = [parameters_of(worker.model) for worker in self.workers]
        assert all(each == found[0] for each in found)
        return [*found[0], *(rows_of(self.workers[0].state(name)) for name in self.workers[0].model.tables)]


def parameters_of(model):
    return [param.detach().numpy().tobytes() for param in model.parameters()]


def rows_of(state):
    """All of a table."""
    return b"".join(state[key].numpy().tobytes() for key in sorted(state))


class Onlooker:
    """Is told what one process computes by itself. Sees nothing, here."""

    def mean(self, step, model):
        """The gradients are the mean of a step's."""

    def updated(self, number, model):
        """An update was done."""


def undisturbed(*, make_optimizer, steps, shards=5, clip=0.0, table=False, onlooker=None):
    """What one process computes by itself, in the shards' tree."""
    onlooker = Onlooker() if onlooker is None else onlooker
    model, optimizer = build(make_optimizer, table=table)
    rows = RowSums(model.tables, shards)
    partials = Partials(Layout(trained({"model": model})), shards)
    number = 0
    onlooker.updated(number, model)
    for step in range(steps):
        partials.reset()
        rows.begin(step)
        for shard in range(shards):
            shard_gradients(model, step, shard)
            partials.take_leaf(shard)
            rows.take(shard)
        for name, each in model.tables.items():
            total = rows.nodes[0, shards][name]
            mean = scaled(total.grads, 1.0 / shards, torch.empty_like(total.grads))
            update_rows(each.store, RowGrads(total.ids, mean), step=step + 1)
            number += 1
            onlooker.updated(number, model)
        for param, total in zip(model.parameters(), partials.lists[0, shards], strict=True):
            param.grad = scaled(total, 1.0 / shards, torch.empty_like(total))
        onlooker.mean(step, model)
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        number += 1
        onlooker.updated(number, model)
    return [*parameters_of(model), *(rows_of(each.get_extra_state()) for each in model.tables.values())]
