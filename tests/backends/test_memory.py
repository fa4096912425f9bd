from pliant.backends.agent.memory import OutOfMemoryWatch


def test_strikes_are_told_once(tmp_path):
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 5\noom_kill 3\n")
    watch = OutOfMemoryWatch(vmstat)
    assert not watch.struck()
    vmstat.write_text("nr_free_pages 5\noom_kill 5\n")
    assert watch.struck()
    assert not watch.struck()


def test_a_kernel_that_does_not_count(tmp_path):
    watch = OutOfMemoryWatch(tmp_path / "missing")
    assert not watch.struck()


def test_this_kernels_file_is_understood():
    assert isinstance(OutOfMemoryWatch().struck(), bool)
