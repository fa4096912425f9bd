"""A network of its own for a job: one namespace for each worker, joined by bridges that can be torn apart.

The coordinator and the agent stay outside, at ``10.A.B.1`` on the first bridge. Needs root and iproute2.
"""

import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from netns_entry import enter

REQUIRED = os.environ.get("PLIANT_REQUIRE_NETNS") == "1"
SEEN_S = 0.5


def ip(*lines: str) -> None:
    """Commands of ``ip``, in one go."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)


class Net:
    """``size`` namespaces, numbered from 1 as the workers are."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.prefix = f"pl{random.SystemRandom().randrange(16**5):05x}"
        self.subnet = f"10.{random.SystemRandom().randrange(64, 250)}.{random.SystemRandom().randrange(1, 250)}"
        self.address = f"{self.subnet}.1"

    @property
    def environment(self) -> dict[str, str]:
        """What :mod:`netns_entry` reads."""
        return {"PLIANT_TEST_NET": f"{self.prefix} {self.subnet}"}

    def up(self) -> None:
        """Make it; everybody reaches everybody."""
        ip(
            f"link add {self.prefix}a type bridge",
            f"link add {self.prefix}b type bridge",
            f"addr add {self.address}/24 dev {self.prefix}a",
            f"link set {self.prefix}a up",
            f"link set {self.prefix}b up",
        )
        for number in range(1, self.size + 1):
            space, port = f"{self.prefix}n{number}", self.port(number)
            ip(
                f"netns add {space}",
                f"link add {port} type veth peer name eth0 netns {space}",
                f"link set {port} master {self.prefix}a",
                f"link set {port} up",
            )
            inside = [f"addr add {self.subnet}.{10 + number}/24 dev eth0", "link set lo up", "link set eth0 up"]
            subprocess.run(
                ["ip", "-n", space, "-batch", "-"], input="\n".join(inside) + "\n", text=True, check=True, timeout=20
            )

    def down(self) -> None:
        """Take everything away, however much of it there is."""
        for number in range(1, self.size + 1):
            _quietly("ip", "link", "del", self.port(number))
            _quietly("ip", "netns", "del", f"{self.prefix}n{number}")
        for bridge in "ab":
            _quietly("ip", "link", "del", f"{self.prefix}{bridge}")

    def port(self, number: int) -> str:
        """The outer end of a worker's cable."""
        return f"{self.prefix}v{number}"

    # ------------------------------------------------------------ faults

    def move_apart(self, *numbers: int) -> None:
        """These still reach each other, but nobody else, nor the coordinator."""
        ip(*(f"link set {self.port(number)} master {self.prefix}b" for number in numbers))

    def move_back(self, *numbers: int) -> None:
        """Undo :meth:`move_apart`."""
        ip(*(f"link set {self.port(number)} master {self.prefix}a" for number in numbers))

    def wall(self, *numbers: int) -> None:
        """No byte goes between any two of these; all else is as before."""
        ip(*(f"link set dev {self.port(number)} type bridge_slave isolated on" for number in numbers))

    def reaches(self, one: int, other: int) -> bool:
        """Whether a new connection between two namespaces comes about (0: the outside)."""
        with _inside(self._space(other), lambda: socket.create_server((self._address(other), 0))) as server:
            try:
                with _inside(self._space(one), lambda: socket.create_connection(server.getsockname(), timeout=SEEN_S)):
                    return True
            except OSError:
                return False

    def _space(self, number: int) -> str:
        return f"{self.prefix}n{number}" if number else ""

    def _address(self, number: int) -> str:
        return f"{self.subnet}.{10 + number}" if number else self.address


@contextmanager
def _inside(space: str, make) -> Iterator[socket.socket]:
    """A socket made in a namespace: it belongs there for ever, whoever uses it. Only a thread of its own moves."""
    made: list[object] = []

    def run() -> None:
        try:
            if space:
                enter(space)
            made.append(make())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (found,) = made
    if isinstance(found, OSError):
        raise found
    with found:
        yield found


def _quietly(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True, timeout=20)


def require() -> None:
    """Skip where there are no network namespaces, unless they are required (``PLIANT_REQUIRE_NETNS=1``)."""
    missing = None
    if os.geteuid() != 0:
        missing = "network namespaces need root"
    elif shutil.which("ip") is None:
        missing = "`ip` is missing (Debian, Ubuntu: apt install iproute2)"
    else:
        net = Net(1)
        try:
            net.up()
        except subprocess.CalledProcessError as error:
            missing = f"no network namespaces here: {error.stderr}"
        finally:
            net.down()
    if missing is not None:
        assert not REQUIRED, f"PLIANT_REQUIRE_NETNS=1, but {missing}"
        pytest.skip(missing)
