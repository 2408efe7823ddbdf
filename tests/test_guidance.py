"""Guidance on two Gaussian classes, where every score and every posterior p(y | x_t) is a formula.

Class k is N(m_k, s^2) on the line, both as likely. With the exact eps of the class and of the mixture, guidance with
scale w follows the score (1 - w) d log p(x_t) + w d log p(x_t | y).
"""

import numpy as np
import pytest
from scipy.special import expit
from test_samplers import ddim_moments, exact_model

from minigen import Tensor, no_grad, ops
from minigen.autograd import is_recording
from minigen.data import load, to_model_range
from minigen.diffusion import GaussianDiffusion, ddim_sample, ddpm_sample, make_schedule
from minigen.diffusion.guidance import classifier_guided, guided, label_probability
from minigen.models.classifier import load_classifier
from minigen.models.conditional_unet import KINDS, ConditionalUNet
from minigen.random import Generator

M, S = (-0.8, 1.2), 0.5  # the means of the two classes, and the deviation of both
SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (), "heads": 2, "groups": 4}


def process_of(T=1000, target="eps"):
    return GaussianDiffusion(make_schedule("cosine", T), target)


def class_1(process, x, t):
    """p(y = 1 | x_t) as its logit: linear in x_t, since the classes share their variance at every level."""
    a, b = process.signal[t], process.noise[t]
    variance = a**2 * S**2 + b**2
    return a * (M[1] - M[0]) / variance * (x - a * (M[0] + M[1]) / 2)


def target_from_eps(process, eps, x, t):
    a, b = process.signal[t], process.noise[t]
    x0 = (x - b * eps) / a
    return {"eps": eps, "x0": x0, "v": a * eps - b * x0, "mean": process.posterior(x0, x, t)[0]}[process.target]


def exact_eps(process, x, t, k):
    a, b = process.signal[t], process.noise[t]
    return b * (x - a * M[k]) / (a**2 * S**2 + b**2)


def exact_network(process, asked=None):
    """The exact prediction, of the class where `given`, else of the mixture: mean over p(y | x_t) of the classes'."""

    def network(x, t, labels, given):
        if asked is not None:
            asked.append(given)
        p = expit(class_1(process, x, t))
        mixture = (1 - p) * exact_eps(process, x, t, 0) + p * exact_eps(process, x, t, 1)
        told = np.where(labels == 1, exact_eps(process, x, t, 1), exact_eps(process, x, t, 0))
        return target_from_eps(process, np.where(given, told, mixture), x, t)

    return network


def unconditional(process):
    network = exact_network(process)
    return lambda x, t: network(x, t, np.zeros(len(x)), np.zeros(len(x), bool))


# ---------------------------------------------------------------- scales 0 and 1


@pytest.mark.parametrize("kind", KINDS)
def test_scale_0_and_1_are_the_plain_models_bit_for_bit(kind):
    process, rng = process_of(), Generator(0)
    network = ConditionalUNet(rng, kind, 3, **SMALL)
    for parameter in network.parameters():
        parameter.assign(parameter.data + 0.2 * rng.normal(parameter.shape))
    x, t = rng.normal((5, 8, 8, 1)), np.array([1, 7, 20, 300, 1000])
    condition = {}
    if kind != "image":
        condition["labels"] = np.array([0, 1, 2, 0, 1])
    if kind in ("image", "hybrid"):
        condition["image"] = rng.normal(x.shape)
    without = network(x, t).data
    told = network(x, t, **condition).data
    assert abs(told - without).max() > 0.01
    assert np.array_equal(guided(process, network, condition, 0)(x, t).data, without)
    assert np.array_equal(guided(process, network, condition, 0.0)(x, t).data, without)
    assert np.array_equal(guided(process, network, condition, 1)(x, t).data, told)
    np.testing.assert_allclose(guided(process, network, condition, 3.0)(x, t).data, 3 * told - 2 * without, atol=1e-4)


def test_scale_0_and_1_ask_one_model_and_other_scales_both_in_one_batch():
    """So that what the other model says, NaN for instance, cannot matter at 0 and 1."""
    process, x, t = process_of(), np.array([0.3, -1.0]), np.array([500, 20])
    labels, asked = np.array([1, 0]), []
    network = exact_network(process, asked)
    for scale in (0, 1, 2.5, -1.0):
        guided(process, network, {"labels": labels}, scale)(x, t)
    both = [False, False, True, True]
    assert [given.tolist() for given in asked] == [[False] * 2, [True] * 2, both, both]

    def spoilt(x, t, labels, given):
        return np.where(given, x, np.nan)

    assert np.array_equal(guided(process, spoilt, {"labels": labels}, 1)(x, t), x)


@pytest.mark.parametrize("scale", [-1.0, 0.5, 2.0, 7.5])
def test_other_scales_mix_the_two_predictions_of_the_same_sample(scale):
    process, x, t = process_of(), np.array([0.3, -1.0, 2.0]), np.array([500, 20, 900])
    network, labels = exact_network(process), np.array([1, 0, 1])
    without, told = (network(x, t, labels, np.full(3, given)) for given in (False, True))
    found = np.asarray(guided(process, network, {"labels": labels}, scale)(x, t))
    np.testing.assert_allclose(found, (1 - scale) * without + scale * told, rtol=1e-12)


def test_a_learned_variance_is_not_guided():
    """It stays what the model says where it is told, under both kinds of guidance."""
    process, rng = GaussianDiffusion(make_schedule("cosine", 100), "eps", True), Generator(0)
    x, t, labels = rng.normal((3, 4, 4, 2)), np.array([7, 50, 99]), np.array([1, 0, 1])

    def network(x, t, labels, given):
        label = (labels + 1) * given
        return np.concatenate([x * 0.5 + label.reshape(-1, 1, 1, 1), x * 0.1 - label.reshape(-1, 1, 1, 1)], axis=-1)

    without, told = (network(x, t, labels, np.full(3, given)) for given in (False, True))
    found = guided(process, network, {"labels": labels}, 3.0)(x, t)
    np.testing.assert_array_equal(found[..., 2:], told[..., 2:])
    np.testing.assert_allclose(found[..., :2], 3 * told[..., :2] - 2 * without[..., :2], rtol=1e-4, atol=1e-5)

    def model(x, t):
        return ops.concatenate([x * 0.5, x * 0.1], axis=-1)

    steered = classifier_guided(process, model, lambda xt, x0_hat, t: -(xt * xt).sum((1, 2, 3)), 3.0)(x, t)
    np.testing.assert_array_equal(steered[..., 2:], (x * 0.1).astype(np.float32))
    assert abs(steered[..., :2] - x * 0.5).max() > 0.1


# ---------------------------------------------------------------- the guided law, in closed form


@pytest.mark.parametrize("target", ["eps", "x0", "v", "mean"])
def test_one_mixture_serves_every_target(target):
    """Guiding v or x0 is guiding eps: the sample is the same."""
    x = Generator(1).normal((50,), np.float64)
    found = []
    for name in ("eps", target):
        process = process_of(100, name)
        model = guided(process, exact_network(process), {"labels": np.ones(50)}, 3.0)
        found.append(ddim_sample(process, model, x, Generator(0), steps=20))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-7)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("stds", [(0.5, 0.5), (0.9, 0.4)])
def test_guidance_between_two_gaussians_ends_at_its_closed_form(scale, stds):
    """From N(m0, s0^2), the unconditional model, towards N(m1, s1^2), the conditional one: every step is affine.

    With u = x / a and r = b / a the flow is du/dr = (1 - w) r (u - m0) / (s0^2 + r^2) + w r (u - m1) / (s1^2 + r^2), so

        variance   s0^(2 (1 - w)) s1^(2 w)      mean   (1 - w) m0 + w m1, where s0 = s1 (or both means are 0)
    """
    process, means = process_of(1000), (-0.8, 1.2) if stds[0] == stds[1] else (0.0, 0.0)
    models = [exact_model(process, mean, std) for mean, std in zip(means, stds)]

    def network(x, t, given):
        return np.where(given, models[1](x, t), models[0](x, t))

    mean, variance = ddim_moments(process, guided(process, network, {}, scale), 1000, 0.0)
    assert mean == pytest.approx((1 - scale) * means[0] + scale * means[1], abs=2e-3)
    assert variance == pytest.approx(stds[0] ** (2 - 2 * scale) * stds[1] ** (2 * scale), rel=0.02)


def test_scale_1_draws_the_class_and_scale_0_the_mixture_of_both():
    process, n = process_of(200), 4000
    for scale, mean, variance in [
        (1, M[1], S**2),
        (0, sum(M) / 2, S**2 + (M[1] - M[0]) ** 2 / 4),
    ]:
        model = guided(process, exact_network(process), {"labels": np.ones(n)}, scale)
        x = ddpm_sample(process, model, Generator(3).normal((n,), np.float64), Generator(4))
        assert x.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / n) + 0.01)
        assert x.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / n))


# ---------------------------------------------------------------- by a classifier


def log_p_class_1(process):
    """log p(y = 1 | x_t) in closed form, for classifier_guided."""

    def log_probability(xt, x0_hat, t):
        a, b = process.signal[t], process.noise[t]
        slope = Tensor(a * (M[1] - M[0]) / (a**2 * S**2 + b**2))
        return -ops.softplus(-(slope * (xt - Tensor(a * (M[0] + M[1]) / 2))))

    return log_probability


@pytest.mark.parametrize("target", ["eps", "x0", "v", "mean"])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_guidance_by_the_exact_classifier_is_classifier_free_guidance(target, scale):
    """Bayes: grad log p(y | x_t) is the difference of the two scores, whatever the target."""
    process = process_of(1000, target)
    x, t = Generator(1).normal((60,), np.float64), np.repeat([1, 40, 500, 800, 960, 999], 10)
    plain = unconditional(process)
    by_classifier = classifier_guided(
        process, lambda x, t: Tensor(plain(np.asarray(x.data), t)), log_p_class_1(process), scale
    )(x, t)
    free = guided(process, exact_network(process), {"labels": np.ones(60)}, scale)(x, t)
    np.testing.assert_allclose(by_classifier, free, rtol=1e-9, atol=1e-9)


def test_the_model_is_recorded_for_the_gradient_alone():
    process = process_of(50)

    def model(x, t):
        assert is_recording()
        assert isinstance(x, Tensor)
        return x * 0.1

    steered = classifier_guided(process, model, lambda xt, x0_hat, t: -(x0_hat * x0_hat), 1.0)
    with no_grad():
        assert type(steered(np.ones(2), np.array([3, 9]))) is np.ndarray
        assert not is_recording()


def test_the_digit_classifier_sees_the_guess_of_x0_and_its_gradient_comes_through_the_model():
    """Against finite differences of log p(y | x0_hat(x_t)), at two real digits and for labels that are not theirs."""
    process, rng, classifier = process_of(1000, "x0"), Generator(0), load_classifier().astype(np.float64)
    digits = load("mnist-mini", split="test")
    x = to_model_range(digits.images[:2]) + 0.1 * rng.normal((2, 28, 28, 1), np.float64)
    t, labels = np.array([300, 700]), (digits.labels[:2] + 1) % 10

    def model(x, t):
        return ops.tanh(x * 0.7)

    log_probability = label_probability(classifier, labels)

    def log_p(x):
        x0_hat = np.asarray(model(Tensor(x), t))
        logits = np.asarray(classifier(Tensor(x0_hat)))
        return logits[range(2), labels] - np.log(np.exp(logits).sum(1))

    steered = classifier_guided(process, model, log_probability, 2.0)(x, t)
    shift = (steered - np.tanh(0.7 * x)) * (process.signal[t] / process.noise[t] ** 2 / 2).reshape(2, 1, 1, 1)
    direction = rng.normal(x.shape, np.float64)
    slope = (log_p(x + 1e-8 * direction) - log_p(x - 1e-8 * direction)) / 2e-8  # short: its ReLUs have kinks
    np.testing.assert_allclose((shift * direction).sum((1, 2, 3)), slope, rtol=1e-4)
