"""HTTP without a library: whatever bytes, over a socket of their own."""

import json
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

DEADLINE_S = 60.0


@dataclass
class Response:
    """What came back."""

    status: int
    headers: dict
    body: bytes

    @property
    def error(self):
        """What it says was wrong."""
        told = json.loads(self.body)
        assert told.keys() == {"error"}, told
        return told["error"]


def request_bytes(path, body, **headers):
    """A request that is right as HTTP. Names of headers with _ for -."""
    head = [f"POST {path} HTTP/1.1", "Host: fuzz", f"Content-Length: {len(body)}", "Connection: close"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def talk(url, data, *, meanwhile=None):
    """Send all of it, and read to the end; or until nothing is there any more after ``meanwhile()``."""
    where, parts = urlsplit(url), []
    with socket.create_connection((where.hostname, where.port), timeout=DEADLINE_S) as connection:
        try:
            connection.sendall(data)
            if meanwhile is not None:
                meanwhile()
                connection.setblocking(False)
            while part := connection.recv(1 << 16):
                parts.append(part)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it has answered and hung up, while there was more to read
        except BlockingIOError:
            pass  # it waits for more
    return b"".join(parts)


def parsed(data):
    """The first response in it."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    protocol, status = first.split(" ")[:2]
    assert protocol == "HTTP/1.1", first
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", len(body)))
    return Response(int(status), headers, body[:length])
