"""Files to files: do what was planned on all cores, and tell what became of each.

Every worker takes whole files, so that one reads or writes while another computes. What is too large for a
worker's share of the memory is done alone, on all cores.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from unnoise.cleaning import Job, Result, TooLarge, clean_file
from unnoise.codecs.base import Image, Limits
from unnoise.denoiser import Network
from unnoise.denoising import PROGRAM, Settings, footprint
from unnoise.files import remove_leftovers
from unnoise.manifest import Manifest
from unnoise.memory import default_budget
from unnoise.planning import STREAM, Plan, Task

__all__ = ["Result", "Settings", "run"]

OnTile = Callable[[int, int], None]
Results = Generator[Result, None, None]
Arrivals = queue.SimpleQueue[Result | BaseException | None]
"""Results, what a worker died of, and None for each worker that ended."""

_PATIENCE = 0.2
"""Seconds after which who waits looks whether to stop."""


class _Stopped(BaseException):
    """The work shall end; nothing that handles errors of a file may catch it."""


def run(
    work: Plan,
    network: Network,
    settings: Settings,
    *,
    limits: Limits | None = None,
    manifest: Manifest | None = None,
    worker: Callable[[int], Network] | None = None,
    fail_fast: bool = False,
    on_tile: OnTile | None = None,
) -> Results:
    """Do what was planned; a file that fails is told and the others go on.

    Args:
        work: from :func:`unnoise.planning.plan`.
        network: what denoises a lone file, and what is too large to be done beside others.
        settings: how; its memory is that of all files together.
        limits: what is read.
        manifest: where every file that is finished is recorded.
        worker: gives the network, of one thread, of each of as many workers as ``network`` has threads; asked
            once for each number. None has one file done after the other.
        fail_fast: stop after the first file that fails.
        on_tile: called after each tile of a file that is done alone, with the number done and of all.

    Yields:
        each result when it is there: in the order of the plan if there is one worker.
    """
    job = Job(limits or Limits(), manifest)
    # Once: what is free gets less with what we take ourselves.
    settings = replace(settings, memory=settings.memory or default_budget())
    for folder in {Path(task.target).parent for task in work.pending if task.target != STREAM}:
        with suppress(OSError):
            remove_leftovers(folder, shared=True)
    workers = min(network.threads, len(work.pending))
    whole = _Alone(network, settings, on_tile or (lambda _done, _total: None))
    if worker is None or workers < 2:
        results = _one_by_one(work, job, whole)
    else:
        results = _side_by_side(work, job, whole, worker, workers)
    try:
        for result in results:
            yield result
            if fail_fast and result.status == "failed":
                return
    finally:
        results.close()


def _recorded(task: Task, job: Job, result: Result) -> Result:
    """What failed is recorded here; what was done, before it took its place."""
    if result.status != "failed" or job.manifest is None:
        return result
    try:
        job.manifest.failed(task, result.told)
    except OSError as error:
        note = f"{job.manifest.path}: cannot be written: {error.strerror or error}"
        return replace(result, notes=(*result.notes, note))
    return result


# --- one by one ------------------------------------------------------------------------------------


class _Alone:
    """The turn of a file that nothing else is done beside."""

    def __init__(self, network: Network, settings: Settings, on_tile: OnTile) -> None:
        self.network = network
        self.settings = settings
        self.on_tile = on_tile

    def expect(self, size: int) -> None:
        pass

    def footprint(self, image: Image) -> int:  # noqa: ARG002
        return 0


def _one_by_one(work: Plan, job: Job, turn: _Alone) -> Results:
    for task in work.tasks:
        if task.done:
            yield Result(task.source, task.target, "skipped")
        else:
            yield _recorded(task, job, clean_file(task, job, turn))


# --- side by side ----------------------------------------------------------------------------------


class _Gate:
    """Lets in any number beside each other, or one alone; who waits to be alone is next."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._beside = 0
        self._waiting = 0
        self._alone = False

    @contextmanager
    def beside(self) -> Iterator[None]:
        with self._changed:
            self._wait(lambda: not self._alone and not self._waiting)
            self._beside += 1
        try:
            yield
        finally:
            with self._changed:
                self._beside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            try:
                self._wait(lambda: not self._alone and not self._beside)
            finally:
                self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def _wait(self, is_free: Callable[[], bool]) -> None:
        while not is_free():
            if self._stop.is_set():
                raise _Stopped
            self._changed.wait(_PATIENCE)


class _Beside:
    """The turn of a file beside others, which may take ``share`` bytes."""

    def __init__(self, network: Network, settings: Settings, share: int, check: Callable[[], None]) -> None:
        self.network = network
        self.settings = replace(settings, memory=share + PROGRAM)
        self._share = share
        self._check = check

    def expect(self, size: int) -> None:
        # Not waiting here and now: who reads may hold a lock that others need to come to their end.
        if size > self._share:
            raise TooLarge

    def footprint(self, image: Image) -> int:
        return footprint(self.network, image, self.settings)

    def on_tile(self, done: int, total: int) -> None:  # noqa: ARG002
        self._check()


def _side_by_side(
    work: Plan, job: Job, whole: _Alone, worker: Callable[[int], Network], workers: int
) -> Results:
    yield from (Result(task.source, task.target, "skipped") for task in work.tasks if task.done)
    waiting = deque(work.pending)
    results: Arrivals = queue.SimpleQueue()
    stop = threading.Event()
    gate = _Gate(stop)
    share = max(0, (whole.settings.memory or 0) - PROGRAM) // workers

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    def on_tile(done: int, total: int) -> None:
        check()
        whole.on_tile(done, total)

    def do(task: Task, network: Network) -> Result:
        notes: tuple[str, ...] = ()
        try:
            with gate.beside():
                result = clean_file(task, job, _Beside(network, whole.settings, share, check))
            if result.code != "memory":
                return result
            notes = ("out of memory beside other files; done again alone",)
        except TooLarge:
            pass
        with gate.alone():
            result = clean_file(task, job, _Alone(whole.network, whole.settings, on_tile))
        return replace(result, notes=(*result.notes, *notes))

    def take(network: Network) -> None:
        try:
            while waiting and not stop.is_set():
                try:
                    task = waiting.popleft()
                except IndexError:  # another was quicker
                    break
                results.put(_recorded(task, job, do(task, network)))
        except _Stopped:
            pass
        except BaseException as error:
            results.put(error)
        finally:
            results.put(None)

    # Daemons: a read that hangs must not keep the process after a second Ctrl-C.
    threads = [
        threading.Thread(target=take, args=(worker(number),), daemon=True) for number in range(workers)
    ]
    try:
        for thread in threads:
            thread.start()
        yield from _arriving(results, workers)
    except KeyboardInterrupt:
        _end(stop, threads)
        yield from _arrived(results)
        raise
    finally:
        _end(stop, threads)


def _end(stop: threading.Event, threads: list[threading.Thread]) -> None:
    """Have all stop after the tile that they are at, and wait for them, once."""
    if not stop.is_set():
        stop.set()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join()


def _arriving(results: Arrivals, workers: int) -> Results:
    while workers:
        try:
            item = results.get(timeout=_PATIENCE)  # without an end, Ctrl-C would wait on some systems
        except queue.Empty:
            continue
        if item is None:
            workers -= 1
        elif isinstance(item, BaseException):
            raise item
        else:
            yield item


def _arrived(results: Arrivals) -> Results:
    """What was finished before the end."""
    while not results.empty():
        item = results.get()
        if isinstance(item, Result):
            yield item
