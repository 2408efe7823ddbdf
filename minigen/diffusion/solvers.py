"""Solvers of the probability-flow ODE: deterministic sampling in fewer steps.

Divide x_t by its signal, y = x_t / sqrt(alpha_bar_t), and measure the level by its noise per signal,

    s = sqrt((1 - alpha_bar_t) / alpha_bar_t) = snr_t^(-1/2),        y = x0 + s eps

Then the path that keeps all marginals of the diffusion, without any noise, is dy/ds = eps_hat(y, s): a line wherever
the network's guess of the noise does not change. With a step from s to s' < s, h = s' - s:

    Euler            y' = y + h eps_hat(y, s)                                            error ~ 1 / steps
                     which is x_s' = sqrt(alpha_bar') x0_hat + sqrt(1 - alpha_bar') eps_hat: DDIM with eta = 0
    Heun             y' = y + h (eps_hat(y, s) + eps_hat(y_Euler, s')) / 2               error ~ 1 / steps^2
                     two calls a step; the last one, to s' = 0, where no network was trained, is Euler's
    DPM-Solver++ 2M  in lambda = -log s, with r = (its last step in lambda) / (the present one):
                     x0_bar = x0_hat + (x0_hat - x0_hat_before) / (2 r)                  error ~ 1 / steps^2
                     x_s' = sqrt(alpha_bar') x0_bar + sqrt(1 - alpha_bar') eps_bar, eps_bar making up x with x0_bar
                     one call a step; the first step has nothing before it and the last an infinite lambda: plain x0_hat

Shapes, clip_x0 and `model` are those of samplers.py.

Source   Song et al., Score-Based Generative Modeling through SDEs, 2021, eq. 13 (the ODE); Song, Meng and Ermon, 2021,
         eq. 14 (in y and s); Karras et al., Elucidating the Design Space, 2022, Algorithm 1 (Heun; there sigma = s);
         Lu et al., DPM-Solver++, 2022, Algorithm 2
"""

import math

from ..kernels._memory import unchanged_weights
from .samplers import alpha_bars, estimates, initial, jumps, predict


@unchanged_weights()
def euler_sample(
    process, model, start, generator, steps=50, spacing="linear", from_level=None, clip_x0=False, progress=False
):
    """`steps` Euler steps.   Arguments and result: ddim_sample, to whose eta = 0 this is equal."""
    x = initial(start, generator)
    for level, next_level in jumps(process, from_level, steps, spacing, progress):
        _, eps = estimates(process, x, predict(model, x, level), level, clip_x0)
        x = euler_step(process, x, eps, level, next_level)
    return x


def euler_step(process, x, eps, level, next_level):
    """x at `level` -> x at `next_level`, along the slope dy/ds = eps."""
    (here, s), (there, s_next) = (scales(a) for a in alpha_bars(process, level, next_level))
    return (x / here + eps * (s_next - s)) * there


@unchanged_weights()
def heun_sample(
    process, model, start, generator, steps=25, spacing="linear", from_level=None, clip_x0=False, progress=False
):
    """`steps` Heun steps, 2 steps - 1 calls of the network.   Arguments and result: ddim_sample."""
    x = initial(start, generator)
    for level, next_level in jumps(process, from_level, steps, spacing, progress):
        x = heun_step(process, model, x, level, next_level, clip_x0)
    return x


def heun_step(process, model, x, level, next_level, clip_x0=False):
    """x at `level` -> x at `next_level`, along the mean of the slopes at both ends."""
    _, eps = estimates(process, x, predict(model, x, level), level, clip_x0)
    ahead = euler_step(process, x, eps, level, next_level)
    if next_level == 0:
        return ahead
    _, eps_ahead = estimates(process, ahead, predict(model, ahead, next_level), next_level, clip_x0)
    return euler_step(process, x, (eps + eps_ahead) / 2, level, next_level)


@unchanged_weights()
def dpm_solver_sample(
    process, model, start, generator, steps=25, spacing="linear", from_level=None, clip_x0=False, progress=False
):
    """`steps` steps of DPM-Solver++(2M).   Arguments and result: ddim_sample."""
    x, before = initial(start, generator), None
    for level, next_level in jumps(process, from_level, steps, spacing, progress):
        x0, _ = estimates(process, x, predict(model, x, level), level, clip_x0)
        x = dpm_solver_step(process, x, x0, before, level, next_level)
        before = level, x0
    return x


def dpm_solver_step(process, x, x0, before, level, next_level):
    """x at `level` -> x at `next_level`.   before: (level, x0_hat) of the step that led here, None for the first."""
    (a, s), (a_next, s_next) = (scales(a) for a in alpha_bars(process, level, next_level))
    if before is not None and next_level > 0:
        last_level, last_x0 = before
        last_s = scales(process.schedule.alpha_bar[last_level])[1]
        ratio = math.log(last_s / s) / math.log(s / s_next)
        x0 = x0 + (x0 - last_x0) / (2 * ratio)
    return (x / a - x0) * (a_next * s_next / s) + x0 * a_next


def scales(alpha_bar):
    """sqrt(alpha_bar), and s = sqrt((1 - alpha_bar) / alpha_bar)."""
    return math.sqrt(alpha_bar), math.sqrt((1 - alpha_bar) / alpha_bar)
