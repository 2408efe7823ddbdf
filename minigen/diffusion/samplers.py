"""Samplers: from pure noise at level T to data at level 0.

Every step leaves one level and reaches a lower one, and says both; the last reaches 0, where alpha_bar = 1, and adds no
noise. The network is asked at the level that is left. Both samplers here move from any level t to any s < t by

    x_s = sqrt(alpha_bar_s) x0_hat + sqrt(1 - alpha_bar_s - sigma^2) eps_hat + tau z          Song eq. 12

    DDIM   sigma = tau = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)    eq. 16
        eta = 0: deterministic, a first-order solver of an ODE (solvers.py), error ~ 1 / steps
        eta = 1: the mean and variance of q(x_s | x_t, x0_hat)

    DDPM   ancestral sampling: sigma as for eta = 1, so that the mean is that of q(x_s | x_t, x0_hat)    Ho Algorithm 2
        tau^2 = 1 - alpha_bar_t / alpha_bar_s    "beta": exact if the data is N(0, I). beta_t for s = t - 1; over a
                                                 sub-sequence of levels, Song's sigma-hat
              = sigma^2                          "posterior": exact if the data is one point; DDIM with eta = 1
              = between the two, geometrically   "learned": where the network says (Nichol and Dhariwal, eq. 15)
        (With x0_hat = (x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t) the mean for s = t - 1 is the
        1 / sqrt(alpha_t) (x_t - beta_t / sqrt(1 - alpha_bar_t) eps_hat) of the algorithm.)

clip_x0 keeps x0_hat in [-1, 1], where pixels live, and recomputes eps_hat so that the two still
make up x_t. Latents have no such bounds: leave it off for them.

`model(x, t)` takes x (N, ...) and the levels t (N,), and returns its prediction of process.target, followed along the
last axis by that of the variance where process.learned_variance is set.

Source   Ho et al., DDPM, 2020; Song, Meng and Ermon, Denoising Diffusion Implicit Models, 2021; Nichol and Dhariwal,
         Improved DDPM, 2021. Decks 000 Algorithm 18.2; 002 and 004 Algorithm 2; 003 "From DDPM to DDIM". (Algorithm 2
         of deck 003 has 1 / sqrt(alpha_bar_t) for 1 / sqrt(alpha_t) in one place, and leaves out z = 0 at t = 1.)
"""

import math

import numpy as np
from tqdm import tqdm

from ..autograd import no_grad
from ..device import device_of
from ..kernels._memory import unchanged_weights
from ..tensor import Tensor
from .likelihood import check_variance

SPACINGS = ("linear", "quadratic")

# ---------------------------------------------------------------- DDPM


@unchanged_weights()
def ddpm_sample(
    process, model, start, generator, steps=None, variance="beta", spacing="linear", from_level=None, clip_x0=False,
    progress=False,
):  # fmt: skip
    """Ancestral sampling.   start: the array x (N, ...), or its shape, for which x ~ N(0, I) is drawn in float32.

    steps       every level where None
    variance    "beta", "posterior" or "learned"
    spacing     of the levels visited, see ddim_levels
    from_level  the level that start is at, T where None
    -> x_0 (N, ...) of start's dtype. Raises ValueError for steps, spacing or variance that do not exist.
    """
    x = initial(start, generator)
    for level, next_level in jumps(process, from_level, steps, spacing, progress):
        output = predict(model, x, level)
        noise = generator.normal(x.shape, x.dtype, device_of(x)) if next_level > 0 else None
        x = ddpm_step(process, x, output, level, next_level, noise, variance, clip_x0)
    return x


def ddpm_step(process, x, output, level, next_level, noise, variance="beta", clip_x0=False):
    """x at `level` -> x at `next_level`. output: the network's, at `level`. A step to level 0 takes no noise."""
    check_variance(process, variance)
    here, there = alpha_bars(process, level, next_level)
    beta = 1 - here / there
    posterior = (1 - there) / (1 - here) * beta
    x0, eps = estimates(process, x, output, level, clip_x0)
    mean = x0 * math.sqrt(there) + eps * math.sqrt(1 - there - posterior)
    if next_level == 0:
        return mean
    if variance == "learned":
        share = process.split(output)[1]
        return mean + noise * device_of(x).xp.exp((share * math.log(beta) + (1 - share) * math.log(posterior)) / 2)
    return mean + noise * math.sqrt(beta if variance == "beta" else posterior)


# ---------------------------------------------------------------- DDIM


@unchanged_weights()
def ddim_sample(
    process, model, start, generator, steps=50, eta=0.0, spacing="linear", from_level=None, clip_x0=False,
    progress=False,
):  # fmt: skip
    """`steps` steps with noise eta.   start, spacing, from_level: as in ddpm_sample.

    -> x_0 (N, ...) of start's dtype. Raises ValueError unless 1 <= steps <= from_level and 0 <= eta <= 1.
    """
    x = initial(start, generator)
    for level, next_level in jumps(process, from_level, steps, spacing, progress):
        output = predict(model, x, level)
        noise = generator.normal(x.shape, x.dtype, device_of(x)) if eta > 0 and next_level > 0 else None
        x = ddim_step(process, x, output, level, next_level, eta, noise, clip_x0)
    return x


def ddim_levels(T, steps, spacing="linear"):
    """[T, ..., 0]: steps + 1 whole levels, strictly falling, both ends exact.

    linear      T i / steps, rounded down. T / steps >= 1, so that rounding never repeats a level
    quadratic   T (i / steps)^2, denser near the data. Rounded down this repeats levels wherever steps^2 > T: there
                the i-th level is i, the least that is free
    Source: Song et al., appendix D.2. Raises ValueError unless 1 <= steps <= T, or for another spacing.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1 ... T = {T}, got {steps}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    if spacing == "linear":
        return [T * i // steps for i in range(steps, -1, -1)]
    return [max(i, T * i * i // steps**2) for i in range(steps, -1, -1)]


def ddim_step(process, x, output, level, next_level, eta=0.0, noise=None, clip_x0=False):
    """x at `level` -> x at `next_level`. output: the network's, at `level`. noise: needed where sigma > 0.

    Raises ValueError unless 0 <= next_level < level <= T and 0 <= eta <= 1.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    here, there = alpha_bars(process, level, next_level)
    sigma = eta * math.sqrt((1 - there) / (1 - here)) * math.sqrt(1 - here / there)
    x0, eps = estimates(process, x, output, level, clip_x0)
    mean = x0 * math.sqrt(there) + eps * math.sqrt(1 - there - sigma**2)
    return mean + noise * sigma if sigma > 0 else mean


# ---------------------------------------------------------------- what all samplers share


def initial(start, generator):
    """x_T: `start` itself, or standard normal noise of the shape `start`."""
    return generator.normal(start) if isinstance(start, (tuple, list)) else start


def jumps(process, from_level, steps, spacing, progress):
    """(level left, level reached) of each step, under a progress bar. from_level None: T. steps None: every level."""
    top = process.T if from_level is None else from_level
    if not 1 <= top <= process.T:
        raise ValueError(f"from_level must lie in 1 ... T = {process.T}, got {top}")
    levels = ddim_levels(top, top if steps is None else steps, spacing)
    return zip(tqdm(levels[:-1], disable=not progress), levels[1:])


def alpha_bars(process, level, next_level):
    """alpha_bar at both ends of a step. Raises ValueError unless it goes down."""
    if not 0 <= next_level < level <= process.T:
        raise ValueError(f"a step must go down: 0 <= next_level < level <= {process.T}, got {level} -> {next_level}")
    return process.schedule.alpha_bar[[level, next_level]]


def predict(model, x, level):
    """What the network says at `level`, as an array; nothing is recorded for gradients."""
    with no_grad():
        output = model(x, levels_of(x, level))
    return output.data if isinstance(output, Tensor) else output


def levels_of(x, level):
    return np.full(len(x), level)


def estimates(process, x, output, level, clip_x0):
    """x0_hat and eps_hat; after clipping x0_hat, the eps_hat that still makes up x with it."""
    t = levels_of(x, level)
    x0, eps = process.x0_and_eps(process.split(output)[0], x, t)
    if clip_x0:
        x0, eps = process.x0_and_eps(x0.clip(-1, 1), x, t, source="x0")
    return x0, eps
