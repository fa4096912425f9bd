"""Random histories of a job with parameter servers: all were told the newest placement, a replay knows the same."""

import random
from contextlib import suppress

import pytest
from control_fakes import process_id
from test_job_checkpoints import choose, put_checkpoint

from pliant.control.inputs import ServerDisconnected
from pliant.errors import CoordinatorError, ProtocolError
from pliant.wire.agent_messages import WorkerExited
from pliant.wire.messages import FormGeneration
from pliant.wire.server_messages import PlaceSlots, ServerLeaving, SlotsFilled


class History:
    """Does something to a job, again and again."""

    def __init__(self, play, directory, seed):
        self.rng = random.Random(seed)
        put_checkpoint(directory, 5)
        self.scene = play(
            strategy="parameter-server",
            min_servers=self.rng.choice([1, 2]),
            max_servers=4,
            copies=self.rng.choice([1, 2, 2]),
            start_workers=2,
            checkpoints=str(directory),
        )
        self.scene.step_s = 0.01  # nobody is silent for long
        self.newest = {}
        """What each peer was told last."""

    @property
    def job(self):
        return self.scene.job

    def servers(self):
        """Connected ones that count as there."""
        records = self.job.servers.records
        return [name for name, record in records.items() if record.link is not None and not record.gone]

    def act(self):
        name = self.rng.choices(
            ["arrive", "fill", "kill", "blink", "scale", "leave", "train", "kill_worker", "tick"],
            weights=[8, 8, 2, 2, 2, 1, 6, 1, 3],
        )[0]
        getattr(self, name)()
        self.listen()

    def listen(self):
        """Versions only grow for everybody who hears of them."""
        for name, link in self.scene.links.items():
            for placement in link.take(PlaceSlots):
                assert placement.version > self.newest.get((name, id(link)), 0)
                self.newest[name, id(link)] = placement.version

    def arrive(self):
        self.scene.start_servers()
        self.scene.start_workers()
        if any(isinstance(m, FormGeneration) for link in self.scene.links.values() for m in link.sent):
            with suppress(ProtocolError):  # it may have been broken since
                self.scene.enter()

    def fill(self):
        slots = self.job.servers.slots
        for server in self.servers():
            theirs = [slot for slot, place in enumerate(slots.places) if server in place.filling]
            some = theirs if self.rng.random() < 0.5 else theirs[: len(theirs) // 2]
            if some:
                self.scene.server_says(server, SlotsFilled(slots.version, some, 1000))

    def kill(self):
        if servers := self.servers():
            self.scene.die(self.rng.choice(servers))

    def blink(self):
        """A connection breaks, and is there again."""
        if servers := self.servers():
            server = self.rng.choice(servers)
            self.scene.take(ServerDisconnected(server), link=self.scene.links[server])
            if self.rng.random() < 0.5:
                self.kill()
            if not self.job.servers.records[server].gone:
                self.scene.server_hello(server)

    def scale(self):
        with suppress(CoordinatorError):  # out of bounds, or too late
            self.scene.registry.scale("j", servers=self.rng.randint(1, 4))

    def leave(self):
        if servers := self.servers():
            self.scene.server_says(self.rng.choice(servers), ServerLeaving("SIGTERM"))

    def train(self):
        training = self.job.changes.training()
        if training and not self.job.over:
            self.scene.commit(training[0], 2)

    def kill_worker(self):
        if training := self.job.changes.training():
            worker = self.rng.choice(training)
            self.scene.agent_says(WorkerExited(worker, process_id(worker), -9))
            self.scene.recover()

    def tick(self):
        if self.job.checkpoints.choosing and not self.job.over:
            choose(self.scene)
        self.scene.time.now_s += 0.01
        self.scene.registry.tick()


@pytest.mark.few(8)
@pytest.mark.parametrize("seed", range(25))
def test_any_history_is_told_and_replayed(play, tmp_path, seed):
    history = History(play, tmp_path, seed)
    for _ in range(120):
        history.act()
        if history.job.over:
            break
    job, links = history.job, history.scene.links
    slots = job.servers.slots
    slots.invariants()
    if job.over or not slots.places:
        return
    for name in history.servers():
        if job.servers.records[name].retired:
            continue  # it has been told to go, and nothing else since
        assert history.newest.get((name, id(links[name]))) == slots.version, name
    kinds = history.scene.kinds()
    assert kinds.count("server_lost") <= sum(not record.retired for record in job.servers.records.values())
