"""The diffusion process against Gaussian arithmetic done by brute force.

Every map here is affine in (data, noise), so its values on a few chosen inputs give means and
variances exactly: no test needs to draw a number to know a moment.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen import ops
from minigen.diffusion import GaussianDiffusion, Objective, make_schedule
from minigen.tensor import Tensor

NAMES, TARGETS = ["linear", "cosine", "sigmoid"], ["eps", "x0", "v", "mean"]
T = 1000
PROCESSES = {name: GaussianDiffusion(make_schedule(name, T)) for name in NAMES}
LEVELS = [1, 2, 3, 10, 300, 999, 1000]
M, S = 0.7, 0.4  # Gaussian data N(M, S^2)


def batch(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def constant(level, n):
    return np.full(n, level)


@pytest.mark.parametrize("name", NAMES)
def test_t_single_steps_are_one_jump(name):
    process = PROCESSES[name]
    signal, variance = np.ones(1), 0.0
    for t in range(1, T + 1):
        signal = process.q_step(signal, constant(t, 1), np.zeros(1))
        kept, added = process.q_step(np.array([1.0, 0.0]), constant(t, 2), np.array([0.0, 1.0]))
        variance = kept**2 * variance + added**2
        jump = process.q_sample(np.array([1.0, 0.0]), constant(t, 2), np.array([0.0, 1.0]))
        np.testing.assert_allclose([signal[0], variance], [jump[0], jump[1] ** 2], rtol=1e-12)
    assert process.q_sample(np.ones(1), constant(1, 1), np.zeros(1))[0] == np.sqrt(1 - process.schedule.beta[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", LEVELS)
def test_the_posterior_is_gaussian_conditioning(name, t):
    """(x_{t-1}, x_t) given x0 is jointly Gaussian; condition its covariance matrix on x_t."""
    process = PROCESSES[name]
    x0, xt = batch(t, 5), batch(t + 1, 5)
    beta, before = process.schedule.beta[t], np.prod(1 - process.schedule.beta[:t])
    a, var = np.sqrt(1 - beta), 1 - before
    covariance = np.array([[var, a * var], [a * var, a**2 * var + beta]])
    gain = covariance[0, 1] / covariance[1, 1]
    mean = np.sqrt(before) * x0 + gain * (xt - a * np.sqrt(before) * x0)
    found_mean, found_variance = process.posterior(x0, xt, constant(t, 5))
    np.testing.assert_allclose(found_mean, mean, atol=1e-12)
    np.testing.assert_allclose(found_variance, np.full(5, covariance[0, 0] - gain * covariance[0, 1]), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_at_level_1_the_posterior_is_x0_and_its_variance_exactly_0(name):
    x0, xt = batch(1, 3, 2), batch(2, 3, 2)
    mean, variance = PROCESSES[name].posterior(x0, xt, constant(1, 3))
    np.testing.assert_allclose(mean, x0, rtol=1e-12)
    assert variance.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_are_finite_at_every_level(name):
    process = PROCESSES[name]
    posterior = [process.posterior_variance, process.posterior_x0, process.posterior_xt]
    for table in [*posterior, process.signal, process.noise]:
        assert table.dtype == np.float64
        assert table.shape == (T + 1,)
        assert np.isfinite(table).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
@given(t=st.integers(1, T - 1), seed=st.integers(0, 99))
def test_each_target_gives_back_x0_and_eps(name, target, t, seed):
    process = GaussianDiffusion(PROCESSES[name].schedule, target)
    x0, eps, t = batch(seed, 4, 3, 3, 1), batch(seed + 1, 4, 3, 3, 1), constant(t, 4)
    xt = process.q_sample(x0, t, eps)
    found = process.x0_and_eps(process.target_of(x0, t, eps), xt, t)
    tolerance = 1e-12 * max(process.schedule.snr[t[0]], 1 / process.schedule.snr[t[0]]) ** 0.5
    np.testing.assert_allclose(found[0], x0, atol=tolerance)
    np.testing.assert_allclose(found[1], eps, atol=tolerance)


def test_v_is_sqrt_alpha_bar_eps_minus_sqrt_1_minus_alpha_bar_x0():
    process = PROCESSES["cosine"]
    x0, eps, t = batch(1, 4, 2), batch(2, 4, 2), np.array([1, 20, 500, 1000])
    alpha_bar = process.schedule.alpha_bar[t][:, None]
    v = np.sqrt(alpha_bar) * eps - np.sqrt(1 - alpha_bar) * x0
    np.testing.assert_allclose(process.target_of(x0, t, eps, "v"), v, rtol=1e-14)
    assert process.target_of(x0, t, eps) is eps
    assert process.target_of(x0, t, eps, "x0") is x0


@pytest.mark.parametrize("source", TARGETS)
@given(t=st.integers(1, T - 1), seed=st.integers(0, 99))
def test_one_prediction_gives_equal_weighted_losses_in_all_forms(source, t, seed):
    """|d eps|^2 = snr |d x0|^2 and |d v|^2 = (snr + 1) |d x0|^2, whichever form the network speaks."""
    process, snr = PROCESSES["cosine"], PROCESSES["cosine"].schedule.snr[t]
    x0, eps, prediction, t = batch(seed, 1, 6), batch(seed + 1, 1, 6), batch(seed + 2, 1, 6), constant(t, 1)
    xt = process.q_sample(x0, t, eps)
    x0_hat, eps_hat = process.x0_and_eps(prediction, xt, t, source)
    v_hat = process.target_of(x0_hat, t, eps_hat, "v")
    d_x0, d_eps, d_v = x0_hat - x0, eps_hat - eps, v_hat - process.target_of(x0, t, eps, "v")
    np.testing.assert_allclose((d_eps**2).sum(), snr * (d_x0**2).sum(), rtol=1e-6)
    np.testing.assert_allclose((d_v**2).sum(), (snr + 1) * (d_x0**2).sum(), rtol=1e-6)


def exact_prediction(process):
    """E[target | x_t] for data N(M, S^2): the conditional mean, which no network can beat."""

    def model(x, t):
        shape = (-1,) + (1,) * (x.ndim - 1)
        a, b = process.signal[t].reshape(shape), process.noise[t].reshape(shape)
        variance = a**2 * S**2 + b**2
        x0, eps = M + a * S**2 * (x - a * M) / variance, b * (x - a * M) / variance
        mean = x0 * process.posterior_x0[t].reshape(shape) + x * process.posterior_xt[t].reshape(shape)
        return {"x0": x0, "eps": eps, "v": a * eps - b * x0, "mean": mean}[process.target]

    return model


@pytest.mark.parametrize("t", LEVELS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_exact_denoiser_reaches_the_loss_floor_on_gaussian_data_and_no_other_does(target, t):
    """Floor per dimension, with V = alpha_bar S^2 + 1 - alpha_bar:
    x0: S^2 (1 - alpha_bar) / V        eps: S^2 alpha_bar / V        v: S^2 / V        mean: c^2 that of x0

    The error of such a model is affine in (x0 - M, eps), so its mean square over N(0, S^2) x N(0, 1) is
    exactly that over the four points (+-sqrt 2 S, 0), (0, +-sqrt 2): the loss of a batch of four.
    """
    process = GaussianDiffusion(PROCESSES["linear"].schedule, target)
    x0, eps = M + np.sqrt(2) * S * np.array([1.0, -1, 0, 0]), np.sqrt(2) * np.array([0.0, 0, 1, -1])
    model, alpha_bar = exact_prediction(process), process.schedule.alpha_bar[t]
    variance = alpha_bar * S**2 + 1 - alpha_bar
    x0_floor, c = S**2 * (1 - alpha_bar), process.posterior_x0[t]
    floor = {"x0": x0_floor, "eps": S**2 * alpha_bar, "v": S**2, "mean": c**2 * x0_floor}[target] / variance

    def loss(model):
        return float(Objective(process).loss(model, x0, constant(t, 4), eps))

    assert loss(model) == pytest.approx(floor, rel=1e-8)
    assert loss(lambda x, t: model(x, t) + 0.01) == pytest.approx(floor + 1e-4, rel=1e-8)
    assert loss(lambda x, t: model(x, t) + 0.01 * x) > floor < loss(lambda x, t: model(x, t) - 0.01 * x)
    if (target, t) != ("mean", 1):  # the neighbouring level's denoiser; at level 1 the mean is x0, at level 2 not
        assert loss(lambda x, t: model(x, t + 1 if t[0] == 1 else t - 1)) > floor


@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_is_the_mean_over_all_elements_and_has_the_gradient_of_least_squares(target):
    process = GaussianDiffusion(make_schedule("cosine", 50), target)
    x0, eps, t = batch(1, 4, 3, 3, 2), batch(2, 4, 3, 3, 2), np.array([1, 7, 30, 50])
    w = Tensor(np.array(0.3), requires_grad=True)
    loss = Objective(process).loss(lambda x, t: w * x, x0, t, eps)
    xt, y = process.q_sample(x0, t, eps), process.target_of(x0, t, eps)
    assert loss.shape == ()
    assert loss.dtype == np.float64
    np.testing.assert_allclose(float(loss), ((0.3 * xt - y) ** 2).mean(), rtol=1e-12)
    loss.backward()
    np.testing.assert_allclose(float(w.grad), (2 * (0.3 * xt - y) * xt).mean(), rtol=1e-10)


def test_the_network_is_asked_at_the_level_that_the_noise_was_added_for():
    process, seen = PROCESSES["linear"], []

    def model(x, t):
        seen.append((x, t))
        return x

    x0, eps, t = batch(1, 3, 2), batch(2, 3, 2), np.array([1, 500, 1000])
    Objective(process).loss(model, x0, t, eps)
    (xt, asked), alpha_bar = seen[0], np.cumprod(1 - process.schedule.beta)[t][:, None]
    assert asked.tolist() == t.tolist()
    np.testing.assert_allclose(xt, np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * eps, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_and_arrays_give_the_same_numbers_and_keep_their_dtype(dtype):
    process = PROCESSES["cosine"]
    x0, eps, t = batch(1, 4, 2, 2, 1, dtype=dtype), batch(2, 4, 2, 2, 1, dtype=dtype), np.array([1, 2, 500, 1000])
    tensors = Tensor(x0), Tensor(eps)
    pairs = [
        (process.q_sample(x0, t, eps), process.q_sample(tensors[0], t, tensors[1])),
        (process.q_step(x0, t, eps), process.q_step(tensors[0], t, tensors[1])),
        (process.posterior(x0, eps, t)[0], process.posterior(*tensors, t)[0]),
        (process.target_of(x0, t, eps, "v"), process.target_of(tensors[0], t, tensors[1], "v")),
        *[pair for s in TARGETS for pair in zip(process.x0_and_eps(x0, eps, t, s), process.x0_and_eps(*tensors, t, s))],
    ]
    for array, tensor in pairs:
        assert isinstance(tensor, Tensor)
        assert array.dtype == tensor.dtype == dtype
        assert np.array_equal(array, np.asarray(tensor))


def test_q_sample_is_differentiable_in_x0():
    x0 = Tensor(batch(1, 2, 3), requires_grad=True)
    t = np.array([10, 400])
    ops.sum(PROCESSES["linear"].q_sample(x0, t, batch(2, 2, 3))).backward()
    np.testing.assert_allclose(np.asarray(x0.grad), np.repeat(PROCESSES["linear"].signal[t][:, None], 3, axis=1))


def test_float32_coefficients_are_rounded_once_from_float64_tables():
    """1 - alpha_bar_1 = 1e-4: tables kept in float32 would give 0.0099993 or worse for its root."""
    x = PROCESSES["linear"].q_sample(np.zeros(1, np.float32), constant(1, 1), np.ones(1, np.float32))
    assert x[0] == np.float32(np.sqrt(1e-4))


@pytest.mark.parametrize(
    ("t", "error"),
    [
        (np.array([0, 1]), r"1 ... T = 1000, got 0 ... 1"),
        (np.array([1, 1001]), r"1 ... T = 1000, got 1 ... 1001"),
        (np.array([-1, 5]), "got -1 ... 5"),
        (np.array([1.0, 2.0]), "one integer a sample"),
        (np.array([1]), r"shape \(2,\), got int64\(1,\)"),
        (5, "one integer a sample"),
    ],
)
def test_levels_that_are_none_are_refused(t, error):
    process, x = PROCESSES["linear"], np.zeros((2, 3))
    for call in (
        lambda: process.q_sample(x, t, x),
        lambda: process.q_step(x, t, x),
        lambda: process.posterior(x, x, t),
        lambda: process.x0_and_eps(x, x, t),
        lambda: process.target_of(x, t, x),
        lambda: Objective(process).loss(lambda x, t: x, x, t, x),
    ):
        with pytest.raises(ValueError, match=error):
            call()


def test_arrays_that_do_not_match_are_refused_by_name():
    process, x, t = PROCESSES["linear"], np.zeros((2, 3), np.float32), np.array([1, 2])
    with pytest.raises(ValueError, match=r"eps must be float32\(2, 3\), got float32\(2, 1\)"):
        process.q_sample(x, t, x[:, :1])
    with pytest.raises(ValueError, match=r"eps must be float32\(2, 3\), got float64\(2, 3\)"):
        process.q_sample(x, t, x.astype(np.float64))
    with pytest.raises(TypeError, match="x0 must be float32 or float64, got uint8"):
        process.q_sample(x.astype(np.uint8), t, x)
    with pytest.raises(ValueError, match=r"prediction of the model must be float32\(2, 3\), got float32\(2,\)"):
        Objective(process).loss(lambda x, t: x[:, 0], x, t, x)
    with pytest.raises(ValueError, match="target must be one of eps, x0, v, mean, got 'score'"):
        GaussianDiffusion(process.schedule, "score")
    with pytest.raises(ValueError, match="source must be one of eps, x0, v, mean, got 'mu'"):
        process.x0_and_eps(x, x, t, "mu")


@pytest.mark.parametrize("shape", [(0, 4, 4, 1), (0,)])
def test_an_empty_batch_stays_empty(shape):
    process, x = PROCESSES["linear"], np.zeros(shape, np.float32)
    assert process.q_sample(x, np.zeros(0, int), x).shape == shape
