"""The levels that a training batch visits, and the weights that keep the loss unbiased."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.diffusion.levels import LEVELS, SEEN, ImportanceLevels, stratified_levels
from minigen.random import Generator


@given(n=st.integers(1, 40), T=st.integers(1, 1000), seed=st.integers(0, 100))
def test_levels_are_in_range_and_one_in_every_part(n, T, seed):
    t = stratified_levels(n, T, Generator(seed))
    assert t.shape == (n,)
    assert t.dtype == np.int64
    assert 1 <= t.min() <= t.max() <= T
    if n <= T:  # sorted around the circle, neighbours are T / n apart, give or take the rounding
        gaps = np.diff(np.sort(t), append=np.sort(t)[0] + T)
        assert gaps.min() >= T // n
        assert gaps.max() <= T // n + 1 + (T % n > 0)


def losses_by_level(T):
    """Losses that differ by powers of ten, as the bound's do."""
    return 3.0 / np.arange(1, T + 1) ** 2 + 0.01


def with_history(T):
    levels = ImportanceLevels(T)
    for _ in range(SEEN):
        levels.update(np.arange(1, T + 1), losses_by_level(T))
    return levels


@pytest.mark.parametrize("name", list(LEVELS))
def test_the_weighted_loss_is_unbiased(name):
    """5,000 batches of 4 over 10 levels: the mean of weight times loss is the mean loss, within 5 standard errors."""
    levels = with_history(10) if name == "importance" else LEVELS[name](10)
    loss, generator, means, counts = losses_by_level(10), Generator(0), [], np.zeros(11)
    for _ in range(5_000):
        t, weights = levels.draw(4, generator)
        means.append((weights * loss[t - 1]).mean())
        counts += np.bincount(t, minlength=11)
    assert abs(np.mean(means) - loss.mean()) < 5 * np.std(means) / len(means) ** 0.5
    p = levels.probabilities()[1:] if name == "importance" else np.full(10, 0.1)
    assert counts[0] == 0
    assert (abs(counts[1:] / 20_000 - p) < 5 * (p * (1 - p) / 20_000) ** 0.5).all()


def test_importance_is_the_root_mean_square_of_the_losses_and_its_weights_undo_it_exactly():
    levels, T = with_history(10), 10
    p = levels.probabilities()
    size = losses_by_level(10)
    assert p[0] == 0
    assert p.sum() == pytest.approx(1)
    np.testing.assert_allclose(p[1:], 0.999 * size / size.sum() + 0.001 / T, rtol=1e-12)
    t, weights = levels.draw(64, Generator(1))
    np.testing.assert_allclose(weights * p[t], 1 / T, rtol=1e-12)


def test_importance_has_the_least_variance():
    spread = {}
    for name in LEVELS:
        levels = with_history(100) if name == "importance" else LEVELS[name](100)
        generator, loss = Generator(0), losses_by_level(100)
        draws = [levels.draw(1, generator) for _ in range(1000)]
        spread[name] = np.std([w[0] * loss[t[0] - 1] for t, w in draws])
    assert spread["importance"] < 0.1 * min(spread["uniform"], spread["stratified"])


def test_levels_are_uniform_until_each_was_seen_often_enough():
    levels = ImportanceLevels(3)
    for _ in range(SEEN):
        levels.update(np.array([1, 2]), np.array([5.0, 1.0]))
    np.testing.assert_allclose(levels.probabilities(), [0, 1 / 3, 1 / 3, 1 / 3])
    for _ in range(SEEN):
        levels.update(np.array([3]), np.array([0.0]))
    p = levels.probabilities()
    assert p[1] > p[2] > p[3] > 0


def test_only_the_last_losses_count():
    levels = ImportanceLevels(2)
    for loss in [100.0] * SEEN + [1.0] * SEEN:
        levels.update(np.array([1, 2]), np.array([loss, 1.0]))
    np.testing.assert_allclose(levels.probabilities()[1:], 0.5)


def test_the_history_goes_through_a_checkpoint():
    levels, other = with_history(5), ImportanceLevels(5)
    levels.update(np.array([2]), np.array([9.0]))
    other.load_state(levels.state())
    np.testing.assert_array_equal(levels.probabilities(), other.probabilities())
    for name, array in levels.state().items():
        np.testing.assert_array_equal(array, other.state()[name])
    t, weights = levels.draw(9, Generator(3))
    assert np.array_equal(t, other.draw(9, Generator(3))[0])
