"""What workers run in these tests. Imported by name in the template's forks; nothing of it imports torch."""

import os
import signal
import subprocess
import sys
import time

from pliant.config import WorkerSpec


def obey_args(spec: WorkerSpec) -> None:
    """Do what the job's arguments say, one word after the other."""
    for word in spec.args:
        verb, _, value = word.partition("=")
        match verb:
            case "print":
                print(value)
            case "say-raw":
                os.write(1, value.encode() + b"\n")
            case "complain":
                print(value, file=sys.stderr)
            case "role":
                print(f"{spec.worker} is a {spec.role}")
            case "environment":
                print(f"{value}={os.environ.get(value)}")
            case "modules":
                print("modules:", *[name for name in value.split(",") if name in sys.modules])
            case "argv-main":
                print("main:", getattr(sys.modules["__main__"], "__file__", "none"))
            case "group":
                print("group", os.getpgid(0) == os.getpid(), "session", os.getsid(0) == os.getpid())
            case "child":
                print("child", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
            case "ignore-term":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "exit":
                sys.exit(int(value))
            case "raise":
                raise ValueError(value)
            case "spin":
                while True:
                    pass
            case "wait":
                print("waiting")
                while True:
                    time.sleep(600)
