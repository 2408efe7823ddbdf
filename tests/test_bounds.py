"""The bounds of ln p(x) against a linear-Gaussian model, whose ln p(x) is known, and against brute force."""

import linear_gaussian as known
import numpy as np
import pytest

from minigen import Tensor, check_grads, grad, ops
from minigen.models import bounds
from minigen.random import Generator
from minigen.train.vae import log_mean_exp


def log_weights(model, x, eps):
    eps = Tensor(eps)
    log_px, z, _, logvar = model.encode_and_decode(x, eps)
    return bounds.log_weights(log_px, z, eps, logvar).data


def exact_elbo(model, x):
    """E_q ln p(x | z) - KL(q || p), the expectation by points that are exact for a quadratic."""
    eps = Tensor(known.corners(len(x), 2))
    log_px, _, mu, logvar = model.encode_and_decode(x, eps)
    return bounds.elbo(log_px, bounds.kl_to_prior(mu, logvar)).data


def test_every_weight_is_p_of_x_where_the_encoder_is_the_posterior():
    """p(x, z) / p(z | x) = p(x), whatever z: the log weight has no variance, and all bounds meet ln p(x)."""
    x, model = known.data(6), known.vae()
    log_w = log_weights(model, x, Generator(1).normal((6, 50, 2), np.float64))
    assert abs(log_w - known.log_p(x)[:, None]).max() < 1e-12
    assert abs(exact_elbo(model, x) - known.log_p(x)).max() < 1e-12


def test_elbo_below_iwae_below_log_p_and_tighter_with_k():
    """160,000 draws for each of 3 images: every step of ELBO < IWAE_2 < IWAE_8 < IWAE_64 exceeds 4 standard errors, and
    IWAE_64 is within 0.06 nats of ln p, where the ELBO lacks more than 0.3."""
    x, model = known.data(3), known.poor_vae()
    log_w = log_weights(model, x, Generator(2).normal((3, 64 * 2500, 2), np.float64))
    means, errors = [exact_elbo(model, x)], [np.zeros(3)]
    for k in (1, 2, 8, 64):
        values = np.stack([bounds.iwae_bound(Tensor(row.reshape(-1, k))).data for row in log_w])
        means.append(values.mean(1))
        errors.append(values.std(1) / values.shape[1] ** 0.5)
    assert (abs(means[0] - means[1]) < 4 * errors[1]).all()  # IWAE_1 is the ELBO
    means, errors = [*means[1:], known.log_p(x)], [*errors[1:], np.zeros(3)]
    for lower, upper, a, b in zip(means[:-2], means[1:-1], errors[:-2], errors[1:-1]):
        assert (upper - lower > 4 * (a + b)).all()
    assert (means[-2] < means[-1] + 4 * errors[-2]).all()
    assert abs(means[-2] - means[-1]).max() < 0.06
    assert (means[-1] - means[0]).min() > 0.3


def test_the_gap_of_the_elbo_is_the_kl_to_the_posterior():
    """ln p(x) - ELBO = KL(q(z | x) || p(z | x)), to 12 digits; both are diagonal here."""
    x, model = known.data(5), known.poor_vae()
    moments = []
    for each in (model, known.vae()):
        mu, logvar = each.network.encode(Tensor(x))
        moments += [mu, logvar]
    gap = ops.kl_gaussians(*moments, "none").sum(1).data
    assert abs(known.log_p(x) - exact_elbo(model, x) - gap).max() < 1e-12
    assert gap.min() > 0.1


def test_the_kl_formula_is_its_quadrature():
    mu, logvar = np.array([[0.7, -1.2]]), np.array([[0.5, -1.5]])
    z = np.linspace(-12, 12, 40001)
    q = np.exp(-((z - mu.T) ** 2) / (2 * np.exp(logvar.T)) - logvar.T / 2) / np.sqrt(2 * np.pi)
    log_ratio = np.log(np.maximum(q, 1e-300)) + z**2 / 2 + np.log(2 * np.pi) / 2
    by_quadrature = (q * log_ratio).sum(1) * (z[1] - z[0])
    found = bounds.kl_to_prior(Tensor(mu), Tensor(logvar)).data[0]
    assert abs(found - by_quadrature).max() < 1e-10


def test_the_sampled_kl_is_the_formula_on_average():
    mu, logvar, n = np.array([[0.7, -1.2]]), np.array([[0.5, -1.5]]), 200_000
    eps = Tensor(Generator(3).normal((1, n, 2), np.float64))
    mu, logvar = Tensor(mu), Tensor(logvar)
    z = bounds.reparametrise(mu, logvar, eps)
    found = bounds.sampled_kl_to_prior(z, eps, logvar).data
    error = bounds.log_ratio(z, eps, logvar).data.std(1) / n**0.5
    assert (abs(found - bounds.kl_to_prior(mu, logvar).data) < 4 * error).all()


def test_the_path_gradient_is_right_on_average_and_0_at_the_posterior_for_every_sample():
    """Its value is that of the sampled KL, its mean gradient that of the formula; at the posterior no noise is left."""
    n = 100_000
    mu, logvar = (Tensor(np.full((n, 1), v), requires_grad=True) for v in (0.7, -0.6))
    eps = Tensor(Generator(9).normal((n, 1, 1), np.float64))
    z = bounds.reparametrise(mu, logvar, eps)
    kl = bounds.path_kl_to_prior(z, mu, logvar)
    assert abs(kl.data - bounds.sampled_kl_to_prior(z, eps, logvar).data).max() < 1e-12
    expected = grad(bounds.kl_to_prior(mu, logvar).sum(), [mu, logvar])
    for found, known_ in zip(grad(kl.sum(), [mu, logvar]), expected):
        assert abs(found.data.mean() - known_.data.mean()) < 4 * found.data.std() / n**0.5

    x, model, eps = known.data(4), known.vae(), Tensor(Generator(1).normal((4, 1, 2), np.float64))
    log_px, z, mu, logvar = model.encode_and_decode(x, eps)
    encoder = model.network.encoder.parameters()
    by_path = grad((log_px - bounds.path_kl_to_prior(z, mu, logvar).sum(1, keepdims=True)).sum(), encoder)
    assert max(abs(g.data).max() for g in by_path) < 1e-12
    log_px, z, mu, logvar = model.encode_and_decode(x, eps)
    usual = grad((log_px - bounds.kl_to_prior(mu, logvar).sum(1, keepdims=True)).sum(), encoder)
    assert max(abs(g.data).max() for g in usual) > 0.1


def test_log_ratio_is_the_difference_of_two_log_densities():
    rng = np.random.default_rng(4)
    mu, logvar, eps = rng.standard_normal((3, 2)), rng.standard_normal((3, 2)), rng.standard_normal((3, 5, 2))
    z = bounds.reparametrise(Tensor(mu), Tensor(logvar), Tensor(eps))
    normal = lambda z, m, v: -0.5 * ((z - m) ** 2 / v + np.log(2 * np.pi * v))  # noqa: E731
    expected = normal(z.data, mu[:, None], np.exp(logvar)[:, None]) - normal(z.data, 0, 1)
    assert abs(bounds.log_ratio(z, Tensor(eps), Tensor(logvar)).data - expected).max() < 1e-12


@pytest.mark.parametrize("shift", [0.0, 1000.0, -1000.0])
def test_the_bound_of_k_is_the_log_of_the_mean_weight_at_any_size(shift):
    log_w = np.random.default_rng(5).standard_normal((4, 7)) * 3
    expected = np.log(np.exp(log_w).mean(1)) + shift
    assert abs(bounds.iwae_bound(Tensor(log_w + shift)).data - expected).max() < 1e-12
    assert abs(log_mean_exp(log_w + shift) - expected).max() < 1e-12


def test_the_gradient_weights_each_sample_by_its_normalised_weight_held_constant():
    """d IWAE = sum_i v_i d ln w_i, v_i = w_i / sum w: what a loss sum v_i ln w_i gives only where v is detached."""
    log_w = np.random.default_rng(6).standard_normal((3, 5))
    leaf = Tensor(log_w, requires_grad=True)
    (found,) = grad(bounds.iwae_bound(leaf).sum(), [leaf])
    weights = np.exp(log_w)
    assert abs(found.data - weights / weights.sum(1, keepdims=True)).max() < 1e-12
    check_grads(bounds.iwae_bound, [log_w], order=2)


def test_reparametrised_and_score_function_gradients_agree_and_the_first_is_far_less_noisy():
    """d/dmu E z^2 = 2 mu, z ~ N(mu, 1). One sample's variance: 4, against mu^4 + 14 mu^2 + 15."""
    n, mu = 400_000, 0.7
    eps = Generator(7).normal((n, 1, 1), np.float64)
    leaf = Tensor(np.full((n, 1), mu), requires_grad=True)
    z = bounds.reparametrise(leaf, Tensor(np.zeros((n, 1))), Tensor(eps))
    (slopes,) = grad((z * z).sum(), [leaf])
    slopes, scores = slopes.data[:, 0], (z.data**2 * (z.data - mu))[:, 0, 0]
    for found, variance in ((slopes, 4.0), (scores, mu**4 + 14 * mu**2 + 15)):
        assert abs(found.mean() - 2 * mu) < 4 * (variance / n) ** 0.5
        assert abs(found.var() / variance - 1) < 0.03
    assert scores.var() > 5 * slopes.var()


def test_free_bits_charge_the_batch_mean_of_each_dimension_above_what_is_free():
    kl = Tensor(np.array([[0.1, 2.0, 0.4], [0.3, 4.0, 0.8]]), requires_grad=True)
    assert bounds.free_bits(kl, 0.0).item() == pytest.approx(0.2 + 3.0 + 0.6)
    charged = bounds.free_bits(kl, 0.5)
    assert charged.item() == pytest.approx(0.5 + 3.0 + 0.6)
    (slope,) = grad(charged, [kl])
    assert np.array_equal(slope.data, [[0, 0.5, 0.5], [0, 0.5, 0.5]])


def test_reparametrised_samples_have_the_gradient_of_their_formula():
    rng = np.random.default_rng(8)
    inputs = [rng.standard_normal(shape) for shape in ((2, 3), (2, 3), (2, 4, 3))]
    check_grads(lambda mu, logvar, eps: bounds.reparametrise(mu, logvar, eps), inputs, order=2)
