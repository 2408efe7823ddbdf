"""Samplers against closed forms: Gaussian data, whose exact denoiser makes every step an affine map.

`moments` reads the map x -> A x + B + C z off three inputs and carries mean and variance through all
steps exactly, so that 0.9999 can be told from 1 without drawing ten billion samples.
"""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.autograd import is_recording
from minigen.diffusion import (
    SAMPLERS,
    GaussianDiffusion,
    ddim_levels,
    ddim_sample,
    ddim_step,
    ddpm_sample,
    ddpm_step,
    make_schedule,
)
from minigen.random import Generator
from minigen.tensor import Tensor

TARGETS = ["eps", "x0", "v", "mean"]


def process_of(name="linear", T=1000, target="eps"):
    return GaussianDiffusion(make_schedule(name, T), target)


def exact_model(process, mean=0.0, std=1.0):
    """E[target | x_t] for data N(mean, std^2)."""

    def model(x, t):
        shape = (-1,) + (1,) * (x.ndim - 1)
        a, b = (table[t].astype(x.dtype).reshape(shape) for table in (process.signal, process.noise))
        score = (x - a * mean) / (a**2 * std**2 + b**2)
        x0, eps = mean + a * std**2 * score, b * score
        if process.target == "mean":
            return process.posterior(x0, x, t)[0]
        return {"x0": x0, "eps": eps, "v": a * eps - b * x0}[process.target]

    return model


def moments(process, model, steps):
    """Mean and variance at level 0 from N(0, 1) at level T. steps: [(level, step(x, prediction, noise))]."""
    mean, variance = 0.0, 1.0
    for level, step in steps:
        x, noise = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
        at_0, at_1, at_noise = step(x, model(x, np.full(3, level)), noise)
        mean, variance = (at_1 - at_0) * mean + at_0, (at_1 - at_0) ** 2 * variance + (at_noise - at_0) ** 2
    return mean, variance


def ddpm_moments(process, model, variance):
    levels = range(process.T, 0, -1)
    return moments(process, model, [(level, partial(ddpm_fall, process, level, variance)) for level in levels])


def ddpm_fall(process, level, variance, x, prediction, noise):
    return ddpm_step(process, x, prediction, level, level - 1, noise, variance)


def ddim_moments(process, model, steps, eta):
    levels = ddim_levels(process.T, steps)
    jumps = zip(levels, levels[1:])
    return moments(process, model, [(a, partial(ddim_jump, process, a, b, eta)) for a, b in jumps])


def ddim_jump(process, level, below, eta, x, prediction, noise):
    return ddim_step(process, x, prediction, level, below, eta, noise)


# ---------------------------------------------------------------- exact moments


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("variance", "expected"), [("beta", 0.9999), ("posterior", 0.99107)])
def test_ancestral_sampling_of_standard_normal_data_ends_at_the_known_variance(target, variance, expected):
    """sigma^2 = beta keeps variance 1 at every level but the last, which adds no noise: alpha_1 = 0.9999."""
    process = process_of(target=target)
    mean, found = ddpm_moments(process, exact_model(process), variance)
    assert abs(mean) < 1e-12
    assert found == pytest.approx(expected, abs=5e-6 if variance == "posterior" else 1e-10)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_the_posterior_variance_is_exact_for_data_that_is_one_point(name):
    process, point = process_of(name, 200), 0.6
    model = exact_model(process, point, 0.0)
    mean, variance = 0.0, 1.0
    for level in range(process.T, 1, -1):
        x, noise = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
        at_0, at_1, at_noise = ddpm_step(process, x, model(x, np.full(3, level)), level, level - 1, noise, "posterior")
        mean, variance = (at_1 - at_0) * mean + at_0, (at_1 - at_0) ** 2 * variance + (at_noise - at_0) ** 2
        # the start, N(0, 1), has lost the last alpha_bar_T: below 1e-4 of the mean and variance
        alpha_bar = process.schedule.alpha_bar[level - 1]
        assert mean == pytest.approx(np.sqrt(alpha_bar) * point, abs=0.01)
        assert variance == pytest.approx(1 - alpha_bar, abs=1e-4)
    assert ddpm_moments(process, model, "posterior") == (pytest.approx(point, rel=1e-12), pytest.approx(0, abs=1e-24))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.3), (-2.0, 1.5)])
def test_ancestral_sampling_of_gaussian_data_comes_close_to_its_moments(mean, std):
    process = process_of()
    for variance in ("beta", "posterior"):
        found = ddpm_moments(process, exact_model(process, mean, std), variance)
        assert found == (pytest.approx(mean, abs=0.02), pytest.approx(std**2, rel=0.03))


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_ddim_with_eta_1_and_every_level_is_ancestral_sampling_with_the_posterior_variance(name):
    process = process_of(name, 100)
    model = exact_model(process, 0.3, 0.5)
    ddpm = ddpm_sample(process, model, np.ones((5, 2)), Generator(1), variance="posterior")
    ddim = ddim_sample(process, model, np.ones((5, 2)), Generator(1), steps=100, eta=1.0)
    np.testing.assert_allclose(ddim, ddpm, rtol=1e-9)
    for level in (1, 2, 50, 100):
        x, prediction, noise = Generator(2).normal((3, 4), np.float64)
        expected = ddpm_step(process, x, prediction, level, level - 1, noise, "posterior")
        np.testing.assert_allclose(
            ddim_step(process, x, prediction, level, level - 1, 1.0, noise), expected, rtol=1e-10
        )


@pytest.mark.parametrize(("mean", "std"), [(0.7, 0.3), (-1.0, 2.0)])
def test_the_error_of_ddim_under_the_exact_score_falls_as_1_over_steps(mean, std):
    """The probability-flow ODE of Gaussian data keeps (x_t - mean_t) / std_t; DDIM is its first-order solver.

    T = 4000 so that the widest comparison, 800 steps, is still far from every level visited.
    """
    process = process_of("linear", 4000)
    model, a = exact_model(process, mean, std), process.signal[process.T]
    x_T = np.array([-1.0, 0.5, 2.0])
    exact = mean + std * (x_T - a * mean) / np.sqrt(a**2 * std**2 + 1 - a**2)
    steps = np.array([50, 100, 200, 400, 800])
    errors = [np.abs(ddim_sample(process, model, x_T, Generator(0), steps=s) - exact).max() for s in steps.tolist()]
    slopes = np.diff(np.log(errors)) / np.diff(np.log(steps))
    assert np.all(np.abs(slopes + 1) < 0.12), slopes


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_keeps_the_marginals_of_a_point_at_any_eta_and_number_of_steps(eta):
    """What eta shifts between old and new noise adds up to 1 - alpha_bar at each level (Song lemma 1)."""
    process, x, noise = process_of("cosine", 60), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    for level, below in [(60, 59), (60, 10), (31, 7), (2, 1)]:
        eps = np.array([1.0, 0.0])  # x = 0 * x0 + noise level * eps in the first entry, new noise in the second
        kept, added = ddim_step(process, process.noise[level] * x, eps, level, below, eta, noise)
        assert kept**2 + added**2 == pytest.approx(1 - process.schedule.alpha_bar[below], rel=1e-10)
        assert (added == 0) == (eta == 0)


def test_drawn_samples_have_the_moments_that_were_carried_through_exactly():
    """So the noise that is really drawn is fresh and independent at every step."""
    process, n = process_of("linear", 200), 20_000
    model = exact_model(process, 0.7, 0.3)
    for drawn, (mean, variance) in [
        (ddpm_sample(process, model, (n,), Generator(3)), ddpm_moments(process, model, "beta")),
        (ddim_sample(process, model, (n,), Generator(4), steps=50, eta=1.0), ddim_moments(process, model, 50, 1.0)),
    ]:
        assert abs(drawn.mean(dtype=np.float64) - mean) < 4 * np.sqrt(variance / n)
        assert abs(drawn.var(dtype=np.float64) / variance - 1) < 4 * np.sqrt(2 / n)


# ---------------------------------------------------------------- levels: where each step starts and lands


@given(T=st.integers(1, 1000), data=st.data())
def test_ddim_levels_fall_strictly_from_T_to_0_for_any_number_of_steps(T, data):
    steps = data.draw(st.integers(1, T))
    levels = ddim_levels(T, steps)
    assert levels[0] == T
    assert levels[-1] == 0
    assert len(levels) == steps + 1
    assert all(type(level) is int for level in levels)
    gaps = -np.diff(levels)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@given(T=st.integers(1, 1000), data=st.data())
def test_quadratic_levels_never_repeat_and_follow_the_square_where_there_is_room(T, data):
    steps = data.draw(st.integers(1, T))
    levels = ddim_levels(T, steps, "quadratic")
    assert (levels[0], levels[-1], len(levels)) == (T, 0, steps + 1)
    assert (-np.diff(levels)).min() >= 1
    square = [T * i * i // steps**2 for i in range(steps, -1, -1)]
    assert all(level == max(wish, i) for level, wish, i in zip(levels, square, range(steps, -1, -1)))
    if steps**2 <= T:
        assert levels == square


@pytest.mark.parametrize("variance", ["beta", "posterior"])
@pytest.mark.parametrize(("level", "below"), [(60, 59), (60, 31), (7, 2)])
def test_an_ancestral_step_over_several_levels_is_gaussian_conditioning(variance, level, below):
    """(x_s, x_t) given x0 is jointly Gaussian: condition on x_t. sigma-hat is the forward step's own variance."""
    process, x0 = process_of("cosine", 60), np.array([0.3, -0.8])
    xt, here, there = np.array([1.1, 0.2]), *process.schedule.alpha_bar[[level, below]]
    prediction = process.x0_and_eps(x0, xt, np.full(2, level), "x0")[1]
    ratio = np.sqrt(here / there)
    gain = ratio * (1 - there) / (1 - here)  # cov(x_s, x_t) / var(x_t)
    mean = np.sqrt(there) * x0 + gain * (xt - np.sqrt(here) * x0)
    deviation = {"beta": np.sqrt(1 - here / there), "posterior": np.sqrt(1 - there - gain * ratio * (1 - there))}
    found = [ddpm_step(process, xt, prediction, level, below, z, variance) for z in (0.0, 1.0)]
    np.testing.assert_allclose(found[0], mean, rtol=1e-9)
    np.testing.assert_allclose(found[1] - found[0], deviation[variance], rtol=1e-9)


def test_sigma_hat_over_every_level_is_beta_and_eta_1_is_the_posterior_at_any_steps():
    process, x = process_of("cosine", 60), np.ones((3, 2))
    model = exact_model(process, 0.2, 0.5)
    for steps in (60, 13):
        ddpm = ddpm_sample(process, model, x, Generator(1), steps, "posterior")
        np.testing.assert_allclose(ddpm, ddim_sample(process, model, x, Generator(1), steps, eta=1.0), rtol=1e-9)
    every = ddpm_sample(process, model, x, Generator(1))
    assert np.array_equal(every, ddpm_sample(process, model, x, Generator(1), 60))
    step = ddpm_step(process, x, 0 * x, 30, 29, 1.0) - ddpm_step(process, x, 0 * x, 30, 29, 0.0)
    np.testing.assert_allclose(step, np.sqrt(process.schedule.beta[30]), rtol=1e-12)


@pytest.mark.parametrize(("level", "below"), [(50, 49), (50, 20), (2, 1)])
def test_a_learned_variance_lies_between_posterior_and_beta(level, below):
    """The last channels say where, in logarithms: -1 the posterior, 1 beta, 0 their geometric mean."""
    plain, learned = process_of("cosine", 60), GaussianDiffusion(make_schedule("cosine", 60), "eps", True)
    x, prediction = np.full((2, 3), 0.4), np.full((2, 3), -0.1)

    def spread(process, output, variance):
        steps = [ddpm_step(process, x, output, level, below, z, variance) for z in (0.0, 1.0)]
        return (steps[1] - steps[0])[0, 0]

    posterior, beta = (spread(plain, prediction, v) for v in ("posterior", "beta"))
    for u, expected in [(-1.0, posterior), (1.0, beta), (0.0, np.sqrt(posterior * beta))]:
        output = np.concatenate([prediction, np.full((2, 3), u)], axis=-1)
        assert spread(learned, output, "learned") == pytest.approx(expected, rel=1e-9)
        assert spread(learned, output, "beta") == pytest.approx(beta, rel=1e-12)
        np.testing.assert_array_equal(
            ddim_step(learned, x, output, level, below), ddim_step(plain, x, prediction, level, below)
        )


def test_sampling_may_begin_at_any_level():
    process, calls = process_of("cosine", 50, "x0"), []
    point, noise = np.array([[0.2, -0.9]]), np.array([[1.5, -0.3]])

    def model(x, t):
        calls.append(int(t[0]))
        np.testing.assert_allclose(x, process.q_sample(point, t, noise), rtol=1e-9)
        return point

    start = process.q_sample(point, np.array([30]), noise)
    for sample in SAMPLERS.values():
        if sample is not ddpm_sample:
            calls.clear()
            sample(process, model, start, Generator(0), 7, from_level=30)
            assert calls[0] == 30
            assert set(calls) == set(ddim_levels(30, 7)[:-1])


@pytest.mark.parametrize("target", TARGETS[:3])
@pytest.mark.parametrize(("T", "steps"), [(1000, 7), (1000, 50), (100, 99), (100, 100), (37, 1)])
def test_every_ddim_step_lands_on_the_level_that_the_next_call_starts_from(target, T, steps):
    """Data that is one point, with one noise: then x at level t must be q_sample(point, t, noise), at every call.

    (The mean is left to test_solvers.py: said of the exact x, it makes rounding grow from step to step.)
    """
    process, calls = process_of("cosine", T, target), []
    point, noise = np.array([[0.2, -0.9]]), np.array([[1.5, -0.3]])

    def model(x, t):
        calls.append(int(t[0]))
        np.testing.assert_allclose(x, process.q_sample(point, t, noise), rtol=1e-9)
        return process.target_of(point, t, noise)

    x_T = process.q_sample(point, np.array([T]), noise)
    np.testing.assert_allclose(ddim_sample(process, model, x_T, Generator(0), steps=steps), point, rtol=1e-9)
    assert calls == ddim_levels(T, steps)[:-1]


def test_ddpm_asks_the_network_once_at_every_level_from_T_to_1():
    process, calls = process_of("cosine", 30), []

    def model(x, t):
        assert t.shape == (4,)
        assert len(set(t.tolist())) == 1
        assert t.dtype.kind == "i"
        calls.append(int(t[0]))
        return np.zeros_like(x)

    ddpm_sample(process, model, (4, 2), Generator(0))
    assert calls == list(range(30, 0, -1))


class CountingGenerator(Generator):
    draws = 0

    def normal(self, shape, dtype=np.float32, device="cpu"):
        self.draws += 1
        return super().normal(shape, dtype, device)


def test_no_noise_is_drawn_or_added_in_the_last_step_nor_at_eta_0():
    process = process_of("cosine", 20)
    model, x = exact_model(process), np.ones((2, 3))
    for sample, draws in [
        (lambda rng: ddpm_sample(process, model, x, rng), 19),
        (lambda rng: ddim_sample(process, model, x, rng, steps=7, eta=1.0), 6),
        (lambda rng: ddim_sample(process, model, x, rng, steps=7), 0),
    ]:
        rng = CountingGenerator(0)
        sample(rng)
        assert rng.draws == draws
    loud = np.full_like(x, 1e6)
    assert np.abs(ddpm_step(process, x, x, 1, 0, loud)).max() < 10
    assert np.abs(ddim_step(process, x, x, 9, 0, 1.0, loud)).max() < 10


# ---------------------------------------------------------------- clipping, determinism, dtypes


@pytest.mark.parametrize("target", TARGETS)
def test_a_clipped_x0_comes_with_the_eps_that_still_makes_up_x(target):
    process, level, below = process_of("cosine", 50, target), 30, 20
    t = np.full(3, level)
    x = np.array([3.0, -3.0, 0.1])
    x0_hat = np.array([2.5, -1.5, 0.4])
    prediction = process.target_of(x0_hat, t, process.x0_and_eps(x0_hat, x, t, "x0")[1])
    clipped = np.array([1.0, -1.0, 0.4])
    eps = (x - process.signal[level] * clipped) / process.noise[level]
    expected = process.signal[below] * clipped + process.noise[below] * eps
    np.testing.assert_allclose(ddim_step(process, x, prediction, level, below, clip_x0=True), expected, rtol=1e-12)
    unclipped = ddim_step(process, x, prediction, level, below)
    assert np.all(np.abs(unclipped - expected)[:2] > 0.01)
    assert unclipped[2] == pytest.approx(expected[2])
    mean, _ = process.posterior(clipped, x, t)
    found = ddpm_step(process, x, prediction, level, level - 1, np.zeros(3), clip_x0=True)
    np.testing.assert_allclose(found, mean, rtol=1e-12)
    assert np.abs(ddpm_step(process, x, prediction, level, level - 1, np.zeros(3)) - mean)[:2].min() > 0.01


def test_clipped_samples_stay_in_the_range_of_pixels_whatever_the_network_says():
    process = process_of("cosine", 20)
    for sample in (ddpm_sample, ddim_sample):
        options = {"steps": 10} if sample is ddim_sample else {}
        x = sample(process, lambda x, t: 5 * x, (3, 4), Generator(0), clip_x0=True, **options)
        assert np.abs(x).max() <= 1 + 1e-6


@pytest.mark.parametrize("sample", [ddpm_sample, ddim_sample])
def test_the_seed_determines_the_sample_bit_for_bit(sample):
    process = process_of("cosine", 20)
    options = {"steps": 9, "eta": 0.5} if sample is ddim_sample else {}
    model = exact_model(process, 0.2, 0.5)
    first, again, other = (sample(process, model, (3, 2), Generator(seed), **options) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.any(first == other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_keep_the_dtype_and_shape_of_x_T_and_leave_it_untouched(dtype):
    process, x_T = process_of("cosine", 20), np.ones((2, 4, 4, 1), dtype)
    x_T.flags.writeable = False
    for x in (
        ddpm_sample(process, exact_model(process), x_T, Generator(0)),
        ddim_sample(process, exact_model(process), x_T, Generator(0), steps=5, eta=1.0, clip_x0=True),
    ):
        assert x.dtype == dtype
        assert x.shape == x_T.shape
    assert ddim_sample(process, exact_model(process), (2, 3), Generator(0), steps=2).dtype == np.float32


def test_the_network_may_return_a_tensor_and_is_not_recorded():
    process = process_of("cosine", 10)
    w = Tensor(np.array(0.5), requires_grad=True)

    def model(x, t):
        assert not is_recording()
        return w * x

    plain = ddpm_sample(process, lambda x, t: 0.5 * x, np.ones((2, 2)), Generator(0))
    found = ddpm_sample(process, model, np.ones((2, 2)), Generator(0))
    assert type(found) is np.ndarray
    assert np.array_equal(found, plain)


def test_a_progress_bar_is_shown_only_when_asked_for(capfd):
    process = process_of("cosine", 10)
    ddim_sample(process, exact_model(process), (1, 2), Generator(0), steps=5)
    assert capfd.readouterr().err == ""
    ddim_sample(process, exact_model(process), (1, 2), Generator(0), steps=5, progress=True)
    assert "5/5" in capfd.readouterr().err


def test_bad_arguments_are_named():
    process, x, rng = process_of("cosine", 10), np.ones((2, 2)), Generator(0)
    model = exact_model(process)
    match = r"prediction must be float64\(2, 2\), got "
    for call, message in [
        (lambda: ddim_sample(process, model, x, rng, steps=11), "steps must lie in 1 ... T = 10, got 11"),
        (lambda: ddim_levels(10, 0), "steps must lie in 1 ... T = 10, got 0"),
        (lambda: ddim_sample(process, model, x, rng, steps=5, eta=1.5), r"eta must lie in \[0, 1\], got 1.5"),
        (lambda: ddim_step(process, x, x, 3, 3), "got 3 -> 3"),
        (lambda: ddim_step(process, x, x, 11, 3), "got 11 -> 3"),
        (lambda: ddim_step(process, x, x, 3, -1), "got 3 -> -1"),
        (lambda: ddpm_sample(process, model, x, rng, variance="learned"), "this model has learned none"),
        (lambda: ddpm_sample(process, model, x, rng, variance="mean"), "one of beta, posterior, learned, got 'mean'"),
        (lambda: ddpm_sample(process, model, x, rng, 11), "steps must lie in 1 ... T = 10, got 11"),
        (lambda: ddim_sample(process, model, x, rng, 5, from_level=11), "from_level must lie in 1 ... T = 10, got 11"),
        (lambda: ddim_levels(10, 5, "cubic"), "spacing must be one of linear, quadratic, got 'cubic'"),
        (lambda: ddpm_sample(process, lambda x, t: x[:, :1], x, rng), match + r"float64\(2, 1\)"),
        (lambda: ddpm_sample(process, lambda x, t: x.astype(np.float32), x, rng), match + "float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
