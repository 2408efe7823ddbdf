"""`minigen plot RUN NAME`: pictures of what a trained model has learned."""

from pathlib import Path

import click

from .flags import SEED, RunFailed, device_option, one_line_errors, run_argument, weights_option, with_default


@click.command()
@run_argument
@click.argument("name")
@with_default("--seed", 0, SEED, "of the numbers that the picture draws")
@weights_option
@device_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="file  [default: RUN/NAME.png or .gif]")
def plot(run, name, seed, weights, device, out):
    """Draw the picture NAME of the trained model in the folder RUN. A wrong NAME lists those there are.

    \b
    minigen plot runs/vae-1 manifold
    """
    from ..pictures import PictureError, find_picture, save_picture
    from ..random import Generator
    from ..train import RunFolder, held_out, load

    if out and out.suffix.lower() not in (".png", ".gif"):
        raise click.UsageError(f"--out must end in .png, or in .gif for a film, got {out}")
    with one_line_errors():
        kind = RunFolder(run).read_config()["model"]
        try:
            draw = find_picture(kind, name)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        try:
            picture = draw(load(run, weights, device), held_out(run), Generator(seed))
        except PictureError as error:
            raise RunFailed(str(error)) from error
    suffix = ".gif" if isinstance(picture, list) else ".png"
    path = out or run / f"{name}{suffix}"
    if path.suffix.lower() != suffix:
        raise RunFailed(f"--out must end in {suffix} for {name}, got {path}", 2)
    save_picture(path, picture)
    click.echo(path)
