"""Parameter servers of a job: who is told what, what users see, and what becomes of the job when slots are lost."""

import pytest
from control_fakes import FakeTime, Play
from test_job_checkpoints import choose, put_checkpoint

from pliant.control.inputs import AgentConnected, AgentDied, AgentDisconnected, ServerConnected, ServerDisconnected
from pliant.control.metrics import render
from pliant.control.registry import Registry
from pliant.errors import CoordinatorError, ProtocolError
from pliant.wire.agent_messages import (
    AdoptWorker,
    AgentHello,
    ProbeWorker,
    SignalWorker,
    StartWorker,
    StopAgent,
    WorkerExited,
    WorkerProbed,
)
from pliant.wire.api import JobSpec, MisbehaveRequest, PlanEvent
from pliant.wire.messages import (
    GenerationEntered,
    MilestonePassed,
    MilestoneReached,
    Misbehave,
    Retire,
    StillHere,
    Welcome,
)
from pliant.wire.server_messages import (
    PlaceSlots,
    ServerAddress,
    ServerFailed,
    ServerHello,
    ServerLeaving,
    ServerProgress,
    ServerWelcome,
    SlotsFilled,
    SlotsRefused,
)

TICK_S = 0.25


def running(play, servers=2, *, workers=1, **spec):
    """A job that trains, with all its servers serving."""
    spec = {"min_servers": servers, "max_servers": 4, "start_workers": workers, "copies": min(servers, 2)} | spec
    scene = play(strategy="parameter-server", **spec)
    scene.start_servers()
    scene.start_workers()
    scene.enter(step=0)
    return scene


def lose(scene, server, code=-9):
    scene.die(server, code)


def holders(scene):
    return {name for place in scene.job.servers.slots.places for name in place.holders}


def test_servers_are_started_with_their_role_and_all_are_told_the_placement(play):
    scene = play(strategy="parameter-server", min_servers=2, start_workers=2)
    assert scene.agent.sent == [
        StartWorker("w1"),
        StartWorker("w2"),
        StartWorker("s1", "server"),
        StartWorker("s2", "server"),
    ]
    scene.start_workers()
    assert not scene.links["w1"].take(PlaceSlots), "there is none yet"
    assert scene.links["w1"].take(Welcome)[0].rules.strategy == "parameter-server"
    scene.start_servers()
    assert scene.links["s1"].sent[0] == ServerWelcome(10.0)
    placement = scene.placement("w1")
    assert placement.version == 1
    assert len(placement.slots) == 64
    assert placement.servers == [ServerAddress("s1", "ipc:///s1"), ServerAddress("s2", "ipc:///s2")]
    assert placement == scene.placement("w2") == scene.placement("s1") == scene.placement("s2")
    founded = scene.event("servers_founded").message
    assert founded == "s1, s2 hold the slots: 2 servers, 2 copies of each"


@pytest.mark.parametrize(
    ("spec", "started"),
    [
        ({}, 2),
        ({"copies": 1}, 1),
        ({"max_servers": 1}, 1),
        ({"min_servers": 3}, 3),
        ({"min_servers": 3, "copies": 1}, 3),
    ],
)
def test_a_job_begins_with_enough_servers_for_its_copies(play, spec, started):
    scene = play(strategy="parameter-server", **spec)
    assert scene.start_servers() == [f"s{number}" for number in range(1, started + 1)]


def test_whoever_comes_later_or_again_is_told_the_newest_placement(play):
    scene = running(play, 2)
    lose(scene, "s2")
    newest = scene.placement("s1")
    assert newest.version == 2
    again = scene.hello("w1", generation=1, stateful=True)
    kinds = [type(message) for message in again.sent]
    assert kinds.index(Welcome) < kinds.index(PlaceSlots)
    assert again.take(PlaceSlots) == [newest]
    scene.take(ServerDisconnected("s1"), link=scene.links["s1"])
    assert scene.server_hello("s1").sent == [ServerWelcome(10.0), newest]


def test_a_server_that_missed_that_it_was_let_go_is_told_again(play):
    scene = running(play, 2)
    scene.registry.scale("j", servers=3)
    scene.start_servers()
    scene.fill()
    scene.registry.scale("j", servers=2)
    scene.fill()
    assert scene.links["s3"].take(Retire)
    scene.take(ServerDisconnected("s3"), link=scene.links["s3"])
    assert scene.server_hello("s3").take(Retire)


def test_without_the_strategy_there_are_no_servers(play):
    scene = play()
    assert scene.agent.sent == [StartWorker("w1")]
    assert scene.job.status().servers == []
    assert scene.job.status().target_servers == 0
    with pytest.raises(CoordinatorError, match="has no servers: they are for jobs with --strategy parameter-server"):
        scene.registry.scale("j", servers=2)
    with pytest.raises(ProtocolError, match="no server s1"):
        scene.server_says("s1", StillHere())


def test_a_lost_server_is_told_of_and_its_copy_is_restored_elsewhere(play):
    scene = running(play, 2)
    scene.commit("w1", 10)
    scene.time.now_s += 3.0
    lose(scene, "s2")
    lost = scene.event("server_lost")
    assert lost.message == (
        "s2 is lost in step 10: killed by SIGKILL; it was the primary of 32 slots and had a copy of 32"
    )
    assert scene.placement("w1").slots[40].holders == ["s1"]
    scene.commit("w1", 2)
    assert scene.event("server_lost").stall_s == pytest.approx(3.0)
    assert scene.start_servers() == ["s3"]
    scene.time.now_s += 0.5
    scene.fill(size_bytes=1_000_000)
    restored, joined = scene.event("slots_restored"), scene.event("servers_joined")
    assert restored.message == "each slot has 2 holders again: 64 slots filled in 2.50 s"
    assert restored.bytes_moved == joined.bytes_moved == 1_000_000
    assert joined.message == "s3 joined: 2 servers; it got 64 slots in 0.50 s"
    assert scene.job.report().servers_over_time[-2:] == [(13.0, 1), (15.5, 2)]


def test_the_last_copy_in_another_place_is_named(play):
    scene = running(play, 2, copies=1)
    lose(scene, "s2")
    assert scene.event("server_lost").message.endswith("nobody else held 32 of them")


def test_a_server_that_dies_before_it_holds_anything(play):
    scene = running(play, 2)
    scene.registry.scale("j", servers=3)
    scene.start_servers()
    lose(scene, "s3", 1)
    assert scene.event("server_lost").message == "s3 is lost before it held anything: exit code 1"
    assert [message.worker for message in scene.started("server")] == ["s4"]


def test_replacements_that_die_at_once_are_given_up_and_asked_for_again(play):
    scene = running(play, 2)
    for server in ("s2", "s3", "s4", "s5"):
        lose(scene, server)
    assert [message.worker for message in scene.started("server")] == ["s3", "s4", "s5"]
    text = scene.event("servers_given_up").message
    assert "the last 3 ended before they held anything (the end of s5.log says why)" in text
    assert "pliant scale j --servers N" in text
    assert scene.job.state == "running"
    scene.registry.scale("j", servers=2)
    assert [message.worker for message in scene.started("server")] == ["s6"]


def test_servers_that_cannot_start_end_the_job(play):
    scene = play(strategy="parameter-server")
    for number in range(3):
        lose(scene, f"s{number + 1}", 3)
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "lost")
    assert "3 servers in a row (s1, s2, s3) ended before they held anything" in status.error


def test_scaling(play):
    scene = running(play, 2)
    scene.registry.scale("j", servers=3)
    assert scene.event("scale_requested").message == "3 servers are wanted on request; so far 2"
    assert scene.start_servers() == ["s3"]
    assert scene.job.servers.slots.held("s3")[2] == 128 // 3
    scene.fill()
    assert scene.event("servers_joined").message.startswith("s3 joined: 3 servers; it got 42 slots")
    scene.registry.scale("j", servers=2)
    scene.fill()
    assert scene.links["s3"].take(Retire) == [Retire("others hold its slots")]
    assert scene.event("server_left").message == "s3 left, others hold its slots: 2 servers"
    lose(scene, "s3", 0)
    assert "server_lost" not in scene.kinds(), "it was told to go"
    assert holders(scene) == {"s1", "s2"}
    with pytest.raises(CoordinatorError, match="cannot scale job j to 5 servers: choose a number from 2 to 4"):
        scene.registry.scale("j", servers=5)
    with pytest.raises(CoordinatorError, match="nothing to do"):
        scene.registry.scale("j")


def test_workers_and_servers_are_scaled_at_once(play):
    scene = running(play, 2)
    status = scene.registry.scale("j", 2, servers=3).status()
    assert (status.target_workers, status.target_servers) == (2, 3)
    assert (status.min_servers, status.max_servers) == (2, 4)


def test_a_server_that_is_asked_to_leave_hands_its_slots_over(play):
    scene = running(play, 3)
    scene.server_says("s1", ServerLeaving("SIGTERM"))
    scene.server_says("s1", ServerLeaving("SIGTERM"))
    assert scene.event("server_leaving").message == "s1 was asked to leave (SIGTERM)"
    assert scene.start_servers() == ["s4"], "three is the least"
    scene.fill()
    assert scene.links["s1"].take(Retire)
    assert holders(scene) == {"s2", "s3", "s4"}


def test_status(play):
    scene = running(play, 2)
    scene.server_says("s1", ServerProgress(size_bytes=5_000_000, rows=7, updates=3, dropped=1))
    scene.registry.scale("j", servers=3)
    first, second = scene.job.status().servers[:2]
    assert (first.server, first.pid, first.state, first.primary, first.copy) == ("s1", 2001, "serving", 32, 32)
    assert (first.size_bytes, first.rows, first.updates, first.dropped) == (5_000_000, 7, 3, 1)
    assert (second.size_bytes, second.updates) == (0, 0)
    assert scene.job.status().servers[2].state == "starting"
    scene.start_servers()
    third = scene.job.status().servers[2]
    assert (third.state, third.filling, third.primary, third.copy) == ("filling", 42, 0, 0)
    scene.fill()
    scene.registry.scale("j", servers=2)
    assert scene.job.status().servers[2].state == "leaving"
    scene.finish("w1")
    assert {server.state for server in scene.job.status().servers} == {"ended"}


def test_metrics(play):
    scene = running(play, 2)
    scene.server_says("s1", ServerProgress(size_bytes=5_000_000))
    text = render(scene.registry)
    assert 'pliant_job_servers{job="j",state="serving"} 2' in text
    assert 'pliant_job_target_servers{job="j"} 2' in text
    assert 'pliant_job_server_bytes{job="j",server="s1"} 5000000' in text


# ---------------------------------------------------------------- slots that are lost


def test_lost_slots_begin_the_job_again_from_its_checkpoint_with_other_workers_and_servers(play, tmp_path):
    put_checkpoint(tmp_path, 5)
    scene = running(play, 2, workers=2, checkpoints=str(tmp_path), checkpoint_every=5)
    scene.commit("w1", 8)
    lose(scene, "s1")
    assert [message.worker for message in scene.started("server")] == ["s3"]
    lose(scene, "s2")
    lost = scene.event("state_lost")
    assert lost.message == "nobody is left who holds slots 0-63: s1 and s2 did"
    assert all(scene.links[name].take(Retire) for name in ("w1", "w2"))
    choose(scene)
    assert scene.event("job_resumed").message.startswith("the job goes on at step 5")
    for worker in ("w1", "w2"):
        scene.die(worker, 0)
    assert "worker_lost" not in scene.kinds()
    assert scene.start_servers() == ["s4", "s5"], "s3 was to replace s1, and was dismissed with all others"
    scene.start_workers()
    assert scene.placement("w3").version > 2
    assert scene.links["w3"].take(Welcome)[0].restore
    scene.enter(step=5)
    assert scene.job.state == "running"
    assert scene.kinds().count("servers_founded") == 2
    scene.commit("w3", 3)
    lose(scene, "s4")
    assert scene.job.state == "running", "one copy is left"


def test_workers_may_be_there_before_the_servers(play, tmp_path):
    put_checkpoint(tmp_path, 5)
    scene = play(strategy="parameter-server", max_servers=1, checkpoints=str(tmp_path), start_workers=1)
    scene.start_workers()
    scene.enter(step=0)
    scene.start_servers()
    lose(scene, "s1")
    assert "state_lost" in scene.kinds()


def test_servers_that_are_still_starting_are_dismissed_with_the_others(play, tmp_path):
    put_checkpoint(tmp_path, 5)
    scene = running(play, 2, checkpoints=str(tmp_path))
    scene.commit("w1", 6)
    lose(scene, "s1")
    lose(scene, "s2")
    assert scene.server_hello("s3").take(Retire)


def test_lost_slots_without_a_checkpoint_end_the_job_with_the_reason(play):
    scene = running(play, 2)
    scene.commit("w1", 8)
    lose(scene, "s2")
    lose(scene, "s1")
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "lost")
    assert status.error.startswith("nobody is left who holds slots 0-63: s1 and s2 did. There is no checkpoint")
    assert scene.agent.take(StopAgent)


def test_slots_that_are_lost_before_training_began_are_placed_anew(play):
    scene = play(strategy="parameter-server", max_servers=1, start_workers=1)
    scene.start_servers()
    scene.start_workers()
    lose(scene, "s1")
    assert scene.start_servers() == ["s2"]
    assert scene.placement("w1").slots[0].holders == ["s2"]
    assert scene.job.state == "starting"


def test_all_workers_lost_takes_the_servers_along(play, tmp_path):
    put_checkpoint(tmp_path, 5)
    scene = running(play, 2, checkpoints=str(tmp_path))
    scene.commit("w1", 6)
    scene.die("w1")
    assert all(scene.links[server].take(Retire) for server in ("s1", "s2"))
    choose(scene)
    assert scene.start_servers() == ["s3", "s4"]
    scene.start_workers()
    assert scene.placement("w2").slots[0].holders == ["s3", "s4"]


def test_a_late_word_of_a_worker_that_was_sent_home_does_not_begin_the_job(play, tmp_path):
    put_checkpoint(tmp_path, 5)
    scene = running(play, 1, workers=2, checkpoints=str(tmp_path))
    scene.commit("w1", 6)
    lose(scene, "s1")
    choose(scene)
    scene.started("server")
    scene.server_hello("s2")
    scene.say("w2", GenerationEntered(1, 0, [0]))
    assert not scene.job.servers.slots.begun
    lose(scene, "s2")
    assert scene.job.state != "failed"
    scene.server_hello("s3")
    assert scene.placement("s3").slots[0].holders == ["s3"]


def test_lost_slots_while_the_job_stops(play):
    scene = running(play, 1)
    scene.registry.stop("j", now=False)
    lose(scene, "s1")
    assert scene.job.status().state == "stopped"
    assert "nobody is left who holds slots 0-63" in scene.event("state_lost").message


def test_lost_slots_after_the_script_has_ended_on_a_worker(play):
    scene = running(play, 1, workers=2)
    scene.finish("w1")
    lose(scene, "s1")
    assert scene.job.status().state == "finished"
    assert scene.job.status().weights_sha256 == "aa"


def test_the_end_retires_the_servers(play):
    scene = running(play, 2)
    scene.finish("w1")
    assert [scene.links[server].take(Retire) for server in ("s1", "s2")] == [[Retire("the job is finished")]] * 2
    scene.server_says("s1", ServerProgress(1))
    assert scene.server_hello("s1").take(Retire)


# ---------------------------------------------------------------- what servers may say


def test_a_script_that_fails_on_a_server_ends_the_job(play):
    scene = play(strategy="parameter-server")
    scene.start_servers()
    scene.server_says("s1", ServerFailed("ValueError: x", "Traceback ...\nValueError: x\n"))
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "script")
    assert status.error == "Traceback ...\nValueError: x"


def test_an_optimizer_that_cannot_be_cut_ends_the_job(play):
    scene = running(play, 1)
    scene.server_says("s1", ServerFailed("LBFGS cannot be cut"))
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "config")
    assert status.error == "s1: LBFGS cannot be cut"


def test_what_servers_may_not_say(play):
    scene = running(play, 2)
    with pytest.raises(ProtocolError, match="only the first"):
        scene.server_says("s1", ServerHello("j", "s1", 1, "ipc:///x"))
    with pytest.raises(ProtocolError, match="SlotsFilled of placement 7; the newest is 1"):
        scene.server_says("s1", SlotsFilled(7, [0]))
    with pytest.raises(ProtocolError, match="does not say where it listens"):
        scene.take(ServerConnected(ServerHello("j", "s1", 1, "")), link=scene.links["w1"])
    scene.server_says("s1", SlotsFilled(1, [0, -3, 99]))
    assert scene.job.servers.slots.version == 1


def test_servers_of_another_launch_are_sent_away(play):
    scene = play(strategy="parameter-server", launch="new")
    assert scene.server_hello("s1", launch="old").take(Retire)
    assert scene.records["s1"] is None
    assert scene.server_hello("s1", launch="new").take(ServerWelcome)


# ---------------------------------------------------------------- limits of memory


def test_servers_are_told_their_limit_and_the_status_has_it(play):
    scene = running(play, 1, server_memory_bytes=64_000_000)
    assert scene.links["s1"].take(ServerWelcome) == [ServerWelcome(10.0, 64_000_000)]
    scene.server_says("s1", ServerProgress(size_bytes=5_000_000))
    (server,) = scene.job.status().servers
    assert (server.size_bytes, server.limit_bytes) == (5_000_000, 64_000_000)


def test_a_server_without_room_is_told_once_and_the_job_goes_on_with_fewer_copies(play):
    scene = running(play, 2, server_memory_bytes=64_000_000)
    lose(scene, "s1")
    scene.server_hello("s3")
    version = scene.job.servers.slots.version
    scene.server_says("s3", SlotsRefused(version, [7], "table users: no room"))
    scene.server_says("s3", SlotsRefused(version, [8], "table users: no room"))
    places = scene.placement("s2").slots
    assert [slot for slot, place in enumerate(places) if not place.filling] == [7, 8]
    assert (places[7].holders, places[8].holders) == (["s2"], ["s2"])
    event = scene.event("server_full")
    assert event.message.startswith("s3 has no room for slot 7: table users: no room. Slots that it refuses stay with")
    with pytest.raises(ProtocolError, match="SlotsRefused of placement 99; the newest is"):
        scene.server_says("s3", SlotsRefused(99, [0], "why"))


# ---------------------------------------------------------------- hangs, memory, agents


def let_pass(scene, seconds, *, hung, stopped=True):
    for _ in range(round(seconds / TICK_S)):
        scene.time.now_s += TICK_S
        for name, record in scene.records.items():
            if name not in hung and record is not None:
                (scene.say if name[0] == "w" else scene.server_says)(name, StillHere())
        scene.registry.tick()
        for probe in scene.agent.take(ProbeWorker):
            scene.agent_says(WorkerProbed(probe.worker, True, stopped, 1.0))


def test_a_server_that_hangs_is_expelled_and_killed(play):
    scene = running(play, 2)
    let_pass(scene, 11, hung={"s2"})
    silent = scene.event("server_silent").message
    assert silent.startswith("s2 is silent for 10")
    assert "its process is stopped; it is expelled" in silent
    assert "expelled (silent for" in scene.event("server_lost").message
    assert scene.links["s2"].take(Retire)
    assert holders(scene) == {"s1"}
    assert scene.server_hello("s2").take(Retire), "it has woken up"
    let_pass(scene, 61, hung={"s2"})
    assert SignalWorker("s2", 9) in scene.agent.take(SignalWorker)
    lose(scene, "s2")
    assert scene.event("expelled_ended").message == "s2, expelled before, has ended: killed by SIGKILL"
    assert scene.kinds().count("server_lost") == 1


def test_a_checkpoint_is_chosen_only_once_expelled_servers_have_ended(play, tmp_path):
    put_checkpoint(tmp_path, 5)
    scene = running(play, 1, checkpoints=str(tmp_path))
    scene.commit("w1", 6)
    let_pass(scene, 11, hung={"s1"})
    assert scene.job.checkpoints.choosing
    scene.registry.tick()
    assert "job_resumed" not in scene.kinds()
    lose(scene, "s1")
    choose(scene)
    assert "job_resumed" in scene.kinds()


def test_servers_that_do_not_fit_into_memory_end_the_job(play):
    scene = running(play, 2)
    for server in ("s2", "s3", "s4"):
        scene.agent_says(WorkerExited(server, 2000 + int(server[1:]), -9, out_of_memory=True))
        scene.start_servers()
        scene.fill()
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "memory")
    assert "the servers s2, s3, s4 in a row" in status.error


def test_a_server_killed_for_lack_of_memory_now_and_then_is_replaced(play):
    scene = running(play, 2)
    for server in ("s2", "s3", "s4", "s5"):
        scene.agent_says(WorkerExited(server, 2000 + int(server[1:]), -9, out_of_memory=True))
        scene.start_servers()
        scene.fill()
        scene.commit("w1", 1)
    assert scene.job.state == "running"


def test_another_agent_adopts_servers_too(play):
    scene = running(play, 2)
    scene.registry.scale("j", servers=3)
    scene.take(AgentDisconnected(), link=scene.agent)
    scene.take(AgentDied(77, replaced=True))
    scene.agent.sent.clear()
    scene.take(AgentConnected(AgentHello("j", "here", 78)), link=scene.agent)
    adopted = scene.agent.take(AdoptWorker)
    assert [(message.worker, message.pid) for message in adopted] == [("w1", 1001), ("s1", 2001), ("s2", 2002)]
    assert scene.agent.take(StartWorker) == [StartWorker("s3", "server")]
    assert "has taken over w1, s1, s2" in scene.event("agent_returned").message


def test_without_an_agent_servers_that_stay_away_are_lost(play):
    scene = running(play, 2)
    scene.take(AgentDisconnected(), link=scene.agent)
    scene.take(ServerDisconnected("s2"), link=scene.links["s2"])
    scene.time.now_s += 11
    scene.registry.tick()
    scene.registry.tick()
    lost = [event.message for event in scene.job.events() if event.kind == "server_lost"]
    assert "s2 is lost in step 0: disconnected, and its agent is lost" in lost[0]
    assert lost[1] == "s3 is lost before it held anything: disconnected, and its agent is lost"


def test_a_server_can_be_cut_off_for_a_test(play):
    scene = running(play, 2)
    scene.registry.misbehave("j", MisbehaveRequest("s2", isolated=True))
    assert scene.links["s2"].take(Misbehave) == [Misbehave(isolated=True)]
    assert scene.event("fault_requested").message.startswith("s2 is to be cut off from everybody")


# ---------------------------------------------------------------- plans


def trained_to(scene, step):
    scene.commit("w1", step - scene.job.progress.step)
    scene.say("w1", MilestoneReached(step))
    assert scene.links["w1"].take(MilestonePassed)


def test_a_plan_kills_stops_and_scales_servers_one_after_the_other(play):
    plan = [PlanEvent(2, kill_server=1), PlanEvent(3, scale_servers=3), PlanEvent(4, stop_server=2)]
    scene = running(play, 2, plan=plan)
    trained_to(scene, 2)
    assert scene.agent.take(SignalWorker) == [SignalWorker("s2", 9)]
    assert scene.event("plan_signal").message == "the plan (kill_server = 1 at step 2) kills s2"
    trained_to(scene, 3)
    trained_to(scene, 4)
    assert scene.job.servers.wanted == 2, "the copy that was killed has not been restored yet"
    lose(scene, "s2")
    assert scene.start_servers() == ["s3"]
    scene.fill()
    assert scene.job.servers.wanted == 3
    assert scene.event("scale_requested").message == (
        "3 servers are wanted by the plan (scale_servers = 3 at step 3); so far 2"
    )
    scene.start_servers()
    scene.fill()
    assert scene.agent.take(SignalWorker) == [SignalWorker("s4", 19), SignalWorker("s3", 19)]


def test_a_plan_that_asks_for_too_much_says_so(play):
    scene = running(play, 1, plan=[PlanEvent(2, kill_server=2)])
    trained_to(scene, 2)
    assert scene.event("plan_signal").message.endswith("kills s1; only 1 were there")


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"min_servers": 0}, "min_servers is 0"),
        ({"server_memory_bytes": 5}, "server_memory_bytes is 5; give at least 1048576"),
        ({"strategy": "all-reduce", "server_memory_bytes": 1 << 30}, "needs the strategy parameter-server"),
        ({"min_servers": 5}, "max_servers (4) is below min_servers (5)"),
        ({"max_servers": 65}, "max_servers is 65"),
        ({"copies": 3}, "copies is 3"),
        ({"plan": [PlanEvent(1, scale_servers=9)]}, "scale_servers is 9, outside the job's 1 to 4 servers"),
        ({"plan": [PlanEvent(1, kill_server=0)]}, "kill_server is 0"),
        ({"strategy": "all-reduce", "plan": [PlanEvent(1, kill_server=1)]}, "kill_server needs the strategy"),
    ],
)
def test_impossible_jobs_are_refused(journal, fields, what):
    registry = Registry(journal, clock=FakeTime().clock())
    spec = JobSpec(**({"name": "j", "script": "t.py", "strategy": "parameter-server"} | fields))
    with pytest.raises(CoordinatorError) as error:
        registry.create(spec)
    assert what in str(error.value)


# ---------------------------------------------------------------- another coordinator


def test_another_coordinator_knows_the_placement_and_tells_it(journal):
    first = Play(journal, strategy="parameter-server", min_servers=2, max_servers=4)
    first.start_servers()
    first.start_workers()
    first.enter(step=0)
    lose(first, "s1")
    newest = first.placement("s2")
    registry = Registry(journal, clock=first.time.clock())
    job = registry.live("j")
    assert job.servers.slots.places == first.job.servers.slots.places
    again = first.links["s2"]
    registry.take(job, ServerConnected(ServerHello("j", "s2", 2002, "ipc:///s2", version=2)), link=again)
    assert again.take(PlaceSlots) == [newest]
