"""``pliant up``: a coordinator that stays."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from pliant.backends.coordinator_process import ensure_coordinator
from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.config import Home, home_dir
from pliant.errors import ConfigError

_MOST_PORT = 65535


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "up",
        "Start the coordinator and leave it running until `pliant down`; `pliant run` starts one that ends by itself.",
        example="pliant up\npliant up --port 8470",
    )
    parser.add_argument("--port", help="port to listen on (default: a free one)")
    parser.add_argument(
        "--host",
        help="IPv4 address to listen on (default: 127.0.0.1). On any other one, whoever can reach it and has the token "
        "runs scripts as you, and neither the token nor the job's messages are encrypted on their way",
    )
    given = parser.parse_args(argv)
    options = ["--stay"]
    if given.port is not None:
        if not given.port.isdecimal() or not 1 <= int(given.port) <= _MOST_PORT:
            raise ConfigError(problem(f"--port {given.port} is not a port", f"use 1 to {_MOST_PORT}"))
        options += ["--port", given.port]
    if given.host is not None:
        options += ["--host", _ipv4(given.host)]
    home = Home(home_dir().absolute())
    address, started = ensure_coordinator(home, options=options)
    if given.port is not None and int(given.port) != address.port:
        raise ConfigError(
            problem(
                f"a coordinator runs already, on port {address.port} (pid {address.pid})",
                "use that one, or end it with `pliant down`",
            )
        )
    if given.host is not None and given.host != address.host:
        raise ConfigError(
            problem(
                f"a coordinator runs already, on {address.host} (pid {address.pid})",
                "use that one, or end it with `pliant down`",
            )
        )
    if given.json:
        print_json(address)
    else:
        verb = "started" if started else "is running already"
        note(f"coordinator {verb}: http://{address.host}:{address.port} (pid {address.pid}), files in {home.path}")
    return OK


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise ConfigError(problem(f"--host {text} is not an IPv4 address", "for example --host 127.0.0.1")) from None
