"""Philox4x32-10: the published known answers, the same words in every dialect, and the mapping to (0, 1)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.kernels import _threads, philox

DIALECTS = ["numpy", "numba"]
SEEDS, SIZES = st.integers(0, 2**64 - 1), st.integers(0, 67)
COUNTERS = st.builds(lambda position, high: position + (high << 64), st.integers(0, 2**63), st.integers(0, 2**64 - 1))
# counter words, key words, output words: Random123, tests/kat_vectors, lines "philox4x32 10"
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def kernel(name, dialect):
    return getattr(philox, f"philox_{name}_{dialect}")


def whole(words):
    """Hexadecimal words, lowest first -> one whole number."""
    return sum(int(word, 16) << 32 * i for i, word in enumerate(words.split()))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_the_known_answers_of_random123(dialect, counter, key, answer):
    words = kernel("bits", dialect)(whole(key), whole(counter), 4)
    assert words.dtype == np.uint32
    assert [f"{word:08x}" for word in words] == answer.split()


def philox_of_the_paper(counter, seed):
    """Figure 2 of the paper in Python's unbounded whole numbers: shares no line with the kernel."""
    right0, left0, right1, left1 = ((counter >> 32 * i) % 2**32 for i in (0, 1, 2, 3))
    keys = [seed % 2**32, seed >> 32]
    for _ in range(10):
        (high0, low0), (high1, low1) = divmod(right0 * 0xD2511F53, 2**32), divmod(right1 * 0xCD9E8D57, 2**32)
        right0, left0, right1, left1 = high1 ^ left0 ^ keys[0], low1, high0 ^ left1 ^ keys[1], low0
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return [right0, left0, right1, left1]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(seed=SEEDS, counter=COUNTERS, n=SIZES)
def test_word_j_is_word_j_mod_4_of_position_counter_plus_j_div_4(dialect, seed, counter, n):
    expected = [philox_of_the_paper(counter + j // 4, seed)[j % 4] for j in range(n)]
    assert kernel("bits", dialect)(seed, counter, n).tolist() == expected


@given(seed=SEEDS, counter=COUNTERS, n=SIZES, dtype=st.sampled_from([np.float32, np.float64]))
def test_uniforms_are_equal_bit_for_bit_and_normals_within_a_few_ulps(seed, counter, n, dtype):
    u = [kernel("uniform", dialect)(seed, counter, n, dtype) for dialect in DIALECTS]
    z = [kernel("normal", dialect)(seed, counter, n, dtype) for dialect in DIALECTS]
    assert all(draw.dtype == dtype and draw.shape == (n,) for draw in u + z)
    assert np.array_equal(*u)
    np.testing.assert_array_max_ulp(*z, maxulp=1 if dtype == np.float32 else 8)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_a_short_draw_is_the_beginning_of_a_long_one(dialect, name):
    draw, long = kernel(name, dialect), kernel(name, dialect)(3, 10, 64, np.float32)
    for n in range(9):
        assert np.array_equal(draw(3, 10, n, np.float32), long[:n])
    assert np.array_equal(draw(3, 12, 8, np.float32), long[8:16])


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float32, 2.0**-24), (np.float64, 2.0**-33)])
def test_the_mapping_to_0_1_is_open_symmetric_and_exact_at_both_ends(monkeypatch, dtype, lowest):
    extremes = np.array([0, 2**32 - 1], np.uint32)
    monkeypatch.setattr(philox, "philox_bits_numpy", lambda seed, counter, n: extremes)
    u = philox.philox_uniform_numpy(0, 0, 2, dtype)
    assert u.tolist() == [lowest, 1 - lowest]
    assert u[0] > 0
    assert u[1] < 1
    assert np.isfinite(np.log(u)).all()
    assert np.isfinite(np.log1p(-u)).all()


def test_normals_are_box_muller_of_the_uniforms_of_the_same_position():
    u = philox.philox_uniform_numba(9, 4, 400, np.float64).reshape(-1, 2)
    z = philox.philox_normal_numba(9, 4, 400, np.float64).reshape(-1, 2)
    np.testing.assert_allclose((z**2).sum(axis=1), -2 * np.log(u[:, 0]), rtol=1e-13)
    np.testing.assert_allclose(np.arctan2(z[:, 1], z[:, 0]) % (2 * np.pi), 2 * np.pi * u[:, 1], rtol=1e-10)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_draw_that_would_leave_the_stream_or_its_arguments_is_refused(dialect):
    bits, uniform = kernel("bits", dialect), kernel("uniform", dialect)
    assert len(bits(0, 2**64 - 1, 4)) == 4
    with pytest.raises(ValueError, match="leaves the stream"):
        bits(0, 2**64 - 1, 5)
    with pytest.raises(ValueError, match="leaves the stream"):
        bits(0, -1, 4)
    with pytest.raises(ValueError, match=r"seed must lie in \[0, 2\*\*64\)"):
        bits(2**64, 0, 4)
    with pytest.raises(ValueError, match="n, how many"):
        bits(0, 0, -1)
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got float16"):
        uniform(0, 0, 4, np.float16)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_stream_does_not_depend_on_the_number_of_threads(monkeypatch, threads):
    monkeypatch.setattr(_threads, "_number_of_threads", threads)
    assert np.array_equal(philox.philox_bits_numba(1, 2, 10_001), philox.philox_bits_numpy(1, 2, 10_001))
