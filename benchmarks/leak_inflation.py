"""What a leak is worth: each of two networks has seen the photographs that the other is a stranger to.

Of a folder's photographs that several files show, one file each is the test. The photographs are dealt into
two halves, and a network is trained on the other files of each half: it knows the photographs of its own
half, as it would after a split by file, and not those of the other. Both networks score all test files. What
a network gains where it has seen the photograph, less what it gains where it has not, is what the leak is
worth: whichever half made the better network cancels out. The interval is over photographs; each network is
trained once.

    python benchmarks/leak_inflation.py --out FOLDER [--steps 15000] [--recipe small] [--data FOLDER]

Killed at any point, the same command goes on. --data holds cracks/; it is $UNNOISE_DATA, or ../shared/data,
if it is not given. FOLDER/report has the report of `unnoise evaluate`, FOLDER/leaks.png what was seen of it.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from _machine import introduce
from unnoise.assessment import assess, open_journal, show_files
from unnoise.evaluate import pictures_in
from unnoise.export import export_run
from unnoise.files import write_text
from unnoise.known import check
from unnoise.methods import choose
from unnoise.noise import parse
from unnoise.pairs import photographs
from unnoise.prepare import PrepareConfig, prepare
from unnoise.recipes import LENGTHS, RECIPES
from unnoise.records import Difference
from unnoise.report import RENDERERS
from unnoise.run import Run
from unnoise.scores import PSNR, Evaluation
from unnoise.subjects import clean_pictures
from unnoise.tables import results_text
from unnoise.train import train
from unnoise.trainconfig import TrainConfig
from unnoise.uncertainty import differences

NOISE = "gaussian:50"
HALVES = ("first", "second")
_NOISE = ("noise", "float_noise", "grey", "enlarged")
_TILES = {"patch": None, "later": ()}


@dataclass(frozen=True)
class Deal:
    """Files by what is done with them.

    Attributes:
        test: a file of each photograph.
        train: for each half, the other files of its photographs.
        half: photograph -> the half that it is in.
    """

    test: tuple[str, ...]
    train: Mapping[str, tuple[str, ...]]
    half: Mapping[str, str]


def deal(files: Sequence[str], seed: int) -> Deal:
    """Photographs that several files show, in two halves."""
    rng = np.random.default_rng(seed)
    shown: dict[str, list[str]] = {}
    for name, photograph in zip(files, photographs(files), strict=True):
        shown.setdefault(photograph, []).append(name)
    several = [photograph for photograph, names in shown.items() if len(names) > 1]
    order = [several[index] for index in rng.permutation(len(several))]
    half = {photograph: HALVES[place % 2] for place, photograph in enumerate(order)}
    test, train = [], {name: [] for name in HALVES}  # type: tuple[list[str], dict[str, list[str]]]
    for photograph, own in half.items():
        names = shown[photograph]
        chosen = names[int(rng.integers(len(names)))]
        test.append(chosen)
        train[own] += [name for name in names if name != chosen]
    return Deal(tuple(sorted(test)), {name: tuple(sorted(each)) for name, each in train.items()}, half)


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


def worth(evaluation: Evaluation, half: Mapping[str, str], pair: Sequence[str]) -> Difference:
    """PSNR of the network that has seen a photograph, less that of the other one.

    Args:
        evaluation: of both networks.
        half: photograph -> its half.
        pair: names of the networks, that of the first half first.
    """
    names = [each.name for each in evaluation.methods]
    psnr = evaluation.scores[[names.index(name) for name in pair], :, PSNR]
    own = np.array([HALVES.index(half[photograph]) for photograph in evaluation.photographs])
    columns = np.arange(len(own))
    both = np.stack([psnr[own, columns], psnr[1 - own, columns]])
    return differences(["seen", "not seen"], both, evaluation.photographs)[0]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    folder = options.data / "cracks"
    if not folder.is_dir():
        print(f"no {folder}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    introduce(("torch", "onnxruntime", "numpy"), options.threads)
    dealt = deal(list(pictures_in(folder)), options.seed)
    runs = []
    for name in HALVES:
        seen = sum(half == name for half in dealt.half.values())
        print(f"{name} half: {len(dealt.train[name])} files to train on, of {seen} photographs", flush=True)
        pictures = copied(folder, dealt.train[name], options.out / name)
        data = options.out / f"{name}-tiles"
        if not (data / "dataset.json").exists():
            prepare(
                PrepareConfig(
                    (pictures,), data, noise=NOISE, packed_only=True, seed=options.seed, join_leaks=True
                )
            )
        run = options.out / "runs" / name
        runs.append(str(trained(data, run, options.recipe, options.steps, options.threads)))
    test = copied(folder, dealt.test, options.out / "test")
    subject = clean_pictures(test, [parse(NOISE)])
    report = options.out / "report"
    journal = open_journal(report, {"runs": runs, "noise": NOISE}, overwrite=True)
    found_leaks = check(
        subject, runs, tuned=False, sheet=options.out / "leaks.png", allow=True, journal=journal, log=print
    )
    contenders = choose(runs, log=print)
    found = assess(subject.with_leaks(found_leaks), contenders, report, journal=journal, log=print)
    print(results_text(found.results, f"{test}, {NOISE}"))
    leak = worth(found.evaluation, dealt.half, contenders.names)
    said = (
        f"Where a network has seen the photograph it gains {leak.mean:+.3f} dB ({leak.confidence:.0%} "
        f"interval {leak.low:+.3f} to {leak.high:+.3f}), on {leak.wins} of {leak.photographs} photographs: "
        f"{leak.outcome}."
    )
    print(said)
    results = replace(found.results, notes=(*found.results.notes, said))
    shown = show_files(report, results.samples)
    for name, render in RENDERERS.items():
        write_text(report / name, render(results, shown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
