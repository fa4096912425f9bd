"""Following log files: whole lines, in order, nothing twice, unfinished ones at the end."""

from pliant.cli.worker_logs import WorkerLogs, remove_old_logs


def test_no_directory_yet(tmp_path):
    assert WorkerLogs(tmp_path / "no").poll() == []


def test_lines_once_and_only_when_whole(tmp_path):
    logs, log = WorkerLogs(tmp_path), tmp_path / "w1.log"
    log.write_text("one\ntw")
    assert logs.poll() == [("w1", "one")]
    with log.open("a") as file:
        file.write("o\n")
    assert logs.poll() == [("w1", "two")]
    assert logs.poll() == []


def test_a_character_split_between_two_reads(tmp_path):
    logs, log = WorkerLogs(tmp_path), tmp_path / "w1.log"
    log.write_bytes("ä\n".encode()[:1])
    assert logs.poll() == []
    log.write_bytes("ä\n".encode())
    assert logs.poll() == [("w1", "ä")]


def test_drain_gives_the_unfinished_line_once(tmp_path):
    logs = WorkerLogs(tmp_path)
    (tmp_path / "w1.log").write_text("a\nb")
    assert logs.drain() == [("w1", "a"), ("w1", "b")]
    assert logs.drain() == []


def test_workers_in_order_of_their_numbers_and_no_other_files(tmp_path):
    for name in ("s1.log", "w10.log", "w2.log", "agent.log", "w3.txt"):
        (tmp_path / name).write_text(name + "\n")
    assert [worker for worker, _ in WorkerLogs(tmp_path).poll()] == ["w2", "w10", "s1"]


def test_redrawn_lines_and_bad_bytes(tmp_path):
    (tmp_path / "w1.log").write_bytes(b"1%\r2%\r3%\nx\xffy\r\n")
    assert [text for _, text in WorkerLogs(tmp_path).poll()] == ["3%", "x\ufffdy"]


def test_more_than_one_read_is_drained(tmp_path):
    (tmp_path / "w1.log").write_bytes(b"x" * 99 + b"\n" + b"y\n" * 1_500_000)
    assert len(WorkerLogs(tmp_path).drain()) == 1_500_001


def test_old_logs_go_and_nothing_else(tmp_path):
    for name in ("w1.log", "s2.log", "agent.log", "notes.txt"):
        (tmp_path / name).touch()
    remove_old_logs(tmp_path)
    remove_old_logs(tmp_path / "no")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
