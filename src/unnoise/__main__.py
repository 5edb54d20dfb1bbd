"""Where the process begins, as ``unnoise`` and as ``python -m unnoise``.

The signals are taken care of before anything else is imported: an interruption is quiet at any time.
"""

import os
import signal
from types import FrameType
from typing import NoReturn


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    # Nothing was begun yet, or all is done: there is nothing to clean up, and imports may swallow exceptions.
    os._exit(128 + number)


def run() -> NoReturn:
    """Run the command line and leave with its exit status."""
    ended_by = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    # A signal that the parent had us ignore (nohup, a background job) stays ignored.
    taken = [number for number in ended_by if number and signal.getsignal(number) is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, _leave)
    # Before numpy comes: its matrices are small here, and its threads would only get in the way of others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from unnoise import process
    from unnoise.cli import main

    status: object = 1
    try:
        process.begin(taken)
        main()
    except SystemExit as ended:
        status = ended.code
    except KeyboardInterrupt:
        status = process.interruption() or 130
    for number in taken:
        signal.signal(number, _leave)
    raise SystemExit(status)


if __name__ == "__main__":
    run()
