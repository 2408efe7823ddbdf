"""The levels that a training batch visits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigen.random import Generator
from minigen.train.ddpm import stratified_levels


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


def test_every_level_is_equally_likely():
    """100,000 draws over 10 levels, in batches of 4: each level within 5 standard errors of a tenth."""
    generator, counts = Generator(0), np.zeros(11)
    for _ in range(25_000):
        counts += np.bincount(stratified_levels(4, 10, generator), minlength=11)
    assert counts[0] == 0
    assert abs(counts[1:] / 100_000 - 0.1).max() < 5 * (0.1 * 0.9 / 100_000) ** 0.5
