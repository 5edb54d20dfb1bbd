from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_backends_in_a_process_of_their_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    tests = Path(__file__).with_name("openvino_backend.py")
    done = subprocess.run([*command, str(tests)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 5, done.stdout
