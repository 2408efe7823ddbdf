"""Editing with a trained diffusion model: from a picture and a task to new pictures. The methods: diffusion/editing.py

inpaint    picture of the model's size, mask (True = keep): draw what is not kept
outfill    a smaller picture: it stands in the middle, draw what is around it
colorize   a grey picture, or the grey of a coloured one: draw the colours. The model must have three
restore    a picture with noise of deviation `noise`, and where the mask says False, damage: draw what was there
upscale    a picture a quarter as high and wide: draw the details. A model trained with --condition image or hybrid
           is told the picture (hybrid: and the `label`); any other is kept to its block means
sdedit     a rough picture: draw a better one, the freer the higher the `strength`

Without a `label` a conditional model is told none: what it draws is of any class.
"""

from dataclasses import dataclass

import numpy as np

from ..device import to_device
from ..diffusion import ddim_sample
from ..diffusion.editing import block_means, grey, inpaint, pixels, sdedit, with_known
from ..random import Generator
from .condition import FACTOR, ConditionSampling, denoiser, wanted_labels
from .config import SettingError, setting

EDITS = ("inpaint", "outfill", "colorize", "restore", "upscale", "sdedit")
OF_ONE_TASK = {"noise": "restore", "strength": "sdedit"}  # settings that mean nothing to the other tasks


@dataclass(frozen=True)
class Editing(ConditionSampling):
    """How pictures are edited, and the flags of `minigen edit`."""

    steps: int = setting(50, "levels that are visited", at_least=1)
    jump: int = setting(5, "how many of these are taken back at a time", at_least=1)
    resamplings: int = setting(5, "how often they are gone down; more: the parts agree better", at_least=1)
    eta: float = setting(1.0, "fresh noise in a step; 0: none", at_least=0, at_most=1)
    noise: float = setting(0.5, "restore: deviation of the picture's noise; black to white is 2", at_least=0)
    strength: float = setting(0.5, "sdedit: 0: the picture itself, 1: any other", at_least=0, at_most=1)


def edit(model, task, picture, mask=None, n=1, seed=0, progress=False, **settings):
    """-> n versions of the picture (n, H, W, C), float32 near [-1, 1], and what was known of it (H, W, C).

    model      a DDPM, see train/ddpm.py
    picture    (h, w, c) float32 in [-1, 1]; the sizes that the tasks take: above
    mask       (H, W) bool, True = keep: needed by inpaint, allowed by restore
    settings   those of Editing
    Raises SettingError for settings that do not fit or mean nothing to the task, ValueError for pictures and masks.
    """
    how, generator = Editing(**settings), seed if isinstance(seed, Generator) else Generator(seed)
    if how.steps > model.process.T:
        raise SettingError(f"steps must be at most {model.process.T}, the model's noise levels, got {how.steps}")
    for name in settings:
        if OF_ONE_TASK.get(name, task) != task or (name in ("jump", "resamplings") and task == "sdedit"):
            raise SettingError(f"{name} says nothing about {task}: leave it out")
    image, project = known_part(model, task, picture, mask)
    images = to_device(np.repeat(image[None], n, axis=0), model.config.device)
    enlarges = task == "upscale" and model.config.condition in ("image", "hybrid")
    common = {"steps": how.steps, "eta": how.eta, "clip_x0": True, "progress": progress}
    training = model.network.training
    model.network.eval()
    try:
        labels = wanted_labels(model, how, range(n)) if how.label else None
        network = denoiser(model, how, labels, images if enlarges else None)
        if task == "sdedit":
            x = sdedit(model.process, network, images, how.strength, generator, **common)
        elif enlarges:
            start = generator.normal(images.shape, device=model.config.device)
            x = ddim_sample(model.process, network, start, generator, **common)
            x = with_known(x, project(images), project, 1.0, 0.0, None)
        else:
            noise = how.noise if task == "restore" else 0.0
            repeated = {"jump": how.jump, "resamplings": how.resamplings, "noise": noise}
            x = inpaint(model.process, network, images, project, generator, **repeated, **common)
    finally:
        model.network.train(training)
    return to_device(x, "cpu"), image


def known_part(model, task, picture, mask):
    """The picture at the model's size, and the projection onto what is known of it. Raises ValueError."""
    if task not in EDITS:
        raise ValueError(f"task must be one of {', '.join(EDITS)}, got {task!r}")
    if mask is not None and task not in ("inpaint", "restore"):
        raise ValueError(f"{task} takes no mask")
    height, width, channels = model.image_shape
    if picture.ndim != 3 or picture.dtype != np.float32:
        raise ValueError(f"picture must be (h, w, c) float32 in [-1, 1], got {picture.dtype}{picture.shape}")
    if not (abs(picture) <= 1).all():
        raise ValueError(f"picture must lie in [-1, 1], got values from {picture.min():g} to {picture.max():g}")
    if task == "outfill":
        return in_the_middle(picture, model.image_shape)
    if task == "colorize":
        if channels != 3:
            raise ValueError(f"colorize needs a model of coloured pictures, and this one's have {channels} channel")
        check_size(picture, (height, width, picture.shape[2]))
        return np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1), grey
    if task == "upscale":
        check_size(picture, (height // FACTOR, width // FACTOR, channels))
        return picture.repeat(FACTOR, axis=0).repeat(FACTOR, axis=1), lambda x: block_means(x, FACTOR)
    check_size(picture, model.image_shape)
    if task == "inpaint" and mask is None:
        raise ValueError("inpaint needs a mask: which pixels to keep")
    mask = np.ones((height, width), bool) if mask is None else mask
    if mask.shape != (height, width) or mask.dtype != bool:
        raise ValueError(f"mask must be bool({height}, {width}), True = keep, got {mask.dtype}{mask.shape}")
    return np.where(mask[..., None], picture, np.float32(0)), pixels(mask[..., None])


def in_the_middle(picture, shape):
    """The small picture on grey of the model's size, and the projection onto it."""
    (height, width, channels), (h, w, c) = shape, picture.shape
    if c != channels or h > height or w > width or (h, w) == (height, width):
        raise ValueError(f"outfill needs a picture smaller than {height} x {width} x {channels}, got {h} x {w} x {c}")
    top, left = (height - h) // 2, (width - w) // 2
    image, mask = np.zeros(shape, np.float32), np.zeros((height, width, 1), bool)
    image[top : top + h, left : left + w] = picture
    mask[top : top + h, left : left + w] = True
    return image, pixels(mask)


def check_size(picture, shape):
    if picture.shape != shape:
        raise ValueError(f"picture must be {' x '.join(map(str, shape))} for this model and task, got "
                         f"{' x '.join(map(str, picture.shape))}")  # fmt: skip
