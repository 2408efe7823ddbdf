"""Pictures of trained models: `minigen plot RUN NAME`.

A picture is a function of (model, data, generator): the loaded model, the ImageSet of its test images, and where its
random numbers come from. It returns a matplotlib Figure, one image (H, W, C) of uint8, or a list of such images, the
frames of a GIF. PICTURES says which there are.
"""

from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np

from ..train.checkpoint import write_whole
from ..train.config import did_you_mean

LATENTS = ("latents", "gaps", "interpolate", "arithmetic")
PICTURES: dict[str, dict[str, str]] = {  # model -> picture -> "module:function" in this folder
    "ae": {"reconstructions": "ae:reconstructions", "atoms": "ae:atoms", **{name: f"vae:{name}" for name in LATENTS}},
    "ddpm": {
        **{n: f"diffusion:{n}" for n in ("forward", "backward", "denoising", "steps", "interpolate", "bound")},
        **{n: f"editing:{n}" for n in ("guidance", "inpaint", "outfill", "restore", "sdedit", "upscale")},
        "colorize": "editing:colorize",
    },
    "gan": {
        name: f"gan:{name}"
        for name in ("interpolation", "truncation", "classes", "judgement", "vanishing", "toy", "evolution")
    },
    "vae": {name: f"vae:{name}" for name in ("reconstructions", *LATENTS, "manifold", "traversal")},
}
FRAME = 80  # milliseconds that a GIF shows a frame
DPI = 120


class PictureError(ValueError):
    """A picture that cannot be drawn of this model or this data: what it needs, and what there is."""


def find_picture(model, name):
    """The function that draws `name` for a model of that kind. Raises ValueError, which lists those there are."""
    known = PICTURES.get(model, {})
    if name not in known:
        names = ", ".join(known) or "none"
        raise ValueError(f"{model} has no picture {name!r}; there are: {names}{did_you_mean(name, known)}")
    module, _, function = known[name].partition(":")
    return getattr(import_module(f".{module}", __name__), function)


def save_picture(path, picture):
    """Write a Figure or an image as PNG, or frames as a GIF that repeats; whole or not at all."""
    from PIL import Image

    buffer = BytesIO()
    if isinstance(picture, list):
        first, *rest = [Image.fromarray(squeezed(frame)) for frame in picture]
        first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=FRAME, loop=0)
    elif isinstance(picture, np.ndarray):
        Image.fromarray(squeezed(picture)).save(buffer, format="PNG")
    else:
        picture.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        drawn = Image.open(buffer).convert("RGB")  # without transparency, it is half as large
        buffer = BytesIO()
        drawn.save(buffer, format="PNG", optimize=True)
    write_whole(Path(path), buffer.getvalue())


def squeezed(image):
    """(H, W, 1) -> (H, W), as Pillow wants grey images."""
    return image[..., 0] if image.shape[-1] == 1 else image
