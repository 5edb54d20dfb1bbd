"""Clean image files: `unnoise denoise`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from unnoise.commands.denoise_options import Request, request_options
from unnoise.console import Command, answer, as_json, complain, emit, json_option, note, progress
from unnoise.errors import EXIT_SOME_FAILED, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from unnoise.cleaning import Result
    from unnoise.denoiser import Network
    from unnoise.denoising import Settings
    from unnoise.manifest import Manifest
    from unnoise.planning import Plan


@click.command(cls=Command)
@request_options
@json_option
def denoise(**options: Any) -> None:
    """Take the noise out of images: files, folders, patterns, or - for stdin.

    Sample type, size, transparency, colour profile, metadata and resolution come back. A file that fails is
    named at the end, and the exit status is then 1.
    """
    from unnoise.planning import STREAM, plan

    request = Request(**options)
    request.check()
    if as_json() and request.output == STREAM:
        raise ConfigError("stdout cannot hold both JSON and a picture", hint="Write the picture to a file.")
    if request.watch:
        _watch(request)
        return
    work = plan(
        request.inputs,
        request.output,
        overwrite=request.overwrite,
        skip_existing=request.skip_existing,
        in_place=request.in_place,
        resume=request.resume,
    )
    _say_what_is_passed_over(work.passed_over)
    if request.dry_run and not request.resume:
        _list(work)
        return
    _check_manifest(request.manifest_in(work.root), work)
    tools = _Tools.take(request, work.root)
    if request.resume:
        work = _settled(work, tools)
    if request.dry_run:
        _list(work)
        return
    tools.say_what_they_are()
    tally = _Tally([task.source for task in work.tasks])
    try:
        with progress(len(work.tasks), unit="file") as bar:

            def show_tiles(done: int, total: int) -> None:
                if total > 1:
                    bar.set_postfix_str(f"tile {done}/{total}")

            with closing(tools.run(work, show_tiles)) as results:
                for result in results:
                    with bar.external_write_mode(file=sys.stderr):
                        tally.add(result)
                    bar.update()
    finally:  # after Ctrl-C, too
        tally.summary()
    tally.end(work.passed_over)


def _watch(request: Request) -> None:
    from unnoise.planning import root_of
    from unnoise.watching import Watch

    assert request.output is not None
    root = root_of(request.inputs, request.output)
    tools = _Tools.take(request, root)
    watch = Watch(
        request.inputs,
        request.output,
        interval=request.interval,
        overwrite=request.overwrite,
        manifest=tools.manifest,
    )
    tools.say_what_they_are()
    note(f"watching {', '.join(request.inputs)}; Ctrl-C ends it")
    tally = _Tally(None)
    try:
        with closing(watch.results(tools.run)) as results:
            for result in results:
                tally.add(result)
                if result.status == "failed" and request.fail_fast:
                    break
    finally:  # Ctrl-C is how it ends
        tally.summary()
    tally.end(watch.passed_over)


def _check_manifest(place: str | None, work: Plan) -> None:
    import os

    names = {os.path.realpath(name) for task in work.tasks for name in (task.source, task.target)}
    if place is not None and os.path.realpath(place) in names:
        raise ConfigError(
            f"{place}: is an input or an output, and cannot be the manifest",
            hint="Give another place with --manifest FILE, or use --no-manifest.",
        )


def _list(work: Plan) -> None:
    for task in work.tasks:
        if as_json():
            emit({"status": "skipped" if task.done else "planned", **asdict(task)})
        else:
            answer(f"{task.source} -> {task.target}{' (exists)' if task.done else ''}")


def _say_what_is_passed_over(passed_over: Mapping[str, int]) -> None:
    from unnoise.planning import counted

    if passed_over:
        note(f"passed over: {counted(passed_over)}")


def _settled(work: Plan, tools: _Tools) -> Plan:
    from unnoise.manifest import settle

    if tools.manifest is None:
        raise ConfigError("--resume needs a manifest", hint="Say which with --manifest FILE.")
    return settle(work, tools.manifest, overwrite=tools.request.overwrite)


# --- what it is done with --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tools:
    """All that files are denoised with.

    Attributes:
        worker: gives a network of one thread for each number.
    """

    request: Request
    network: Network
    settings: Settings
    manifest: Manifest | None
    worker: Callable[[int], Network]

    @staticmethod
    def take(request: Request, root: Path | None) -> _Tools:
        """Load what was asked for; the manifest lies in ``root`` where nobody says otherwise."""
        from unnoise.denoiser import chosen, load
        from unnoise.manifest import Manifest, Recipe, check_place

        asked = click.get_current_context().get_parameter_source("sigma")
        source = chosen(request.network, told=asked is click.core.ParameterSource.COMMANDLINE)

        def loaded(threads: int | None) -> Network:
            return load(source, threads=threads, backend=request.backend, precision=request.precision)

        place = request.manifest_in(root)
        if place is not None:
            check_place(place)
        network = loaded(request.threads)
        network.grid(1, 1, tile=request.tile)  # says what is wrong with the tile
        recipe = Recipe(network.name, network.digest, request.parameters(), request.how())
        manifest = None if place is None else Manifest(place, recipe)
        return _Tools(request, network, request.settings(), manifest, cache(lambda _: loaded(1)))

    def say_what_they_are(self) -> None:
        """Network, device, precision, tile: what was resolved, before long work."""
        from unnoise.memory import default_budget, readable

        request, network, card = self.request, self.network, self.network.card
        level = "sigma auto" if request.sigma is None else f"sigma {request.sigma:g}"
        if not card.sigma_input:
            level = "blind" if request.sigma is None else f"blind (--{level} has no say)"
        tile = card.fixed_size or request.tile or ("none" if card.whole_image else "by memory")
        precision = "int8" if card.record.get("arithmetic") == "int8" else network.precision
        note(
            f"network {network.name} ({card.architecture}), {level}, strength {request.strength:g}, "
            f"tile {tile}, threads {network.threads}, {network.backend} on the processor, "
            f"{precision}, memory {readable(self.settings.memory or default_budget())}"
        )
        if self.manifest is not None:
            note(f"manifest {self.manifest.path}")

    def run(
        self, work: Plan, on_tile: Callable[[int, int], None] | None = None
    ) -> Generator[Result, None, None]:
        """Do what was planned."""
        from unnoise import jobs

        return jobs.run(
            work,
            self.network,
            self.settings,
            limits=self.request.limits(),
            manifest=self.manifest,
            worker=self.worker,
            fail_fast=self.request.fail_fast,
            on_tile=on_tile,
        )


class _Tally:
    """Counts what became of the files, and tells it as it comes.

    Args:
        sources: all in their order; None where there is no end, and failures are told at once.
    """

    def __init__(self, sources: Sequence[str] | None) -> None:
        self._order = None if sources is None else {source: at for at, source in enumerate(sources)}
        self._counts = {"done": 0, "failed": 0, "skipped": 0}
        self._failures: list[Result] = []

    def add(self, result: Result) -> None:
        """Tell of one."""
        self._counts[result.status] += 1
        if as_json():
            emit(asdict(result))
        for remark in result.notes:
            note(f"{result.source}: {remark}")
        if result.status == "failed":
            self._failures.append(result)
            if self._order is None:
                complain(result.error, result.hint)
        elif result.status == "done":
            told = "" if result.sigma is None else f" (sigma {result.sigma:.3g})"
            note(f"{result.source} -> {result.target}{told}")

    def summary(self) -> None:
        """What became of all, and each failure by name where that was not told yet."""
        counts, order = self._counts, self._order
        left = 0 if order is None else len(order) - sum(counts.values())
        if order is None or len(order) > 1 or counts["skipped"]:
            note(
                f"{counts['done']} done, {counts['skipped']} existed already, {counts['failed']} failed"
                + (f", {left} not done" if left > 0 else "")
            )
        if order is not None:
            for failure in sorted(self._failures, key=lambda failure: order.get(failure.source, 0)):
                complain(failure.error, failure.hint)

    def end(self, passed_over: Mapping[str, int]) -> None:
        """Raise the exit status that the failures ask for."""
        from unnoise.planning import UNREADABLE

        unreadable = passed_over.get(UNREADABLE, 0)
        if unreadable:
            complain(f"{unreadable} {UNREADABLE}", "Check the rights.")
        if self._failures or unreadable:
            raise click.exceptions.Exit(EXIT_SOME_FAILED)
