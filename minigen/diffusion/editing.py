"""Editing: samples that agree with what is known of a picture. The model is an ordinary one; nothing is trained.

What is known is y = P x0, P an orthogonal projection of images:

    pixels(mask)          the pixels where mask is True: inpainting, and outfilling where the mask is a small picture
    grey                  the mean over the colours: colourisation (the luminance, in an orthonormal basis of colours)
    block_means(., f)     the mean of every f x f block: super-resolution

Noise keeps its law in every orthonormal basis, so what is known of x_t at level t can be drawn, and put in place of
what the model drew for it, after every step (Song et al. appendix I.2, I.3; RePaint eq. 8):

    x_s <- (I - P) x_s + P (sqrt(alpha_bar_s) y + sqrt(1 - alpha_bar_s) z)          s = 0: exactly y

The model then fills in the rest around noise that it did not draw, one level after the other, and the parts agree
only roughly. RePaint lets them settle: it goes back up by `jump` levels and down again, `resamplings` times in all,

    up, from level s to t     x_t = sqrt(alpha_bar_t / alpha_bar_s) x_s + sqrt(1 - alpha_bar_t / alpha_bar_s) z

What is exact   With one passage (resamplings = 1) the result is biased, however many levels there are: on Gaussian data
                the unknown part hangs too little on the known one. With more resamplings of short jumps it approaches
                p(x0 | y), its mean and covariance (a test shows both); only the steps' own error stays.
Restoration     y = P x0 + sigma n, noisy itself, is x_t up to scale at the level where (1 - alpha_bar) / alpha_bar
                = sigma^2. Above it y needs only the rest of the noise; from there on the model runs free, once: going
                back up where nothing is put in would forget y. With P = I this draws from p(x0 | y) exactly as the
                number of levels grows, if fresh noise is used (eta = 1).

Shapes   images (N, H, W, C), float32 or float64 in [-1, 1]; mask bool, True = keep, broadcast to images
Source   Lugmayr et al., RePaint, CVPR 2022, Algorithm 1; Song et al., Score-Based Generative Modeling through SDEs,
         ICLR 2021, appendix I; Meng et al., SDEdit, ICLR 2022, Algorithm 1; noisy measurements: Kawar et al., DDRM,
         NeurIPS 2022, section 4. Deck 002, "Applications: Colorization, Inpainting, Restoration, Outfilling"
"""

import math

import numpy as np
from tqdm import tqdm

from ..device import device_of, to_device
from ..kernels._memory import unchanged_weights
from .samplers import ddim_levels, ddim_sample, ddim_step, levels_of, predict

# ---------------------------------------------------------------- what is known


def pixels(mask):
    """The projection that keeps the pixels where `mask` is True. mask: bool, broadcast to images.

    Raises TypeError for a mask that is not boolean: 0 and 255 of a picture do not say which of them means "keep".
    """
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean, True = keep, got {mask.dtype}")

    def project(x):
        if np.broadcast_shapes(mask.shape, x.shape) != x.shape:
            raise ValueError(f"mask must broadcast to the images {x.shape}, got {mask.shape}")
        return x * to_device(mask, device_of(x))

    return project


def grey(x):
    """The mean over the colours, in each of them: (N, H, W, C) -> (N, H, W, C). The projection onto (1, 1, 1)."""
    return x * 0 + x.mean(axis=-1, keepdims=True)


def block_means(x, factor):
    """Every factor x factor block of pixels replaced by its mean: (N, H, W, C) -> (N, H, W, C).

    Raises ValueError where factor does not divide H and W.
    """
    n, h, w, c = x.shape
    if h % factor or w % factor:
        raise ValueError(f"factor must divide the image's sides, got factor={factor} and {h}x{w}")
    blocks = x.reshape(n, h // factor, factor, w // factor, factor, c)
    return (blocks * 0 + blocks.mean(axis=(2, 4), keepdims=True)).reshape(x.shape)


# ---------------------------------------------------------------- filling in what is not


@unchanged_weights()
def inpaint(
    process, model, image, project, generator, steps=50, jump=5, resamplings=5, noise=0.0, eta=1.0,
    clip_x0=False, progress=False,
):  # fmt: skip
    """Pictures that agree with project(image), drawn by RePaint: -> x0 (N, H, W, C) of image's dtype.

    image        what is known; its other part counts for nothing
    steps, eta   levels visited and noise of a step, as in ddim_sample; the model is asked steps * resamplings times,
                 and less often where noise > 0
    jump         how many of those levels are taken back at a time
    noise        deviation of the noise that image itself holds, in units of pixels in [-1, 1]; 0: it is kept exactly
    Raises ValueError unless 1 <= jump, 1 <= resamplings and noise >= 0, and where image holds a NaN.
    """
    if jump < 1 or resamplings < 1 or not noise >= 0:
        raise ValueError(f"jump and resamplings must be >= 1 and noise >= 0, got {jump}, {resamplings} and {noise}")
    xp = device_of(image).xp
    if not bool(xp.isfinite(image).all()):
        raise ValueError("image must be finite: put any number where it is not known")
    known, alpha_bar = project(image), process.schedule.alpha_bar

    def fresh():
        return generator.normal(image.shape, image.dtype, device_of(image))

    x = with_known(fresh(), known, project, alpha_bar[process.T], noise, fresh)
    path = inpaint_levels(process, steps, jump, resamplings, noise)
    for level, next_level in zip(tqdm(path[:-1], disable=not progress), path[1:]):
        if next_level > level:
            x = up(process, x, level, next_level, fresh())
        else:
            added = fresh() if eta > 0 and next_level > 0 else None
            x = ddim_step(process, x, predict(model, x, level), level, next_level, eta, added, clip_x0)
            x = with_known(x, known, project, alpha_bar[next_level], noise, fresh)
    return x


def up(process, x, level, next_level, noise):
    """x at `level` -> x at the higher next_level: several steps of the forward process in one."""
    kept = process.schedule.alpha_bar[next_level] / process.schedule.alpha_bar[level]
    return x * math.sqrt(kept) + noise * math.sqrt(1 - kept)


def with_known(x, known, project, alpha_bar, noise, fresh):
    """x at level alpha_bar with what is known of it put in. Below the level of the image's own noise: x as it is."""
    missing = 1 - alpha_bar - alpha_bar * noise**2  # variance of the noise that the level has beyond the image's own
    if missing < 0:
        return x
    at_level = known * math.sqrt(alpha_bar)
    if missing > 0:
        at_level = at_level + project(fresh()) * math.sqrt(missing)
    return x - project(x) + at_level


def inpaint_levels(process, steps, jump, resamplings, noise):
    """The levels that inpaint visits: in RePaint's order as far as the image is put in, from there straight down."""
    levels, alpha_bar = ddim_levels(process.T, steps), process.schedule.alpha_bar
    free = [level for level in levels if 1 - alpha_bar[level] < alpha_bar[level] * noise**2]
    return repaint_levels(levels[: len(levels) - len(free)], jump, resamplings) + free


def repaint_levels(levels, jump, resamplings):
    """The levels in RePaint's order: each stretch of `jump` steps down, up and down again, `resamplings` times down.

    repaint_levels([4, 3, 2, 1, 0], jump=2, resamplings=2) -> [4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0]
    """
    path = levels[:1]
    for first in range(0, len(levels) - 1, jump):
        stretch = levels[first : first + jump + 1]
        path = path + (stretch[1:] + stretch[-2::-1]) * (resamplings - 1) + stretch[1:]
    return path


# ---------------------------------------------------------------- SDEdit


def sdedit(process, model, image, strength, generator, steps=50, eta=1.0, clip_x0=False, progress=False):
    """The picture noised to level strength * T and drawn anew from there: -> x0 (N, H, W, C) of image's dtype.

    strength   0 gives the image back, 1 forgets it; between, what is coarser than the noise stays
    steps      over all T levels; of these, the share `strength` is taken
    Raises ValueError unless 0 <= strength <= 1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], got {strength}")
    level = round(strength * process.T)
    if level == 0:
        return image
    where = device_of(image)
    x = process.q_sample(image, levels_of(image, level), generator.normal(image.shape, image.dtype, where))
    steps = min(level, math.ceil(strength * steps))
    return ddim_sample(process, model, x, generator, steps, eta, from_level=level, clip_x0=clip_x0, progress=progress)
