"""What training minimises: weights that make all losses one, and the hybrid loss of a learned variance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen import ops
from minigen.diffusion import GaussianDiffusion, Objective, make_schedule
from minigen.diffusion.likelihood import reverse_term
from minigen.diffusion.objective import WEIGHTINGS, level_weights
from minigen.tensor import Tensor

TARGETS = ["eps", "x0", "v", "mean"]
SCHEDULE = make_schedule("cosine", 100)
GAMMA = 5.0


def batch(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def says(process, x0_hat, xt, t):
    """What a network of this target has to say to mean x0_hat."""
    return process.target_of(x0_hat, t, process.x0_and_eps(x0_hat, xt, t, "x0")[1])


@pytest.mark.parametrize("weighting", [w for w in WEIGHTINGS if w != "simple"])
@given(t=st.integers(1, 99), seed=st.integers(0, 99))
def test_the_weights_make_one_loss_of_all_targets(weighting, t, seed):
    """The same guess of x0, spoken in four ways, costs the same: the weight in front of |d x0|^2 times it."""
    x0, eps, x0_hat, t = batch(seed, 1, 6), batch(seed + 1, 1, 6), batch(seed + 2, 1, 6), np.array([t])
    snr, beta = SCHEDULE.snr[t[0]], SCHEDULE.beta[t[0]]
    c = GaussianDiffusion(SCHEDULE).posterior_x0[t[0]]
    weight = {"x0": 1, "eps": snr, "v": snr + 1, "min-snr": min(snr, GAMMA), "vlb": c**2 / (2 * beta)}[weighting]
    for target in TARGETS:
        process = GaussianDiffusion(SCHEDULE, target)
        model = lambda xt, t, p=process: says(p, x0_hat, xt, t)  # noqa: E731
        loss = float(Objective(process, weighting, GAMMA).loss(model, x0, t, eps))
        assert loss == pytest.approx(weight * ((x0_hat - x0) ** 2).mean(), rel=1e-6), target


@pytest.mark.parametrize("target", TARGETS)
def test_the_simple_loss_weighs_every_level_alike_in_its_own_form(target):
    process = GaussianDiffusion(SCHEDULE, target)
    assert np.array_equal(level_weights(process)[1:], np.ones(100))


def test_min_snr_for_v_divides_by_snr_plus_1():
    """Hang et al.: min(snr, gamma) / snr for eps, min(snr, gamma) for x0, min(snr, gamma) / (snr + 1) for v."""
    snr = SCHEDULE.snr[1:]
    for target, expected in [
        ("eps", np.minimum(snr, GAMMA) / snr),
        ("x0", np.minimum(snr, GAMMA)),
        ("v", np.minimum(snr, GAMMA) / (snr + 1)),
    ]:
        found = level_weights(GaussianDiffusion(SCHEDULE, target), "min-snr", GAMMA)[1:]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.max() <= GAMMA


def test_the_bounds_weight_is_that_of_the_deck():
    """beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) with sigma^2 = beta, for eps; and T = 1 has a weight too."""
    beta, alpha_bar = SCHEDULE.beta[1:], SCHEDULE.alpha_bar[1:]
    found = level_weights(GaussianDiffusion(SCHEDULE), "vlb")[1:]
    np.testing.assert_allclose(found, beta / (2 * (1 - beta) * (1 - alpha_bar)), rtol=1e-9)
    for weighting in WEIGHTINGS:
        for target in TARGETS:
            process = GaussianDiffusion(make_schedule("cosine", 1), target, learned_variance=True)
            assert np.isfinite(level_weights(process, weighting)).all()
            assert np.isfinite(process.log_posterior_variance).all()


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match="weighting must be one of simple, x0, eps, v, min-snr, vlb, got 'snr'"):
        Objective(GaussianDiffusion(SCHEDULE), "snr")


def test_losses_are_those_of_each_sample():
    process = GaussianDiffusion(SCHEDULE, "v")
    x0, eps, t = batch(1, 3, 2, 2, 1), batch(2, 3, 2, 2, 1), np.array([1, 50, 100])
    objective = Objective(process, "min-snr")
    together = np.asarray(objective.losses(lambda x, t: 0.5 * x, x0, t, eps))
    one_by_one = [
        float(objective.loss(lambda x, t: 0.5 * x, x0[i : i + 1], t[i : i + 1], eps[i : i + 1])) for i in range(3)
    ]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)


# ---------------------------------------------------------------- learned variance


def learned(target="eps"):
    return GaussianDiffusion(SCHEDULE, target, learned_variance=True)


@pytest.mark.parametrize("t", [1, 2, 50, 100])
def test_the_hybrid_loss_is_the_simple_loss_and_lambda_times_the_bound(t):
    process, t = learned(), np.full(2, t)
    x0, eps = batch(1, 2, 3, 3, 1).clip(-1, 1), batch(2, 2, 3, 3, 1)
    output = batch(3, 2, 3, 3, 2)
    prediction, share = output[..., :1], (output[..., 1:] + 1) / 2
    xt = process.q_sample(x0, t, eps)
    term = np.asarray(reverse_term(process, prediction, share, x0, xt, t, "learned"))
    simple = ((prediction - eps) ** 2).reshape(2, -1).mean(1)
    found = np.asarray(Objective(process, vlb_weight=0.01).losses(lambda x, t: Tensor(output), x0, t, eps))
    np.testing.assert_allclose(found, simple + 0.01 * 100 * term / 9, rtol=1e-12)


@pytest.mark.parametrize("t", [1, 2, 50])
def test_the_bound_moves_the_variance_and_not_the_mean(t):
    """The prediction's gradient is that of the simple loss alone; the variance's is the bound's."""
    process, t = learned(), np.full(2, t)
    x0, eps = batch(1, 2, 3, 3, 1).clip(-1, 1), batch(2, 2, 3, 3, 1)
    output = Tensor(0.3 * batch(3, 2, 3, 3, 2), requires_grad=True)
    Objective(process, vlb_weight=0.5).loss(lambda x, t: output, x0, t, eps).backward()
    gradient = np.asarray(output.grad)
    alone = Tensor(output.data[..., :1].copy(), requires_grad=True)
    ops.mse(alone, eps).backward()
    np.testing.assert_allclose(gradient[..., :1], np.asarray(alone.grad), rtol=1e-12)
    xt, u, h = process.q_sample(x0, t, eps), output.data[..., 1:], 1e-6

    def bound_at(u):
        return np.asarray(reverse_term(process, output.data[..., :1], (u + 1) / 2, x0, xt, t, "learned")).mean()

    step = np.zeros_like(u)
    step[1, 2, 0] = h
    slope = (bound_at(u + step) - bound_at(u - step)) / (2 * h) * 0.5 * 100 / 9
    assert gradient[1, 2, 0, 1] == pytest.approx(slope, rel=1e-5)


def test_the_variance_lies_between_beta_and_the_posteriors_in_logarithms():
    process, t = learned(), np.array([1, 2, 100])
    x = np.zeros((3, 1))
    for share, expected in [(0.0, process.log_posterior_variance), (1.0, np.log(SCHEDULE.beta[1:], where=True))]:
        from minigen.diffusion.likelihood import reverse_logvar

        found = reverse_logvar(process, x + share, x, t, "learned")[:, 0]
        expected = expected[t] if share == 0 else expected[t - 1]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert process.log_posterior_variance[1] == process.log_posterior_variance[2]
    half = reverse_logvar(process, x + 0.5, x, t, "learned")[1, 0]
    assert half == pytest.approx((np.log(SCHEDULE.beta[2]) + np.log(process.posterior_variance[2])) / 2)


def test_twice_the_channels_are_split_into_prediction_and_share():
    output = np.arange(12.0).reshape(1, 3, 4)
    prediction, share = learned().split(output)
    np.testing.assert_array_equal(prediction, output[..., :2])
    np.testing.assert_array_equal(share, (output[..., 2:] + 1) / 2)
    assert GaussianDiffusion(SCHEDULE).split(output) == (output, None)
