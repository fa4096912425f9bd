"""The router stays small: it never imports torch."""

import subprocess
import sys


def test_the_router_imports_no_torch():
    code = "import sys, pliant.cli.serve, pliant.serving.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], timeout=60, check=False).returncode == 0
