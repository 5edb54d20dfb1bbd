"""The command line: the group that all commands hang from."""

from __future__ import annotations

import click

from unnoise import __version__
from unnoise.commands import compare, denoise, doctor, evaluate, experiment, models, prepare, train
from unnoise.console import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="unnoise %(version)s")
def main() -> None:
    """Take the noise out of photographs."""


for command in (
    denoise.denoise,
    prepare.prepare,
    compare.compare,
    evaluate.evaluate,
    models.models,
    doctor.doctor,
    train.train,
    train.export,
    experiment.experiment,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
