"""Samplers: from pure noise at level T to data at level 0.

Every step leaves one level and reaches a lower one, and says both; the last reaches 0, where
alpha_bar = 1, and adds no noise. The network is asked at the level that is left.

    DDPM   level t -> t - 1, ancestral sampling                              Ho Algorithm 2
        x_{t-1} = mean of q(x_{t-1} | x_t, x0_hat) + sigma_t z
        sigma_t^2 = beta_t                "beta":      exact if the data is N(0, I)
                  = posterior variance    "posterior": exact if the data is one point
        (With x0_hat = (x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t) the mean is the
        1 / sqrt(alpha_t) (x_t - beta_t / sqrt(1 - alpha_bar_t) eps_hat) of the algorithm.)

    DDIM   level t -> s, any s < t                                           Song eq. 12, 16
        x_s = sqrt(alpha_bar_s) x0_hat + sqrt(1 - alpha_bar_s - sigma^2) eps_hat + sigma z
        sigma = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)
        eta = 0: deterministic, a first-order solver of an ODE, error ~ 1 / steps
        eta = 1: noise as in DDPM; with every level visited it is DDPM with the posterior variance

clip_x0 keeps x0_hat in [-1, 1], where pixels live, and recomputes eps_hat so that the two still
make up x_t. Latents have no such bounds: leave it off for them.

`model(x, t)` takes x (N, ...) and the levels t (N,), and returns its prediction of process.target.

Source   Ho et al., DDPM, 2020; Song, Meng and Ermon, Denoising Diffusion Implicit Models, 2021.
         Decks 000 Algorithm 18.2; 002 and 004 Algorithm 2; 003 "From DDPM to DDIM". (Algorithm 2 of deck 003 has
         1 / sqrt(alpha_bar_t) for 1 / sqrt(alpha_t) in one place, and leaves out z = 0 at t = 1.)
"""

import math

import numpy as np
from tqdm import tqdm

from ..autograd import no_grad
from ..device import device_of
from ..kernels._memory import unchanged_weights
from ..tensor import Tensor

# ---------------------------------------------------------------- DDPM


@unchanged_weights()
def ddpm_sample(process, model, start, generator, variance="beta", clip_x0=False, progress=False):
    """T ancestral steps. start: the array x_T (N, ...), or its shape, for which x_T ~ N(0, I) is drawn in float32.

    -> x_0 (N, ...) of x_T's dtype. Raises ValueError unless variance is "beta" or "posterior".
    """
    x = initial(start, generator)
    for level in tqdm(range(process.T, 0, -1), disable=not progress):
        prediction = predict(model, x, level)
        noise = generator.normal(x.shape, x.dtype, device_of(x)) if level > 1 else None
        x = ddpm_step(process, x, prediction, level, noise, variance, clip_x0)
    return x


def ddpm_step(process, x, prediction, level, noise, variance="beta", clip_x0=False):
    """x at `level` -> x at level - 1. prediction: the network's, at `level`. The step 1 -> 0 takes no noise."""
    if variance not in ("beta", "posterior"):
        raise ValueError(f"variance must be 'beta' or 'posterior', got {variance!r}")
    x0, _ = estimates(process, x, prediction, level, clip_x0)
    mean, _ = process.posterior(x0, x, levels_of(x, level))
    if level == 1:
        return mean
    table = process.schedule.beta if variance == "beta" else process.posterior_variance
    return mean + noise * math.sqrt(table[level])


# ---------------------------------------------------------------- DDIM


@unchanged_weights()
def ddim_sample(process, model, start, generator, steps=50, eta=0.0, clip_x0=False, progress=False):
    """`steps` steps over evenly spaced levels. start: as in ddpm_sample.

    -> x_0 (N, ...) of x_T's dtype. Raises ValueError unless 1 <= steps <= T and 0 <= eta <= 1.
    """
    levels = ddim_levels(process.T, steps)
    x = initial(start, generator)
    for level, next_level in zip(tqdm(levels[:-1], disable=not progress), levels[1:]):
        prediction = predict(model, x, level)
        noise = generator.normal(x.shape, x.dtype, device_of(x)) if eta > 0 and next_level > 0 else None
        x = ddim_step(process, x, prediction, level, next_level, eta, noise, clip_x0)
    return x


def ddim_levels(T, steps):
    """[T, ..., 0]: steps + 1 evenly spaced whole levels. T / steps >= 1, so that rounding down never repeats one.

    Song et al., appendix D.2, "linear", with both ends exact. Raises ValueError unless 1 <= steps <= T.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie in 1 ... T = {T}, got {steps}")
    return [T * i // steps for i in range(steps, -1, -1)]


def ddim_step(process, x, prediction, level, next_level, eta=0.0, noise=None, clip_x0=False):
    """x at `level` -> x at `next_level`. prediction: the network's, at `level`. noise: needed where sigma > 0.

    Raises ValueError unless 0 <= next_level < level <= T and 0 <= eta <= 1.
    """
    if not 0 <= next_level < level <= process.T:
        raise ValueError(f"a step must go down: 0 <= next_level < level <= {process.T}, got {level} -> {next_level}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    here, there = process.schedule.alpha_bar[[level, next_level]]
    sigma = eta * math.sqrt((1 - there) / (1 - here)) * math.sqrt(1 - here / there)
    x0, eps = estimates(process, x, prediction, level, clip_x0)
    mean = x0 * math.sqrt(there) + eps * math.sqrt(1 - there - sigma**2)
    return mean + noise * sigma if sigma > 0 else mean


# ---------------------------------------------------------------- what both share


def initial(start, generator):
    """x_T: `start` itself, or standard normal noise of the shape `start`."""
    return generator.normal(start) if isinstance(start, (tuple, list)) else start


def predict(model, x, level):
    """What the network says at `level`, as an array; nothing is recorded for gradients."""
    with no_grad():
        prediction = model(x, levels_of(x, level))
    return prediction.data if isinstance(prediction, Tensor) else prediction


def levels_of(x, level):
    return np.full(len(x), level)


def estimates(process, x, prediction, level, clip_x0):
    """x0_hat and eps_hat; after clipping x0_hat, the eps_hat that still makes up x with it."""
    t = levels_of(x, level)
    x0, eps = process.x0_and_eps(prediction, x, t)
    if clip_x0:
        x0, eps = process.x0_and_eps(x0.clip(-1, 1), x, t, source="x0")
    return x0, eps
