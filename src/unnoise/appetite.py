"""How much memory a network takes while it runs, measured in a process of its own.

Run as ``python -m unnoise.appetite NETWORK.onnx``: prints bytes per pixel.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

_SMALL, _LARGE = 256, 1024


def measured(network: bytes) -> float | None:
    """Bytes of memory for each pixel that a network works on at once; None where that can't be measured.

    Args:
        network: an .onnx file's content, without a fixed size; it needs no card.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        path.write_bytes(network)
        command = [sys.executable, "-m", "unnoise.appetite", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        taken = float(done.stdout)
    except ValueError:
        return None
    return taken if taken > 0 else None  # too little to be told from what else happens


def _measure(path: Path) -> float:
    import numpy as np

    from unnoise.runtime import FLOAT32, OnnxRuntime

    backend = OnnxRuntime(path, 1, FLOAT32)

    def peak(side: int) -> int:
        feed = {name: np.zeros((1, 1, 1, 1), np.float32) for name in backend.ports()[0]}
        feed["noisy"] = np.zeros((1, 3, side, side), np.float32)
        backend.run(feed)
        return _peak()

    small = peak(_SMALL)
    return round((peak(_LARGE) - small) / (_LARGE**2 - _SMALL**2), 1)


def _peak() -> int:
    """The most memory that this process ever held, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        import resource

        # On Linux it would count what the parent held when it made this process.
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return taken if sys.platform == "darwin" else taken * 1024


if __name__ == "__main__":
    print(_measure(Path(sys.argv[1])))
