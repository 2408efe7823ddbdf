"""Solvers of the probability-flow ODE, inversion and interpolation, under exact scores.

On data whose score is known the ODE has known solutions: for Gaussian data (x_t - mean_t) / std_t never changes, and in
one dimension no path crosses another, so that quantiles keep their probability.
"""

import json

import numpy as np
import pytest

from benchmarks.order import CALLS, DATA, SLOPES, errors, slope
from benchmarks.page import RESULTS
from minigen.diffusion import (
    SAMPLERS,
    GaussianDiffusion,
    ddim_invert,
    ddim_levels,
    ddim_sample,
    dpm_solver_sample,
    euler_sample,
    heun_sample,
    interpolate,
    make_schedule,
)
from minigen.diffusion.inversion import invert_step
from minigen.diffusion.samplers import ddim_step, predict
from minigen.diffusion.solvers import dpm_solver_step
from minigen.models.latent import slerp
from minigen.random import Generator

SOLVERS = {"euler": euler_sample, "heun": heun_sample, "dpm++": dpm_solver_sample}


def process_of(T=100, target="eps", name="cosine"):
    return GaussianDiffusion(make_schedule(name, T), target)


def exact_model(process, mean=0.3, std=0.5):
    """E[target | x_t] for data N(mean, std^2)."""

    def model(x, t):
        shape = (-1,) + (1,) * (x.ndim - 1)
        a, b = (table[t].astype(x.dtype).reshape(shape) for table in (process.signal, process.noise))
        score = (x - a * mean) / (a**2 * std**2 + b**2)
        return process.target_of(mean + a * std**2 * score, t, b * score)

    return model


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("data", list(DATA))
@pytest.mark.parametrize("name", list(SLOPES))
def test_the_order_of_each_sampler_under_the_exact_score(name, data):
    """DDIM and Euler fall as 1 / steps, Heun and DPM-Solver++(2M) as 1 / steps^2."""
    steps = [50, 100, 200]
    found = slope(steps, errors(name, data, steps))
    assert found == pytest.approx(SLOPES[name], abs=0.1), found


def test_euler_in_noise_per_signal_is_ddim():
    process, x = process_of(), np.linspace(-2, 2, 8).reshape(4, 2)
    for spacing in ("linear", "quadratic"):
        ddim = ddim_sample(process, exact_model(process), x, Generator(0), 7, spacing=spacing, clip_x0=True)
        euler = euler_sample(process, exact_model(process), x, Generator(0), 7, spacing=spacing, clip_x0=True)
        np.testing.assert_allclose(euler, ddim, rtol=1e-7)


@pytest.mark.parametrize(("last", "level", "below"), [(100, 60, 50), (60, 55, 10), (9, 6, 1)])
def test_a_step_of_dpm_solver_is_its_algorithm_in_lambda(last, level, below):
    """x_s / sigma_s x - alpha (e^-h - 1) D, D = (1 + 1 / 2r) x0 - 1 / 2r x0_before, r = h_before / h: uneven steps."""
    process = process_of(100)
    a, b = process.signal, process.noise
    lam = np.log(a[1:] / b[1:])  # lambda at level t is lam[t - 1]
    h_before, h = lam[level - 1] - lam[last - 1], lam[below - 1] - lam[level - 1]
    x, x0, x0_before = np.array([0.4, -1.0]), np.array([0.2, -0.7]), np.array([0.5, 0.1])
    r = h_before / h
    D = (1 + 1 / (2 * r)) * x0 - x0_before / (2 * r)
    expected = b[below] / b[level] * x - a[below] * np.expm1(-h) * D
    found = dpm_solver_step(process, x, x0, (last, x0_before), level, below)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    first = b[below] / b[level] * x - a[below] * np.expm1(-h) * x0
    np.testing.assert_allclose(dpm_solver_step(process, x, x0, None, level, below), first, rtol=1e-9)
    np.testing.assert_allclose(dpm_solver_step(process, x, x0, (last, x0_before), level, 0), x0, rtol=1e-9)


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
@pytest.mark.parametrize("target", ["eps", "x0", "v", "mean"])
@pytest.mark.parametrize("name", list(SOLVERS))
def test_every_solver_goes_straight_to_data_that_is_one_point(name, target, spacing):
    """Then x at level t must be q_sample(point, t, noise) at every call, at levels that the sub-sequence holds."""
    process, calls = process_of(97, target), []
    point, noise = np.array([[0.2, -0.9]]), np.array([[1.5, -0.3]])
    rtol = 1e-5 if target == "mean" else 1e-7  # this model's mean is that of the exact x: rounding grows at each step

    def model(x, t):
        calls.append(int(t[0]))
        np.testing.assert_allclose(x, process.q_sample(point, t, noise), rtol=rtol)
        return process.target_of(point, t, noise)

    x_T = process.q_sample(point, np.array([97]), noise)
    for steps in (1, 2, 10, 97)[: 3 if target == "mean" else 4]:
        calls.clear()
        found = SOLVERS[name](process, model, x_T, Generator(0), steps, spacing)
        np.testing.assert_allclose(found, point, rtol=rtol)
        levels = ddim_levels(97, steps, spacing)[:-1]
        expected = [levels[0], *np.repeat(levels[1:], 2)] if name == "heun" else levels
        assert calls == list(expected)
        assert len(calls) == CALLS[name](steps)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_solvers_clip_x0_and_keep_dtype_and_start(name):
    process, x_T = process_of(20), np.ones((2, 3), np.float32)
    x_T.flags.writeable = False
    found = SOLVERS[name](process, lambda x, t: 5 * x, x_T, Generator(0), 10, clip_x0=True)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1 + 1e-5


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_nothing_is_clipped_unless_asked_for(name):
    """Latents lie where they like."""
    process, point = process_of(20), np.array([[3.0, -2.5]])
    model = lambda x, t: process.x0_and_eps(point, x, t, "x0")[1]  # noqa: E731
    for clip, expected in (({}, point), ({"clip_x0": True}, np.array([[1.0, -1.0]]))):
        found = SAMPLERS[name](process, model, np.ones((1, 2)), Generator(0), 5, **clip)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_clipped_solver_sees_the_slope_of_the_clipped_x0():
    """Heun's and DPM-Solver's estimates are samplers.estimates: eps is recomputed. One step to 0 then lands on x0."""
    process, x = process_of(20), np.full((1, 2), 3.0)
    for sample in SOLVERS.values():
        found = sample(process, lambda x, t: -x, x, Generator(0), 1, clip_x0=True)
        np.testing.assert_allclose(found, np.ones((1, 2)), rtol=1e-9)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_solvers_refuse_steps_that_are_not_there(name):
    process = process_of(10)
    with pytest.raises(ValueError, match="steps must lie in 1 ... T = 10, got 11"):
        SOLVERS[name](process, exact_model(process), (1, 2), Generator(0), 11)
    with pytest.raises(ValueError, match="from_level must lie in 1 ... T = 10, got 0"):
        SOLVERS[name](process, exact_model(process), (1, 2), Generator(0), 5, from_level=0)


# ---------------------------------------------------------------- inversion


@pytest.mark.parametrize("spacing", ["linear", "quadratic"])
@pytest.mark.parametrize("target", ["eps", "v"])
def test_encoding_then_decoding_returns(target, spacing):
    process, x0 = process_of(200, target), np.linspace(-1, 1, 12).reshape(3, 4)
    model = exact_model(process)
    for steps in (7, 20, 200):
        noise = ddim_invert(process, model, x0, steps, rounds=60, spacing=spacing)
        back = ddim_sample(process, model, noise, Generator(0), steps, spacing=spacing)
        np.testing.assert_allclose(back, x0, atol=1e-9)


def test_decoding_then_encoding_returns_to_the_noise():
    process, noise = process_of(50), np.linspace(-2, 2, 6).reshape(2, 3)
    model = exact_model(process)
    x0 = ddim_sample(process, model, noise, Generator(0), 10)
    np.testing.assert_allclose(ddim_invert(process, model, x0, 10, rounds=80), noise, atol=1e-8)


def test_the_usual_inversion_returns_with_an_error_of_1_over_steps_and_more_rounds_mend_it():
    process, x0 = process_of(1000), np.linspace(-1, 1, 12).reshape(3, 4)
    model = exact_model(process)

    def error(steps, rounds):
        noise = ddim_invert(process, model, x0, steps, rounds)
        return np.abs(ddim_sample(process, model, noise, Generator(0), steps) - x0).max()

    once = [error(steps, 1) for steps in (50, 100, 200)]
    assert slope([50, 100, 200], once) == pytest.approx(-1, abs=0.3)
    assert error(50, 3) < 0.1 * once[0]


@pytest.mark.parametrize(("below", "level"), [(0, 1), (0, 30), (20, 40), (90, 100)])
def test_one_step_up_is_undone_by_one_step_down(below, level):
    process, x = process_of(100), np.linspace(-1, 1, 5)
    model = exact_model(process)
    up = invert_step(process, model, x, below, level, rounds=100)
    np.testing.assert_allclose(ddim_step(process, up, predict(model, up, level), level, below), x, atol=1e-9)


def test_inversion_asks_the_network_at_the_level_that_the_way_back_leaves():
    process, calls = process_of(10), []

    def model(x, t):
        calls.append(int(t[0]))
        return 0 * x

    ddim_invert(process, model, np.ones((1, 2)), 5, rounds=2)
    assert calls == [2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        ddim_invert(process, model, np.ones((1, 2)), 5, rounds=0)


# ---------------------------------------------------------------- between two images


@pytest.mark.parametrize("level", [1, 20, 77, 100])
def test_interpolation_denoises_from_the_level_it_noised_to(level):
    """Data that is one point: x must be q_sample(point, t, the drawn noise) at the first call and at the last."""
    process, calls, point = process_of(100, "x0"), [], np.array([[0.2, -0.9]])
    eps = Generator(3).normal(point.shape, np.float64)

    def model(x, t):
        calls.append(int(t[0]))
        np.testing.assert_allclose(x, process.q_sample(point, t, eps), rtol=1e-9)
        return point

    found = interpolate(process, model, point, point, 0.3, level, Generator(3), steps=10)
    np.testing.assert_allclose(found, point, rtol=1e-9)
    assert calls == ddim_levels(level, min(10, level))[:-1]


def test_interpolation_begins_at_a_and_ends_at_b():
    process, model = process_of(100), exact_model(process_of(100))
    a, b = np.full((1, 3), -1.0), np.full((1, 3), 1.0)
    for fraction, end in ((0.0, a), (1.0, b)):
        mixed = interpolate(process, model, a, b, fraction, 60, Generator(1), 20)
        np.testing.assert_allclose(mixed, interpolate(process, model, end, end, 0.5, 60, Generator(1), 20), rtol=1e-12)
    for level in (0, 101):
        with pytest.raises(ValueError, match="must lie in 1 ... T = 100"):
            interpolate(process, model, a, b, 0.5, level, Generator(1))


def test_slerp_keeps_the_norm_of_ends_of_equal_norm_and_the_variance_of_noise():
    a, b = Generator(1).normal((4, 900), np.float64), Generator(2).normal((4, 900), np.float64)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    for fraction in (0.0, 0.25, 0.5, 1.0):
        np.testing.assert_allclose(np.linalg.norm(slerp(*unit, fraction), axis=1), 1, rtol=1e-12)
        assert slerp(a, b, fraction).var() == pytest.approx(1, abs=0.1)
    assert (0.5 * a + 0.5 * b).var() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(slerp(a, b, 0.0), a, rtol=1e-12)
    np.testing.assert_allclose(slerp(a, b, 1.0), b, rtol=1e-12)
    np.testing.assert_allclose(slerp(a, 2 * a, 0.5), 1.5 * a, rtol=1e-9)  # parallel: the straight line
    assert slerp(a.astype(np.float32), b.astype(np.float32), 0.3).dtype == np.float32


def test_the_committed_orders_are_those_that_theory_says():
    """docs/diffusion.md shows them. Again with: python -m benchmarks order --picture docs/pictures/order.png"""
    figures = json.loads((RESULTS / "order.json").read_text())["figures"]
    assert figures.keys() == DATA.keys()
    for rows in figures.values():
        assert {name: round(row["slope"], 1) for name, row in rows.items()} == SLOPES
