"""GAN losses: gradients and optima in closed form, penalties against finite differences, what must be refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import wasserstein_distance

from minigen import check_grads, grad, nn, ops
from minigen.models.gan.losses import (
    ACGAN,
    BEGAN,
    EBGAN,
    LOSSES,
    LSGAN,
    WGAN,
    WGANGP,
    Hinge,
    InfoGAN,
    Minimax,
    NonSaturating,
)
from minigen.models.gan.penalties import (
    PENALTIES,
    between,
    dragan,
    input_gradient,
    norms,
    r1,
    unit_slope,
    wgan_gp,
)
from minigen.models.gan.verdict import Verdict, guess_loss, pull_away
from minigen.optim import SGD, Adam
from minigen.optim.flat import FlatParameters
from minigen.random import Generator
from minigen.tensor import Tensor


def leaf(values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def verdicts(real, fake, **more):
    return Verdict(leaf(real), **more), Verdict(leaf(fake), **more)


# ---------------------------------------------------------------- gradients with respect to the score

EXACT = {np.float32: {"rtol": 1e-6, "atol": 1e-7}, np.float64: {"rtol": 1e-14, "atol": 1e-15}}
LOGITS = np.array([-100.0, -30.0, -3.0, -0.5, 0.0, 0.5, 3.0, 30.0, 100.0])
SLOPES = {
    "minimax": lambda a: -expit(a),
    "non-saturating": lambda a: -expit(-a),  # -(1 - sigmoid(a)), with its digits kept at large a
    "lsgan": lambda a: 2 * (a - 1),
    "hinge": lambda a: -np.ones_like(a),
    "wgan": lambda a: -np.ones_like(a),
    "began": lambda a: np.ones_like(a),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SLOPES)
def test_the_generators_gradient_with_respect_to_the_fake_score(name, dtype):
    """Minimax -sigmoid(a), non-saturating -(1 - sigmoid(a)), both finite at +-100."""
    a = leaf(LOGITS, dtype)
    loss = LOSSES[name]().generator(Verdict(a))
    assert np.isfinite(loss.item())
    loss.backward()
    np.testing.assert_allclose(a.grad.data * len(LOGITS), SLOPES[name](LOGITS), **EXACT[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_discriminators_gradient_is_the_probability_of_its_mistake(dtype):
    real, fake = leaf(LOGITS, dtype), leaf(LOGITS, dtype)
    loss = Minimax().discriminator(Verdict(real), Verdict(fake))
    assert loss.item() == pytest.approx(2 * np.logaddexp(0, LOGITS).mean(), rel=1e-6)
    loss.backward()
    np.testing.assert_allclose(real.grad.data * len(LOGITS), -expit(-LOGITS), **EXACT[dtype])
    np.testing.assert_allclose(fake.grad.data * len(LOGITS), expit(LOGITS), **EXACT[dtype])


def test_where_the_discriminator_is_sure_only_the_non_saturating_loss_has_a_gradient():
    slopes = {}
    for loss in (Minimax(), NonSaturating()):
        a = leaf([-20.0])
        loss.generator(Verdict(a)).backward()
        slopes[type(loss).__name__] = abs(a.grad.data[0])
    assert slopes["Minimax"] < 1e-8
    assert slopes["NonSaturating"] > 1 - 1e-8


# ---------------------------------------------------------------- optima, on distributions over a few points

REAL_COUNTS, FAKE_COUNTS = np.array([5, 2, 0, 3]), np.array([1, 2, 4, 3])  # of 10 samples each on points 0 to 3
P_REAL, P_FAKE = REAL_COUNTS / 10, FAKE_COUNTS / 10
REAL, FAKE = np.repeat(np.arange(4), REAL_COUNTS), np.repeat(np.arange(4), FAKE_COUNTS)


def loss_of_table(loss, scores, **targets):
    """The discriminator's loss where it is a table of one score a point."""
    table = leaf(scores)
    real, fake = Verdict(table[REAL], target=targets.get("real")), Verdict(table[FAKE])
    value = loss.discriminator(real, fake)
    return value.item(), grad(value, [table])[0].data


def best_table(loss, **targets):
    return minimize(lambda scores: loss_of_table(loss, scores, **targets), np.zeros(4), jac=True, tol=1e-12).x


def test_the_value_at_the_best_discriminator_is_twice_jsd_minus_2_ln_2():
    """At a = ln p_r - ln p_g (+-60 where one of them is 0) the gradient is 0, and -L_D = 2 JSD - 2 ln 2."""
    with np.errstate(divide="ignore"):
        best = np.clip(np.log(P_REAL) - np.log(P_FAKE), -60, 60)
    value, slope = loss_of_table(Minimax(), best)
    middle = (P_REAL + P_FAKE) / 2

    def kl(p):
        return sum(a * math.log(a / m) for a, m in zip(p, middle) if a)

    jsd = (kl(P_REAL) + kl(P_FAKE)) / 2
    assert -value == pytest.approx(2 * jsd - 2 * math.log(2), abs=1e-14)
    np.testing.assert_allclose(slope, 0, atol=1e-15)


def test_the_best_least_squares_discriminator_is_the_share_of_real_samples():
    np.testing.assert_allclose(best_table(LSGAN()), P_REAL / (P_REAL + P_FAKE), atol=1e-9)


@pytest.mark.parametrize("name", ["non-saturating", "lsgan"])
def test_one_sided_smoothing_scales_the_best_discriminator_and_leaves_its_shape(name):
    """Salimans et al. 2016: D = 0.9 p_r / (p_r + p_g). (Smoothing zeros too would add a term with p_g above.)"""
    best = best_table(LOSSES[name](), real=0.9)
    probability = expit(best) if LOSSES[name].is_logit else best
    np.testing.assert_allclose(probability, 0.9 * P_REAL / (P_REAL + P_FAKE), atol=2e-5)


def test_hinge_ignores_samples_beyond_the_margin():
    real, fake = verdicts([0.5, 1.5, -2.0], [0.5, -1.5, -0.5])
    loss = Hinge().discriminator(real, fake)
    assert loss.item() == pytest.approx((0.5 + 0 + 3) / 3 + (1.5 + 0 + 0.5) / 3)
    loss.backward()
    np.testing.assert_allclose(real.score.grad.data, [-1 / 3, 0, -1 / 3])
    np.testing.assert_allclose(fake.score.grad.data, [1 / 3, 0, 1 / 3])


@pytest.mark.parametrize("name", ["minimax", "lsgan"])
def test_a_flipped_label_trades_a_real_sample_for_a_generated_one(name):
    """Target 0 on a real sample is the loss of a generated one, and the reverse."""
    loss, a, b = LOSSES[name](), 0.7, -1.3
    flipped = loss.discriminator(Verdict(leaf([a]), target=np.zeros(1)), Verdict(leaf([b]), target=np.ones(1)))
    assert flipped.item() == pytest.approx(loss.discriminator(Verdict(leaf([b])), Verdict(leaf([a]))).item(), rel=1e-14)


# ---------------------------------------------------------------- Wasserstein


def linear_critic():
    critic = nn.Linear(1, 1, Generator(0), bias=False).astype(np.float64)
    return critic, lambda x: critic(x)[:, 0]


@pytest.mark.parametrize("shift", [0.3, -2.0])
def test_a_clipped_linear_critic_sits_at_the_bound_and_its_gap_is_the_distance(shift):
    """Of two samples that differ by a shift, W1 is its length; the steepest critic allowed has slope `clip`."""
    real = np.random.default_rng(0).standard_normal((50, 1))
    fake, (critic, score), loss = real - shift, linear_critic(), WGAN(clip=0.01)
    optimizer = SGD(critic.parameters(), lr=0.1)
    for _ in range(20):
        verdict_r, verdict_f = Verdict(score(Tensor(real))), Verdict(score(Tensor(fake)))
        optimizer.zero_grad()
        loss.discriminator(verdict_r, verdict_f).backward()
        optimizer.step()
        loss.after_discriminator_step(verdict_r, verdict_f, optimizer.flat)
    assert critic.weight.data.item() == math.copysign(0.01, shift)
    gap = -loss.discriminator(Verdict(score(Tensor(real))), Verdict(score(Tensor(fake)))).item()
    assert gap / 0.01 == pytest.approx(wasserstein_distance(real[:, 0], fake[:, 0]), rel=1e-12)


def test_the_gap_of_a_clipped_critic_tracks_the_exact_distance():
    """Samples of different shapes, an MLP of clipped weights: the gap grows with W1, over a factor of 4 nearly in
    proportion, though nobody knows the constant."""
    rng, gaps, distances = np.random.default_rng(1), [], []
    real = rng.standard_normal((256, 1))
    for centre, width in ((-0.7, 1.0), (-1.5, 0.5), (-2.5, 1.5), (-4.0, 1.0)):
        fake = rng.uniform(centre - width, centre + width, (256, 1))
        critic = nn.Sequential(nn.Linear(1, 16, Generator(2)), ops.leaky_relu, nn.Linear(16, 1, Generator(3)))
        optimizer, loss = Adam(critic.astype(np.float64).parameters(), lr=5e-3), WGAN(clip=0.1)
        for _ in range(150):
            scores = [Verdict(critic(Tensor(x))[:, 0]) for x in (real, fake)]
            optimizer.zero_grad()
            value = loss.discriminator(*scores)
            value.backward()
            optimizer.step()
            loss.after_discriminator_step(*scores, optimizer.flat)
        gaps.append(-value.item())
        distances.append(wasserstein_distance(real[:, 0], fake[:, 0]))
    ratios = np.array(gaps) / distances
    assert np.argsort(gaps).tolist() == np.argsort(distances).tolist()
    assert max(distances) / min(distances) > 4
    assert ratios.max() / ratios.min() < 1.5, ratios


def test_the_gap_of_a_penalised_critic_is_the_distance():
    """Slope 1 is asked for, so the gap itself comes near W1; the penalty lets it exceed that by some 1 / (2 weight)."""
    rng = np.random.default_rng(2)
    real, fake = rng.standard_normal((128, 1)), rng.uniform(1, 4, (128, 1))
    generator, loss = Generator(4), WGANGP()
    critic = nn.Sequential(nn.Linear(1, 16, generator), ops.leaky_relu, nn.Linear(16, 1, generator)).astype(np.float64)
    optimizer = Adam(critic.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        gap = loss.discriminator(*[Verdict(critic(Tensor(x))[:, 0]) for x in (real, fake)])
        penalty = wgan_gp(lambda x: critic(x)[:, 0], real, fake, generator, weight=20.0)
        (gap + penalty).backward()
        optimizer.step()
    assert -gap.item() == pytest.approx(wasserstein_distance(real[:, 0], fake[:, 0]), rel=0.08)


# ---------------------------------------------------------------- penalties


def slope_at_the_optimum(penalty, real, fake, weight):
    """Newton from slope 1: the loss is quadratic in a positive slope, so one step of secants lands on it."""
    critic, score = linear_critic()

    def derivative(w):
        critic.weight.assign(np.array([[w]]))
        total = WGAN().discriminator(Verdict(score(Tensor(real))), Verdict(score(Tensor(fake))))
        total = total + penalty(score, real, fake, Generator(0), weight)
        return grad(total, [critic.weight])[0].data.item()

    at_one, at_two = derivative(1.0), derivative(2.0)
    return 1.0 - at_one / (at_two - at_one)


@pytest.mark.parametrize("name", ["wgan-gp", "dragan"])
@pytest.mark.parametrize("weight", [0.5, 10.0])
def test_the_slope_of_a_linear_critic_is_1_plus_the_gap_over_twice_the_weight(name, weight):
    """L = -w Delta + weight (|w| - 1)^2, Delta the difference of the means: w = 1 + Delta / (2 weight)."""
    rng = np.random.default_rng(3)
    real, fake = rng.standard_normal((40, 1)) + 2.5, rng.standard_normal((40, 1))
    gap = real.mean() - fake.mean()
    assert slope_at_the_optimum(PENALTIES[name], real, fake, weight) == pytest.approx(1 + gap / (2 * weight), abs=1e-12)


def test_dragans_own_loss_and_penalty_on_a_linear_logit_end_where_scipy_does():
    """softplus losses + weight (|w| - 1)^2 in two numbers. On sigmoid(a) the penalty would give another slope."""
    rng, weight = np.random.default_rng(4), 2.0
    real, fake = rng.standard_normal((30, 1)) + 3, rng.standard_normal((30, 1))

    def ours(p):
        w, b = leaf([[p[0]]]), leaf([p[1]])

        def score(x):
            return ops.linear(x, w, b)[:, 0]

        total = LOSSES["dragan"]().discriminator(Verdict(score(Tensor(real))), Verdict(score(Tensor(fake))))
        total = total + dragan(score, real, None, Generator(0), weight)
        return total.item(), np.array([g.data.item() for g in grad(total, [w, b])])

    def by_hand(p):
        loss = np.logaddexp(0, -p[0] * real - p[1]).mean() + np.logaddexp(0, p[0] * fake + p[1]).mean()
        return loss + weight * (abs(p[0]) - 1) ** 2

    found = minimize(ours, [1.0, 0.0], jac=True, tol=1e-12).x
    np.testing.assert_allclose(found, minimize(by_hand, [1.0, 0.0], tol=1e-10).x, atol=1e-5)
    assert found[0] > 1.02


def conv_critic(norm):
    """Shapes of the weights, and the critic that they make: conv, leaky ReLU, norm, conv, leaky ReLU, linear."""
    shapes = [(3, 3, 2, 4), (4,), (4,), (4,), (4, 4, 4, 4), (2 * 2 * 4, 1)]

    def score(x, w1, b1, gamma, beta, w2, w3):
        h = ops.leaky_relu(ops.conv2d(x, w1, b1, padding=1))
        h = ops.group_norm(h, gamma, beta, 2) if norm == "group norm" else ops.layer_norm(h, gamma, beta)
        h = ops.leaky_relu(ops.conv2d(h, w2, None, stride=2, padding=1))
        return (h.reshape(len(h), 16) @ w3)[:, 0]

    return shapes, score


@pytest.mark.parametrize("norm", ["layer norm", "group norm"])
@pytest.mark.parametrize("name", ["wgan-gp", "dragan", "r1"])
def test_weight_gradients_of_a_penalised_step_are_finite_differences(name, norm):
    """The whole loss of a discriminator's step in float64, its gradient for every weight to 1e-6."""
    rng, loss = np.random.default_rng(5), LOSSES[name]()
    shapes, score = conv_critic(norm)
    real, fake = rng.standard_normal((2, 3, 4, 4, 2))

    def step(*weights):
        def critic(x):
            return score(x, *weights)

        total = loss.discriminator(Verdict(critic(Tensor(real))), Verdict(critic(Tensor(fake))))
        return total + PENALTIES[name](critic, real, fake, Generator(6), 10.0)

    check_grads(step, [0.5 * rng.standard_normal(shape) for shape in shapes], order=1, rtol=1e-6)


def test_the_penalty_reaches_the_weights():
    """w -> (|w| - 1)^2 has slope 2 (w - 1): a penalty whose gradient was not recorded would have none."""
    critic, score = linear_critic()
    critic.weight.assign(np.array([[1.75]]))
    unit_slope(score, np.ones((5, 1))).backward()
    assert critic.weight.grad.data.item() == pytest.approx(1.5, abs=1e-14)


def test_alpha_is_one_number_a_sample():
    """Every point lies on the straight line between its two ends, each at a place of its own."""
    real, fake = np.zeros((6, 4, 4, 2)), np.ones((6, 4, 4, 2))
    alpha = between(real, fake, Generator(0)).reshape(6, -1)
    np.testing.assert_array_equal(alpha, np.repeat(alpha[:, :1], alpha.shape[1], axis=1))
    assert len(np.unique(alpha[:, 0])) == 6
    assert 0 < alpha.min() < alpha.max() < 1


def test_the_norm_is_over_all_axes_of_a_sample():
    g = np.random.default_rng(0).standard_normal((3, 4, 5, 2))
    np.testing.assert_allclose(norms(Tensor(g)).data, np.linalg.norm(g.reshape(3, -1), axis=1), rtol=1e-14)


def test_the_norm_is_safe_at_0():
    """A critic that does not look at its input: slope 0, penalty 1, and gradients that are 0, not NaN."""
    w = leaf(np.zeros((4, 1)))
    penalty = unit_slope(lambda x: (x @ w)[:, 0], np.ones((3, 4)))
    assert penalty.item() == 1
    penalty.backward()
    np.testing.assert_array_equal(w.grad.data, 0)


def test_gradients_of_a_batch_do_not_mix():
    x, w = np.random.default_rng(0).standard_normal((5, 3)), leaf(np.ones((3, 1)))

    def critic(x):
        return (ops.tanh(x) @ w)[:, 0]

    one_by_one = np.concatenate([input_gradient(critic, x[i : i + 1]).data for i in range(5)])
    np.testing.assert_allclose(input_gradient(critic, x).data, one_by_one, rtol=1e-14)


def test_r1_is_half_the_weight_times_the_mean_square_slope():
    w = leaf([[3.0], [4.0]])
    assert r1(lambda x: (x @ w)[:, 0], np.ones((7, 2)), None, Generator(0), 10.0).item() == pytest.approx(125)


def test_dragan_looks_around_the_data_at_the_distance_of_its_spread():
    seen = []
    real = 3.0 * np.random.default_rng(0).standard_normal((4000, 1))
    dragan(lambda x: seen.append(x.data) or x[:, 0], real, None, Generator(0))
    moved = (seen[0] - real).std()  # (1 - alpha) * 0.5 * 3 * eps, and E (1 - alpha)^2 = 1/3
    assert moved == pytest.approx(1.5 / 3**0.5, rel=0.05)


def test_ends_of_unequal_shape_are_refused():
    with pytest.raises(ValueError, match=r"real and fake must be of one shape, got \(3, 2\) and \(3, 1\)"):
        between(np.zeros((3, 2)), np.zeros((3, 1)), Generator(0))


# ---------------------------------------------------------------- second heads


def test_the_auxiliary_gradient_is_softmax_minus_onehot():
    """Of logits, so that no second softmax flattens it; summed over the real and the generated batch."""
    rng = np.random.default_rng(7)
    real, fake = (
        Verdict(leaf(np.zeros(6)), classes=leaf(rng.standard_normal((6, 5)) * 3), labels=rng.integers(0, 5, 6))
        for _ in range(2)
    )
    ACGAN().discriminator(real, fake).backward()
    for verdict in (real, fake):
        e = np.exp(verdict.classes.data - verdict.classes.data.max(1, keepdims=True))
        expected = e / e.sum(1, keepdims=True) - np.eye(5)[verdict.labels]
        np.testing.assert_allclose(verdict.classes.grad.data, expected / 6, atol=1e-15)


def test_the_generator_of_acgan_wants_its_class_found():
    labels = np.array([1, 2])
    fake = Verdict(leaf(np.zeros(2)), classes=leaf(np.zeros((2, 3))), labels=labels)
    loss = ACGAN().generator(fake)
    assert loss.item() == pytest.approx(math.log(2) + math.log(3))
    loss.backward()
    assert (fake.classes.grad.data[np.arange(2), labels] < 0).all()


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_information_is_at_most_ln_10(seed, sharpness):
    rng = np.random.default_rng(seed)
    logits, codes = sharpness * rng.standard_normal((16, 10)), rng.integers(0, 10, 16)
    fake = Verdict(leaf(np.zeros(16)), classes=leaf(logits), labels=codes)
    measured = InfoGAN().measures(fake, fake)["information"]
    assert measured <= math.log(10)
    sure = Verdict(leaf(np.zeros(16)), classes=leaf(1000.0 * np.eye(10)[codes]), labels=codes)
    assert InfoGAN().measures(sure, sure)["information"] == pytest.approx(math.log(10), abs=1e-12)


def test_both_players_of_infogan_gain_from_information():
    codes = np.array([0, 1, 2])
    blind, sure = (Verdict(leaf(np.zeros(3)), classes=leaf(c * np.eye(3)[codes]), labels=codes) for c in (0.0, 50.0))
    loss = InfoGAN()
    gain = math.log(3)
    assert loss.generator(blind).item() - loss.generator(sure).item() == pytest.approx(gain)
    assert loss.discriminator(blind, blind).item() - loss.discriminator(blind, sure).item() == pytest.approx(gain)


def test_a_label_out_of_range_is_refused():
    fake = Verdict(leaf(np.zeros(2)), classes=leaf(np.zeros((2, 3))), labels=np.array([0, 3]))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, got 3"):
        guess_loss(fake)


# ---------------------------------------------------------------- energies


def test_pull_away_of_random_directions_is_1_over_the_dimension():
    """E cos^2 = 1/D for uniform directions; 800 of them in R^32, within 2%. (Not squared, it would be near 0.)"""
    code = Generator(1).normal((800, 32), np.float64)
    assert pull_away(Tensor(code)).item() == pytest.approx(1 / 32, rel=0.02)


def test_pull_away_is_1_for_one_direction_and_0_for_orthogonal_ones():
    assert pull_away(Tensor(np.outer([1.0, 5.0, 0.1], [3.0, 4.0]))).item() == pytest.approx(1, abs=1e-9)
    assert pull_away(Tensor(np.diag([1.0, 2.0, 3.0]))).item() == 0
    assert pull_away(Tensor(np.array([[1.0, 0.0], [-1.0, 0.0]]))).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="needs at least 2, got 1"):
        pull_away(Tensor(np.ones((1, 4))))


def test_pull_away_pushes_codes_apart():
    check_grads(pull_away, [np.random.default_rng(0).standard_normal((4, 3))], order=1)


def test_ebgan_lifts_energies_up_to_the_margin():
    real, fake = verdicts([0.2, 0.4], [0.3, 5.0])
    loss = EBGAN(margin=1.0).discriminator(real, fake)
    assert loss.item() == pytest.approx(0.3 + (0.7 + 0) / 2)
    loss.backward()
    np.testing.assert_allclose(fake.score.grad.data, [-0.5, 0])
    fake = Verdict(leaf([0.3, 5.0]), code=Tensor(np.array([[1.0, 0.0], [2.0, 0.0]])))
    assert EBGAN(pull_away_weight=0.1).generator(fake).item() == pytest.approx(2.65 + 0.1)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=20), st.floats(0.1, 1))
def test_k_stays_between_0_and_1(energies, rate):
    loss = BEGAN(gamma=0.5, rate=rate)
    for real, fake in energies:
        loss.after_discriminator_step(*verdicts([real], [fake]), None)
        assert 0 <= loss.k.data[0] <= 1


def test_k_grows_while_generated_energies_are_too_low_and_the_measure_is_the_papers():
    loss = BEGAN(gamma=0.5, rate=0.1)
    real, fake = verdicts([2.0, 4.0], [1.0, 0.0])
    assert loss.discriminator(real, fake).item() == pytest.approx(3.0)  # k = 0: an autoencoder and no more
    loss.after_discriminator_step(real, fake, None)
    assert loss.k.data[0] == pytest.approx(0.1 * (0.5 * 3 - 0.5))
    assert loss.measures(real, fake) == {"k": pytest.approx(0.1), "convergence": pytest.approx(3 + 1)}
    assert loss.discriminator(real, fake).item() == pytest.approx(3 - 0.1 * 0.5)
    assert loss.generator(fake).item() == 0.5


def test_k_holds_the_energies_in_their_proportion():
    """A generator that lowers its energy in proportion to k's absence: the fixed point is L(G(z)) / L(x) = gamma."""
    loss, fake = BEGAN(gamma=0.7, rate=0.05), 0.2
    for _ in range(2000):
        loss.after_discriminator_step(*verdicts([1.0], [fake]), None)
        fake += 0.05 * (float(loss.k.data[0]) - fake)  # the discriminator raises the fakes' energy by weight k
    assert fake == pytest.approx(0.7, abs=1e-3)


def test_the_clip_reaches_every_weight_and_tells_the_tape():
    w = nn.Parameter(np.array([-1.0, 0.005, 1.0]))
    flat = FlatParameters([w])
    before = w.version
    WGAN(clip=0.01).after_discriminator_step(None, None, flat)
    np.testing.assert_array_equal(w.data, [-0.01, 0.005, 0.01])
    assert w.version > before


def test_the_table_has_the_names_of_the_issue():
    expected = "minimax non-saturating lsgan hinge wgan wgan-gp dragan cgan infogan acgan ebgan began r1"
    assert set(LOSSES) == set(expected.split())
