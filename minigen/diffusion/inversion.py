"""Back to the noise: DDIM inverted, and what lies between two images.

DDIM with eta = 0 maps x_T to x_0 one to one. Its step from level t to s < t,

    x_s = sqrt(alpha_bar_s) x0_hat + sqrt(1 - alpha_bar_s) eps_hat,        both asked at (x_t, t),

is solved for x_t by going round: guess x_t, ask the network, keep one of its two answers, and see which x_t gives x_s:

    keep eps_hat   x_t = a_t / a_s (x_s - b_s eps_hat) + b_t eps_hat         a = sqrt(alpha_bar)
    keep x0_hat    x_t = b_t / b_s (x_s - a_s x0_hat) + a_t x0_hat           b = sqrt(1 - alpha_bar)

Which answer is kept decides how fast the rounds settle: the noise where signal prevails, the image where noise does.
One round is the usual inversion, whose error falls as 1 / steps; a few more return to the last digits, since they
invert the very steps that sampling takes. Nothing may be clipped on the way: a clipped step has no inverse.

Between two images: mixed at a level t where both are noisy and denoised from t, or mixed as noise,

    x_t = (1 - f) q_sample(x0_a, t, eps) + f q_sample(x0_b, t, eps)      Ho, figure 8, with one noise for both: the
                                                                         mix of two would have less variance
    x_T = slerp(inverse of x0_a, inverse of x0_b, f)                     Song, section 5.3 and figure 6

Slerp (models/latent.py) goes round the sphere on which Gaussian noise of high dimension lies; the straight line would
cut through it, and at its midpoint has half the variance.

Source   Song, Meng and Ermon, DDIM, 2021, sections 4.3, 5.3, 5.4, appendix D.5; Ho et al., DDPM, 2020, section 4.4;
         slerp: Shoemake, SIGGRAPH 1985; deck 003 "From DDPM to DDIM"
"""

import numpy as np
from tqdm import tqdm

from ..device import device_of
from ..kernels._memory import unchanged_weights
from .samplers import alpha_bars, ddim_levels, ddim_sample, estimates, predict


@unchanged_weights()
def ddim_invert(process, model, x0, steps=50, rounds=1, spacing="linear", progress=False):
    """x_0 (N, ...) -> the x_T that ddim_sample with as many steps, eta = 0 and no clipping leads back to it.

    rounds   1: the usual inversion; each more brings the way back closer. The network is called steps * rounds times
    Raises ValueError for steps that do not exist or rounds below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    x = x0
    levels = ddim_levels(process.T, steps, spacing)[::-1]
    for next_level, level in zip(tqdm(levels[:-1], disable=not progress), levels[1:]):
        x = invert_step(process, model, x, next_level, level, rounds)
    return x


def invert_step(process, model, x, next_level, level, rounds=1):
    """x at `next_level` -> the x at `level` above it that ddim_step brings there."""
    here, there = alpha_bars(process, level, next_level)
    (a, b), (a_next, b_next) = np.sqrt([here, 1 - here]).tolist(), np.sqrt([there, 1 - there]).tolist()
    keep_eps = a_next > b_next
    guess = x * (a / a_next if keep_eps else b / b_next)
    for _ in range(rounds):
        x0, eps = estimates(process, guess, predict(model, guess, level), level, clip_x0=False)
        if keep_eps:
            guess = (x - eps * b_next) * (a / a_next) + eps * b
        else:
            guess = (x - x0 * a_next) * (b / b_next) + x0 * a
    return guess


def interpolate(process, model, a, b, fraction, level, generator, steps=50, clip_x0=False):
    """Images between a and b (N, ...): both noised to `level`, mixed, and denoised from that level.

    fraction   0 gives (what is left of) a, 1 of b
    level      1 ... T: the higher, the less of a and b survives
    steps      at most `level` are taken, one a level
    -> (N, ...). Source: Ho et al., figure 8. Raises ValueError for a level that does not exist, or steps < 1.
    """
    t, eps = np.full(len(a), level), generator.normal(a.shape, a.dtype, device_of(a))
    mixed = process.q_sample(a, t, eps) * (1 - fraction) + process.q_sample(b, t, eps) * fraction
    return ddim_sample(process, model, mixed, generator, min(steps, level), from_level=level, clip_x0=clip_x0)
