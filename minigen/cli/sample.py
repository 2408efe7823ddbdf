"""`minigen sample RUN`: new images from a trained model. What can be chosen depends on the model."""

import sys
from pathlib import Path

import click

from .flags import (
    SEED,
    came_from_user,
    device_option,
    in_a_file_name,
    one_line_errors,
    options_of,
    run_argument,
    weights_option,
    with_default,
)


class OfRun(click.Command):
    """A command with the flags of the `Sampling` dataclass of the model in RUN besides its own.

    RUN is that argument which is a run folder; without one the command's own flags are all there are.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.own = self.params

    def make_context(self, info_name, args, parent=None, **extra):
        from ..train import MODELS, RunError, RunFolder

        self.params = self.own
        for folder in [arg for arg in args if (Path(arg) / "config.json").is_file()][:1]:
            try:
                model = RunFolder(folder).read_config()["model"]
            except RunError:  # the command itself will say so
                break
            if model in MODELS:
                self.params = self.own + options_of(MODELS[model][1].Sampling)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=OfRun)
@run_argument
@with_default("--n", 64, click.IntRange(min=1), "images to draw")
@with_default("--seed", 0, SEED, "another seed draws other images")
@weights_option
@device_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="picture  [default: in RUN/samples]")
def sample(run, n, seed, weights, device, out, **settings):
    """Draw images from the trained model in the folder RUN, as one PNG picture.

    \b
    minigen sample runs/ddpm-1 --n 100 --seed 7 --out digits.png
    minigen sample runs/ddpm-1 --help                              with the flags of that model
    """
    from ..report import save_images
    from ..train import load

    if out is not None and out.suffix.lower() != ".png":
        raise click.UsageError(f"--out must end in .png, got {out}")
    given = {key: value for key, value in settings.items() if came_from_user(key)}
    with one_line_errors():
        model = load(run, weights, device)
        images = model.sample(n, seed=seed, progress=sys.stderr.isatty(), **given)
    path = out or run / "samples" / f"{n}-seed-{seed}-{weights}{in_a_file_name(given)}.png"
    save_images(path, images)
    click.echo(path)
