"""A cluster with faults, of which everything that workers are shown is written down and checked."""

import torch
from reads_history import IDS, History
from server_faults import FaultyCluster

from pliant.parallel.servers.client_work import PullWork


class WatchedCluster(FaultyCluster):
    """Checks each answer when it arrives, and each server that leads slots when it hears so."""

    def __init__(self, *, reference, **more):
        self.history = History(reference)
        super().__init__(**more)

    def asked(self, worker, work):
        self.history.asked(worker.name, work)

    def deliver(self, kind, sender, to, letter, frames):
        works = [(w, work) for w in self.workers if w.name == to for work in (w.work, w.request) if work is not None]
        before = [set(work.pending) for _, work in works]
        super().deliver(kind, sender, to, letter, frames)
        for (worker, work), pending in zip(works, before, strict=True):
            if news := pending - work.pending:
                self.history.took(worker.name, work, news)
                self.look_at_leaders(news)

    def hear(self):
        super().hear()
        self.look_at_leaders(range(len(self.coordinator.places)))

    def look_at_leaders(self, slots):
        """Those that have heard the newest placement."""
        for slot in slots:
            holders, _ = self.coordinator.places[slot]
            server = self.servers.get(holders[0]) if holders else None
            if server is not None and server.state.version == self.coordinator.version:
                self.history.leads(holders[0], slot, server.state.slots[slot])

    def train(self, steps):
        """As the cluster's; between the steps workers look at rows, as an evaluation does."""
        for _ in range(steps):
            super().train(1)
            for worker in self.workers if self.table else ():
                some = torch.tensor(sorted(self.dice.sample(IDS.tolist(), 30)))
                worker.ask(PullWork("ids", some, dim=3, number=worker.updates, step=worker.step + 1))
        return self.history
