"""The ways through a latent space, each against what it must be exactly."""

import numpy as np
import pytest
from scipy.stats import norm

from minigen import Tensor, ops
from minigen.models.likelihoods import Bernoulli
from minigen.models.vae import VAENetwork
from minigen.pictures.latent_space import (
    Codes,
    along_axis,
    analogy,
    drawn_like,
    empty_share,
    farthest,
    line,
    quantile_grid,
)
from minigen.random import Generator


def test_the_grid_is_the_inverse_cdf_of_the_centres_of_equal_cells():
    grid = quantile_grid(5)
    np.testing.assert_allclose(grid[0, :, 0], norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9]), atol=1e-15)
    np.testing.assert_array_equal(grid[..., 0], np.tile(grid[0, :, 0], (5, 1)))  # z_1 to the right
    np.testing.assert_allclose(grid[..., 1], -grid[..., 0].T, atol=1e-15)  # z_2 upwards
    assert norm.cdf(grid[0, 0]) == pytest.approx([0.1, 0.9])


def test_every_cell_of_the_grid_is_as_probable_as_any_other():
    """Of draws from the prior, those nearest in probability to a grid point are 1 in side^2."""
    side, z = 4, Generator(0).normal((40_000, 2), np.float64)
    column = np.abs(norm.cdf(z[:, :1]) - norm.cdf(quantile_grid(side)[0, :, 0])).argmin(1)
    row = np.abs(norm.cdf(z[:, 1:]) - norm.cdf(quantile_grid(side)[:, 0, 1])).argmin(1)
    counts = np.bincount(row * side + column, minlength=side**2)
    assert np.abs(counts / len(z) - 1 / side**2).max() < 5 * (1 / side**2 / len(z)) ** 0.5


def test_a_grid_of_no_cells_is_refused():
    with pytest.raises(ValueError, match="side must be at least 1, got 0"):
        quantile_grid(0)


def test_a_traversal_moves_one_coordinate_and_keeps_the_others():
    code, values = np.array([0.5, -1.0, 2.0]), [-3.0, 0.0, 3.0]
    codes = along_axis(code, 1, values)
    np.testing.assert_array_equal(codes[:, 1], values)
    np.testing.assert_array_equal(codes[:, [0, 2]], np.tile(code[[0, 2]], (3, 1)))
    np.testing.assert_array_equal(code, [0.5, -1.0, 2.0])


def test_a_line_goes_from_end_to_end_in_equal_steps():
    start, end = np.array([[0.0, 1.0]]), np.array([[4.0, -1.0]])
    codes = line(start, end, 5)
    np.testing.assert_array_equal(codes[[0, -1]], [start, end])
    np.testing.assert_allclose(np.diff(codes, axis=0), np.tile((end - start) / 4, (4, 1, 1)))


@pytest.mark.parametrize("latent", [2, 20])
def test_arithmetic_on_codes_is_arithmetic_on_images_where_the_decoder_is_linear(latent):
    """A VAE without hidden layers: its logits are affine in the code. g(A' - A + B) = g(A') - g(A) + g(B)."""
    generator = Generator(0)
    network = VAENetwork((28, 28, 1), Bernoulli(), generator, widths=(), latent=latent)
    groups = [generator.normal((n, latent), np.float64) for n in (7, 5, 3)]

    def g(codes):
        return network.decode(Tensor(codes.astype(np.float32))).numpy().astype(np.float64)

    changed, unchanged, base = groups
    expected = g(changed).mean(0) - g(unchanged).mean(0) + g(base)
    np.testing.assert_allclose(g(analogy(changed, unchanged, base)), expected, atol=2e-6)
    assert np.abs(g(base) - expected).max() > 0.01  # it was not nothing


def test_draws_have_the_moments_of_the_codes():
    codes = Generator(1).normal((500, 2), np.float64) @ np.array([[2.0, 0.0], [1.5, 0.5]]) + [3.0, -1.0]
    draws = drawn_like(codes, 50_000, Generator(2))
    np.testing.assert_allclose(draws.mean(0), codes.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(codes.T), rtol=0.05)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_farthest_point_is_in_the_hole_however_the_cloud_is_stretched(scale):
    codes = Generator(3).uniform((4000, 2), np.float64) * 2 - 1
    codes = codes[np.hypot(*(codes - [0.3, 0.2]).T) > 0.25] * [scale, 1.0]
    places = farthest(codes, 2, Generator(4))
    distance = np.hypot(*(places / [scale, 1.0] - [0.3, 0.2]).T)
    assert distance[0] < 0.1 < distance[1]


def test_the_empty_share_is_the_probability_of_a_hole_that_is_cut_into_a_gaussian():
    """P(|z| < r) = 1 - exp(-r^2 / 2) in two dimensions; codes near the hole's edge cover a ring of it."""
    codes = Generator(6).normal((60_000, 2), np.float64)
    assert empty_share(codes, Generator(7)) < 0.005
    holed, near = codes[np.hypot(*codes.T) > 1.0], 0.2
    deviation = holed.std()  # cutting the middle out widens the cloud
    inner = 1.0 - near * deviation
    expected = 1 - np.exp(-((inner / deviation) ** 2) / 2)
    assert empty_share(holed * [50.0, 1.0], Generator(7), near) == pytest.approx(expected, abs=0.015)


def test_draws_of_codes_have_the_encoders_mean_and_deviation_and_the_kl_is_the_formula():
    codes = object.__new__(Codes)
    codes.mean = np.tile([[1.0, 0.0, -0.5]], (20_000, 1))
    codes.logvar = np.tile(np.log([[0.25, 1.0, 4.0]]), (20_000, 1))
    z = codes.draw(Generator(5))
    np.testing.assert_allclose(z.mean(0), [1.0, 0.0, -0.5], atol=0.05)
    np.testing.assert_allclose(z.std(0), [0.5, 1.0, 2.0], rtol=0.03)
    formula = ops.kl_gaussian(Tensor(codes.mean[:1]), Tensor(codes.logvar[:1]), "none").numpy()[0]
    np.testing.assert_allclose(codes.kl, formula)
    assert codes.kl[1] == 0
    assert list(codes.by_information()) == list(np.argsort(-formula))
