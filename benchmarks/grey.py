"""Set12: grey pictures through networks that are made for colour, beside published figures of grey methods.

A grey picture goes in as the runtime feeds it: three equal channels, and the mean of what comes out. Whole
pictures, float Gaussian noise that is not clipped, sigma told (a blind network is told nothing), output
clipped to [0, 1]; means over the pictures. The noise of a picture is keyed by its name.

To a network that knows colour alone, noise that is the same in three channels is as strong as independent
noise of √3 times its sigma: both have the same deviation in the mean of the channels. So a second row of each
network that takes sigma shows what comes of telling it that, as far as its range goes.

    python benchmarks/grey.py [--networks default,...] [--sigmas 15,25,50] [--pictures N] [--data FOLDER]

FOLDER holds Set12/ and perhaps peers/; it is $UNNOISE_DATA, or ../shared/data, if it is not given. FFDNet and
DnCNN for colour are run in the same way.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import peers
from _machine import alone, introduce
from unnoise import noise
from unnoise.denoiser import Network, load
from unnoise.evaluate import pictures_in
from unnoise.filters import Denoiser
from unnoise.pairs import of_pictures
from unnoise.scores import PSNR, SSIM
from unnoise.scoring import Doubles, NoisyInput, score_all
from unnoise.tables import aligned

FloatArray = npt.NDArray[np.float32]

PUBLISHED: dict[str, dict[str, float]] = {
    "BM3D, as published": {"25": 29.97},
    "DnCNN for grey, as published": {"15": 32.67, "25": 30.35, "50": 27.18},
    "FFDNet for grey, as published": {"15": 32.75, "25": 30.43, "50": 27.32},
}
"""Mean PSNR in dB on Set12 of the 12 pictures, by sigma: Zhang, Zuo and Zhang, "FFDNet", IEEE TIP 2018,
doi:10.1109/TIP.2018.2839891; DnCNN is one network for all sigmas."""
AIM = {"25": 30.2}


@dataclass(frozen=True)
class ToldMore:
    """A network that is told √3 times the sigma, or the most that it knows: a denoiser."""

    network: Network

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.network.name}, told √3 × sigma"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """See :class:`unnoise.filters.Denoiser`; sigma must be told."""
        assert sigma is not None
        assert self.network.card.sigma_range is not None
        return self.network(noisy, min(sigma * 3**0.5, self.network.card.sigma_range[1]))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", default="default", help="names, files or runs, with commas between")
    parser.add_argument("--sigmas", default="15,25,50")
    parser.add_argument("--pictures", type=int, help="so many alone, the first ones")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    folder = options.data / "Set12"
    if not folder.is_dir():
        print(f"no {folder}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    introduce(("numpy", "onnxruntime"))
    named: dict[str, Denoiser] = {Path(name).stem: load(name) for name in options.networks.split(",") if name}
    ours = list(named)
    with tempfile.TemporaryDirectory(prefix="grey-") as temporary:
        if not options.without_peers:
            for path in alone(peers.export, options.data / "peers", Path(temporary)).values():
                peer = load(path)
                named[f"{peer.name} for colour"] = peer
        known = [(name, each) for name, each in named.items() if isinstance(each, Network)]
        named |= {f"{name}, told √3 × sigma": ToldMore(each) for name, each in known if each.card.sigma_input}
        files = dict(list(pictures_in(folder).items())[: options.pictures])
        sigmas = options.sigmas.split(",")
        scores = {sigma: measured(files, float(sigma), list(named.values())) for sigma in sigmas}
    print(f"{len(files)} pictures of {folder.name}, PSNR in dB / SSIM")
    print(table(list(named), scores))
    for place, name in enumerate(ours, 1):
        for sigma in set(AIM) & set(sigmas):
            found = scores[sigma][place, :, PSNR].mean()
            print(f"{name}: {found:.2f} dB at sigma {sigma}, aim {AIM[sigma]:g} at least")
    return 0


def measured(files: Mapping[str, Path], sigma: float, denoisers: Sequence[Denoiser]) -> Doubles:
    """Scores (methods, pictures, metrics); the first method is the noisy picture."""
    pairs = of_pictures(files, noise.parse(f"gaussian:{sigma:g}"), where="Set12")
    for index in range(len(pairs)):
        channels = pairs.pick(index)[0].shape[2]
        assert channels == 1, f"{pairs.names[index]} has {channels} channels"
    return score_all(pairs, [NoisyInput(), *denoisers])


def table(names: Sequence[str], scores: Mapping[str, Doubles]) -> str:
    rows = []
    for place, name in enumerate(["noisy", *names]):
        means = [found[place].mean(axis=0) for found in scores.values()]
        rows.append([name, *(cell for mean in means for cell in (f"{mean[PSNR]:.2f}", f"{mean[SSIM]:.4f}"))])
    for name, figures in PUBLISHED.items():
        told = [f"{figures[sigma]:.2f}" if sigma in figures else "–" for sigma in scores]
        rows.append([name, *(cell for figure in told for cell in (figure, "–"))])
    header = [cell for sigma in scores for cell in (f"PSNR {sigma}", f"SSIM {sigma}")]
    return aligned(["method", *header], rows)


if __name__ == "__main__":
    raise SystemExit(main())
