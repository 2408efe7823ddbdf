"""`minigen edit RUN TASK`: pictures that agree with one of yours. What the tasks are: train/edit.py"""

import sys
from pathlib import Path

import click
import numpy as np

from .flags import (
    SEED,
    Nearest,
    came_from_user,
    device_option,
    in_a_file_name,
    one_line_errors,
    options_of,
    run_argument,
    weights_option,
    with_default,
)


class Edit(click.Command):
    """A command with the flags of the Editing dataclass besides its own, which are read when it is used."""

    def make_context(self, *args, **options):
        from ..train.edit import Editing

        known = {param.name for param in self.params}
        self.params = self.params + [option for option in options_of(Editing) if option.name not in known]
        return super().make_context(*args, **options)


TASKS = ("inpaint", "outfill", "colorize", "restore", "upscale", "sdedit")
picture_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=Edit)
@run_argument
@click.argument("task", type=Nearest(TASKS))
@click.option("--image", type=picture_file, required=True, help="PNG, grey or RGB")
@click.option("--mask", type=picture_file, help="black and white PNG of the same size; white is kept")
@with_default("--n", 8, click.IntRange(min=1), "versions to draw")
@with_default("--seed", 0, SEED, "another seed draws other versions")
@weights_option
@device_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="picture  [default: in RUN/samples]")
def edit(run, task, image, mask, n, seed, weights, device, out, **settings):
    """Edit a picture with the diffusion model in the folder RUN. What was known comes first, then the versions.

    \b
    minigen edit runs/ddpm-1 inpaint --image digit.png --mask keep.png      fill in where the mask is black
    minigen edit runs/ddpm-1 outfill --image part.png                       draw around a smaller picture
    minigen edit runs/ddpm-1 restore --image noisy.png --noise 0.5          take the noise away
    minigen edit runs/ddpm-1 sdedit --image sketch.png --strength 0.6       a digit like the sketch
    minigen edit runs/ddpm-1 upscale --image 7x7.png                        four times as high and wide
    minigen edit runs/ddpm-2 colorize --image grey.png                      a model of coloured pictures
    """
    from ..data import to_model_range
    from ..pictures import save_picture
    from ..report import image_grid
    from ..train import load
    from ..train.edit import edit as edited

    if out is not None and out.suffix.lower() != ".png":
        raise click.UsageError(f"--out must end in .png, got {out}")
    given = {key: value for key, value in settings.items() if came_from_user(key)}
    with one_line_errors():
        model = load(run, weights, device)
        if not hasattr(model, "process"):
            raise click.UsageError(f"edit needs a diffusion model, and {run} holds a {type(model).__name__}")
        picture = to_model_range(read_picture(image))
        keep = None if mask is None else read_mask(mask)
        images, known = edited(model, task, picture, keep, n, seed, sys.stderr.isatty(), **given)
    path = out or run / "samples" / f"{task}-{image.stem}-{n}-seed-{seed}-{weights}{in_a_file_name(given)}.png"
    save_picture(path, image_grid(np.concatenate([known[None], images]), columns=n + 1))
    click.echo(path)


def read_picture(path):
    """A picture file -> (H, W, 1) or (H, W, 3) uint8. Raises ValueError for what is neither grey nor RGB."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            file = file.convert({"1": "L", "P": "RGB"}.get(file.mode, file.mode))
            if file.mode not in ("L", "RGB"):
                raise ValueError(f"{path} must be a grey or RGB picture of 8 bits, got mode {file.mode}")
            pixels = np.asarray(file)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture: {error}") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_mask(path):
    """A mask file -> (H, W) bool, True where it is white. Raises ValueError unless every pixel is black or white."""
    mask = read_picture(path)
    values = np.unique(mask)
    if mask.shape[2] != 1 or not set(values.tolist()) <= {0, 255}:
        raise ValueError(f"{path} must be a grey mask of 0 (draw) and 255 (keep) alone, got {mask.shape[2]} channels "
                         f"and values from {values.min()} to {values.max()}")  # fmt: skip
    return mask[..., 0] == 255
