"""Flag what a denoiser damaged, without clean pictures: `unnoise evaluate --audit`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from unnoise.console import answer, answer_lines, as_json, emit, note
from unnoise.errors import EXIT_SOME_FAILED, ConfigError, DataError

REPORT, RECORDS = "audit.html", "audit.jsonl"


def audited(
    noisy: Path | None,
    denoised: Path | None,
    denoisers: Sequence[str],
    output: Path | None,
    workers: int | None,
    *,
    overwrite: bool,
    others: Sequence[str],
) -> None:
    """Audit a folder; files that cannot be judged are named, and the exit status is then 1.

    Args:
        noisy: folder of noisy pictures.
        denoised: folder of results, by the same names, or None.
        denoisers: as for :func:`unnoise.methods.choose`.
        output: folder for a page and records, or None.
        workers: processes; None takes one a core.
        overwrite: whether files in it may be replaced.
        others: further options that were given, none of which has a meaning here.
    """
    from unnoise.auditing import audit_all
    from unnoise.auditpage import audit_text, record, render_audit
    from unnoise.evaluate import pictures_in
    from unnoise.files import write_text
    from unnoise.methods import choose
    from unnoise.provenance import versions
    from unnoise.scores import check_outputs, write_lines
    from unnoise.subjects import by_name

    if noisy is None or (denoised is None) == (not denoisers) or others:
        raise ConfigError(
            "--audit FOLDER takes --with, or --denoised FOLDER, and nothing else but -o and --workers",
            hint="For example: unnoise evaluate --audit noisy --denoised clean",
        )
    files = pictures_in(noisy)
    if not files:
        raise DataError(f"no pictures in {noisy}", hint="Give a folder of images.")
    if output is not None:
        if output.resolve() in {each.resolve() for each in (noisy, denoised) if each is not None}:
            raise ConfigError(f"{output} is read from, so nothing is written there", hint="Take another -o.")
        check_outputs(output, (REPORT, RECORDS), overwrite=overwrite)
    if denoised is not None:
        made = {path.name: key for key, path in by_name(noisy, denoised).items()}
        theirs = by_name(denoised, noisy)
        methods = {denoised.name: {name: theirs[made[name]] for name in files if made[name] in theirs}}
        found = audit_all(files, methods, workers=workers)
    else:
        contenders = choose(denoisers, log=note)
        chosen = dict(zip(contenders.names, contenders.denoisers[0], strict=True))
        found = audit_all(files, chosen, workers=workers)
    if as_json():
        for each in found:
            emit({"record": "audit", **record(each)})
    else:
        answer_lines(audit_text(found))
    if output is not None:
        parts = ["unnoise", "evaluate", "--audit", str(noisy)]
        parts += ["--denoised", str(denoised)] if denoised else []
        parts += [part for each in denoisers for part in ("--with", each)]
        page = render_audit(found, command=shlex.join([*parts, "-o", str(output)]), versions=versions())
        write_text(output / REPORT, page)
        write_lines(output / RECORDS, map(record, found))
        note(f"wrote {output / RECORDS}")
        if not as_json():
            answer(str(output / REPORT))
    if any(each.audit is None for each in found):
        raise click.exceptions.Exit(EXIT_SOME_FAILED)
