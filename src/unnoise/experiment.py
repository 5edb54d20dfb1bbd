"""The whole experiment on a folder of images: prepare, compare, train, evaluate, report.

Every stage leaves its result in the output folder before the next begins, and a stage whose result is
there is not done again: the same command, given after a kill at any point, goes on where it was.

::

    OUT/experiment.json     what was asked for, and the time each stage took
    OUT/data/               the data set
    OUT/comparison.json     the filters' searches
    OUT/journal.jsonl       scores of every method, as soon as they are known
    OUT/runs/NAME/          a training each
    OUT/samples/            pictures that the report shows
    OUT/figure.png, report.html, report.md, scores.csv, results.json
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unnoise import provenance
from unnoise.assessment import assess, show_files
from unnoise.card import read_card
from unnoise.cores import available_cores
from unnoise.denoiser import bundled, chosen, find, load
from unnoise.diary import Diary
from unnoise.errors import ConfigError, TrainingError, UnknownName
from unnoise.evaluate import compare, evaluate
from unnoise.figure import figure, save_figure
from unnoise.files import write_text
from unnoise.filters import Denoiser, parse
from unnoise.journal import NAME as JOURNAL_NAME
from unnoise.journal import Journal
from unnoise.leaks import sheet_of
from unnoise.methods import Contenders
from unnoise.noise import has_levels
from unnoise.noise import parse as parse_noise
from unnoise.pairs import of_split
from unnoise.prepare import PrepareConfig, prepare
from unnoise.presets import COMMON, PRESETS, Contender
from unnoise.records import BlurTable, Curve, FilterSearch, MethodResult, Training
from unnoise.report import RENDERERS
from unnoise.results import decode
from unnoise.scores import FIGURE_NAME
from unnoise.sources import find_sources
from unnoise.subjects import tiles
from unnoise.tiles import Dataset, load_dataset

Log = Callable[[str], None]

BASELINE = "gaussian-blur"
SHIPPED = "shipped"
_BROKEN_OFF = "broken_off.txt"


# Parts of the budget that are not training: scoring each network, the figure and the report.
_SCORING_PART = 0.08
# Core minutes at the start and for each tile, to estimate with before anything is done; as measured once.
_PACE = {"prepare": (0.05, 5e-6), "tune and score filters": (1.1, 1.7e-4)}
# A guess until the images have been opened.
_TILES_A_FILE = 64


@dataclass(frozen=True)
class ExperimentConfig:
    """What is asked for.

    Attributes:
        sources: folders and image files.
        out: the folder for all of it.
        preset: a key of :data:`PRESETS`.
        budget: minutes for all of it; None takes the preset's.
        tile: side of the tiles in pixels.
        noise: what :func:`unnoise.noise.parse` takes.
        group_by: see :class:`unnoise.prepare.PrepareConfig`.
        seed: of the split, the noise and the trainings.
        threads: of torch; None takes all cores.
        join_leaks: see :class:`unnoise.prepare.PrepareConfig`.
        allow_leaks: likewise.
    """

    sources: tuple[Path, ...]
    out: Path
    preset: str = "quick"
    budget: float | None = None
    tile: int = 56
    noise: str = "gaussian:50"
    group_by: str | None = None
    seed: int = 0
    threads: int | None = None
    join_leaks: bool = False
    allow_leaks: bool = False

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UnknownName("preset", self.preset, PRESETS)
        if self.budget is not None and not self.budget > 0:
            raise ConfigError(
                f"a budget of {self.budget:g} minutes is none", hint="Give --budget some minutes."
            )
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"{self.threads} threads cannot work", hint="Give --threads 1 or more.")
        parse_noise(self.noise)

    @property
    def minutes(self) -> float:
        """The budget for all of it."""
        return self.budget or PRESETS[self.preset].minutes

    @property
    def shipped(self) -> str | None:
        """The bundled network that takes part, if there is one."""
        name = str(chosen(None, told=has_levels(parse_noise(self.noise))))
        return name if name in bundled() else None

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        parts = [
            "unnoise",
            "experiment",
            *map(str, self.sources),
            "-o",
            str(self.out),
            "--preset",
            self.preset,
        ]
        default = ExperimentConfig(self.sources, self.out)
        for name in ("budget", "tile", "noise", "group_by", "seed", "threads"):
            if (value := getattr(self, name)) != getattr(default, name):
                parts += [f"--{name.replace('_', '-')}", str(value)]
        flags = {"--join-leaks": self.join_leaks, "--allow-leaks": self.allow_leaks}
        parts += [flag for flag, given in flags.items() if given]
        return shlex.join(parts)


def describe(config: ExperimentConfig) -> str:
    """The plan with an estimate of its time, before anything is read."""
    files = len(find_sources(config.sources, config.out))
    tiles = min(files * _TILES_A_FILE, PRESETS[config.preset].tiles)
    first = {name: (start + pace * tiles) / available_cores() for name, (start, pace) in _PACE.items()}
    shares = _share_out(config, 60 * sum(first.values()))
    lines = [f"preset {config.preset}: {files} files, {config.minutes:g} minutes in all"]
    lines += [f"  {name:<30}{minutes:6.1f} min (estimate)" for name, minutes in first.items()]
    for each in PRESETS[config.preset].contenders:
        also = f", as many steps as {each.follows}" if each.follows else ""
        lines.append(f"  {'train ' + each.name:<30}{shares[each.name]:6.1f} min{also}")
    lines.append(f"  {'score networks, report':<30}{_SCORING_PART * config.minutes:6.1f} min (estimate)")
    return "\n".join(lines)


def run_experiment(config: ExperimentConfig, *, log: Log = lambda _: None, progress: bool = True) -> Path:
    """Do all of it, or what is left of it, and return the path of ``report.html``.

    Raises:
        ConfigError: the output folder holds something else, or another experiment; or a network cannot take
            tiles of that size.
        DataError: there are too few usable images.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    _check_tile(config)
    asked = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    diary = Diary.open(config.out, asked, worthless=(sheet_of(config.out / "data").name,))
    if diary.took:
        log(f"going on in {config.out}, after {diary.seconds / 60:.1f} minutes: {', '.join(diary.took)}")
    else:
        log(describe(config))
        log(f"everything goes to {config.out}; killed at any point, the same command goes on")

    with diary.stage("prepare"):
        dataset = _prepared(config, log, progress)
    journal = Journal(config.out / JOURNAL_NAME)
    with diary.stage("compare"):
        compared = _compared(config, dataset, journal, log, progress)
    if not diary.minutes:
        diary.decide(_share_out(config, diary.seconds))
    minutes = diary.minutes
    preset = PRESETS[config.preset]
    denoisers: dict[str, Denoiser] = {name: parse(spec) for name, spec in compared.best.items()}
    for contender in preset.contenders:
        with diary.stage(f"train {contender.name}"):
            _trained(config, contender, minutes[contender.name], log, progress)
        with diary.stage(f"score {contender.name}"):
            denoisers[contender.name] = load(_run_folder(config, contender.name)).closed()
            scored = evaluate(dataset, [denoisers[contender.name]], journal=journal, progress=progress)
            log(f"{contender.name}: test MSE {scored.methods[-1].mse:.6f}")
    if config.shipped:
        denoisers[SHIPPED] = load(config.shipped).closed()
    with diary.stage("report"):
        contenders = Contenders(tuple(denoisers), (tuple(denoisers.values()),), ((),))
        found = assess(tiles(dataset), contenders, config.out, journal=journal, log=log, progress=progress)
        described = {each.name: partial(_trained_here, config, each, dataset) for each in preset.contenders}
        described[SHIPPED] = partial(_shipped_as_it_is, config)
        methods = tuple(
            described[each.name](each) if each.name in described else each for each in found.results.methods
        )
        files = show_files(config.out, found.results.samples)
        files[FIGURE_NAME] = _figure(config, dataset, methods, denoisers, log)
    results = dataclasses.replace(
        found.results,
        command=config.command,
        preset=config.preset,
        elapsed_minutes=round(diary.seconds / 60, 1),
        baseline=BASELINE,
        methods=methods,
        budget_minutes=config.minutes,
        machine=provenance.machine(config.threads),
        seeds={"split, noise and training": config.seed},
        blur=compared.blur,
        searches=compared.searches,
        curves=_curves(config),
        optimizers=preset.optimizers,
        program="experiment",
        notes=provenance.notes(
            dataset,
            common=_common(config),
            optimizers=bool(preset.optimizers),
            shipped=config.shipped,
            left_out=compared.left_out,
        ),
    )
    for name, render in RENDERERS.items():
        _write(config.out / name, render(results, files))
    best = results.ranked("filter", "network")[0]
    log(f"best: {best.label}, MSE {best.mse:.6f}, {results.ratio(best):.2f} × the tuned blur's")
    return config.out / "report.html"


# --- stages: each returns its result, from disk where it is there -----------------------------------


@dataclass(frozen=True)
class _Compared:
    """What is kept of the filters' comparison."""

    searches: tuple[FilterSearch, ...]
    blur: BlurTable
    best: dict[str, str]
    left_out: tuple[str, ...]


def _check_tile(config: ExperimentConfig) -> None:
    """Raise ConfigError where a network of the preset cannot take the tiles."""
    import torch

    from unnoise.models import build
    from unnoise.trainconfig import TrainConfig

    side = config.tile
    for each in PRESETS[config.preset].contenders:
        own = each.settings_for(parse_noise(config.noise))
        with torch.device("meta"):
            model = build(own.get("model", TrainConfig.model), own.get("model_options"), size=side)
            try:
                model.check_input_shape(torch.empty(1, 3, side, side))
            except ValueError as error:
                raise ConfigError(
                    f"{each.label} cannot take tiles of {side} pixels: {error}", hint="Give another --tile."
                ) from None


def _prepared(config: ExperimentConfig, log: Log, progress: bool) -> Dataset:
    data = config.out / "data"
    if (data / "dataset.json").exists():
        return load_dataset(data)
    request = PrepareConfig(
        config.sources,
        data,
        tile=config.tile,
        noise=config.noise,
        group_by=config.group_by,
        seed=config.seed,
        tiles_per_image=_tiles_per_image(config),
        join_leaks=config.join_leaks,
        allow_leaks=config.allow_leaks,
    )
    return prepare(request, log=log, progress=progress)


def _tiles_per_image(config: ExperimentConfig) -> int:
    return max(1, PRESETS[config.preset].tiles // max(1, len(find_sources(config.sources, config.out))))


def _compared(
    config: ExperimentConfig, dataset: Dataset, journal: Journal, log: Log, progress: bool
) -> _Compared:
    path = config.out / "comparison.json"
    if path.exists():
        compared: _Compared = decode(_Compared, _read(path))
        return compared
    comparison = compare(dataset, journal=journal, log=log, progress=progress)
    assert comparison.blur is not None
    compared = _Compared(
        tuple(each.record() for each in comparison.searches),
        comparison.blur,
        {each.name: each.best.filter.spec for each in comparison.searches},
        tuple(f"{each.name} {each.reason}" for each in comparison.left_out),
    )
    _write(path, json.dumps(dataclasses.asdict(compared), indent=1))
    return compared


def _trained(
    config: ExperimentConfig, contender: Contender, minutes: float, log: Log, progress: bool
) -> None:
    from unnoise.export import export_run
    from unnoise.run import Run
    from unnoise.train import train
    from unnoise.trainconfig import TrainConfig

    run = Run(_run_folder(config, contender.name))
    if run.network.exists():
        run.last.unlink(missing_ok=True)
        return
    resume = (run.path / "config.json").exists()
    if resume:
        settings = run.config()
    else:
        length: dict[str, Any] = {"minutes": minutes}
        if contender.follows:
            length = {"steps": _steps_taken(config, contender.follows)}
        own = contender.settings_for(parse_noise(config.noise))
        plan = {**COMMON, **own, **length, "seed": config.seed, "threads": config.threads}
        settings = TrainConfig(config.out / "data", run.path, **plan)
    log(f"train {contender.name}: {'going on' if resume else _length(settings)}")
    try:
        result = train(settings, resume=resume, log=log, progress=progress)
    except TrainingError as error:
        if not run.best.exists():
            raise
        # The others need not suffer: what it had learnt until then is scored, and the report says so.
        log(f"{contender.name}: {error}; its best weights until then are taken")
        _write(run.path / _BROKEN_OFF, str(error))
    else:
        if not result.finished:
            raise KeyboardInterrupt
    export_run(run.path)
    # What would continue the training is several times as large as the network.
    run.last.unlink(missing_ok=True)


def _trained_here(
    config: ExperimentConfig, contender: Contender, dataset: Dataset, measured: MethodResult
) -> MethodResult:
    """The scores of a network with what it is and what it received."""
    settings, last = _settings(config, contender.name), _metrics(config, contender.name)[-1]
    broken = _run_folder(config, contender.name) / _BROKEN_OFF
    broken_off = broken.read_text(encoding="utf-8") if broken.exists() else None
    notes = [f"as many steps as {contender.follows}"] if contender.follows else []
    notes += [broken_off] if broken_off else []
    seen = int(last["step"]) * int(settings["batch"])
    return dataclasses.replace(
        measured,
        label=contender.label,
        settings=provenance.recipe(settings, _common(config)),
        article_row=contender.article_row,
        training=Training(
            tiles_available=dataset.info.counts["train"],
            tiles_seen=seen,
            epochs=seen / dataset.info.counts["train"],
            minutes=last["seconds"] / 60,
            steps=int(last["step"]),
            optimizer=str(settings["optimizer"]),
            finished=broken_off is None,
            note="; ".join(notes),
        ),
    )


def _shipped_as_it_is(config: ExperimentConfig, measured: MethodResult) -> MethodResult:
    """The scores of the bundled network with how it was trained."""
    card = read_card(find(str(config.shipped)))
    return dataclasses.replace(
        measured, label="the shipped network", settings=provenance.trained_elsewhere(card.training)
    )


def _figure(
    config: ExperimentConfig,
    dataset: Dataset,
    methods: Sequence[MethodResult],
    denoisers: Mapping[str, Denoiser],
    log: Log,
) -> bytes:
    path = config.out / FIGURE_NAME
    if not path.exists():
        ranked = sorted((m for m in methods if m.kind != "input"), key=lambda m: m.mse)
        best_filter = next(m for m in ranked if m.kind == "filter")
        shown = [m for m in ranked if m.kind == "network" or m.name in (BASELINE, best_filter.name)]
        log("drawing the figure")
        labelled = [(method.label, denoisers[method.name]) for method in shown]
        save_figure(figure(of_split(dataset, "test"), labelled), path)
    return path.read_bytes()


# --- shares -------------------------------------------------------------------------------------------


def _share_out(config: ExperimentConfig, spent_seconds: float) -> dict[str, float]:
    """Minutes of training for each contender: what is left of the budget, by their shares."""
    contenders = PRESETS[config.preset].contenders
    left = config.minutes * (1 - _SCORING_PART) - spent_seconds / 60
    # However small the budget, each network is trained a little; the report says how much.
    left = max(left, 0.1 * config.minutes)
    total = sum(each.share for each in contenders)
    return {each.name: round(left * each.share / total, 2) for each in contenders}


# --- what is read back, and what is said ------------------------------------------------------------


def _run_folder(config: ExperimentConfig, name: str) -> Path:
    return config.out / "runs" / name


def _settings(config: ExperimentConfig, name: str) -> dict[str, Any]:
    settings: dict[str, Any] = _read(_run_folder(config, name) / "config.json")
    return settings


def _common(config: ExperimentConfig) -> dict[str, Any]:
    """The settings of a network that has none of its own."""
    from unnoise.trainconfig import TrainConfig

    return TrainConfig(config.out / "data", config.out / "runs", **COMMON, minutes=1.0).to_json()


def _metrics(config: ExperimentConfig, name: str) -> list[dict[str, float]]:
    from unnoise.run import Run

    return Run(_run_folder(config, name)).metrics()


def _steps_taken(config: ExperimentConfig, name: str) -> int:
    return int(_metrics(config, name)[-1]["step"])


def _curves(config: ExperimentConfig) -> dict[str, Curve]:
    return {
        each.name: Curve(int(_settings(config, each.name)["batch"]), tuple(_metrics(config, each.name)))
        for each in PRESETS[config.preset].contenders
    }


def _length(settings: Any) -> str:
    return f"{settings.minutes:g} minutes" if settings.minutes else f"{settings.steps:,} steps"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
