"""Scores where the answer is known: Gaussians in closed form, planted points, brute force, SciPy."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance

from benchmarks.score_checks import both_intervals, coverage, summary
from minigen.data import GRID25, RING8, load, to_model_range
from minigen.metrics import (
    PCAGaussian,
    Score,
    bootstrap,
    count_modes,
    fid,
    frechet_distance,
    inception_score,
    look,
    mode_scores,
    precision,
    recall,
    scores,
    scores_in_context,
    sliced_wasserstein,
    table,
)
from minigen.metrics.frechet import moments
from minigen.metrics.interval import counts
from minigen.metrics.manifold import covered, squared_distances
from minigen.metrics.wasserstein import Slices
from minigen.models.latent import truncated_normal
from minigen.random import Generator


def normal(shape, seed=0):
    return Generator(seed).normal(shape, np.float64)


def random_covariance(d, rank, rng):
    factor = rng.standard_normal((d, rank))
    return factor @ factor.T


# ---------------------------------------------------------------- Frechet distance


@given(d=st.integers(1, 8), seed=st.integers(0, 1000))
def test_gaussians_with_common_axes_have_the_closed_form(d, seed):
    """|m1 - m2|^2 + sum (s1_i - s2_i)^2 where both covariances are diagonal in the same, random axes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    s1, s2, m1, m2 = rng.uniform(0, 2, (4, d))
    distance = frechet_distance(m1, axes @ np.diag(s1**2) @ axes.T, m2, axes @ np.diag(s2**2) @ axes.T)
    assert distance == pytest.approx(np.sum((m1 - m2) ** 2) + np.sum((s1 - s2) ** 2), rel=1e-10, abs=1e-12)


@given(d=st.integers(2, 8), seed=st.integers(0, 1000))
def test_other_gaussians_equal_scipys_matrix_root(d, seed):
    rng = np.random.default_rng(seed)
    a, b = random_covariance(d, d, rng), random_covariance(d, d, rng)
    m1, m2 = rng.standard_normal((2, d))
    expected = np.sum((m1 - m2) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(m1, a, m2, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_distance_to_itself_is_0_to_rounding_also_where_the_covariance_is_singular(rank):
    rng = np.random.default_rng(0)
    a, m = random_covariance(6, rank, rng), rng.standard_normal(6)
    assert frechet_distance(m, a, m, a) <= 1e-13 * np.trace(a)


def test_fid_of_a_sample_is_that_of_its_mean_and_its_covariance_with_divisor_n_minus_1():
    a, b = normal((50, 3)), 2 + 1.5 * normal((50, 3), 1)
    expected = frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    assert fid(a, b) == pytest.approx(expected, rel=1e-12)
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-12)
    assert fid(a.astype(np.float32) + 1e4, a.astype(np.float32) + 1e4) < 1e-6


@pytest.mark.parametrize(("n", "claimed", "draws"), [(100, 21.9, 40), (10_000, 0.21, 1)])
def test_one_distribution_scores_21_9_at_100_and_0_21_at_10_000_in_64_dimensions(n, claimed, draws):
    """The mean is d (d + 5) / (2 n) to first order in 1 / n: 22.1 and 0.22."""
    found = np.mean([fid(normal((n, 64), 2 * i), normal((n, 64), 2 * i + 1)) for i in range(draws)])
    assert found == pytest.approx(claimed, rel=0.05)
    assert found == pytest.approx(64 * 69 / (2 * n), rel=0.03)


def test_the_bias_of_unequal_variances_is_the_formula():
    """2/n sum l_i + 1/n sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j), frechet.py."""
    values, n = np.array([4.0, 1.0, 0.25]), 400
    pairs = values[:, None] * values * (1 + np.eye(3)) / (values[:, None] + values)
    clouds = [normal((n, 3), seed) * np.sqrt(values) for seed in range(800)]
    draws = [fid(a, b) for a, b in zip(clouds[::2], clouds[1::2])]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - (2 * values.sum() + pairs.sum()) / n) < 4 * error


@pytest.mark.parametrize("score", [fid, precision, recall, lambda a, b: sliced_wasserstein(a, b, Generator(0))])
def test_sides_of_different_size_are_refused(score):
    with pytest.raises(ValueError, match="the same n"):
        score(normal((10, 3)), normal((11, 3)))
    with pytest.raises(ValueError, match="the same n"):
        score(normal((10, 3)), normal((10, 2)))


# ---------------------------------------------------------------- Inception Score


@given(n=st.integers(1, 40), k=st.integers(1, 6), sharpness=st.floats(0, 50), seed=st.integers(0, 1000))
def test_inception_score_lies_between_1_and_the_number_of_classes(n, k, sharpness, seed):
    logits = sharpness * np.random.default_rng(seed).standard_normal((n, k))
    p = np.exp(logits - logits.max(1, keepdims=True))
    assert 1 - 1e-12 <= inception_score(p / p.sum(1, keepdims=True)) <= k + 1e-9


def test_inception_score_of_sure_and_of_constant_answers():
    assert inception_score(np.eye(10)[np.arange(30) % 10]) == pytest.approx(10)
    assert inception_score(np.eye(10)[np.arange(30) % 4]) == pytest.approx(
        np.exp(-(2 * 8 * np.log(8 / 30) + 2 * 7 * np.log(7 / 30)) / 30)
    )
    assert inception_score(np.eye(10)[np.full(30, 3)]) == pytest.approx(1)
    assert inception_score(np.full((30, 10), 0.1)) == pytest.approx(1)


def test_inception_score_is_the_definition():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    kl = [sum(p[i, k] * np.log(p[i, k] / p[:, k].mean()) for k in range(4)) for i in range(20)]
    assert inception_score(p) == pytest.approx(np.exp(np.mean(kl)))


# ---------------------------------------------------------------- precision and recall


@pytest.mark.parametrize("k", [1, 3])
def test_the_manifold_is_the_definition_one_pair_at_a_time(k, monkeypatch):
    monkeypatch.setattr("minigen.metrics.manifold.BLOCK", 7)  # several blocks, and a rest
    points, cloud = normal((30, 2)), 0.7 * normal((30, 2), 1)
    radii = [sorted(math.dist(a, b) for j, b in enumerate(cloud) if j != i)[k - 1] for i, a in enumerate(cloud)]
    expected = [any(math.dist(p, c) <= r for c, r in zip(cloud, radii)) for p in points]
    assert covered(points, cloud, k).tolist() == expected
    assert 0 < sum(expected) < 30


def test_blocks_of_distances_are_distances():
    a, b = normal((5, 4)), normal((6, 4), 1)
    ((first, block),) = squared_distances(a, b)
    assert first == 0
    np.testing.assert_allclose(block, ((a[:, None] - b) ** 2).sum(2), rtol=1e-12)


def test_a_shrunken_cloud_has_high_precision_and_low_recall_and_a_spread_one_the_reverse():
    real = normal((1000, 8))
    small, large = 0.3 * normal((1000, 8), 1), 2.5 * normal((1000, 8), 2)
    assert precision(small, real) > 0.99
    assert recall(small, real) < 0.2
    assert precision(large, real) < 0.2
    assert recall(large, real) > 0.99


def test_precision_and_recall_change_places_with_the_sides():
    a, b = normal((200, 3)), 1 + normal((200, 3), 1)
    assert precision(a, b) == recall(b, a)
    assert precision(a, b) != recall(a, b)


def test_truncation_buys_precision_with_recall():
    """Latents within tau, in the place of samples: the smaller tau, the more precision and the less recall."""
    real = normal((1000, 8))
    clouds = [truncated_normal((1000, 8), tau, Generator(1)) for tau in (0, 2, 1)]
    precisions, recalls = ([score(z, real) for z in clouds] for score in (precision, recall))
    assert precisions[0] < precisions[1] < precisions[2]
    assert recalls[0] > recalls[1] > recalls[2]


@pytest.mark.parametrize("k", [0, 3])
def test_as_many_neighbours_as_points_are_refused_and_none_too(k):
    with pytest.raises(ValueError, match=f"must be at least 1 and below n = 3, got {k}"):
        precision(normal((3, 2)), normal((3, 2)), k)


@pytest.mark.parametrize("score", [fid, precision, recall])
def test_features_that_are_not_finite_are_refused(score):
    broken = normal((5, 2))
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="generated and real must be finite, got NaN or infinity"):
        score(broken, normal((5, 2)))


@pytest.mark.parametrize(
    "p", [np.full((4, 10), 0.2), np.zeros((0, 10)), np.array([[1.5, -0.5]]), np.full((1, 2), np.nan)]
)
def test_the_inception_score_refuses_what_are_no_probabilities(p):
    with pytest.raises(ValueError, match=r"probabilities must be \(n, K\), n >= 1, rows that sum to 1"):
        inception_score(p)


# ---------------------------------------------------------------- sliced Wasserstein


def test_slices_of_a_line_are_the_exact_distance():
    a, b = normal((40, 1)), 2 + normal((40, 1), 1) ** 2
    expected = np.sqrt(np.mean((np.sort(a[:, 0]) - np.sort(b[:, 0])) ** 2))
    assert sliced_wasserstein(a, b, Generator(0), lines=5) == pytest.approx(expected, rel=1e-12)
    gap = 5 + np.ptp(a)
    assert sliced_wasserstein(a, a + gap, Generator(0)) == pytest.approx(wasserstein_distance(a[:, 0], a[:, 0] + gap))


@pytest.mark.parametrize("d", [2, 10])
def test_a_shifted_cloud_lies_its_shift_over_root_d_away(d):
    """Along a line u, W = |u . shift|, and the mean of (u . shift)^2 over all lines is |shift|^2 / d."""
    cloud, shift = normal((20, d)), np.arange(1.0, d + 1)
    found = sliced_wasserstein(cloud + shift, cloud, Generator(1), lines=20_000)
    assert found == pytest.approx(np.linalg.norm(shift) / np.sqrt(d), rel=0.02)


def test_round_gaussians_have_the_closed_form():
    """SWD^2 = |m1 - m2|^2 / d + (s1 - s2)^2"""
    a, b = 0.5 * normal((2000, 4)), 1 + normal((2000, 4), 1)
    assert sliced_wasserstein(a, b, Generator(2), lines=2000) ** 2 == pytest.approx(1 + 0.25, rel=0.06)


def test_counted_slices_are_those_of_the_repeated_points():
    a, b = normal((50, 3)), normal((50, 3), 1)
    drawn = [counts(50, Generator(seed)) for seed in (2, 3)]
    repeated = [np.repeat(x, c, axis=0) for x, c in zip((a, b), drawn)]
    assert Slices(a, b, Generator(4)).distance(*drawn) == sliced_wasserstein(*repeated, Generator(4))


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize("modes", [RING8, GRID25])
def test_planted_points_are_counted_exactly(modes):
    k, edge = len(modes.centres), 3 * modes.sigma
    inside = modes.centres + [0.999 * edge, 0]
    outside = modes.centres[:3] + [0, 1.001 * edge]
    found = count_modes(np.concatenate([inside[1:], inside[1:2], outside]), modes)
    assert (found.n, found.covered, found.modes) == (k + 3, k - 1, k)
    assert found.near == pytest.approx(k / (k + 3))
    np.testing.assert_allclose(found.shares, np.array([0, 2] + [1] * (k - 2)) / k)


@pytest.mark.parametrize("modes", [RING8, GRID25])
def test_true_samples_cover_every_mode_and_98_9_per_cent_are_near(modes):
    points, labels = modes.sample(20_000, Generator(0))
    found = count_modes(points, modes)
    assert found.covered == found.modes
    assert abs(found.near - (1 - np.exp(-4.5))) < 4 * np.sqrt(0.98889 * 0.01111 / 20_000)
    np.testing.assert_allclose(found.shares, np.bincount(labels) / 20_000, atol=0.002)


def test_points_far_from_every_mode_cover_none():
    found = count_modes(np.full((5, 2), 50.0), RING8)
    assert (found.covered, found.near) == (0, 0)
    assert not found.shares.any()


def test_modes_have_intervals_that_respect_their_range():
    points, _ = RING8.sample(500, Generator(0))
    points[:100] = 9
    found = mode_scores(points, RING8, Generator(1))
    assert found["modes covered"] == Score(8, 8, 8, 500)
    near = found["within 3 sigma"]
    assert near.low < near.value < near.high < 1
    assert near.high - near.low == pytest.approx(2 * 1.96 * np.sqrt(0.79 * 0.21 / 500), rel=0.25)


@pytest.mark.parametrize("shape", [(5, 3), (0, 2), (5,)])
def test_points_of_another_dimension_are_refused(shape):
    with pytest.raises(ValueError, match="points must be \\(n, 2\\)"):
        count_modes(np.zeros(shape), RING8)


# ---------------------------------------------------------------- intervals


def test_a_mean_has_the_interval_of_its_standard_error():
    x = normal((400,))
    score = bootstrap(lambda drawn, _: drawn @ x / 400, 400, Generator(0))
    assert score.value == pytest.approx(x.mean())
    assert score.n == 400
    assert score.high - score.low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.2)


def test_counts_sum_to_n_and_leave_out_a_share_of_1_over_e():
    drawn = counts(20_000, Generator(0))
    assert drawn.sum() == len(drawn) == 20_000
    assert (drawn == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)


def test_counted_moments_and_scores_are_those_of_the_repeated_samples():
    x, drawn = normal((60, 4)), counts(60, Generator(1))
    repeated = np.repeat(x, drawn, axis=0)
    for found, expected in zip(moments(x, drawn), (repeated.mean(0), np.cov(repeated, rowvar=False))):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    p = np.abs(x) / np.abs(x).sum(1, keepdims=True)
    assert inception_score(p, drawn) == pytest.approx(inception_score(np.repeat(p, drawn, axis=0)))


def counted_fid(a, b, a_counts, b_counts):
    return frechet_distance(*moments(a, a_counts), *moments(b, b_counts))


def test_the_interval_of_a_biased_score_covers_its_mean_at_this_n():
    """FID of one distribution: its mean at n, all bias, lies in at least 36 of 40 intervals; plain ones miss it."""
    n, inside = 100, 0
    for trial in range(40):
        a, b = normal((n, 3), 2 * trial), normal((n, 3), 2 * trial + 1)
        score = bootstrap(partial(counted_fid, a, b), n, Generator(trial), (0, math.inf))
        inside += score.low <= 3 * 8 / (2 * n) <= score.high
    assert inside >= 36


def test_intervals_that_hold_are_counted_over_all_draws(monkeypatch):
    """docs/metrics.md: here of a mean, whose intervals hold, and of a bias, which plain percentiles lie above."""
    ends = np.array([[0.0, 2], [0, 1], [2.5, 3], [2, 9]])
    found = summary(np.array([1.0, 2, 2, 3]), ends, ends + 1)
    assert found == {"mean": 2, "deviation": pytest.approx(np.sqrt(2 / 3)), "centred": 0.5, "plain": 0.5}
    value, used, plain = both_intervals(lambda drawn, _: ((drawn - 1) ** 2).sum(), 50, Generator(0), (0, math.inf))
    assert value == 0 and used[0] == 0 and plain[0] > 20

    def of_mean(generator):
        x = generator.normal((100,), np.float64)
        return {"mean": (lambda drawn, _: drawn @ x / 100, (-math.inf, math.inf))}

    monkeypatch.setattr("benchmarks.score_checks.DRAWS", 60)
    row = coverage(of_mean, ["mean"], 100, Generator(0))["mean"]
    assert min(row["centred"], row["plain"]) > 0.85
    assert row["deviation"] == pytest.approx(0.1, rel=0.3)


def test_scores_at_different_n_are_not_compared():
    small, large, other = Score(3.0, 2, 4, 1000), Score(1.0, 0.5, 2, 10_000), Score(2.0, 1, 3, 1000)
    assert min(small, other) is other
    with pytest.raises(ValueError, match="n = 1000 and n = 10000"):
        assert small < large
    with pytest.raises(ValueError, match="one n"):
        table({"a": {"FID": small}, "b": {"FID": large}})
    assert str(other) == "2 [1, 3] (n = 1000)"


# ---------------------------------------------------------------- images


@pytest.fixture
def quick(monkeypatch):
    """Few replicates, where the values are looked at and not the intervals."""
    monkeypatch.setattr("minigen.metrics.interval.REPLICATES", 20)


@pytest.fixture(scope="module")
def digits():
    return {split: load("mnist-mini", split=split).images for split in ("train", "test")}


def test_both_sides_are_made_bytes_alike(digits, quick):
    """Floats within half a byte of the bytes are the same images: every score as if they were."""
    real = digits["test"][:300]
    shaken = to_model_range(real) + 0.9 / 255 * (2 * Generator(0).uniform(real.shape) - 1)
    for seen, expected in zip(look(shaken), look(real)):
        np.testing.assert_array_equal(seen, expected)
    found = scores(shaken, real, Generator(1))
    assert found["FID"].value < 1e-10
    assert found["SWD"].value == 0
    assert found["precision"].value == found["recall"].value == 1


def test_images_of_another_size_are_refused_not_resized(digits):
    with pytest.raises(ValueError, match="\\(N, 28, 28, 1\\)"):
        look(np.zeros((4, 32, 32, 1), np.float32))


def test_what_is_no_digit_has_no_precision(digits):
    """After the classifier's ReLU noise would have precision 1: features.py."""
    noise = 2 * Generator(0).uniform((300, 28, 28, 1)) - 1
    seen, real = look(noise), look(digits["test"][:300])
    assert precision(seen.features, real.features) == 0
    assert fid(seen.features, real.features) > 10_000
    assert inception_score(seen.probabilities) < 1.1


def test_precision_and_recall_of_images_are_not_swapped(digits, quick):
    """A generator that knows ten pictures: what it draws is right, and most of the data it never draws."""
    few = np.repeat(digits["train"][:10], 30, axis=0)
    found = scores(few, digits["test"], Generator(0), n=300)
    assert found["precision"].value > 0.7
    assert found["recall"].value < 0.2


def test_every_score_has_n_an_interval_and_its_range(digits, quick):
    found = scores(digits["train"], digits["test"], Generator(0), n=200)
    assert set(found) == {"FID", "IS", "SWD", "precision", "recall", "recognised", *(f"class {k}" for k in range(10))}
    for name, score in found.items():
        assert score.n == 200, name
        assert 0 <= score.low <= score.value <= score.high, name
        assert score.high <= {"IS": 10, "FID": np.inf, "SWD": np.inf}.get(name, 1), name
    assert sum(found[f"class {k}"].value for k in range(10)) == pytest.approx(1)
    assert scores(digits["train"], digits["test"], Generator(0), n=200) == found


def test_sizes_that_differ_need_n(digits):
    with pytest.raises(ValueError, match="give n"):
        scores(digits["train"][:20], digits["test"][:10], Generator(0))
    for n in (3, 11):
        with pytest.raises(ValueError, match="n must lie between"):
            scores(digits["train"][:20], digits["test"][:10], Generator(0), n=n)


def test_the_floor_lies_below_a_gaussian_and_all_are_in_the_table(digits, quick):
    generated = digits["train"][5000:]
    columns = scores_in_context(generated, digits["train"][:5000], digits["test"], Generator(0), n=300)
    assert list(columns) == ["samples", "training images", "PCA-Gaussian"]
    floor, trivial = columns["training images"], columns["PCA-Gaussian"]
    assert floor["FID"].high < trivial["FID"].low
    assert floor["SWD"].high < trivial["SWD"].low
    assert floor["IS"].low > trivial["IS"].high
    lines = table(columns).splitlines()
    assert len(lines) == 1 + 16 + 1
    assert lines[0].split("  ")[0] == "n = 300"
    assert f"{floor['FID'].value:.4g} [{floor['FID'].low:.4g}, {floor['FID'].high:.4g}]" in lines[1]


# ---------------------------------------------------------------- the baseline


def test_the_gaussian_has_the_datas_mean_and_its_covariance_in_the_directions_kept():
    images = 0.05 * (normal((4000, 2, 3, 1)) @ np.ones((1, 1)) * np.arange(1, 7).reshape(2, 3, 1)) + 0.1
    drawn = PCAGaussian(images, components=6).sample(40_000, Generator(1)).reshape(-1, 6)
    flat = images.reshape(-1, 6)
    np.testing.assert_allclose(drawn.mean(0), flat.mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), np.cov(flat, rowvar=False), atol=0.003)
    one = PCAGaussian(images, components=1).sample(1000, Generator(2)).reshape(-1, 6)
    assert np.linalg.matrix_rank(np.cov(one, rowvar=False), tol=1e-6) == 1
    with pytest.raises(ValueError, match="N >= 2"):
        PCAGaussian(images[:1])
