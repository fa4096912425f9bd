"""Posts over ZeroMQ as part of a process: waiting, memory that is shared, real deaths, what is left behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from post_kit import DEADLINE_S, KEY, decoder, note

from pliant.comm.post import wiring
from pliant.comm.post.base import Letter
from pliant.comm.post.place import LocalPlace, NetworkPlace
from pliant.comm.post.post import PostOptions, ZmqPost
from pliant.errors import ConfigError
from pliant.timeouts import Timeouts

SERVER = r'''
import contextlib, os, socket, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from post_kit import KEY, decoder, note
from pliant.comm import isolation
from pliant.comm.post.place import LocalPlace, NetworkPlace
from pliant.comm.post.post import PostOptions, ZmqPost

def hear_nothing():
    """As without a network: the kernel answers nothing, to no connection of this process."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as sock:
            isolation._deafen(sock)

place = LocalPlace(Path(sys.argv[3])) if sys.argv[2] == "ipc" else NetworkPlace("127.0.0.1")
post = ZmqPost("s1", decoder=decoder(), options=PostOptions(KEY), place=place)
print(post.endpoint, flush=True)
while True:
    for event in post.poll():
        if hasattr(event, "header"):
            if event.header.text == "cut off":
                hear_nothing()
            if event.header.text == "isolated":
                post.isolate()
                print("isolated", isolation.cut_off(), flush=True)
            post.answer(event.peer, note("echo " + event.header.text), event.frames)
'''


@pytest.fixture
def start_server():
    """Starts a process with an echoing server; gives it and its endpoint."""
    started = []

    def start(lab):
        command = [sys.executable, "-c", SERVER, str(Path(__file__).parent), lab.kind, str(lab.directory)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def linked(lab, endpoint, **options):
    worker = lab.post("w1", listens=False, **options)
    worker.post.connect("s1", endpoint)
    worker.post.send("s1", note("hello"), [b"frame" * 30_000])
    lab.until(worker.letters)
    assert worker.letters() == ["echo hello"]
    assert bytes(worker.last().frames[0]) == b"frame" * 30_000
    return worker


def test_a_killed_server_is_seen_though_patience_is_long(real_lab, start_server):
    process, endpoint = start_server(real_lab)
    worker = linked(real_lab, endpoint, timeouts=Timeouts(3600.0))
    process.kill()
    real_lab.until(lambda: worker.losses("s1"))
    assert worker.losses("s1") == ["the connection was closed or its link is dead"]


def test_a_server_that_stands_still_is_not_lost(real_lab, start_server):
    """It is stopped for much longer than a link may answer nothing; whether it hangs is for the coordinator to say."""
    process, endpoint = start_server(real_lab)
    worker = linked(real_lab, endpoint, timeouts=Timeouts(2.0))
    process.send_signal(signal.SIGSTOP)
    worker.post.send("s1", note("again"), [bytes(64 << 20)])  # more than kernel buffers hold
    watch_for(worker, 4.0)
    process.send_signal(signal.SIGCONT)
    real_lab.until(lambda: "echo again" in worker.letters())
    assert worker.losses("s1") == []


def watch_for(desk, time_s):
    end_s = time.monotonic() + time_s
    while time.monotonic() < end_s:
        desk.events += desk.post.poll(0.05)


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "sending"])
def test_a_server_without_a_network_is_found(make_lab, start_server, idle):
    lab = make_lab("tcp")
    process, endpoint = start_server(lab)
    worker = linked(lab, endpoint, timeouts=Timeouts(2.0))
    worker.post.send("s1", note("cut off"))
    lab.until(lambda: "echo cut off" in worker.letters())  # it hears nothing from now on
    if not idle:
        worker.post.send("s1", note("big"), [bytes(64 << 20)])
    lab.until(lambda: worker.losses("s1"))
    assert worker.letters() == ["echo hello", "echo cut off"]
    assert process.poll() is None


def test_an_isolated_process_lives_and_is_not_heard_any_more(real_lab, start_server):
    process, endpoint = start_server(real_lab)
    worker = linked(real_lab, endpoint, timeouts=Timeouts(2.0))
    worker.post.send("s1", note("isolated"))
    worker.post.send("s1", note("after"))
    assert process.stdout.readline() in ("isolated 0\n", "isolated 1\n")
    if real_lab.kind == "tcp":
        real_lab.until(lambda: worker.losses("s1"))
    else:
        worker.post.disconnect("s1")
        worker.post.connect("s1", endpoint)
    worker.post.send("s1", note("still there?"))
    watch_for(worker, 1.0)
    assert worker.letters() == ["echo hello"]
    assert process.poll() is None
    assert list(worker.post.trouble()) == ["s1"]


def test_an_isolated_post_sends_nothing_and_can_be_woken_and_closed(real_lab):
    server, worker = real_lab.pair()
    worker.post.isolate()
    assert worker.post.poll() == []  # it was woken by that
    assert worker.post.send("s1", note("x")).done
    worker.post.connect("s2", server.post.endpoint)
    assert "s2" not in worker.post.trouble(), "it has not begun to connect"
    worker.post.wake()
    assert worker.post.poll() == []
    assert worker.post.poll(0.0) == []
    server.events.clear()
    watch_for(server, 0.2)
    assert server.events == []
    real_lab.close(worker)
    real_lab.until(lambda: server.losses("w1"))


def test_a_killed_client_is_seen(real_lab):
    server = real_lab.post("s1", timeouts=Timeouts(3600.0))
    script = (
        SERVER.split("def hear", maxsplit=1)[0]
        + "post = ZmqPost('w1', decoder=decoder(), options=PostOptions(KEY))\n"
        + f"post.connect('s1', {server.post.endpoint!r})\nwhile True: post.poll()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent)])
    try:
        real_lab.until(lambda: server.connected("w1"))
    finally:
        process.kill()
        process.wait()
    real_lab.until(lambda: server.losses("w1"))
    assert server.post.answer("w1", note("x")) is None


def test_poll_waits_no_longer_than_it_is_told(real_lab):
    server, worker = real_lab.pair()
    for _ in range(3):
        real_lab.turn()
    assert server.post.poll(0.0) == []
    assert worker.post.poll(0.01) == []


def test_any_thread_can_wake_a_poll_that_waits_for_ever(real_lab):
    server = real_lab.post("s1")
    server.post.wake()
    server.post.wake()
    assert server.post.poll() == []  # woken before it began
    waker = threading.Timer(0.05, server.post.wake)
    waker.start()
    assert server.post.poll() == []
    waker.join()


def test_waking_a_post_that_is_closed_is_nothing(real_lab):
    server = real_lab.post("s1")
    real_lab.close(server)
    server.post.wake()
    server.post.close()


def test_memory_is_in_use_until_the_peer_has_read_or_is_lost(real_lab):
    server, worker = real_lab.pair()
    frame = memoryview(bytearray(64 << 20))  # more than kernel buffers hold
    process_reads = worker.post.send("s1", note("big"), [frame])
    real_lab.until(lambda: process_reads.done)
    assert process_reads.wait(DEADLINE_S)
    real_lab.until(server.letters)
    assert server.last().frames[0] == frame
    stuck = worker.post.send("s1", note("small"), [b"x"])
    assert stuck.wait(DEADLINE_S), "small frames are copied"


def test_memory_of_letters_that_nobody_takes_is_free_after_disconnecting(real_lab, start_server):
    process, endpoint = start_server(real_lab)
    worker = linked(real_lab, endpoint)
    process.send_signal(signal.SIGSTOP)
    sent = worker.post.send("s1", note("big"), [memoryview(bytearray(64 << 20))])
    assert not sent.wait(0.05)
    worker.post.disconnect("s1")
    assert sent.wait(DEADLINE_S)


def threads():
    """Of this process, but pyzmq's own, which ends with the process."""
    collector = [each.native_id for each in threading.enumerate() if type(each).__name__ == "GarbageCollectorThread"]
    return {name for name in os.listdir("/proc/self/task") if int(name) not in collector}


def test_nothing_is_left_behind(real_lab, tmp_path):
    def live():
        server, worker = real_lab.pair()
        worker.post.send("s1", note("x"), [bytes(100_000)])
        real_lab.until(server.letters)
        worker.post.connect("s9", f"ipc://{tmp_path}/none.sock")
        real_lab.turn()
        worker.post.disconnect("s1")
        worker.post.connect("s1", server.post.endpoint)
        real_lab.close(worker)
        real_lab.close(server)

    live()  # starts what is of the whole process: pyzmq's collector
    gc.collect()
    files, tasks = sorted(os.listdir("/proc/self/fd")), threads()
    for _ in range(3):
        live()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == files
    assert threads() == tasks
    assert real_lab.kind == "tcp" or list(real_lab.directory.iterdir()) == []


def test_a_place_that_cannot_be_listened_at_is_an_error_and_leaves_nothing(tmp_path):
    before = sorted(os.listdir("/proc/self/fd")), threads()
    for place in (NetworkPlace("192.0.2.1"), LocalPlace(Path("/proc/none"))):
        with pytest.raises(ConfigError, match=r"cannot (listen at tcp://192\.0\.2\.1:\*|make /proc/none)"):
            ZmqPost("s1", decoder=decoder(), options=PostOptions(KEY), place=place)
    assert (sorted(os.listdir("/proc/self/fd")), threads()) == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_the_post_to_its_parent(real_lab):
    server, worker = real_lab.pair()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            server.post.close()
            worker.post.close()
            fresh = ZmqPost("w2", decoder=decoder(), options=PostOptions(KEY))
            fresh.connect("s1", server.post.endpoint)
            fresh.send("s1", note("from the child"), [bytes(100_000)])
            while not any(isinstance(event, Letter) for event in fresh.poll(DEADLINE_S)):
                pass
            fresh.close()
            code = 0
        finally:
            os._exit(code)
    real_lab.until(lambda: server.letters("w2"))
    server.post.answer("w2", note("to the child"))
    real_lab.until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    worker.post.send("s1", note("from the parent"))
    real_lab.until(lambda: server.letters("w1"))
    assert server.losses("w1") == []


FORGOTTEN = r"""
import gc, os, sys
sys.path.insert(0, sys.argv[1])
from post_kit import KEY, decoder
from pliant.comm.post.post import PostOptions, ZmqPost

complaints = []
sys.unraisablehook = complaints.append
post = ZmqPost("w1", decoder=decoder(), options=PostOptions(KEY))
pid = os.fork()
if pid == 0:
    del post
    gc.collect()
    os._exit(len(complaints))
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
post.close()
sys.exit(code)
"""


def test_a_fork_may_forget_the_post_without_a_warning():
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORGOTTEN]
    done = subprocess.run([*command, str(Path(__file__).parent)], check=False)
    assert done.returncode == 0


def test_letters_that_wait_leave_before_a_post_closes(real_lab, monkeypatch):
    monkeypatch.setattr(wiring, "ROOM_LETTERS", 1)
    server, worker = real_lab.pair()
    for index in range(5000):
        worker.post.send("s1", note(str(index)))
    assert worker.post._crowded, "they do not wait"
    closing = threading.Thread(target=worker.post.close, kwargs={"linger_s": DEADLINE_S})
    real_lab.desks.remove(worker)
    closing.start()
    real_lab.until(lambda: len(server.letters()) == 5000)
    closing.join()
    assert server.letters() == [str(index) for index in range(5000)]
