"""What holds the house together: layers, docs that are true, commands that exist."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import unnoise
from unnoise.cli import main

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "unnoise"

# A file imports only what stands above it. docs/architecture.md shows the same order to people.
RUNTIME = (
    "errors",
    "words",
    "files",
    "cores",
    "memory",
    "turning",
    "metadata",
    "profiles",
    "codecs",
    "formats",
    "images",
    "camera",
    "noises",
    "patterns",
    "noise",
    "patches",
    "grain",
    "estimate",
    "audit",
    "metrics",
    "parameters",
    "smoothing",
    "shrinkage",
    "selfsimilar",
    "filters",
    "filling",
    "tiling",
    "onnxfile",
    "card",
    "runtime",
    "inference",
    "denoising",
    "denoiser",
    "checkup",
    "seams",
    "selftest",
    "workers",
    "sources",
    "grouping",
    "tiles",
    "fingerprints",
    "shelf",
    "candidates",
    "registration",
    "contactsheet",
    "leaks",
    "colours",
    "fingerprints",
    "shelf",
    "registration",
    "candidates",
    "contactsheet",
    "leaks",
    "cutting",
    "prepareconfig",
    "prepare",
    "records",
    "results",
    "uncertainty",
    "journal",
    "pairs",
    "trials",
    "rounds",
    "remembered",
    "search",
    "scoring",
    "costs",
    "samples",
    "scores",
    "evaluate",
    "methods",
    "subjects",
    "known",
    "provenance",
    "assessment",
    "auditing",
    "figure",
    "markup",
    "charts",
    "published",
    "findings",
    "verdict",
    "tables",
    "scatter",
    "scoretable",
    "pairwise",
    "details",
    "material",
    "gallery",
    "page",
    "report",
    "auditpage",
    "outputs",
    "planning",
    "manifest",
    "incoming",
    "cleaning",
    "jobs",
    "watching",
)
TRAINING = (
    "models",
    "strategies",
    "dataset",
    "optimizers",
    "losses",
    "parallel",
    "checkpoint",
    "trainconfig",
    "run",
    "appetite",
    "equalize",
    "quantize",
    "export",
    "train",
    "recipes",
    "presets",
    "diary",
    "experiment",
)
# `__init__` only looks names up; it stands with the runtime, the command line on top of everything.
ORDER = (*RUNTIME, "__init__", *TRAINING, "terminal", "process", "console", "commands", "cli", "__main__")
TRAINING_PACKAGES = {"torch", "safetensors", "pytorch_optimizer", "onnx", "onnxscript", "tensorboard"}

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = main.commands


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Full dotted names of what a file imports, at any depth; ``from unnoise import x`` is ``unnoise.x``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative imports hide the layer"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_layers(path: Path) -> set[str]:
    """Layers of this package that a file imports."""
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("unnoise.")}
    # The version is no layer; any other name that is no file is one that `__init__` looks up.
    return {name if name in ORDER else "__init__" for name in ours - {"__version__"}} - {layer(path)}


def code_lines(text: str) -> list[str]:
    """Lines of the fenced blocks of a page, continuation lines joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join(blocks).replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_above(path: Path) -> None:
    here = layer(path)
    assert here in ORDER, f"{here} has no place yet: put it into ORDER and into docs/architecture.md"
    below = {name for name in imported_layers(path) if ORDER.index(name) > ORDER.index(here)}
    assert not below


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if layer(path) in RUNTIME],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_runtime_names_no_training_package(path: Path) -> None:
    assert not TRAINING_PACKAGES & {full.split(".")[0] for full in imports(path)}


def test_every_layer_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [
        name for name in re.findall(r"^\| `(\w+)(?:\.py|/)` \|", text, flags=re.MULTILINE) if name in ORDER
    ]
    assert rows == [name for name in ORDER if not name.startswith("__")]


def run_without_torch(code: str) -> str:
    """Run code in an interpreter in which every training package is missing; its stdout."""
    blocked = "import sys\n" + "".join(
        f"sys.modules[{name!r}] = None\n" for name in sorted(TRAINING_PACKAGES)
    )
    done = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_need_no_torch() -> None:
    assert unnoise.__all__
    run_without_torch("import unnoise\nfor name in unnoise.__all__: getattr(unnoise, name)")


def test_public_names_are_sorted_and_listed_by_dir() -> None:
    assert unnoise.__all__ == sorted(unnoise.__all__)
    assert set(unnoise.__all__) <= set(dir(unnoise))


def test_help_needs_no_torch() -> None:
    text = run_without_torch("from unnoise.cli import main\nmain(['--help'])")
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_docs_name_every_command(name: str) -> None:
    assert f"unnoise {name}" in DOCS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_docs_exist(page: Path) -> None:
    for line in code_lines(page.read_text(encoding="utf-8")):
        words = line.split("#")[0].split()
        if words[:1] != ["unnoise"] or words[1].startswith("-"):
            continue
        assert words[1] in COMMANDS, line
        command = COMMANDS[words[1]]
        options = {option for param in command.get_params(click.Context(command)) for option in param.opts}
        options |= {option for param in command.params for option in param.secondary_opts}
        used = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= options, line


@pytest.mark.parametrize(
    ("module", "table"),
    [
        ("noise", "NOISES"),
        ("filters", "FILTERS"),
        ("metrics", "METRICS"),
        ("models", "MODELS"),
        ("optimizers", "OPTIMIZERS"),
    ],
)
def test_docs_name_every_entry(module: str, table: str) -> None:
    entries = getattr(importlib.import_module(f"unnoise.{module}"), table)
    assert entries
    missing = [name for name in entries if not re.search(rf"`{re.escape(name)}[`:]", DOCS)]
    assert not missing, f"{table} entries that no page names"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_make_commands_in_the_docs_exist() -> None:
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    used = {
        match[1]
        for page in [*PAGES, ROOT / ".ci" / "run"]
        for match in re.finditer(
            r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
    }
    assert {"demo", "test"} <= used <= targets


def test_every_install_keeps_the_constraints() -> None:
    files = [*PAGES, ROOT / "Makefile", ROOT / ".ci" / "run", *ROOT.glob(".github/workflows/*")]
    installs = [
        line
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"pip install|PIP_INSTALL :=", line)
    ]
    assert installs
    assert [line for line in installs if "-c constraints.txt" not in line] == []


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == unnoise.__version__
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_sample_photograph_is_the_one_whose_terms_are_named() -> None:
    import hashlib

    samples = ROOT / "docs" / "samples"
    digest = hashlib.sha256((samples / "chelsea.png").read_bytes()).hexdigest()
    assert digest in (samples / "README.md").read_text(encoding="utf-8")
