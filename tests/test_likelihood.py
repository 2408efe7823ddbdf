"""The bound, term by term: against closed forms on Gaussian data and against quadrature on the mixture.

Expectations over noise are exact here too: a quadratic function of (x0, eps) averages over four points as over the
Gaussian, and where it is not quadratic, Gauss-Hermite and grids stand for it.
"""

import numpy as np
import pytest
from scipy.stats import norm

from minigen import grad
from minigen.data import Mixture1d
from minigen.diffusion import GaussianDiffusion, bound, make_schedule
from minigen.diffusion.likelihood import PIXEL, bin_nll, bits_per_dim, prior_term, reverse_term, strata
from minigen.random import Generator
from minigen.tensor import Tensor

M, S = 0.3, 0.6  # Gaussian data N(M, S^2)
POINTS = np.sqrt(2) * np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]])  # averages of quadratics over N(0, 1) x N(0, 1)


def process_of(T=20, name="cosine", **options):
    return GaussianDiffusion(make_schedule(name, T), "x0", **options)


def best_x0(process, x, t):
    """E[x0 | x_t] and its variance, for the Gaussian data."""
    alpha_bar = process.schedule.alpha_bar[t]
    total = alpha_bar * S**2 + 1 - alpha_bar
    return M + np.sqrt(alpha_bar) * S**2 / total * (x - np.sqrt(alpha_bar) * M), S**2 * (1 - alpha_bar) / total


def terms_on_gaussian_data(process, variance, share=None):
    """E L_{t-1} for t = 1 ... T under the exact denoiser, as a density."""
    x0, eps, found = M + S * POINTS[0], POINTS[1], []
    for level in range(1, process.T + 1):
        t = np.full(4, level)
        xt = process.q_sample(x0, t, eps)
        shares = None if share is None else np.full(4, share(level))
        term = reverse_term(process, best_x0(process, xt, level)[0], shares, x0, xt, t, variance, bin_width=None)
        found.append(np.asarray(term).mean())
    return np.array(found)


# ---------------------------------------------------------------- Gaussian data


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_every_term_on_gaussian_data_is_its_closed_form(name):
    """L_{t-1} = (snr_{t-1} - snr_t) / 2 E|x0 - x0_hat|^2 with the posterior's variance, t > 1; L_0 a Gaussian's."""
    process = process_of(50, name)
    snr, alpha_bar = process.schedule.snr, process.schedule.alpha_bar
    error = S**2 * (1 - alpha_bar) / (alpha_bar * S**2 + 1 - alpha_bar)
    found = terms_on_gaussian_data(process, "posterior")
    np.testing.assert_allclose(found[1:], (snr[1:-1] - snr[2:]) / 2 * error[2:], rtol=1e-8)
    first = process.posterior_variance[2]
    assert found[0] == pytest.approx((np.log(2 * np.pi * first) + error[1] / first) / 2, rel=1e-9)
    alpha_bar_T = alpha_bar[-1]
    exact = (alpha_bar_T * (M**2 + S**2) - alpha_bar_T - np.log1p(-alpha_bar_T)) / 2
    prior = np.asarray(prior_term(process, M + S * POINTS[0]))
    weights = np.array([1, 1, 0, 0]) / 2  # x0^2 averages over its own two points: M^2 + 2 S^2, half of it noise
    assert prior @ weights == pytest.approx(exact + alpha_bar_T * S**2 / 2, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("T", [2, 5, 40])
def test_with_the_true_variance_the_bound_is_the_entropy_exactly(T):
    """The way back from Gaussian data is Gaussian: with its mean and its variance nothing is lost at any T.

    sum of all terms = -E log p(x0) = E[-log q(x0)] + KL(q(x_T) || N(0, 1)).
    """
    process = process_of(T, learned_variance=True)
    schedule = process.schedule

    def share(t):
        true = process.posterior_variance[t] + process.posterior_x0[t] ** 2 * best_x0(process, 0.0, t)[1]
        low, high = process.log_posterior_variance[t], process.log_beta[t]
        return (np.log(true) - low) / (high - low)

    a = schedule.alpha_bar[-1]
    prior = (a * (M**2 + S**2) - a - np.log1p(-a)) / 2  # E over x0
    total = terms_on_gaussian_data(process, "learned", share).sum() + prior
    variance_T, mean_T = a * S**2 + 1 - a, np.sqrt(a) * M
    mismatch = (variance_T + mean_T**2 - 1 - np.log(variance_T)) / 2
    assert total == pytest.approx((1 + np.log(2 * np.pi * S**2)) / 2 + mismatch, rel=1e-9)
    for variance in ("beta", "posterior"):
        assert terms_on_gaussian_data(process, variance).sum() + prior > total


# ---------------------------------------------------------------- the mixture

MIXTURE = Mixture1d()
ORDER = 40
HERMITE = np.polynomial.hermite_e.hermegauss(ORDER)
# x0 under the mixture: each component a Gauss-Hermite rule of its own
NODES = np.concatenate([m + s * HERMITE[0] for m, s in zip(MIXTURE.mu, MIXTURE.sigma)])
MASSES = np.concatenate([w * HERMITE[1] / np.sqrt(2 * np.pi) for w in MIXTURE.w])


def terms_by_our_code(process, variance):
    """E L_{t-1} for t = 1 ... T with the perfect eps-network, our code called on the nodes of x0 and eps."""
    x0 = np.repeat(NODES, ORDER)
    eps, mass = np.tile(HERMITE[0], len(NODES)), np.repeat(MASSES, ORDER) * np.tile(HERMITE[1], len(NODES))
    mass /= np.sqrt(2 * np.pi)
    found = []
    for level in range(1, process.T + 1):
        t = np.full(len(x0), level)
        xt = process.q_sample(x0, t, eps)
        prediction = MIXTURE.best_eps(xt, process.schedule.alpha_bar[level])
        term = np.asarray(reverse_term(process, prediction, None, x0, xt, t, variance, bin_width=None))
        found.append((term * mass).sum())
    return np.array(found)


def terms_by_quadrature(process, variance):
    """The same by integrals over x_t alone: E|x0 - E[x0 | x_t]|^2 = E x0^2 - E E[x0 | x_t]^2, and Tweedie's formula.

    For Gaussians of variances q and p whose means differ by d the KL is log(p / q) / 2 + (q + d^2) / (2 p) - 1/2.
    """
    grid = np.linspace(-8, 8, 16001)
    power = sum(w * (m**2 + s**2) for w, m, s in zip(MIXTURE.w, MIXTURE.mu, MIXTURE.sigma))
    schedule, found = process.schedule, []
    for t in range(1, process.T + 1):
        here, there, beta = schedule.alpha_bar[t], schedule.alpha_bar[t - 1], schedule.beta[t]
        marginal = MIXTURE.marginal(here)
        mean = (grid + (1 - here) * marginal.score(grid)) / np.sqrt(here)
        error = power - (marginal.pdf(grid) * mean**2).sum() * (grid[1] - grid[0])
        if t == 1:
            p = beta if variance == "beta" else process.posterior_variance[2]
            found.append((np.log(2 * np.pi * p) + error / p) / 2)
            continue
        q = (1 - there) / (1 - here) * beta
        p = beta if variance == "beta" else q
        found.append((np.log(p / q) - 1 + (q + there * beta**2 / (1 - here) ** 2 * error) / p) / 2)
    return np.array(found)


@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_the_terms_on_the_mixture_are_those_of_quadrature(variance):
    process = GaussianDiffusion(make_schedule("cosine", 8))
    np.testing.assert_allclose(terms_by_our_code(process, variance), terms_by_quadrature(process, variance), rtol=1e-4)


def test_the_bound_on_the_mixture_closes_on_its_entropy_as_levels_are_added():
    """-E log p(x0) by quadrature is never beaten; the gap of the perfect network falls about as 1 / T."""
    x = np.linspace(-3, 4, 20001)
    entropy = -(MIXTURE.pdf(x) * MIXTURE.logpdf(x)).sum() * (x[1] - x[0])
    gaps = []
    for T in (10, 30, 90):
        process = GaussianDiffusion(make_schedule("cosine", T))
        prior = (np.asarray(prior_term(process, NODES)) * MASSES).sum()
        gaps.append(terms_by_quadrature(process, "beta").sum() + prior - entropy)
    assert min(gaps) > 0
    assert gaps[1] < 0.5 * gaps[0]
    assert gaps[2] < 0.5 * gaps[1]


# ---------------------------------------------------------------- rounded data


@pytest.mark.parametrize(("mean", "deviation"), [(0.1, 0.2), (-0.97, 0.01), (1.0, 0.003), (-3.0, 0.5)])
def test_the_decoder_is_a_distribution_over_the_256_values(mean, deviation):
    x = np.arange(256) / 127.5 - 1
    nll = np.asarray(bin_nll(x, np.full(256, mean), np.full(256, 2 * np.log(deviation)), PIXEL))
    assert np.exp(-nll).sum() == pytest.approx(1, rel=1e-12)
    edges = np.concatenate([[-np.inf], x[:-1] + PIXEL / 2, [np.inf]])
    mass = np.diff(norm.cdf(edges, mean, deviation))
    seen = (mass > 1e-10) & (edges[:-1] < mean)  # above the mean, differences of numbers near 1 are less exact
    np.testing.assert_allclose(np.exp(-nll)[seen], mass[seen], rtol=1e-5)


def test_far_from_its_mean_the_decoder_is_finite_and_has_a_gradient():
    """100 deviations away both cumulated masses are 0 in double precision; the logarithm grows as the square."""
    mean = Tensor(np.array([-0.9, 0.9, 0.4]), requires_grad=True)
    logvar = Tensor(np.full(3, 2 * np.log(0.01)), requires_grad=True)
    x = np.array([0.1, -0.1, 1.0])
    nll = bin_nll(x, mean, logvar, PIXEL)
    distance = np.array([1.0, 1.0, 0.6]) - PIXEL / 2
    np.testing.assert_allclose(np.asarray(nll), distance**2 / 2e-4, rtol=0.01)
    slopes = [np.asarray(g) for g in grad(nll.sum(), [mean, logvar])]
    np.testing.assert_allclose(slopes[0], -distance / 1e-4 * np.array([1, -1, 1]), rtol=0.01)
    np.testing.assert_allclose(slopes[1], -(distance**2) / 2e-4, rtol=0.02)
    single = bin_nll(x.astype(np.float32), mean.data.astype(np.float32), logvar.data.astype(np.float32), PIXEL)
    np.testing.assert_allclose(np.asarray(single), np.asarray(nll), rtol=1e-4)


# ---------------------------------------------------------------- the whole bound


def exact_model(process):
    return lambda x, t: best_x0(process, x, t.reshape(-1, *(1,) * (x.ndim - 1)))[0].astype(x.dtype)


def test_all_levels_or_a_few_estimate_the_same_bound():
    process, n = process_of(16), 2000
    x0 = M + S * Generator(1).normal((n, 2), np.float64)
    full = bound(process, exact_model(process), x0, Generator(2), 16, bin_width=None)
    few = bound(process, exact_model(process), x0, Generator(3), 6, bin_width=None)
    expected = 2 * terms_on_gaussian_data(process, "posterior")
    for found in (full, few):
        for name, value in [("L_0", expected[0]), ("L_t", expected[1:].sum())]:
            assert abs(found[name].mean() - value) < 5 * found[name].std() / n**0.5, name
        np.testing.assert_allclose(found["L_T"], np.asarray(prior_term(process, x0)))
    assert few["L_t"].std() < 4 * full["L_t"].std()


@pytest.mark.parametrize(("T", "draws"), [(10, 9), (10, 4), (200, 7), (3, 1), (1000, 49)])
def test_drawn_levels_estimate_the_sum_over_2_to_T(T, draws):
    t, weights = strata(T, draws, 5_000, Generator(T))
    assert t.shape == weights.shape == (5_000, draws)
    assert 2 <= t.min() <= t.max() <= T
    loss = 5.0 / np.arange(T + 1).clip(1) + 0.1
    sums = (weights * loss[t]).sum(1)
    assert abs(sums.mean() - loss[2:].sum()) <= 5 * sums.std() / len(sums) ** 0.5 + 1e-9
    if draws == T - 1:
        assert (t == np.arange(2, T + 1)).all()
        assert (weights == 1).all()


def test_the_network_is_asked_at_the_levels_that_are_summed():
    process, asked = process_of(8), []

    def model(x, t):
        asked.append(t)
        return x

    bound(process, model, np.zeros((3, 2)), Generator(0), 8)
    assert [t.tolist() for t in asked] == [[level] * 3 for level in range(1, 9)]


def test_bits_per_dimension():
    """784 ln 256 nats are 8 bits a pixel."""
    assert bits_per_dim(784 * np.log(256), 784) == pytest.approx(8)


@pytest.mark.parametrize("levels", [1, 9, 0])
def test_levels_that_are_not_there_are_refused(levels):
    with pytest.raises(ValueError, match=f"levels must lie in 2 ... T = 8, got {levels}"):
        bound(process_of(8), lambda x, t: x, np.zeros((1, 2)), Generator(0), levels)
