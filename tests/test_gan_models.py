"""Networks and layers of GANs, deck 000's toy in closed form, latent vectors on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import kstest, truncnorm

from minigen import check_grads, grad, nn, ops
from minigen.models.gan.dcgan import DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from minigen.models.gan.layers import MinibatchStd, SpectralNorm, norm_of, with_labels
from minigen.models.gan.losses import LOSSES
from minigen.models.gan.mlp import (
    AutoencoderDiscriminator,
    LinearDiscriminator,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ShiftGenerator,
)
from minigen.models.gan.upsampling import UpsamplingEncoder, UpsamplingGenerator
from minigen.models.latent import cos_sin, lerp, slerp, truncated_normal, truncated_variance
from minigen.random import Generator
from minigen.tensor import Tensor


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- spectral norm, minibatch standard deviation, labels


def layers_to_normalise():
    g = Generator(1)
    return {"linear": nn.Linear(5, 7, g, bias=False), "conv": nn.Conv2d(3, 4, 3, g, padding=1, bias=False)}


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_sigma_is_the_largest_singular_value(kind):
    layer = layers_to_normalise()[kind]
    norm = SpectralNorm(layer, Generator(2)).astype(np.float64)
    for _ in range(300):
        found = norm.sigma()
    matrix = layer.weight.data.reshape(-1, layer.weight.shape[-1])
    assert found.item() == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-10)


def test_a_spectrally_normalised_layer_stretches_nothing_and_its_gradient_counts_the_division():
    norm = SpectralNorm(layers_to_normalise()["linear"], Generator(2)).astype(np.float64)
    for _ in range(300):
        norm.sigma()
    x = np.random.default_rng(0).standard_normal((4, 5))
    w = norm.layer.weight.data
    np.testing.assert_allclose(norm(Tensor(x)).data, x @ w / np.linalg.norm(w, 2), atol=1e-12)
    loss = ops.sum(norm(Tensor(x)) ** 2)
    (found,) = grad(loss, [norm.layer.weight])
    direction, h = np.random.default_rng(1).standard_normal(w.shape), 1e-6

    def value(v):
        return ((x @ v / np.linalg.norm(v, 2)) ** 2).sum()

    slope = (value(w + h * direction) - value(w - h * direction)) / (2 * h)
    assert (found.data * direction).sum() == pytest.approx(slope, rel=1e-4)  # u is near its limit


def test_spectral_norm_iterates_in_training_only_and_owns_the_bias():
    norm = SpectralNorm(layers_to_normalise()["conv"], Generator(2))
    before = norm.u.data.copy()
    norm.eval()
    norm(Tensor(normal(1, 4, 4, 3)))
    np.testing.assert_array_equal(norm.u.data, before)
    norm.train()
    norm(Tensor(normal(1, 4, 4, 3)))
    assert (norm.u.data != before).any()
    with pytest.raises(ValueError, match="layer must be made with bias=False"):
        SpectralNorm(nn.Linear(2, 2, Generator(0)), Generator(0))


def test_minibatch_std_says_how_much_a_batch_differs():
    x = normal(6, 4, 4, 3).astype(np.float64)
    y = MinibatchStd()(Tensor(x)).data
    np.testing.assert_array_equal(y[..., :3], x)
    np.testing.assert_allclose(y[..., 3], np.sqrt(x.var(0) + 1e-8).mean(), rtol=1e-12)
    same = MinibatchStd()(Tensor(np.repeat(x[:1], 6, 0))).data
    np.testing.assert_allclose(same[..., 3], 1e-4, rtol=1e-12)
    check_grads(MinibatchStd(), [x[:3, :2, :2]], order=1)


@pytest.mark.parametrize("shape", [(3, 5), (3, 4, 4, 2)])
def test_labels_become_channels(shape):
    x = normal(*shape)
    y = with_labels(Tensor(x), np.array([2, 0, 1]), 3).data
    assert y.shape == (*shape[:-1], shape[-1] + 3)
    np.testing.assert_array_equal(y[..., : shape[-1]], x)
    for row, label in zip(y, (2, 0, 1)):
        np.testing.assert_array_equal(row.reshape(-1, shape[-1] + 3)[:, shape[-1] :].mean(0), np.eye(3)[label])


def test_labels_that_do_not_fit_are_refused():
    x = Tensor(normal(2, 3))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, got 3"):
        with_labels(x, np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="labels must be given exactly where the network has classes: got none for 3"):
        with_labels(x, None, 3)
    with pytest.raises(ValueError, match="got some for 0"):
        with_labels(x, np.array([0, 1]), 0)


def test_a_norm_that_there_is_not_is_refused():
    for kind in ("btach", "spectral"):
        with pytest.raises(ValueError, match=f"norm must be one of none, batch, layer, group, got '{kind}'"):
            norm_of(kind, 16)
    with pytest.raises(ValueError, match="got 'spectral'"):
        DCGANGenerator(6, (28, 28, 1), Generator(0), channels=4, norm="spectral")


# ---------------------------------------------------------------- DCGAN


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (64, 1)])
def test_dcgan_makes_and_judges_images_of_three_sizes(side, channels):
    g = Generator(0)
    make = DCGANGenerator(6, (side, side, channels), g, channels=4)
    images = make(Tensor(normal(3, 6)))
    assert images.shape == (3, side, side, channels)
    assert abs(images.data).max() <= 1
    verdict = DCGANDiscriminator((side, side, channels), g, channels=4)(images)
    assert verdict.score.shape == (3,)
    assert verdict.classes is None


def test_dcgan_begins_as_the_paper_says():
    """Weights from N(0, 0.02^2); batch norm everywhere but the generator's last and the discriminator's first layer."""
    g = Generator(0)
    make, judge = DCGANGenerator(64, (64, 64, 3), g, channels=16), DCGANDiscriminator((64, 64, 3), g, channels=16)
    for network in (make, judge):
        weights = np.concatenate([p.data.ravel() for n, p in network.named_parameters() if n.endswith("weight")])
        assert weights.std() == pytest.approx(0.02, rel=0.01)
        assert abs(weights.mean()) < 1e-4
    kinds = [
        [type(m).__name__ for m in seq.layers if isinstance(m, nn.Module)] for seq in (make.up, judge.trunk.layers)
    ]
    assert kinds[0] == ["ConvTranspose2d", "BatchNorm"] * 3
    assert kinds[1] == ["Conv2d", *["Conv2d", "BatchNorm"] * 3]
    assert isinstance(make.norm.layers[0], nn.BatchNorm)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group", "spectral"])
def test_every_parameter_of_a_dcgan_gets_a_gradient(norm):
    g = Generator(0)
    make = DCGANGenerator(6, (28, 28, 1), g, channels=8, norm="batch" if norm == "spectral" else norm, classes=3)
    judge = DCGANDiscriminator((28, 28, 1), g, channels=8, norm=norm, minibatch_std=True, classes=3, guesses=3)
    labels = np.array([0, 1, 2, 0])
    verdict = judge(make(Tensor(normal(4, 6)), labels), labels)
    (ops.sum(verdict.score) + ops.sum(verdict.classes**2)).backward()
    for network in (make, judge):
        without = [name for name, p in network.named_parameters() if p.grad is None or not abs(p.grad.data).any()]
        assert without == []


def test_an_image_of_another_size_is_refused():
    for shape in ((30, 30, 1), (32, 28, 1), (2,)):
        with pytest.raises(ValueError, match="dcgan makes images of 28x28, 32x32, 64x64, got samples of shape"):
            DCGANGenerator(6, shape, Generator(0))


def test_the_margin_of_a_28x28_image_is_black():
    """The discriminator of 28x28 sees what that of 32x32 sees with two pixels of -1 around."""
    small, large = (DCGANDiscriminator((side, side, 1), Generator(3), channels=4) for side in (28, 32))
    x = normal(2, 28, 28, 1)
    framed = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=-1)
    np.testing.assert_array_equal(small(Tensor(x)).score.data, large(Tensor(framed)).score.data)


# ---------------------------------------------------------------- MLP and autoencoder


def test_an_mlp_makes_points_or_bounded_images():
    assert MLPGenerator(3, (2,), Generator(0), width=8)(Tensor(normal(5, 3))).shape == (5, 2)
    images = MLPGenerator(3, (8, 8, 1), Generator(0), width=8)(Tensor(100 * normal(5, 3)))
    assert images.shape == (5, 8, 8, 1)
    assert abs(images.data).max() <= 1
    verdict = MLPDiscriminator((2,), Generator(0), width=8, classes=2, guesses=4)(
        Tensor(normal(5, 2)), np.zeros(5, int)
    )
    assert (verdict.score.shape, verdict.classes.shape) == ((5,), (5, 4))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kind", ["mlp", "dcgan", "upsampling"])
def test_the_energys_gradient_goes_through_both_ends_of_the_difference(kind, power):
    """Finite differences of |x - decoder(encoder(x))|: with x detached as a target they would not agree."""
    g = Generator(0)
    if kind == "mlp":
        shape, encoder, decoder = (2,), MLPEncoder((2,), 2, g, width=8), MLPGenerator(2, (2,), g, width=8)
    elif kind == "upsampling":
        shape = (12, 12, 1)
        encoder = UpsamplingEncoder(shape, 3, g, channels=2)
        decoder = UpsamplingGenerator(3, shape, g, channels=2, bounded=False)
    else:
        shape = (28, 28, 1)
        encoder = DCGANEncoder(shape, 3, g, channels=2, norm="none")
        decoder = DCGANGenerator(3, shape, g, channels=2, norm="none")
    judge = AutoencoderDiscriminator(encoder, decoder, power).astype(np.float64)
    x = normal(2, *shape).astype(np.float64)
    verdict = judge(Tensor(x))
    assert verdict.score.shape == (2,)
    assert verdict.score.data.min() >= 0
    assert verdict.code.shape[0] == 2
    check_grads(lambda x: judge(x).score, [x], order=1, samples=1)


@pytest.mark.parametrize(("side", "channels"), [(6, 1), (28, 1), (32, 3), (64, 1)])
def test_upsampling_networks_make_and_encode_images_of_many_sizes(side, channels):
    shape, g = (side, side, channels), Generator(0)
    x = UpsamplingGenerator(5, shape, g, channels=4)(Tensor(normal(2, 5)))
    assert x.shape == (2, *shape)
    assert UpsamplingEncoder(shape, 3, g, channels=4)(x).shape == (2, 3)


def test_the_decoder_of_began_has_no_bounds_and_the_generator_has():
    """Twice the numbers of the last layer, twice the image: it is linear there, as the paper's is."""
    z = Tensor(100 * normal(3, 5))
    assert np.abs(UpsamplingGenerator(5, (28, 28, 1), Generator(0), channels=4)(z).data).max() <= 1
    decoder = UpsamplingGenerator(5, (28, 28, 1), Generator(0), channels=4, bounded=False)
    before = decoder(z).data
    assert np.abs(before).max() > 1
    for parameter in (decoder.output.weight, decoder.output.bias):
        parameter.data[...] *= 2
        parameter.version += 1
    np.testing.assert_allclose(decoder(z).data, 2 * before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(28, 32, 1), (36, 36, 1), (25, 25, 1), (2,)])
def test_upsampling_refuses_what_it_cannot_halve(shape):
    with pytest.raises(ValueError, match="halved down to 8 pixels"):
        UpsamplingGenerator(5, shape, Generator(0))


def test_an_energy_of_another_power_is_refused():
    with pytest.raises(ValueError, match="power must be 1 or 2, got 3"):
        AutoencoderDiscriminator(None, None, 3)


# ---------------------------------------------------------------- deck 000's toy


@pytest.mark.parametrize(("mean", "theta"), [(3.0, 0.0), (1.0, 2.5)])
def test_the_best_logit_of_the_toy_is_linear_with_known_slope_and_offset(mean, theta):
    """ln N(x; m, 1) - ln N(x; theta, 1) = (m - theta) x + (theta^2 - m^2) / 2. Samples: 20,000 quantiles each."""
    z = ndtri((np.arange(20_000) + 0.5) / 20_000)[:, None]
    make, judge, loss = (
        ShiftGenerator((1,)).astype(np.float64),
        LinearDiscriminator((1,), Generator(0)),
        LOSSES["minimax"](),
    )
    judge.astype(np.float64)
    make.theta.assign(np.array([theta]))
    fake = make(Tensor(z)).detach()

    def objective(p):
        judge.line.weight.assign(p[:1].reshape(1, 1))
        judge.line.bias.assign(p[1:])
        value = loss.discriminator(judge(Tensor(z + mean)), judge(fake))
        return value.item(), np.concatenate([g.data.ravel() for g in grad(value, judge.parameters())])

    found = minimize(objective, np.zeros(2), jac=True, tol=1e-12).x
    np.testing.assert_allclose(found, [mean - theta, (theta**2 - mean**2) / 2], rtol=2e-3)


# ---------------------------------------------------------------- latent vectors


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.0])
def test_truncated_latents_have_the_variance_of_the_formula_and_the_law_of_the_normal_between(tau):
    z = truncated_normal((200_000,), tau, Generator(0))
    assert z.dtype == np.float32
    assert abs(z).max() <= tau
    assert z.var() == pytest.approx(truncated_variance(tau), rel=0.01)
    assert truncated_variance(tau) == pytest.approx(truncnorm(-tau, tau).var(), rel=1e-9)
    assert kstest(z[:5000], truncnorm(-tau, tau).cdf).pvalue > 1e-3


def test_no_truncation_is_the_normal_law_and_a_negative_one_is_refused():
    np.testing.assert_array_equal(truncated_normal((7, 3), 0, Generator(5)), Generator(5).normal((7, 3)))
    assert truncated_variance(0) == 1
    with pytest.raises(ValueError, match=r"tau must be positive, or 0 for no limit, got -1"):
        truncated_normal((2,), -1, Generator(0))


Z1, Z2 = normal(100_000, 4, seed=1).astype(np.float64), normal(100_000, 4, seed=2).astype(np.float64)


@given(st.floats(0, 1))
def test_cos_sin_keeps_the_gaussian_law_and_lerp_does_not(s):
    """The variance of a z1 + b z2 is a^2 + b^2, and it is Gaussian; 5 standard errors of 400,000 numbers."""
    error = 5 * np.sqrt(2 / Z1.size)
    assert cos_sin(Z1, Z2, s).var() == pytest.approx(1, abs=error)
    assert lerp(Z1, Z2, s).var() == pytest.approx((1 - s) ** 2 + s**2, abs=error)


def test_halfway_lerp_has_half_the_variance_and_cos_sin_is_still_normal():
    assert lerp(Z1, Z2, 0.5).var() == pytest.approx(0.5, abs=0.01)
    assert kstest(cos_sin(Z1, Z2, 0.5)[:2000].ravel(), "norm").pvalue > 1e-3


def test_slerp_keeps_the_norm_of_ends_that_have_one_norm():
    a, b = (z[:500] / np.linalg.norm(z[:500], axis=1, keepdims=True) * 3 for z in (Z1, Z2))
    for s in (0.0, 0.25, 0.5, 1.0):
        np.testing.assert_allclose(np.linalg.norm(slerp(a, b, s), axis=1), 3, rtol=1e-10)
    angle = np.arccos((a * slerp(a, b, 0.25)).sum(1) / 9) / np.arccos((a * b).sum(1) / 9)
    np.testing.assert_allclose(angle, 0.25, rtol=1e-6)  # a quarter of the way is a quarter of the angle


@pytest.mark.parametrize("path", [lerp, cos_sin, slerp])
def test_every_path_begins_and_ends_at_its_ends(path):
    np.testing.assert_allclose(path(Z1[:9], Z2[:9], 0.0), Z1[:9], atol=1e-12)
    np.testing.assert_allclose(path(Z1[:9], Z2[:9], 1.0), Z2[:9], atol=1e-12)


def test_slerp_refuses_a_single_vector():
    with pytest.raises(ValueError, match=r"z1 must be samples \(N, ...\), got one of shape \(64,\)"):
        slerp(np.ones(64), np.zeros(64), 0.5)


def test_slerp_between_parallel_ends_is_the_line():
    np.testing.assert_allclose(slerp(Z1[:3], 2 * Z1[:3], 0.5), 1.5 * Z1[:3], rtol=1e-12)
    np.testing.assert_allclose(slerp(Z1[:3], -Z1[:3], 0.25), 0.5 * Z1[:3], rtol=1e-12)  # of opposite ones, too
