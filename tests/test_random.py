"""Generator: the laws it draws from, its state, and streams that do not meet."""

from collections import Counter
from itertools import permutations
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minigen.random import Generator

N = 200_000
FLOATS = [np.float32, np.float64]
DRAWS = {  # name: (draw n numbers, words a number)
    "uniform": (lambda rng, n: rng.uniform(n), 1),
    "normal": (lambda rng, n: rng.normal(n), 1),
    "bernoulli": (lambda rng, n: rng.bernoulli(0.3, n), 1),
    "integers": (lambda rng, n: rng.integers(-3, 9, n), 2),
    "permutation": (lambda rng, n: rng.permutation(n), 2),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_uniform_and_normal_pass_kolmogorov_smirnov(seed, dtype):
    rng = Generator(seed)
    assert stats.kstest(rng.uniform(N, dtype), "uniform").pvalue > 0.001
    assert stats.kstest(rng.normal(N, dtype), "norm").pvalue > 0.001


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_has_the_moments_of_the_normal_law(dtype):
    z = Generator(1).normal(N, dtype).astype(np.float64)
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:  # E z^k, Var z^k
        assert abs((z**power).mean() - moment) < 4 * np.sqrt(variance / N)


def test_the_normals_of_one_position_are_uncorrelated():
    z = Generator(2).normal((N // 4, 4), np.float64)
    assert np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 4.5 / np.sqrt(N // 4)
    assert np.abs(np.corrcoef((z**2).T) - np.eye(4)).max() < 4.5 / np.sqrt(N // 4)


def test_uniform_never_reaches_0_or_1():
    u = Generator(3).uniform(4_000_000)
    assert u.dtype == np.float32
    assert 0 < u.min() < 1e-6
    assert 1 - 1e-6 < u.max() < 1


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-5, 2), (1, 1001)])
def test_integers_are_uniform_over_low_to_high_minus_1(low, high):
    drawn = Generator(4).integers(low, high, N)
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn - low, minlength=high - low)
    assert len(counts) == high - low
    assert stats.chisquare(counts).pvalue > 0.001


@given(words=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), span=st.integers(1, 2**32))
def test_integers_are_the_exact_floor_of_a_64_bit_word_times_the_range(words, span):
    rng = Generator(0)
    rng._words = lambda n: np.array(words, np.uint32)
    assert rng.integers(0, span, 1)[0] == (words[0] + (words[1] << 32)) * span >> 64


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_bernoulli_is_true_with_probability_p(p):
    drawn = Generator(5).bernoulli(p, (N,))
    assert drawn.dtype == bool
    assert abs(drawn.mean() - p) <= 4 * np.sqrt(p * (1 - p) / N)


def test_bernoulli_takes_one_probability_a_pixel():
    drawn = Generator(6).bernoulli(np.array([0.0, 1.0, 0.25]), (N, 3))
    assert not drawn[:, 0].any()
    assert drawn[:, 1].all()
    assert abs(drawn[:, 2].mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / N)


def test_every_permutation_of_four_is_equally_likely():
    rng = Generator(7)
    counts = Counter(tuple(rng.permutation(4).tolist()) for _ in range(6000))
    assert set(counts) == set(permutations(range(4)))
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


@given(n=st.integers(0, 300))
def test_a_permutation_holds_every_index_once(n):
    assert sorted(Generator(8).permutation(n).tolist()) == list(range(n))


def test_numpys_integers_may_say_how_much_to_draw():
    rng = Generator(2**63, 2**63)
    rng.permutation(np.int64(5))
    rng.normal((np.int64(3), 2))
    assert type(rng.counter) is int
    assert rng.uniform((3,)).shape == (3,)


@pytest.mark.parametrize("name", DRAWS)
@given(n=st.integers(0, 50), start=st.integers(0, 2**40))
def test_the_counter_moves_by_a_quarter_of_the_words_used_rounded_up(name, n, start):
    draw, words = DRAWS[name]
    rng = Generator(1, start)
    assert len(draw(rng, n)) == n
    assert rng.counter == start + ceil(words * n / 4)


@pytest.mark.parametrize("name", DRAWS)
def test_a_saved_state_continues_bit_for_bit(name):
    draw, _ = DRAWS[name]
    rng, resumed = Generator(11), Generator(0)
    draw(rng, 37)
    resumed.load_state(rng.state())
    assert rng.state() == {"seed": 11, "counter": rng.counter}
    assert np.array_equal(draw(rng, 50), draw(resumed, 50))
    assert rng.state() == resumed.state()


def test_draws_that_follow_each_other_share_no_word():
    rng, words = Generator(12), []
    for n in (1, 2, 3, 4, 5, 1000, 999):
        words.append(rng._words(n))
    words = np.concatenate(words)
    # among m random 32-bit words about m^2 / 2^33 pairs meet by chance: 5e-4 here
    assert len(np.unique(words)) == len(words)


@given(seed=st.integers(0, 2**64 - 1), counter=st.integers(0, 2**63))
def test_a_child_depends_on_seed_and_label_only(seed, counter):
    parent = Generator(seed, counter)
    for label in (0, 7, "noise"):
        assert parent.child(label).state() == Generator(seed).child(label).state()
    assert parent.state() == {"seed": seed, "counter": counter}


def test_children_are_distinct_and_uncorrelated_with_parent_and_siblings():
    parent = Generator(13)
    labels = [*range(500), *map(str, range(500)), "noise", "data", ""]
    children = [parent.child(label) for label in labels]
    assert len({child.seed for child in children} | {parent.seed}) == len(labels) + 1
    draws = np.stack([rng.normal(10_000, np.float64) for rng in [Generator(13), *children[:8], *children[500:508]]])
    assert np.abs(np.corrcoef(draws) - np.eye(17)).max() < 4.5 / np.sqrt(10_000)


@given(seed=st.integers(0, 2**64 - 1), label=st.integers(0, 2**63))
def test_no_draw_of_the_parent_shows_the_seed_of_a_child(seed, label):
    low, high = (int(word) for word in Generator(seed, counter=label)._words(2))
    assert Generator(seed).child(label).seed != low + (high << 32)


def test_the_seeds_of_children_are_themselves_uniform():
    seeds = [Generator(seed).child(label).seed for seed in range(30) for label in range(100)]
    assert stats.kstest(np.array(seeds, np.float64) / 2**64, "uniform").pvalue > 0.001


@pytest.mark.parametrize("shape", [(), 5, (0,), (3, 0, 2), (2, 3, 5), [2, 2]])
def test_shapes(shape):
    expected = (shape,) if isinstance(shape, int) else tuple(shape)
    rng = Generator(14)
    for draw in (rng.uniform(shape), rng.normal(shape), rng.integers(0, 3, shape), rng.bernoulli(0.5, shape)):
        assert draw.shape == expected
        assert draw.flags.c_contiguous


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed must lie in \[0, 2\*\*64\), got {seed}"):
        Generator(seed)


@pytest.mark.parametrize("seed", [1.0, True, "1", None])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(TypeError, match="seed must be a whole number"):
        Generator(seed)


def test_bad_arguments_are_named():
    rng = Generator(0)
    for bad, message in [
        (lambda: rng.integers(3, 3, 2), "low=3, high=3"),
        (lambda: rng.integers(0, 2**32 + 1, 2), "high - low"),
        (lambda: rng.bernoulli(1.5, 2), "p in"),
        (lambda: rng.bernoulli(np.nan, 2), "p in"),
        (lambda: rng.permutation(-1), "n=-1"),
        (lambda: rng.normal((2, -1)), "negative lengths"),
        (lambda: rng.load_state({"seed": 1}), "seed and counter"),
    ]:
        with pytest.raises(ValueError, match=message):
            bad()
    assert rng.counter == 0


def test_integers_refuses_bounds_that_are_no_whole_numbers():
    with pytest.raises(TypeError, match="float"):
        Generator(0).integers(0, 2.5, 3)


def test_a_numpy_integer_seed_is_stored_as_a_python_int():
    assert type(Generator(np.int64(3), np.uint32(4)).state()["seed"]) is int
