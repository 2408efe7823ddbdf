"""Decoders' distributions: they sum or integrate to 1, equal their formulas, and refuse what they cannot judge."""

import itertools

import numpy as np
import pytest
from scipy import stats

from minigen import Tensor, check_grads
from minigen.models.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian
from minigen.random import Generator
from minigen.train import VAE, VAEConfig

GREYS = (np.arange(256) / 255).reshape(256, 1, 1, 1)


def repeated(*numbers):
    """The same decoder outputs for each of the 256 grey values."""
    return Tensor(np.broadcast_to(np.array(numbers, float), (256, 1, 1, len(numbers))).copy())


@pytest.fixture(scope="module")
def small_vae():
    """Images of 3 x 3 binary pixels, two latents; p(x) far from uniform, q(z | x) not far from the prior."""
    config = VAEConfig(hidden=(8,), latent=2)
    model = VAE(config, (3, 3, 1), Generator(5))
    for network, factor in ((model.network.encoder, 0.3), (model.network.decoder, 2.0)):
        for p in network.parameters():
            p.assign(p.data * factor)
    model.network.astype(np.float64)
    return model


@pytest.fixture(scope="module")
def every_image():
    """All 512 binary images of 3 x 3 pixels."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=9))).reshape(512, 3, 3, 1)


def by_quadrature(model, images, points=61):
    """p(x) = sum of p(x | z) p(z) dz over a grid of codes."""
    axis = np.linspace(-6, 6, points)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    prior = np.exp(-(z**2).sum(1) / 2) / (2 * np.pi) * (axis[1] - axis[0]) ** 2
    y = model.network.decode(Tensor(z)).data.reshape(len(z), 9)
    x = images.reshape(len(images), 9)
    log_px = y @ x.T - np.logaddexp(0, y).sum(1)[:, None]
    return prior @ np.exp(log_px)


def test_the_binary_decoder_is_normalised_over_all_3x3_images(small_vae, every_image):
    """Both by the model's own log_prob: at every code, and after the integral over the codes."""
    z = Generator(1).normal((7, 2), np.float64)
    y = small_vae.network.decode(Tensor(np.repeat(z, 512, axis=0)))
    log_px = small_vae.network.likelihood.log_prob(np.tile(every_image, (7, 1, 1, 1)), y).data.reshape(7, 512)
    assert abs(np.exp(log_px).sum(1) - 1).max() < 1e-12
    p = by_quadrature(small_vae, every_image)
    assert abs(p.sum() - 1) < 1e-8
    assert p.max() > 10 * np.median(p)  # a distribution worth the test


def test_importance_sampled_likelihoods_are_those_of_quadrature_and_sum_to_1(small_vae, every_image):
    found = small_vae.log_likelihoods(every_image, Generator(2), samples=1000)
    p = by_quadrature(small_vae, every_image)
    assert abs(np.exp(found).sum() - 1) < 0.01
    assert abs(found - np.log(p)).mean() < 0.03


def test_bernoulli_is_the_product_of_its_pixels():
    rng = np.random.default_rng(0)
    y, x = rng.standard_normal((4, 3, 2, 1)) * 3, rng.integers(0, 2, (4, 3, 2, 1)).astype(float)
    p = 1 / (1 + np.exp(-y))
    expected = np.log(np.where(x == 1, p, 1 - p)).sum((1, 2, 3))
    assert abs(Bernoulli().log_prob(x, Tensor(y)).data - expected).max() < 1e-12
    assert abs(Bernoulli().mean(Tensor(y)).data - p).max() < 1e-12


def test_grey_pixels_are_refused_by_bernoulli_unless_allowed_and_the_error_says_why():
    """s^x (1 - s)^(1 - x) integrates over x in [0, 1] to less than 1: here (2 s - 1) / (ln s - ln (1 - s))."""
    y, grey = Tensor(np.full((1, 1, 1, 1), 2.0)), np.full((1, 1, 1, 1), 0.5)
    with pytest.raises(ValueError, match="no log-likelihood"):
        Bernoulli().log_prob(grey, y)
    x = np.linspace(0, 1, 10_001).reshape(-1, 1, 1, 1)
    density = np.exp(Bernoulli(grey=True).log_prob(x, Tensor(np.full(x.shape, 2.0))).data)
    s = 1 / (1 + np.exp(-2.0))
    assert np.trapezoid(density, dx=1e-4) == pytest.approx((2 * s - 1) / 2, abs=1e-6)


@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.3, 0.5019607843, 1.0, 1.7])
@pytest.mark.parametrize("raw", [-20.0, -4.0, 0.0, 3.0])
def test_the_discretised_logistic_sums_to_1_over_the_256_grey_values(mean, raw):
    log_p = DiscretisedLogistic().log_prob(GREYS, repeated(mean, raw)).data
    assert np.isfinite(log_p).all()
    assert abs(np.exp(log_p).sum() - 1) < 1e-11


def test_the_discretised_logistic_is_the_difference_of_two_sigmoids():
    likelihood, y = DiscretisedLogistic(), repeated(0.4, 0.2)
    scale = np.exp(likelihood.mean_and_logscale(y)[1].data[0, 0, 0, 0])
    edges = (np.arange(257) - 0.5) / 255
    cdf = stats.logistic.cdf(edges, 0.4, scale)
    cdf[0], cdf[-1] = 0, 1
    assert abs(likelihood.log_prob(GREYS, y).data - np.log(np.diff(cdf))).max() < 1e-10


@pytest.mark.parametrize("variance", ["fixed", "shared", "pixel"])
def test_gaussian_log_density_is_scipys_above_a_smooth_floor(variance):
    rng = np.random.default_rng(1)
    likelihood = Gaussian(variance, sigma=0.4).astype(np.float64)
    outputs = 4 if variance == "pixel" else 2
    y, x = rng.standard_normal((3, 2, 2, outputs)), rng.standard_normal((3, 2, 2, 2))
    floor, logvar = 2 * np.log(1 / 510), 2 * np.log(0.4) + (y[..., 2:] if variance == "pixel" else 0.0)
    if variance != "fixed":
        assert abs(np.logaddexp(floor, logvar) - logvar).max() < 1e-3  # a floor far below changes little
        logvar = np.logaddexp(floor, logvar)
    expected = stats.norm.logpdf(x, y[..., :2], np.exp(logvar / 2)).sum((1, 2, 3))
    assert abs(likelihood.log_prob(x, Tensor(y)).data - expected).max() < 1e-5  # the learned number begins in float32


def test_a_learned_variance_has_a_floor():
    """A pixel that is always 0 cannot drive its density beyond that of half a step of grey."""
    likelihood, y = Gaussian("pixel"), Tensor(np.array([0.0, -1e4]).reshape(1, 1, 1, 2))
    assert likelihood.log_prob(np.zeros((1, 1, 1, 1)), y).item() == pytest.approx(stats.norm.logpdf(0, 0, 1 / 510))


CASES = {
    "bernoulli": (Bernoulli(), 1), "gaussian": (Gaussian(), 1), "a variance a pixel": (Gaussian("pixel"), 2),
    "logistic": (DiscretisedLogistic(), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    likelihood, outputs = CASES[name]
    rng = np.random.default_rng(2)
    x = np.array([0.0, 1.0, 1.0, 0.0] if name == "bernoulli" else [0.0, 1.0, 100 / 255, 30 / 255]).reshape(2, 2, 1, 1)
    check_grads(lambda y: likelihood.log_prob(x, y), [0.5 * rng.standard_normal((2, 2, 1, outputs))], order=2)


@pytest.mark.parametrize("name", CASES)
def test_several_rows_of_an_image_are_judged_each_by_that_image(name):
    likelihood, outputs = CASES[name]
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 2, (2, 2, 1, 1)).astype(float), Tensor(rng.standard_normal((6, 2, 1, outputs)))
    found = likelihood.log_prob(x, y).data
    assert (found == likelihood.log_prob(x[[0, 0, 0, 1, 1, 1]], y).data).all()


@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_probabilities_that_log_prob_states(name):
    """Mean and variance of 100,000 draws, within 5 standard errors of those that log_prob gives by summation."""
    likelihood, outputs = CASES[name]
    n, numbers = 100_000, [0.3, 0.1][:outputs]
    y = Tensor(np.broadcast_to(np.array(numbers), (n, 1, 1, outputs)).copy())
    drawn = likelihood.sample(y, Generator(3)).data.ravel()
    values = {"bernoulli": np.array([0.0, 1.0]), "logistic": GREYS.ravel()}.get(name, np.linspace(-3, 4, 7001))
    rows = Tensor(np.broadcast_to(np.array(numbers), (len(values), 1, 1, outputs)).copy())
    p = np.exp(likelihood.log_prob(values.reshape(-1, 1, 1, 1), rows).data)
    p = p / p.sum()
    mean = (p * values).sum()
    variance = (p * (values - mean) ** 2).sum()
    assert abs(drawn.mean() - mean) < 5 * (variance / n) ** 0.5
    assert abs(drawn.var() / variance - 1) < 0.03


def test_unusable_variances_are_refused():
    with pytest.raises(ValueError, match="variance must be one of fixed, shared, pixel, got 'both'"):
        Gaussian("both")
    with pytest.raises(ValueError, match="sigma must be above 0, got 0"):
        Gaussian(sigma=0)
