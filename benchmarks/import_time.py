"""How long `import unnoise` and `unnoise --help` take beside importing what the runtime is built on.

The three commands take turns, each in a process of its own, after one round that warms the file cache. A
ratio is taken in every round; the median is printed and must be at most 1.5.

    python benchmarks/import_time.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

LIMIT = 1.5
REFERENCE = ("-c", "import numpy, cv2, onnxruntime")
MEASURED = {
    "import unnoise": ("-c", "import unnoise"),
    "unnoise --help": ("-m", "unnoise", "--help"),
}


def seconds(arguments: tuple[str, ...]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    packages = ("numpy", "opencv-python-headless", "onnxruntime", "click")
    print("command:  ", shlex.join(["python", *sys.argv]))
    print("machine:  ", platform.platform(), platform.machine())
    print(
        "versions: ", f"Python {platform.python_version()},", ", ".join(f"{p} {version(p)}" for p in packages)
    )
    for arguments in (REFERENCE, *MEASURED.values()):
        seconds(arguments)
    reference: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in MEASURED}
    for _ in range(rounds):
        reference.append(seconds(REFERENCE))
        for name, arguments in MEASURED.items():
            taken[name].append(seconds(arguments))
    print(f"reference: {statistics.median(reference):.3f} s  (import numpy, cv2, onnxruntime)")
    worst = 0.0
    for name, times in taken.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(times, reference, strict=True))
        worst = max(worst, ratio)
        print(f"{name}: {statistics.median(times):.3f} s, ratio {ratio:.2f} (at most {LIMIT})")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
