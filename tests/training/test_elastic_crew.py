"""The worker's link to the coordinator, with a socket that answers at once."""

import threading

from pliant.config import WorkerSpec
from pliant.training import elastic
from pliant.wire.messages import Welcome

DEADLINE_S = 20.0


class EagerSocket:
    """Its thread has the coordinator's answer before ``start`` returns."""

    connected = True

    def __init__(self, find_url, token, hello, on_message):
        self.patience_s = None
        self.thread = threading.Thread(target=on_message, args=(Welcome("j", patience_s=3.0, founding=True),))

    def start(self):
        self.thread.start()
        self.thread.join(DEADLINE_S)

    def set_patience(self, patience_s):
        self.patience_s = patience_s

    def send(self, message):
        pass

    def close(self):
        pass


def test_an_answer_that_comes_at_once_is_not_lost(monkeypatch, tmp_path):
    monkeypatch.setattr(elastic, "ControlSocket", EagerSocket)
    spec = WorkerSpec(job="j", worker="w1", script="s.py", args=(), home=str(tmp_path), log="")
    crew = elastic.ElasticCrew(spec, pid=1, token="t")
    assert crew._socket.patience_s == 3.0
    assert crew.founding
    crew.close()
