"""Solvers of the probability-flow ODE: deterministic sampling in fewer steps.

There is a path that keeps all marginals of the diffusion without any noise. Two ways to write it:

    dy/ds = eps_hat      in y = x_t / sqrt(alpha_bar_t) and s = sqrt((1 - alpha_bar_t) / alpha_bar_t), the noise per
                         signal: a straight line while eps_hat stays the same
    dx/dphi = v_hat      in the angle phi = arctan s, from 0 at the data to pi / 2: a turn of (x0_hat, eps_hat) while
                         both stay the same. It is tame at both ends, where s or 1 / s is not

From one level to a lower one (primes: at the level that is reached; a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar)):

    Euler            y' = y + (s' - s) eps_hat                                           error ~ 1 / steps
                     which is a' x0_hat + b' eps_hat, the turn: both are DDIM with eta = 0
    Heun             first the turn, x' = a' x0_hat + b' eps_hat; there the network is asked again, and half a step of
                     what v_hat differs by from the v that the turn expected is added:   error ~ 1 / steps^2
                     x' + (phi' - phi) / 2 (a' (eps_hat' - eps_hat) - b' (x0_hat' - x0_hat))
                     two calls a step; the last step, to level 0, where no network was trained, is the turn alone
    DPM-Solver++ 2M  in lambda = -log s, with r = (its last step in lambda) / (the present one):
                     x0_bar = x0_hat + (x0_hat - x0_hat_before) / (2 r)                  error ~ 1 / steps^2
                     x' = a' x0_bar + b' eps_bar, with the eps_bar that makes up x with x0_bar
                     one call a step; the first step has nothing before it and the last an infinite lambda: plain x0_hat

Shapes, clip_x0 and `model` are those of samplers.py.

Source   Song et al., Score-Based Generative Modeling through SDEs, 2021, eq. 13 (the ODE); Song, Meng and Ermon, 2021,
         eq. 14 (in y and s); Salimans and Ho, Progressive Distillation, 2022, appendix D (the angle); Karras et al.,
         Elucidating the Design Space, 2022, Algorithm 1 (Heun, there in s, which the cosine schedule takes to 20,000);
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
    """x at `level` -> x at `next_level`: the turn, corrected by what the network says at its end."""
    here, there = alpha_bars(process, level, next_level)
    a, b = math.sqrt(there), math.sqrt(1 - there)
    x0, eps = estimates(process, x, predict(model, x, level), level, clip_x0)
    ahead = x0 * a + eps * b
    if next_level == 0:
        return ahead
    x0_ahead, eps_ahead = estimates(process, ahead, predict(model, ahead, next_level), next_level, clip_x0)
    angle = math.acos(a) - math.acos(math.sqrt(here))
    return ahead + ((eps_ahead - eps) * a - (x0_ahead - x0) * b) * (angle / 2)


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
