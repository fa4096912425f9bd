"""The cluster of ``server_cluster.py`` with worse luck: partitions, broken connections, servers that count as dead.

Nothing here is timed: faults begin and end after so many events.
"""

from collections import deque

from server_cluster import Cluster, Net


class FaultyNet(Net):
    """Letters between some pairs do not arrive for a while, and a broken connection takes the last ones with it."""

    def __init__(self, seed):
        super().__init__(seed)
        self.held = set()
        """Pairs (frozenset) between which nothing arrives."""

    def movable(self):
        return [key for key in super().movable() if frozenset(key[1:]) not in self.held]

    def breaks(self, client, server):
        """The connection that one has made to the other: in each direction the first letters arrive, the rest never."""
        for key in (("command", client, server), ("answer", server, client)):
            queue = self.queues.get(key, ())
            for _ in range(self.dice.randint(0, len(queue))):
                queue.pop()


class FaultyCluster(Cluster):
    """Counts the faults that took place in ``fired``."""

    make_net = FaultyNet

    def __init__(self, **more):
        self.cut_off = set()
        """Servers that the coordinator counts as dead, and that live."""
        self.fired = {}
        super().__init__(**more)

    def plan(self, *, faults, within):
        """So many faults, at random moments."""
        kinds = [
            self.kill_one, self.kill_one, self.add_one, self.add_one, self.move_some, self.hold_servers,
            self.hold_servers, self.hold_servers, self.break_servers, self.break_worker, self.cut_one_off,
        ]  # fmt: skip
        for _ in range(faults):
            self.events.setdefault(self.dice.randint(1, within), []).append(self.dice.choice(kinds))

    def later(self, most, event):
        self.events.setdefault(self.ticks + self.dice.randint(1, most), []).append(event)

    def count(self, what):
        self.fired[what] = self.fired.get(what, 0) + 1

    # ------------------------------------------------------------ faults

    def kill_one(self):
        before = self.killed
        super().kill_one()
        if self.killed > before:
            self.count("killed")

    def hold_servers(self):
        """Two servers do not hear each other for a while, and one may die of it; or they do again, or begin anew."""
        if len(self.servers) < 2:
            return
        pair = self.dice.sample(sorted(self.servers), 2)
        self.net.held.add(frozenset(pair))
        self.count("held")

        def end():
            self.net.held.discard(frozenset(pair))
            if self.dice.random() < 0.5:
                self.broken(*pair)

        def die():
            if pair[0] in self.coordinator.servers and self.spare(pair[0]):
                self.kill(pair[0])

        if self.dice.random() < 0.5:
            self.later(400, die)
        self.later(1500, end)

    def break_servers(self):
        """A connection between two servers breaks; perhaps one of them dies soon after."""
        if len(self.servers) < 2:
            return
        self.broken(*self.dice.sample(sorted(self.servers), 2))
        if self.dice.random() < 0.5:
            self.later(300, self.kill_one)

    def broken(self, client, server):
        if client in self.servers and server in self.servers:
            self.net.breaks(client, server)
            self.servers[client].reconnected(server)
            self.count("broken")

    def break_worker(self):
        """A connection of a worker to a server breaks."""
        worker, server = self.dice.choice(self.workers), self.dice.choice(sorted(self.servers))
        self.net.breaks(worker.name, server)
        worker.talk.again()
        self.count("worker's broken")

    def cut_one_off(self):
        """The coordinator hears nothing of a server: others get its slots, and it does not know it."""
        able = [server for server in self.coordinator.servers if self.spare(server)]
        if not able:
            return
        victim = self.dice.choice(able)
        self.cut_off.add(victim)
        self.news = deque(item for item in self.news if item[0] != victim)
        self.reports = [item for item in self.reports if item[0] != victim]
        self.coordinator.lost(victim)
        self.count("cut off")

        def end():
            del self.servers[victim]
            self.net.lose(victim)

        self.later(3000, end)

    # ------------------------------------------------------------ what the cut off do not hear and are not heard of

    def tell(self, placement):
        super().tell(placement)
        self.news = deque(item for item in self.news if item[0] not in self.cut_off)

    def tick(self):
        super().tick()
        self.reports = [item for item in self.reports if item[0] not in self.cut_off]
