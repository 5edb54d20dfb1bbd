"""Several processes that run functions of this package, and name the item on which one of them dies.

The processes are started as plain interpreters that talk through their pipes. Unlike those of
multiprocessing they do not import the program's main module again, so a library call is safe in a script
without a guard, in a notebook or from stdin; and nothing is forked, so threads of other libraries (BLAS,
OpenCV, torch) cannot be caught holding a lock.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from unnoise.cores import THREADS, given_threads
from unnoise.errors import DataError, UnnoiseError

In = TypeVar("In")
Out = TypeVar("Out")

_AHEAD = 4
"""Items a process that are handed out before the first result is asked for: bounds what waits in memory."""

_SETTINGS = {
    # glibc: keep the memory of one picture for the next; giving it back each time costs a tenth of the work
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}


class Workers:
    """A context manager around ``count`` processes; with one worker all is done in this process.

    Args:
        count: number of worker processes, at least 1.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[Process] = []
        self._idle: queue.SimpleQueue[Process] = queue.SimpleQueue()

    def __enter__(self) -> Workers:
        if self._count > 1:
            for _ in range(self._count):
                self._processes.append(Process())
                self._idle.put(self._processes[-1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.stop()

    def map(
        self,
        work: Callable[[In], Out],
        items: Sequence[In],
        *,
        name: Callable[[In], str],
        keep: Callable[[In, Out], None] = lambda _item, _result: None,
    ) -> Iterator[Out]:
        """Results in the order of ``items``.

        Args:
            work: a function of an importable module, or a ``functools.partial`` of one.
            items: what to work on; each is pickled, and so is each result.
            name: what to call an item in an error.
            keep: called with each item and its result as soon as there is one, in any order, one at a time.

        Raises:
            UnnoiseError: what ``work`` raised.
            DataError: a worker died, or ``work`` raised anything else; the message names the item.
        """
        if not self._processes:
            for item in items:
                result = _named(work, item, name)
                keep(item, result)
                yield result
            return

        def hand_over(item: In) -> Out:
            made = self._hand_over(work, item, name)
            with keeping:
                keep(item, made)
            return made

        keeping = threading.Lock()
        rest = iter(items)
        pending: deque[Future[Out]] = deque()
        with ThreadPoolExecutor(self._count) as threads:
            try:
                for item in islice(rest, _AHEAD * self._count):
                    pending.append(threads.submit(hand_over, item))
                while pending:
                    result = pending.popleft().result()
                    for item in islice(rest, 1):
                        pending.append(threads.submit(hand_over, item))
                    yield result
            except BaseException:  # Ctrl-C too: don't wait for work that nobody wants
                for process in self._processes:
                    process.stop()
                threads.shutdown(wait=True, cancel_futures=True)
                raise

    def _hand_over(self, work: Callable[[In], Out], item: In, name: Callable[[In], str]) -> Out:
        process = self._idle.get()
        try:
            result: Out = process.call(work, item)
            return result
        except ProcessDied as death:
            raise DataError(
                f"a worker process died ({death}) while it worked on {name(item)}",
                hint="Often the memory was full: take fewer --workers, or leave that file out.",
            ) from None
        except UnnoiseError:
            raise
        except Exception as error:
            raise _failed(name(item), error) from error
        finally:
            self._idle.put(process)


def _named(work: Callable[[In], Out], item: In, name: Callable[[In], str]) -> Out:
    try:
        return work(item)
    except UnnoiseError:
        raise
    except Exception as error:
        raise _failed(name(item), error) from error


def _failed(item: str, error: Exception) -> DataError:
    if isinstance(error, OSError):
        return DataError(f"{item}: {error}", hint="Check the disk's free space and rights.")
    return DataError(f"{item}: {type(error).__name__}: {error}", hint="--debug shows where.")


class ProcessDied(Exception):
    """The process on the other end of the pipes is gone."""


class Process:
    """A process that runs functions of this package, one after another.

    Args:
        threads: that libraries may use in it.
    """

    def __init__(self, threads: int = 1) -> None:
        # -P, and the same search path: the child must import this very package, and nothing from its
        # working directory. A session of its own: Ctrl-C is for the parent, which then stops the child.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", "from unnoise.workers import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_SETTINGS, **dict.fromkeys(THREADS, str(threads)), "PYTHONPATH": path},
            process_group=0,
        )

    def call(self, work: Callable[[Any], Any], item: object) -> Any:
        """What ``work``, a function of an importable module, makes of ``item``.

        Raises:
            ProcessDied: the process ended.
            Exception: what ``work`` raised.
        """
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        try:
            pickle.dump((work, item), self._popen.stdin)
            self._popen.stdin.flush()
            done, value = pickle.load(self._popen.stdout)
        except (EOFError, OSError, pickle.UnpicklingError, ValueError):
            raise ProcessDied(f"exit status {self._popen.wait()}") from None
        if done:
            return value
        raise value

    def stop(self) -> None:
        """End it, whatever it does."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still buffered has no reader any more
                    continue


def serve() -> None:
    """The loop of a worker process: read a call from stdin, write its result to stdout, until stdin ends."""
    import cv2

    cv2.setNumThreads(given_threads())
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up between the results
    while True:
        try:
            work, item = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: tuple[bool, object] = (True, work(item))
        except Exception as error:
            answer = (False, error)
        _send(results, answer)


def _send(pipe: BinaryIO, answer: tuple[bool, object]) -> None:
    try:
        data = pickle.dumps(answer)
        if not answer[0]:
            pickle.loads(data)  # an exception may pickle and yet not come back
    except Exception:
        data = pickle.dumps((False, RuntimeError(repr(answer[1]))))
    pipe.write(data)
    pipe.flush()
