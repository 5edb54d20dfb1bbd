"""Pictures to look at: noisy, clean and what every method made of them; ``gallery.js`` compares any two."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unnoise import findings
from unnoise.markup import as_db, text
from unnoise.records import Sample
from unnoise.results import Results
from unnoise.verdict import recommended
from unnoise.words import listed

_FEW = 3
"""Names beside a thumbnail; the rest is counted there."""
_WORDS = {"noisy": "noisy", "clean": "clean"}


def gallery_section(results: Results, files: Mapping[str, bytes]) -> str:
    """Every sample with its layers side by side; a script turns that into a slider, a loupe and residuals.

    Args:
        results: whose samples are shown.
        files: the images by the names that :attr:`Sample.files` has; those that are missing are left out.
    """
    samples = [each for each in results.samples if _layers(results, each, files)]
    if not samples:
        return ""
    shown = [_sample(results, sample, files, i) for i, sample in enumerate(samples)]
    return (
        "<p>Numbers miss what eyes see: skin like wax, washed-out grass, grain that is left. These are the "
        "pictures that tell most about the methods: a typical one, those on which one gained most over the "
        "noisy input, and those where it gained least. What was taken away shows noise alone at best; where "
        "the noisy picture is black or white, its noise was cut off, and shapes show all the same.</p>"
        + gallery(shown, _first(results, samples[0]))
    )


def gallery(articles: Sequence[str], first: str) -> str:
    """What a script turns into a slider, a loupe and residuals.

    Args:
        articles: made by :func:`article`.
        first: the layer that is shown first beside the noisy one.
    """
    shown = "\n".join(articles)
    return f'<div id="gallery" data-first="{text(first)}">{shown}</div>\n'


@dataclass(frozen=True)
class Layer:
    """A picture of an article.

    Attributes:
        name: what a script knows it by; ``noisy`` and ``clean`` have their meaning.
        words: for people.
        image: PNG or JPEG.
        score: beside it, or nothing.
    """

    name: str
    words: str
    image: bytes
    score: str = ""


def article(
    index: int, title: str, layers: Sequence[Layer], *, about: str = "", role: str = "", brief: str = ""
) -> str:
    """One picture with its layers side by side; all texts are plain.

    Args:
        index: number of the picture on the page.
        title: its name.
        layers: the noisy one first.
        about: more of it, beside the name.
        role: why it is shown.
        brief: the same in few words, for a thumbnail.
    """
    items = []
    for layer in layers:
        size = _size(layer.image)
        place = f' width="{size[0]}" height="{size[1]}"' if size else ""
        items.append(
            f'<li data-layer="{text(layer.name)}" data-words="{text(layer.words)}" '
            f'data-score="{text(layer.score)}"><img alt="{text(layer.words)}: {text(title)}"{place} '
            f'decoding="async" src="{_url(layer.image)}">'
            f"<span>{text(layer.words)}<small>{text(layer.score)}</small></span></li>"
        )
    said = f'<p class="roles">{text(role)}</p>' if role else ""
    beside = f" · {text(about)}" if about else ""
    return (
        f'<article class="sample" id="sample-{index}" aria-label="{text(title)}"'
        f' data-short="{text(title)}" data-role="{text(brief)}">'
        f'<p class="about"><b>{text(title)}</b>{beside}</p>{said}'
        f'<ul class="layers">{"".join(items)}</ul></article>'
    )


def _first(results: Results, sample: Sample) -> str:
    """The layer that is shown first beside the noisy one."""
    chosen = recommended(results)
    names = [chosen.name] if chosen else []
    names += [method.name for method in findings.order(results, "filter", "network")]
    return next((name for name in names if name in sample.files), "clean")


def _layers(results: Results, sample: Sample, files: Mapping[str, bytes]) -> list[tuple[str, str, bytes]]:
    """Layer, its words and its image: the noisy one, the methods from the best on, the clean one."""
    labels = {method.name: method.label for method in findings.order(results)}
    names = ["noisy", *(name for name in labels if name in sample.files and name not in _WORDS), "clean"]
    return [
        (name, _WORDS.get(name) or labels[name], files[sample.files[name]])
        for name in names
        if sample.files.get(name) in files
    ]


def _sample(results: Results, sample: Sample, files: Mapping[str, bytes], index: int) -> str:
    left, top, width, height = sample.place
    about = []
    if sample.group is not None and sample.group < len(results.groups):
        about.append(results.groups[sample.group].label)
    if (width, height) != sample.size:
        about.append(f"{width} × {height} pixels at {left}, {top} of {sample.size[0]} × {sample.size[1]}")
    labels = {method.name: method.label for method in results.methods}
    roles, brief = [], []
    for names, word in ((sample.worst_of, "worst for"), (sample.best_of, "best for")):
        called = [labels.get(name, name) for name in names]
        few = called if len(called) <= _FEW else [*called[: _FEW - 1], f"{len(called) - _FEW + 1} more"]
        if names:
            roles.append(f"{word} {listed(called)}")
            brief.append(f"{word} {listed(few)}")
    if not roles:
        roles, brief = ["typical"], ["typical"]
    if sample.group is not None and results.pictures and sample.group < len(results.groups):
        brief.insert(0, results.groups[sample.group].label)
    noisy = next((m.name for m in results.methods if m.kind == "input"), "noisy")
    layers = []
    for name, words, image in _layers(results, sample, files):
        known = sample.psnr.get(name, sample.psnr.get(noisy) if name == "noisy" else None)
        layers.append(Layer(name, words, image, f"{as_db(known)} dB" if known is not None else ""))
    return article(
        index,
        sample.picture,
        layers,
        about=" · ".join(about),
        role=" · ".join(roles),
        brief="; ".join(brief),
    )


def _url(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _size(image: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG; of other images the browser finds it."""
    if not image.startswith(b"\x89PNG"):
        return None
    width, height = struct.unpack(">II", image[16:24])  # in the first chunk
    return width, height
