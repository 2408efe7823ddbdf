"""The VAE: probabilistic PCA where it is linear, exact likelihoods, its settings, its training and its way home."""

import json
import re
import runpy
from pathlib import Path

import linear_gaussian as known
import numpy as np
import pytest
from click.testing import CliRunner
from tiny import ended_by_an_exception, make_data

from minigen import Tensor, cli, grad, ops
from minigen.data import Batches, load
from minigen.models import bounds
from minigen.models.likelihoods import Bernoulli
from minigen.models.vae import VAENetwork
from minigen.optim import Adam
from minigen.random import Generator
from minigen.train import VAE, RunFolder, SettingError, VAEConfig, VAETraining, resume, start
from minigen.train import load as load_run
from minigen.train.checkpoint import read_checkpoint

SMALL = {"latent": 3, "batch_size": 8, "warmup": 2}


@pytest.fixture(scope="module")
def digits():
    return load("mnist-mini")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


def small(**settings):
    """The settings of a small model."""
    size = {"channels": (4,)} if settings.get("network") == "conv" else {"hidden": (16,)}
    return VAEConfig(**{**SMALL, **size, **settings})


def model_of(shape=(8, 8, 1), **settings):
    return VAE(small(**settings), shape, Generator(0))


def images(n=8, shape=(8, 8, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def float64(network):
    """The parameters as float64, with an optimiser made afterwards in mind."""
    return network.astype(np.float64)


# ---------------------------------------------------------------- a linear VAE is probabilistic PCA


@pytest.fixture(scope="module")
def pca():
    """200 points in 5 dimensions, and the maximum of ln p over all models of 2 latents (Tipping and Bishop, 1999, eq. 7
    to 9): W = U (Lambda - s^2)^(1/2) from the 2 largest eigenvalues of the covariance, s^2 the mean of the others."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 5)) * 0.5 + 0.3 * rng.standard_normal((200, 5)) + 0.2
    mean, (values, vectors) = x.mean(0), np.linalg.eigh(np.cov(x.T, bias=True))
    variance, largest = values[:3].mean(), values[3:]
    weight = vectors[:, 3:] * np.sqrt(largest - variance)
    log_p = known.log_normal(x, mean, weight @ weight.T + variance * np.eye(5)).mean()
    return x.reshape(200, 1, 5, 1), mean, weight, variance, largest, log_p


def linear_vae(variance=0.5):
    config = VAEConfig(likelihood="gaussian", variance="shared", sigma=variance**0.5, hidden=(), latent=2)
    model = VAE(config, (1, 5, 1), Generator(1))
    float64(model.network)
    return model


def exact_elbo(model, x):
    """The ELBO's mean over the data; the expectation over z by points that are exact for a quadratic."""
    eps = Tensor(known.corners(len(x), 2))
    log_px, _, mu, logvar = model.encode_and_decode(x, eps)
    return bounds.elbo(log_px, bounds.kl_to_prior(mu, logvar)).mean()


def test_the_best_elbo_of_a_linear_vae_is_the_maximum_likelihood_of_probabilistic_pca(pca):
    """At the closed-form optimum: W in the decoder, the posterior in the encoder. And no gradient is left there."""
    x, mean, weight, variance, largest, log_p = pca
    model = linear_vae()
    encoder, decoder = model.network.encoder.layers[0], model.network.decoder.layers[0]
    back = weight / largest  # W M^-1, as M = W^T W + s^2 = Lambda
    encoder.weight.assign(np.concatenate([back, np.zeros((5, 2))], axis=1))
    encoder.bias.assign(np.concatenate([-mean @ back, np.log(variance / largest)]))
    decoder.weight.assign(weight.T)
    decoder.bias.assign(mean)
    floor = model.network.likelihood.mean_and_logvar(Tensor(np.zeros((1, 1, 5, 1))))[1].data.ravel()[0]
    raw = model.network.likelihood.raw
    raw.assign(raw.data + np.log(variance) - floor)  # the floor is smooth: one correction meets it to 1e-5
    elbo = exact_elbo(model, x)
    assert abs(elbo.item() - log_p) < 1e-8
    (-elbo).backward()
    assert max(abs(p.grad.data).max() for p in model.network.parameters()) < 1e-4


def test_a_linear_vae_trained_by_gradient_reaches_it_and_never_passes_it(pca):
    x, *_, log_p = pca
    model = linear_vae()
    optimizer, seen = Adam(model.network.parameters(), lr=0.1), []
    for step in range(800):
        optimizer.lr = 0.1 * (1 - step / 800)
        elbo = exact_elbo(model, x)
        seen.append(elbo.item())
        optimizer.zero_grad()
        (-elbo).backward()
        optimizer.step()
    assert max(seen) <= log_p + 1e-10
    assert log_p - seen[-1] < 1e-3
    assert log_p - seen[0] > 0.5


# ---------------------------------------------------------------- likelihoods


def test_importance_sampling_finds_the_exact_likelihood_of_a_linear_gaussian_model():
    x, model = known.data(40), known.poor_vae()
    found = model.log_likelihoods(x, Generator(1), samples=20000)
    assert abs(found - known.log_p(x)).max() < 0.1
    assert abs((found - known.log_p(x)).mean()) < 0.01
    assert abs(known.vae().log_likelihoods(x, Generator(1), samples=3) - known.log_p(x)).max() < 1e-12


def test_nll_is_the_mean_over_images_with_its_standard_error_and_the_same_at_every_call():
    model, x = model_of(), images(30)
    found = model.nll(x, Generator(3), samples=20)
    assert found == model.nll(x, Generator(3), samples=20)
    assert found != model.nll(x, Generator(4), samples=20)
    binary, draws = model.pixels(x, Generator(3).child("binarise")), Generator(3).child("latents")
    values = -model.log_likelihoods(binary, draws, 20)
    assert found["nll"] == pytest.approx(values.mean())
    assert found["standard_error"] == pytest.approx(values.std(ddof=1) / 30**0.5)
    assert (found["images"], found["samples"]) == (30, 20)
    assert np.isnan(model.nll(x[:1], Generator(3), samples=2)["standard_error"])


def test_more_samples_than_are_decoded_at_once_give_one_estimate(monkeypatch):
    x, model = known.data(1), known.poor_vae()
    whole = model.log_likelihoods(x, Generator(0), samples=20)
    monkeypatch.setattr("minigen.train.vae.ROWS", 8)  # 8 samples are 16 numbers, whole counters: the same are drawn
    assert abs(model.log_likelihoods(x, Generator(0), samples=20) - whole).max() < 1e-12


def test_a_conditional_likelihood_and_the_mixture_over_all_labels():
    """p(x) is the mean of p(x | label); with few samples the same draws serve both sides."""
    model, x = model_of(classes=10), images(5)
    binary = model.pixels(x, Generator(0).child("binarise"))
    draws = Generator(0).child("latents")
    given = np.stack([model.log_likelihoods(binary, draws, 50, np.full(5, label)) for label in range(10)])
    expected = -np.log(np.exp(given).mean(0)).mean()
    assert model.nll(x, Generator(0), 50)["nll"] == pytest.approx(expected)
    one = model.nll(x, Generator(0), 50, labels=np.zeros(5, int))["nll"]
    assert one == pytest.approx(-given[0].mean())


def test_a_model_encodes_decodes_and_reconstructs_in_parts_as_the_network_does_at_once(monkeypatch):
    model, x, labels = model_of(classes=10), images(7), np.arange(7)
    mean, logvar = model.encode(x, labels, seed=3)
    whole = model.network.encode(Tensor(model.pixels(x, Generator(3))), labels)
    np.testing.assert_allclose(mean, whole[0].data, atol=1e-6)
    np.testing.assert_allclose(logvar, whole[1].data, atol=1e-6)
    shown = 2 * model.network.likelihood.mean(model.network.decode(Tensor(mean), labels)).data - 1
    np.testing.assert_allclose(model.decode(mean.astype(np.float64), labels), shown, atol=1e-6)
    np.testing.assert_array_equal(model.reconstruct(x, labels, seed=3), model.decode(mean, labels))
    monkeypatch.setattr("minigen.train.vae.TOGETHER", 4)  # 4 x 64 numbers: whole counters of the generator
    np.testing.assert_allclose(model.encode(x, labels, seed=3)[0], mean, atol=1e-6)
    np.testing.assert_allclose(model.decode(mean, labels), shown, atol=1e-6)
    with pytest.raises(ValueError, match="labels must be given exactly where the model has classes"):
        model.encode(x)


def test_every_image_keeps_its_own_label_whatever_k():
    model, labels, eps = model_of(classes=10), np.array([0, 7, 3]), Generator(1).normal((3, 4, 3))
    x = model.pixels(images(3), Generator(0))
    alone = [model.bound(x[[i]], eps[[i]], labels[[i]]).data[0] for i in range(3)]
    assert abs(model.bound(x, eps, labels).data - alone).max() < 1e-4
    assert np.ptp([model.bound(x[:1], eps[:1], [label]).data[0] for label in range(10)]) > 0.1


# ---------------------------------------------------------------- the step


def test_the_loss_of_a_step_is_the_sum_over_pixels_plus_the_sum_over_latents_written_out(digits):
    """In NumPy: the mean over the batch and over nothing else; a mean over pixels would weigh the KL by 784."""
    config = VAEConfig(hidden=(16,), latent=3, batch_size=4, steps=10)
    task, batches = VAETraining(config, (28, 28, 1)), Batches(digits.images, digits.labels, 4, 0)
    drawn = Generator(*task.generator.state().values())
    mean = digits.images.mean(0) / 255
    task.network.begin_at(mean.astype(np.float32))
    state = {name: p.data.astype(np.float64) for name, p in task.network.named_parameters()}
    found = task.step(batches, 0)

    grey = batches.batch_at(0)[0] / 255
    x = (drawn.uniform(grey.shape) < grey.astype(np.float32)).astype(np.float64).reshape(4, 784)
    eps = drawn.normal((4, 1, 3)).astype(np.float64)[:, 0]

    def mlp(h, name):
        h = np.tanh(h @ state[f"{name}.layers.0.weight"] + state[f"{name}.layers.0.bias"])
        return h @ state[f"{name}.layers.1.weight"] + state[f"{name}.layers.1.bias"]

    mu, logvar = np.split(mlp(x - mean.reshape(784), "encoder"), 2, axis=1)
    y = mlp(mu + np.exp(logvar / 2) * eps, "decoder")
    s = 1 / (1 + np.exp(-y))
    reconstruction = -(x * np.log(s) + (1 - x) * np.log(1 - s)).sum(1)
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar).sum(1)
    assert found["reconstruction"] == pytest.approx(reconstruction.mean(), rel=1e-5)
    assert found["kl"] == pytest.approx(kl.mean(), rel=1e-4)
    assert found["loss"] == pytest.approx((reconstruction + kl).mean(), rel=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize(
    "pixels", [{}, {"likelihood": "logistic"}, *({"likelihood": "gaussian", "variance": v} for v in ("fixed", "pixel"))]
)
def test_training_begins_at_the_mean_image(network, pixels):
    """The encoder's input is centred; at the code 0 the decoder shows the mean (conv: of all pixels).

    Most columns are black: there the mean of the logits is far from the logit of the mean.
    """
    model = model_of(network=network, **pixels)
    batches = Batches(images(40) * (np.arange(8) < 2)[:, None].astype(np.uint8), np.zeros(40, int), 8, 0)
    mean = batches.images.mean(0) / 255
    task = VAETraining(model.config, (8, 8, 1))
    task.step(batches, 0)
    assert abs(task.network.centre.data - mean).max() < 1e-6
    model.network.begin_at(mean.astype(np.float32))
    decoder = model.network.decoder
    for p in decoder.parameters():
        if p is not (decoder.layers if network == "mlp" else decoder.convs)[-1].bias:
            p.assign(0 * p.data)
    shown = model.network.likelihood.mean(model.network.decode(Tensor(np.zeros((1, 3), np.float32)))).data[0]
    assert abs(shown - (mean if network == "mlp" else mean.mean())).max() < 0.01


def test_the_bound_of_one_sample_is_the_elbo_and_of_more_the_log_of_the_mean_weight():
    model, x = model_of(), images(4)
    x, eps = model.pixels(x, Generator(0)), Generator(1).normal((4, 6, 3))
    log_px, z, mu, logvar = model.encode_and_decode(x, Tensor(eps))
    log_w = bounds.log_weights(log_px, z, Tensor(eps), logvar).data.astype(np.float64)
    assert abs(model.bound(x, eps).data - np.log(np.exp(log_w - 40).mean(1)) - 40).max() < 1e-3
    one = model.encode_and_decode(x, Tensor(eps[:, :1]))[0].data[:, 0] - ops.kl_gaussian(mu, logvar, "none").data.sum(1)
    assert abs(model.bound(x, eps[:, :1]).data - one).max() < 1e-4


class Chooses:
    """In place of a Generator: every uniform number is `u`."""

    def __init__(self, u):
        self.u = u

    def uniform(self, shape, dtype, device):
        return np.full(shape, self.u, dtype)


def of_every_choice(model, x, eps, parameters):
    """The gradients of the resampled bound for each choice of one sample, weighed with its probability; x is one image.

    With an infinite number of draws of j this is what the estimator gives for these eps.
    """
    log_px, z, _, logvar = model.encode_and_decode(x, Tensor(eps))
    shares = ops.softmax(bounds.log_weights(log_px, z, Tensor(eps), logvar)).data[0]
    total = [0.0 for _ in parameters]
    for j, share in enumerate(shares):
        bound = model.resampled_bound(x, eps, Chooses(shares[:j].sum() + share / 2))
        assert abs(bound.data - model.bound(x, eps).data).max() < 1e-12
        total = [sum_ + share * g.data for sum_, g in zip(total, grad(bound.sum(), parameters))]
    return total


def test_the_decoders_gradient_through_one_sample_drawn_by_weight_is_that_through_all():
    """Exactly: each sample's gradient, weighed with its probability, adds up to the gradient of IWAE_5."""
    model, x, eps = known.poor_vae(), known.data(1), Generator(3).normal((1, 5, 2), np.float64)
    decoder = model.network.decoder.parameters()
    expected = grad(model.bound(x, eps).sum(), decoder)
    assert max(abs(a - b.data).max() for a, b in zip(of_every_choice(model, x, eps, decoder), expected)) < 1e-10


def test_the_encoders_gradient_by_way_of_z_is_that_of_the_bound_on_average_with_less_noise():
    """K = 5: over 400 draws of eps the means agree within 4 standard errors; the encoder's bias is looked at."""
    model, x = known.poor_vae(), known.data(1)
    bias = [model.network.encoder.layers[0].bias]
    plain, doubly = [], []
    for eps in Generator(4).normal((400, 1, 5, 2), np.float64):
        plain.append(grad(model.bound(x, eps).sum(), bias)[0].data)
        doubly.append(of_every_choice(model, x, eps, bias)[0])
    plain, doubly = np.array(plain), np.array(doubly)
    error = np.sqrt((plain.var(0) + doubly.var(0)) / len(plain))
    assert (abs(plain.mean(0) - doubly.mean(0)) < 4 * error).all()
    assert (abs(doubly.mean(0)) > 8 * doubly.std(0) / len(plain) ** 0.5).any(), "there is something to agree on"
    assert (doubly.var(0) < 0.7 * plain.var(0)).all()


def test_at_the_posterior_the_encoder_gets_no_gradient_from_any_resampled_draw():
    model, x = known.vae(), known.data(6)
    bound = model.resampled_bound(x, Generator(5).normal((6, 5, 2), np.float64), Generator(6))
    assert max(abs(g.data).max() for g in grad(bound.sum(), model.network.encoder.parameters())) < 1e-12


def test_the_terms_are_weighed_as_the_settings_say():
    model = model_of(beta=3.0, reconstruction=0.5)
    x, eps = model.pixels(images(4), Generator(0)), Generator(1).normal((4, 1, 3))
    whole, fit, kl = (term.item() for term in model.weighted_elbo(x, eps, beta=3.0))
    assert whole == pytest.approx(0.5 * fit - 3 * kl, rel=1e-6)
    assert fit + -kl == pytest.approx(model.bound(x, eps).data.mean(), rel=1e-6)


def test_k_and_beta_follow_their_schedules():
    config = VAEConfig(steps=9, k=(1, 5, 50))
    assert [config.k_at(step) for step in range(9)] == [1, 1, 1, 5, 5, 5, 50, 50, 50]
    assert [VAEConfig(steps=3, k=(1, 5)).k_at(step) for step in range(3)] == [1, 1, 5]
    warm = VAEConfig(kl_warmup=4, beta=2.0)
    assert [warm.beta_at(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert VAEConfig(beta=0.3).beta_at(0) == 0.3


def batches_of(config):
    return Batches(images(40), np.arange(40) % 10, config.batch_size, 0)


def test_a_step_heeds_warm_up_free_bits_and_k():
    def row(index, **settings):
        config = small(steps=10, **settings)
        return VAETraining(config, (8, 8, 1)).step(batches_of(config), index)

    warm, free = row(1, kl_warmup=4, beta=2.0), row(0, free_bits=50.0)
    assert warm["loss"] == pytest.approx(warm["reconstruction"] + 1.0 * warm["kl"])
    assert free["loss"] == pytest.approx(free["reconstruction"] + 3 * 50.0)
    assert "kl" in row(4, k=(1, 5)) and "kl" not in row(5, k=(1, 5))


@pytest.mark.parametrize(
    "settings", [{"kl": "formula"}, {"kl": "sampled"}, {"kl": "path"}, {"k": (4,)}, {"k": (4,), "resample": True}]
)
def test_a_step_descends_the_gradient_of_the_bound_that_was_set_with_the_labels_of_its_images(settings):
    """Written out with the functions of models/bounds.py, on the numbers that the step will draw."""
    config = small(classes=10, **settings)
    task, batches, k = VAETraining(config, (8, 8, 1)), batches_of(config), config.k[0]
    task.network.begin_at((batches.images.mean(0) / 255).astype(np.float32))
    drawn, (pictures, labels) = Generator(*task.generator.state().values()), batches.batch_at(0)
    x = task.model.pixels(pictures, drawn)
    eps = drawn.normal((len(x), k, 3))
    log_px, z, mu, logvar = task.model.encode_and_decode(x, Tensor(eps), labels)
    if config.resample:
        bound = task.model.resampled_bound(x, eps, drawn, labels)
    elif k > 1:
        bound = bounds.iwae_bound(bounds.log_weights(log_px, z, Tensor(eps), logvar))
    elif config.kl == "formula":
        bound = bounds.elbo(log_px, bounds.kl_to_prior(mu, logvar))
    elif config.kl == "sampled":
        bound = bounds.elbo(log_px, bounds.sampled_kl_to_prior(z, Tensor(eps), logvar))
    else:
        bound = bounds.elbo(log_px, bounds.path_kl_to_prior(z, mu, logvar))
    expected = [g.data for g in grad(-bound.mean(), task.network.parameters())]
    found = task.step(batches, 0)
    assert found["loss"] == pytest.approx(-bound.data.mean(), rel=1e-5)
    for p, g in zip(task.network.parameters(), expected):
        assert abs(p.grad.data - g).max() <= 1e-4 * max(1, abs(g).max())


def train(digits, steps, **settings):
    """-> the last rows of metrics of a small model of the digits."""
    config = VAEConfig(**{"steps": steps, "latent": 2, "lr": 5e-3, **settings})
    task, batches = VAETraining(config, (28, 28, 1)), Batches(digits.images, digits.labels, config.batch_size, 0)
    rows = [task.step(batches, index) for index in range(steps)]
    return {name: np.mean([row[name] for row in rows[-20:]]) for name in rows[-1]}


def test_the_kl_alone_goes_below_a_thousandth_of_a_nat_and_the_reconstruction_alone_lets_it_grow(digits):
    """Deck 000's three pictures in numbers: only KL, only reconstruction, both."""
    alone = train(digits, 200, reconstruction=0.0, lr=2e-2, hidden=(64,))
    assert 0 <= alone["kl"] < 1e-3
    fit, both = (train(digits, 60, beta=beta, hidden=(64,)) for beta in (0.0, 1.0))
    assert fit["kl"] > 3 * both["kl"] > 3 * 1.0
    assert max(fit["reconstruction"], both["reconstruction"]) < alone["reconstruction"] - 20


def test_a_convolutional_conditional_vae_learns(digits):
    start, end = (train(digits, n, network="conv", channels=(4, 8), classes=10) for n in (1, 60))
    assert end["loss"] < start["loss"] - 20


# ---------------------------------------------------------------- pixels


def test_dynamic_binarisation_draws_each_pixel_anew_with_its_grey_value_for_a_probability():
    model, generator = model_of((1, 3, 1), binarise="dynamic"), Generator(0)
    grey = np.tile(np.array([0, 255, 51], np.uint8).reshape(1, 1, 3, 1), (50_000, 1, 1, 1))
    first, second = model.pixels(grey, generator), model.pixels(grey, generator)
    assert set(np.unique(first)) == {0, 1}
    assert first[:, 0, 0].max() == 0 and first[:, 0, 1].min() == 1
    assert abs(first[:, 0, 2].mean() - 0.2) < 5 * (0.2 * 0.8 / 50_000) ** 0.5
    assert (first != second).any()


def test_other_ways_to_give_pixels():
    grey = np.array([0, 127, 128, 255], np.uint8).reshape(1, 1, 4, 1)
    cut = model_of((1, 4, 1), binarise="threshold").pixels(grey, Generator(0))
    assert cut.ravel().tolist() == [0, 0, 1, 1]
    for settings in ({"likelihood": "gaussian"}, {"likelihood": "logistic"}, {"binarise": "grey"}):
        generator = Generator(0)
        kept = model_of((1, 4, 1), **settings).pixels(grey, generator)
        assert np.array_equal(kept, grey / np.float32(255))
        assert generator.counter == 0


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"beta": -0.1}, "beta must be at least 0, got -0.1"),
        ({"k": ()}, "k must hold at least one number"),
        ({"k": (0,)}, r"k must be at least 1, got \(0,\)"),
        ({"binarise": "none"}, "grey pixels its cross-entropy is no log-likelihood"),
        ({"k": (1, 5), "beta": 2.0}, r"beta belongs to the ELBO, which is k = 1: got k = \(1, 5\)"),
        ({"k": (5,), "free_bits": 0.1}, "free_bits belongs to the ELBO"),
        ({"likelihood": "bernouli"}, "did you mean 'bernoulli'"),
        ({"adam_eps": 0}, "adam_eps must be at least 1e-12, got 0"),
        ({"classes": 5}, "classes must be 0 or 10, those of mnist-mini, got 5"),
        ({"classes": 20, "data": "mnist"}, "classes must be 0 or 10, those of mnist, got 20"),
        ({"channels": (7,)}, "channels belongs to network 'conv', got network 'mlp'"),
        ({"network": "conv", "hidden": (7,)}, "hidden belongs to network 'mlp', got network 'conv'"),
        ({"variance": "pixel"}, "variance belongs to likelihood 'gaussian', got likelihood 'bernoulli'"),
        ({"likelihood": "logistic", "sigma": 3.0}, "sigma belongs to likelihood 'gaussian', got likelihood 'logistic'"),
        ({"likelihood": "logistic", "binarise": "grey"}, "binarise 'grey' belongs to likelihood 'bernoulli'"),
        ({"resample": True}, r"resample belongs to k above 1, got k = \(1,\)"),
        ({"beta": 0, "reconstruction": 0}, "beta and reconstruction must not both be 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        VAEConfig(**settings)


def test_images_of_another_size_or_type_are_refused():
    model = model_of()
    with pytest.raises(ValueError, match=r"images must be \(N, 8, 8, 1\), got \(2, 9, 8, 1\)"):
        model.nll(images(2, (9, 8, 1)), Generator(0), 2)
    for shape in ((2, 9, 8, 1), (2, 8, 1, 1)):  # the second could be broadcast to the model's size
        with pytest.raises(ValueError, match=re.escape(f"images must be (N, 8, 8, 1), as the network's, got {shape}")):
            model.network.encode(Tensor(np.zeros(shape, np.float32)))
    with pytest.raises(TypeError, match="images must be uint8, got float64"):
        model.nll(images(2) / 255, Generator(0), 2)
    with pytest.raises(ValueError, match="samples and images must be at least 1, got samples=0"):
        model.nll(images(2), Generator(0), 0)
    with pytest.raises(ValueError, match="no likelihood, so there is no NLL"):
        model_of(binarise="grey").nll(images(2), Generator(0), 2)
    with pytest.raises(ValueError, match="images must be at least 16 pixels high and wide"):
        model_of(network="conv", channels=(4, 4, 4, 4))
    with pytest.raises(ValueError, match="channels must hold at least one number, got none"):
        model_of(network="conv", channels=())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cnn"}, "kind must be one of mlp, conv, got 'cnn'"),
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"widths": (16, 0)}, r"widths of layers must be at least 1, got \(64, 16, 0, 100\)"),
    ],
)
def test_networks_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        VAENetwork((8, 8, 1), Bernoulli(), Generator(0), **settings)


def test_labels_are_asked_for_exactly_where_there_are_classes():
    conditional, plain = model_of(classes=10), model_of()
    x, z = Tensor(np.zeros((2, 8, 8, 1), np.float32)), Tensor(np.zeros((2, 3), np.float32))
    for call in (lambda: conditional.network.encode(x), lambda: plain.network.decode(z, np.array([0, 1]))):
        with pytest.raises(ValueError, match="labels must be given exactly where the model has classes"):
            call()
    with pytest.raises(ValueError, match=r"labels must be \(2,\) and lie in 0..9"):
        conditional.network.decode(z, np.array([0, 10]))
    with pytest.raises(SettingError, match="label must be below 10, the model's classes, got 10"):
        conditional.sample(2, label=10)
    with pytest.raises(SettingError, match="label must be below 0"):
        plain.sample(2, label=0)


# ---------------------------------------------------------------- samples


def test_samples_are_decoded_codes_of_the_prior_in_the_models_range():
    model = model_of()
    z = Tensor(Generator(7).normal((5, 3)))
    mean = 1 / (1 + np.exp(-model.network.decode(z).data.astype(np.float64)))
    assert abs(model.sample(5, seed=7) - (2 * mean - 1)).max() < 1e-6
    drawn = model.sample(5, seed=7, pixels="drawn")
    assert set(np.unique(drawn)) == {-1, 1}
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        model.sample(0)


def test_a_label_chooses_the_class_and_without_one_they_take_turns():
    model = model_of(classes=10)
    z = Tensor(Generator(7).normal((12, 3)))
    for settings, labels in (({"label": 2}, [2] * 12), ({}, [*range(10), 0, 1])):
        mean = model.network.likelihood.mean(model.network.decode(z, np.array(labels))).data
        assert abs(model.sample(12, seed=7, **settings) - (2 * mean - 1)).max() < 1e-6


# ---------------------------------------------------------------- runs

RUNS = {
    "elbo, then iwae": {"k": (1, 3)},
    "conditional, convolutional, warm-up": {
        "network": "conv", "classes": 10, "kl_warmup": 5, "free_bits": 0.1, "kl": "path",
    },
    "iwae, resampled": {"k": (4,), "resample": True},
    "gaussian with a learned variance": {"likelihood": "gaussian", "variance": "shared"},
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_resume_equals_the_uninterrupted_run_bit_for_bit(name, data_dir, tmp_path):
    own = {"data": "mnist", "data_dir": str(data_dir), "steps": 8, "checkpoint_every": 3, "sample_every": 100}
    config = small(**own, **RUNS[name])

    whole = start(config, tmp_path / "whole")
    with ended_by_an_exception("vae", step=4):
        start(config, tmp_path / "half")
    half = resume(tmp_path / "half")
    (arrays, header), (expected, expected_header) = (
        read_checkpoint(RunFolder(run.path).checkpoint_files()[0][1]) for run in (half, whole)
    )
    assert header == expected_header
    assert arrays.keys() == expected.keys()
    assert [key for key in arrays if arrays[key].tobytes() != expected[key].tobytes()] == []


def test_the_command_line_trains_samples_and_measures(data_dir, tmp_path, capsys):
    def minigen(*args):
        with pytest.raises(SystemExit) as end:
            cli.main([str(arg) for arg in args])
        assert end.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    run = tmp_path / "run"
    minigen("train", "vae", "--data", "mnist", "--data-dir", data_dir, "--steps", 2, "--batch-size", 8, "--latent", 2,
            "--hidden", "8", "--classes", 10, "--k", "1,5", "--out", run)  # fmt: skip
    minigen("sample", run, "--n", 4, "--label", 3, "--out", tmp_path / "digits.png")
    assert (tmp_path / "digits.png").is_file()
    write_test_split(data_dir)
    out = minigen("eval", run, "--nll", "--n", 5, "--samples", 10, "--json", tmp_path / "nll.json")
    numbers = json.loads((tmp_path / "nll.json").read_text())
    assert numbers.keys() == {"nll", "standard_error", "images", "samples"}
    assert f"{numbers['nll']:.6g}" in out
    assert (numbers["images"], numbers["samples"]) == (5, 10)
    assert load_run(run).sample(2).shape == (2, 8, 8, 1)


def write_test_split(folder):
    """Make the test files of a set that has training files only."""
    for part in ("images-idx3", "labels-idx1"):
        (folder / f"t10k-{part}-ubyte.gz").write_bytes((folder / f"train-{part}-ubyte.gz").read_bytes())


def test_the_example_runs(tmp_path):
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "vae.py"))["main"]
    done = CliRunner().invoke(example, ["--steps", "4", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "samples" / "digits.png").is_file()
    assert "-ln p(x) of 100 test digits" in done.output
