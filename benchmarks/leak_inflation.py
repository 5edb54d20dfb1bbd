"""What a leak is worth: networks that differ only in whether they have seen the photographs of the test.

The folder's files are crops; several show the same photograph. A part of the files is drawn to be the test,
as a split by file does it. One network is trained on a draw of the other files (some of them of photographs
that are tested: it leaks). Another is trained on as many files that are all of other photographs. Both get
the same steps, and are scored on the same noisy pixels, by `unnoise evaluate`, which writes its report: what
the first is ahead is what the leak is worth, with its interval over photographs.

    python benchmarks/leak_inflation.py --out FOLDER [--steps 15000] [--recipes small,...]
        [--data FOLDER]

Killed at any point, the same command goes on. --data holds cracks/; it is $UNNOISE_DATA, or ../shared/data,
if it is not given.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from _machine import introduce
from unnoise.assessment import assess, open_journal, show_files
from unnoise.evaluate import pictures_in
from unnoise.export import export_run
from unnoise.files import write_text
from unnoise.methods import choose
from unnoise.noise import parse
from unnoise.pairs import photographs
from unnoise.prepare import PrepareConfig, prepare
from unnoise.recipes import LENGTHS, RECIPES
from unnoise.report import RENDERERS
from unnoise.run import Run
from unnoise.scores import PSNR, Evaluation
from unnoise.subjects import clean_pictures
from unnoise.tables import results_text
from unnoise.tiles import load_dataset
from unnoise.train import train
from unnoise.trainconfig import TrainConfig
from unnoise.uncertainty import differences

TESTED = 0.15
"""Part of the files that are the test, as an experiment has it."""
NOISE = "gaussian:50"
LEAKING, CLEAN = "leaking", "clean"
_NOISE = ("noise", "float_noise", "grey", "enlarged")
_TILES = {"patch": None, "later": ()}


def draw(files: Sequence[str], seed: int) -> dict[str, list[str]]:
    """The files to test on, and two lists to train on, equally long."""
    rng = np.random.default_rng(seed)
    photograph = dict(zip(files, photographs(files), strict=True))
    shuffled = [files[index] for index in rng.permutation(len(files))]
    count = round(TESTED * len(files))
    tested, others = shuffled[:count], shuffled[count:]
    known = {photograph[name] for name in tested}
    clean = [name for name in others if photograph[name] not in known]
    return {"test": sorted(tested), CLEAN: sorted(clean), LEAKING: sorted(others[: len(clean)])}


def copied(folder: Path, names: Sequence[str], target: Path) -> Path:
    if not target.exists():
        building = target.with_suffix(".partial")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        for name in names:
            shutil.copy(folder / name, building / name)
        building.rename(target)
    return target


def trained(data: Path, run: Path, recipe: str, steps: int, threads: int | None) -> Path:
    """A run with the settings of a bundled network's recipe, but for the noise, which is the data set's."""
    own = {name: value for name, value in RECIPES[recipe].items() if name not in {*LENGTHS, *_NOISE}}
    if not Run(run).network.exists():
        resume = (run / "config.json").exists()
        settings = (
            Run(run).config()
            if resume
            else TrainConfig(data, run, **{**own, **_TILES, "steps": steps, "threads": threads})
        )
        if not train(settings, resume=resume, log=print, progress=False).finished:
            raise SystemExit("stopped; the same command goes on")
        export_run(run)
    return run


def worth(evaluation: Evaluation, recipe: str, chosen: npt.NDArray[np.bool_] | None = None) -> str:
    """What the leak gains on the chosen pictures, or all."""
    names = [each.name for each in evaluation.methods]
    pair = [f"{recipe}-{LEAKING}", f"{recipe}-{CLEAN}"]
    groups = None if chosen is None else np.where(chosen, 0, -1)
    found = differences(
        pair,
        evaluation.scores[[names.index(name) for name in pair], :, PSNR],
        evaluation.photographs,
        groups=groups,
    )[-1]
    return (
        f"{found.mean:+.3f} dB ({found.confidence:.0%} interval {found.low:+.3f} to {found.high:+.3f}, "
        f"{found.photographs} photographs): {found.outcome}"
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--recipes", default="small")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    folder = options.data / "cracks"
    if not folder.is_dir():
        print(f"no {folder}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    introduce(("torch", "onnxruntime", "numpy"), options.threads)
    files = list(pictures_in(folder))
    parts = draw(files, options.seed)
    photograph = dict(zip(files, photographs(files), strict=True))
    known = {photograph[name] for name in parts["test"]}
    for name in (LEAKING, CLEAN):
        shared = [each for each in parts[name] if photograph[each] in known]
        seen = {photograph[each] for each in shared}
        print(
            f"{name}: {len(parts[name])} files to train on, {len(shared)} of them of {len(seen)} of the "
            f"{len(known)} photographs of the {len(parts['test'])} files that are tested"
        )
    runs = []
    for name in (LEAKING, CLEAN):
        pictures = copied(folder, parts[name], options.out / name)
        data = options.out / f"{name}-tiles"
        if not (data / "dataset.json").exists():
            prepare(
                PrepareConfig(
                    (pictures,), data, noise=NOISE, packed_only=True, seed=options.seed, join_leaks=True
                )
            )
        load_dataset(data)
        for recipe in options.recipes.split(","):
            run = options.out / "runs" / f"{recipe}-{name}"
            runs.append(trained(data, run, recipe, options.steps, options.threads))
    test = copied(folder, parts["test"], options.out / "test")
    subject = clean_pictures(test, [parse(NOISE)])
    report = options.out / "report"
    journal = open_journal(report, {"runs": [str(run) for run in runs], "noise": NOISE}, overwrite=True)
    contenders = choose([str(run) for run in sorted(runs)], log=print)
    found = assess(subject, contenders, report, journal=journal, log=print)
    print(results_text(found.results, f"{test}, {NOISE}"))
    seen = {photograph[name] for name in parts[LEAKING]}
    leaked = np.array([photograph[name] in seen for name in found.evaluation.names])
    for recipe in options.recipes.split(","):
        print(f"{recipe}: the leak is worth {worth(found.evaluation, recipe)}")
        for text, group in (("were seen", leaked), ("were not", ~leaked)):
            print(f"  on photographs that {text} in training: {worth(found.evaluation, recipe, group)}")
    shown = show_files(report, found.results.samples)
    for name, render in RENDERERS.items():
        write_text(report / name, render(found.results, shown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
