"""Autoencoders against what is known: PCA, soft thresholding, a planted dictionary, the best Gaussian denoiser."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from minigen import Tensor, nn
from minigen.data import load, to_model_range
from minigen.models.autoencoder import L1, Autoencoder, CodeGaussian, Dictionary, GaussianNoise, MaskingNoise, Shrink
from minigen.models.coders import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from minigen.optim import Adam, warmup_cosine
from minigen.random import Generator

SIDE = (28, 28, 1)


def affine(shape, code, seed=1, **parts):
    """The linear autoencoder, float64."""
    g = Generator(seed)
    return Autoencoder(MLPEncoder(shape, (), code, g), MLPDecoder(code, (), shape, g), **parts).astype(np.float64)


def sparse(shape, atoms, c, seed=1):
    g = Generator(seed)
    encoder = nn.Sequential(MLPEncoder(shape, (), atoms, g), Shrink(atoms))
    return Autoencoder(encoder, Dictionary(atoms, shape, g), penalty=L1(c))


def descend(network, batch_at, steps, lr, seed=0):
    """Adam with warm-up and cosine on batch_at(step) -> the last Objective."""
    generator, optimizer = Generator(seed), Adam([p for p in network.parameters() if p.requires_grad])
    for step in range(steps):
        optimizer.zero_grad()
        objective = network.objective(batch_at(step), generator)
        objective.loss.backward()
        optimizer.lr = lr * warmup_cosine(step, 10, steps)
        optimizer.step()
    return objective


# ---------------------------------------------------------------- linear = PCA


def assert_is_pca(x, network, objective, loss_tolerance):
    """The decoder spans the leading components, and the loss is n / 2 times the dropped eigenvalues."""
    n, code = len(x), objective.codes.shape[1]
    covariance = x.reshape(n, -1).T @ x.reshape(n, -1) / n
    eigenvalues, axes = np.linalg.eigh(covariance)
    angles = subspace_angles(network.decoder.layers[0].weight.data.T, axes[:, -code:])
    assert angles.max() < 1e-3
    expected = n / 2 * eigenvalues[:-code].sum()
    loss = n * objective.loss.item()
    assert expected * (1 - 1e-9) <= loss <= expected * (1 + loss_tolerance)


def test_a_linear_autoencoder_is_pca_on_correlated_data():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    x = (rng.normal(size=(400, 20)) * 1.3 ** -np.arange(20.0)) @ rotation
    x = (x - x.mean(0)).reshape(400, 4, 5, 1)
    network = affine(x.shape[1:], 3)
    assert_is_pca(x, network, descend(network, lambda step: x, 800, 0.05), 1e-4)


def test_a_linear_autoencoder_is_pca_on_digits():
    x = to_model_range(load("mnist-mini").images[:500]).astype(np.float64)
    x -= x.mean(0)
    network = affine(SIDE, 4)
    assert_is_pca(x, network, descend(network, lambda step: x, 300, 0.05), 1e-4)


def test_the_biases_do_the_centring():
    """On data with a mean, the loss is that of PCA on the centred data."""
    rng = np.random.default_rng(1)
    x = 3 + rng.normal(size=(200, 6)) * [3, 2, 1, 0.5, 0.3, 0.2]
    network = affine((1, 6, 1), 2)
    objective = descend(network, lambda step: x.reshape(200, 1, 6, 1), 1000, 0.1)
    dropped = np.linalg.eigvalsh(np.cov(x.T, bias=True))[:-2].sum()
    np.testing.assert_allclose(objective.loss.item(), dropped / 2, rtol=1e-2)


def pca_error(train, test, code):
    """The held-out squared error of a pixel of PCA with `code` components."""
    x, y = (a.reshape(len(a), -1).astype(np.float64) for a in (train, test))
    mean = x.mean(0)
    axes = np.linalg.eigh(np.cov((x - mean).T))[1][:, -code:]
    return (((y - mean) @ axes @ axes.T + mean - y) ** 2).mean()


def test_a_nonlinear_autoencoder_beats_pca_on_held_out_digits():
    """A short training with codes of 8 numbers; test_pretraining.py has full MNIST at 32, convolutions included."""
    train, test = (to_model_range(load("mnist-mini", split=split).images) for split in ("train", "test"))
    g = Generator(0)
    network = Autoencoder(MLPEncoder(SIDE, (128,), 8, g), MLPDecoder(8, (128,), SIDE, g))
    descend(network, lambda step: train[64 * step % 9984 :][:64], 300, 8e-3)
    error = ((network(Tensor(test[:500])).data - test[:500]) ** 2).mean()
    assert error < pca_error(train[:4000], test[:500], 8)


# ---------------------------------------------------------------- sparse


def soft(u, c):
    return np.sign(u) * np.maximum(np.abs(u) - c, 0)


def test_shrink_is_soft_thresholding():
    shrink, u = Shrink(3, start=0.5).astype(np.float64), np.random.default_rng(0).normal(size=(40, 3))
    z = shrink(Tensor(u)).data
    np.testing.assert_allclose(z, soft(u, 0.5), rtol=1e-6)
    assert ((z == 0) == (np.abs(u) <= 0.5)).all()


def test_with_an_orthonormal_decoder_codes_are_soft_thresholded_projections():
    rng, c = np.random.default_rng(0), 0.5
    atoms = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    x = rng.laplace(size=(300, 2, 4, 1))
    network = sparse((2, 4, 1), 8, c).astype(np.float64)
    network.decoder.weight.assign(atoms)
    network.decoder.requires_grad(False)
    descend(network, lambda step: x, 600, 0.05)
    codes = network.encoder(Tensor(x)).data
    expected = soft(x.reshape(300, 8) @ atoms.T, c)
    np.testing.assert_allclose(codes, expected, atol=1e-4)
    assert ((codes == 0) == (expected == 0)).mean() > 0.999


def test_a_planted_dictionary_is_found():
    """Images that are sums of 2 of 24 unknown atoms in 16 dimensions: each atom has a learnt one beside it."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(24, 16))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((4000, 24))
    for code in codes:
        code[rng.permutation(24)[:2]] = rng.choice([-1, 1], 2) * rng.uniform(1, 2, 2)
    x = (codes @ atoms).astype(np.float32).reshape(-1, 4, 4, 1)
    network = sparse((4, 4, 1), 24, 0.3)
    descend(network, lambda step: x[500 * (step % 8) :][:500], 1500, 0.02)
    cosine = np.abs(atoms @ network.decoder.atoms().data.T).max(axis=1)
    assert cosine.mean() > 0.95


def test_atoms_have_length_one_so_scaling_cannot_escape_the_penalty():
    network, x = sparse((3, 3, 1), 12, 0.7), Generator(2).normal((5, 3, 3, 1))
    np.testing.assert_allclose((network.decoder.atoms().data ** 2).sum(1), 1, rtol=1e-6)
    before = network.objective(x, Generator(0)).loss.item()
    network.decoder.weight.assign(10 * network.decoder.weight.data)
    assert network.objective(x, Generator(0)).loss.item() == pytest.approx(before, rel=1e-5)


# ---------------------------------------------------------------- denoising


def test_a_linear_denoiser_of_gaussian_data_learns_the_posterior_mean_and_the_score():
    """r(x) = S (S + s^2 I)^-1 x, and (r(x) - x) / s^2 is the gradient of ln N(x; 0, S + s^2 I)."""
    rng, s = np.random.default_rng(0), 0.7
    root = np.linalg.qr(rng.normal(size=(4, 4)))[0] * [1.5, 1.0, 0.6, 0.3]
    x = rng.normal(size=(4096, 4))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / len(x))).T @ root.T  # covariance exactly S
    S = root @ root.T
    network = affine((2, 2, 1), 4, corruptions=[GaussianNoise(s)])
    descend(network, lambda step: x.reshape(-1, 2, 2, 1), 700, 0.05)

    noisy = np.eye(4)
    zero = network(Tensor(np.zeros((1, 2, 2, 1)))).data.reshape(1, 4)
    learnt = network(Tensor(noisy.reshape(4, 2, 2, 1))).data.reshape(4, 4) - zero  # row i: the image of unit vector i
    np.testing.assert_allclose(zero, 0, atol=0.02)
    np.testing.assert_allclose(learnt.T, S @ np.linalg.inv(S + s**2 * np.eye(4)), atol=0.02)
    score = -noisy @ np.linalg.inv(S + s**2 * np.eye(4))
    np.testing.assert_allclose((learnt - noisy) / s**2, score, atol=0.02 / s**2)


def test_the_objective_is_the_decks_with_noise_and_penalty_together():
    """Deck 000, "Denoising autoencoder": 1/2 sum ||g(f(x~)) - x||^2 + c ||f(x~)||_1."""
    g, x = Generator(0), Generator(1).normal((6, 3, 2, 1))
    network = Autoencoder(
        MLPEncoder((3, 2, 1), (5,), 4, g), MLPDecoder(4, (5,), (3, 2, 1), g), [GaussianNoise(0.3)], L1(0.2)
    )
    found = network.objective(x, Generator(7))
    noisy = x + np.float32(0.3) * Generator(7).normal(x.shape)
    codes = network.encoder(Tensor(noisy)).data
    error = 0.5 * ((network(Tensor(noisy)).data - x) ** 2).sum() / 6
    assert found.error.item() == pytest.approx(error, rel=1e-5)
    assert found.loss.item() == pytest.approx(error + 0.2 * np.abs(codes).sum() / 6, rel=1e-5)
    np.testing.assert_array_equal(found.codes.data, codes)


def test_masking_takes_whole_pixels_at_its_rate_and_leaves_the_others():
    x = 0.5 + 0.1 * Generator(0).uniform((200, 10, 10, 3))
    noisy = MaskingNoise(0.3)(x, Generator(1))
    lost = (noisy == -1).all(axis=-1)
    np.testing.assert_array_equal(noisy[~lost], x[~lost])
    assert abs(lost.mean() - 0.3) < 5 * (0.3 * 0.7 / lost.size) ** 0.5


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 11, 3), (4, 4, 2)])
def test_convolutional_halves_mirror_each_other_at_odd_sizes_too(shape):
    g, x = Generator(0), Generator(1).normal((2, *shape))
    network = Autoencoder(ConvEncoder(shape, (4, 6), 5, g), ConvDecoder(5, (4, 6), shape, g))
    objective = network.objective(x, g)
    assert objective.codes.shape == (2, 5)
    assert network(Tensor(x)).shape == x.shape
    objective.loss.backward()
    assert all(np.abs(p.grad.data).max() > 0 for p in network.parameters())
    back = [conv.weight.shape for conv in reversed(network.decoder.convs)]
    assert [conv.weight.shape for conv in network.encoder.convs] == back


def test_images_too_small_to_halve_and_of_another_size_are_refused():
    with pytest.raises(ValueError, match="at least 8 pixels high and wide to be halved 3 times, got"):
        ConvEncoder((7, 9, 1), (2, 2, 2), 4, Generator(0))
    with pytest.raises(ValueError, match=r"images must be \(N, 8, 8, 1\), as the network's, got \(2, 9, 8, 1\)"):
        MLPEncoder((8, 8, 1), (), 4, Generator(0))(Tensor(np.zeros((2, 9, 8, 1), np.float32)))


@pytest.mark.parametrize(
    ("part", "value"), [(GaussianNoise, -0.1), (MaskingNoise, -0.1), (MaskingNoise, 1.0), (L1, -1)]
)
def test_noise_and_penalty_have_limits(part, value):
    with pytest.raises(ValueError, match=f"got {value}"):
        part(value)


def test_the_statistics_of_codes_are_those_of_all_batches_with_their_weights():
    rng, gaussian = np.random.default_rng(0), CodeGaussian(3).astype(np.float64)
    batches = [rng.normal(size=(20, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3) for _ in range(5)]
    decays, weights = [0.0, 0.5, 0.6, 0.7, 0.8], np.ones(5)
    for i, (batch, decay) in enumerate(zip(batches, decays)):
        gaussian.update(batch, decay)
        weights[:i] *= decay
        weights[i] = 1 - decay
    every, weight = np.concatenate(batches), np.repeat(weights, 20)
    np.testing.assert_allclose(gaussian.mean.data, np.average(every, axis=0, weights=weight))
    np.testing.assert_allclose(gaussian.covariance.data, np.cov(every.T, aweights=weight, ddof=0))
    drawn = gaussian.draw(40_000, Generator(0))
    np.testing.assert_allclose(drawn.mean(0), gaussian.mean.data, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), gaussian.covariance.data, atol=0.1)
