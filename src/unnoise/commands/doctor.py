"""Is everything well here? `unnoise doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from unnoise.console import Command, answer, as_json, emit, is_quiet, json_option, note
from unnoise.errors import EXIT_SOME_FAILED, ConfigError

if TYPE_CHECKING:
    from unnoise.seams import Comparison


@click.command(cls=Command)
@click.option(
    "--verify-tiles",
    "picture",
    metavar="FILE",
    help="Denoise this picture in tiles and at once, and compare, instead of all else.",
)
@click.option("--network", help="For --verify-tiles: name, .onnx file or run.  [default: as for denoise]")
@click.option("--tile", type=click.IntRange(16), help="For --verify-tiles: longest side of a tile.")
@click.option("--sigma", type=click.FloatRange(0, 255), help="For --verify-tiles.  [default: estimated]")
@json_option
def doctor(*, picture: str | None, network: str | None, tile: int | None, sigma: float | None) -> None:
    """Look whether everything is well: program, machine, packages, formats, networks, and a test run.

    The report can be pasted as it is: your name and home folder are left out. The exit status is 1 if
    something does not work.
    """
    if picture is not None:
        _verify(picture, network, tile, sigma)
        return
    if any(value is not None for value in (network, tile, sigma)):
        raise ConfigError("--network, --tile and --sigma belong to --verify-tiles", hint="Give it a FILE.")

    from unnoise.checkup import FAULT, OK, WARNING, anonymous, checkup

    counts = {OK: 0, WARNING: 0, FAULT: 0}
    section = ""
    for finding in checkup():
        counts[finding.state] += 1
        told = {name: anonymous(value) for name, value in asdict(finding).items()}
        if as_json():
            emit({"record": "finding", **told})
            continue
        if is_quiet() and finding.state == OK:
            continue
        if finding.section != section:
            section = finding.section
            answer(section)
        answer(f"  {told['state']:<8} {told['name']:<22} {told['value']}")
        if told["advice"]:
            answer(f"  {'':<8} {'':<22} -> {told['advice']}")
    faults, warnings = counts[FAULT], counts[WARNING]
    if as_json():
        status = "failed" if faults else "done"
        emit({"record": "summary", "status": status, "faults": faults, "warnings": warnings})
    elif not is_quiet():
        total = f"{_counted(faults, 'fault')}, {_counted(warnings, 'warning')}"
        answer(total if faults + warnings else "all well")
    if faults:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _verify(picture: str, network: str | None, tile: int | None, sigma: float | None) -> None:
    from unnoise import images
    from unnoise.denoiser import chosen, load
    from unnoise.seams import BOUND, compare

    loaded = load(chosen(network, told=sigma is not None))
    bad = 0
    with images.open(picture) as document:
        for remark in document.notes:
            note(f"{picture}: {remark}")
        for number, image in enumerate(document):
            name = picture if document.count == 1 else f"{picture}, frame {number + 1}"
            found = compare(loaded, image, tile=tile, sigma=sigma)
            well = found.worst <= BOUND
            bad += not well
            if as_json():
                status = "done" if well else "failed"
                emit({"status": status, "source": picture, "frame": number, "bound": BOUND, **asdict(found)})
            else:
                _tell(name, found, well)
    if bad:
        raise click.exceptions.Exit(EXIT_SOME_FAILED)


def _tell(name: str, found: Comparison, well: bool) -> None:
    from unnoise.seams import BOUND

    level = "" if found.level is None else f", sigma {found.level:.3g}"
    against = f"{found.crops} crops that were done at once" if found.crops else "the whole picture at once"
    answer(
        f"{name}: {found.size[0]} × {found.size[1]} pixels, {_counted(found.tiles, 'tile')} of "
        f"{found.tile[0]} × {found.tile[1]}{level}, against {against}"
    )
    if found.tiles == 1:
        answer("  it fits into one tile, so there are no seams")
    for place, worst in (("on seams", found.seams), ("elsewhere", found.elsewhere)):
        answer(f"  {place:<10} {worst.value:.5f} of 1/255 at most, at pixel {worst.x}, {worst.y}")
    answer(f"  {'ok' if well else 'FAULT'}: {BOUND:g} of 1/255 is the bound")
    if not well:
        answer(f"  -> {_advice(found)}")


def _advice(found: Comparison) -> str:
    if found.fades:
        return f"tiles this small have too little around them; take a --tile of at least {found.least}"
    return "the network's card is wrong about how far it looks (halo); take another network"
