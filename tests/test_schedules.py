"""Noise schedules against their formulas, high-precision products, and published end points."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.diffusion import Schedule, make_schedule

NAMES = ["linear", "cosine", "sigmoid"]


@pytest.mark.parametrize("name", NAMES)
@given(T=st.integers(21, 2000))
def test_tables_have_one_float64_entry_a_level_and_start_at_the_data(name, T):
    schedule = make_schedule(name, T)
    assert schedule.T == T
    for table in (schedule.beta, schedule.alpha, schedule.alpha_bar, schedule.snr):
        assert table.dtype == np.float64
        assert table.shape == (T + 1,)
    assert schedule.beta[0] == 0
    assert schedule.alpha[0] == 1
    assert schedule.alpha_bar[0] == 1
    assert schedule.snr[0] == np.inf
    assert np.all((schedule.beta[1:] > 0) & (schedule.beta[1:] < 1))
    assert np.all(np.diff(schedule.alpha_bar) < 0)
    assert schedule.alpha_bar[-1] > 0


@pytest.mark.parametrize("name", NAMES)
def test_alpha_bar_is_the_product_of_the_alphas_to_13_digits(name):
    schedule = make_schedule(name, 1000)
    logs = [math.log1p(-beta) for beta in schedule.beta]
    exact = [math.exp(math.fsum(logs[: t + 1])) for t in range(1001)]
    np.testing.assert_allclose(schedule.alpha_bar, exact, rtol=1e-13)
    np.testing.assert_allclose(schedule.snr[1:], schedule.alpha_bar[1:] / (1 - schedule.alpha_bar[1:]), rtol=1e-13)


@pytest.mark.parametrize(
    ("name", "T", "last"),
    [
        ("linear", 1000, 4.0358e-05),
        ("linear", 250, 3.2644e-05),
        ("linear", 4000, 4.2467e-05),
        ("linear", 50, 7.7448e-06),
        ("cosine", 1000, 2.4288e-09),
        ("cosine", 250, 3.8860e-08),
        ("cosine", 50, 9.7119e-07),
        ("sigmoid", 1000, 3.0028e-07),
        ("sigmoid", 250, 1.2110e-06),
        ("sigmoid", 50, 6.3252e-06),
    ],
)
def test_the_signal_left_at_level_T(name, T, last):
    """What a sampler that starts from N(0, I) neglects: alpha_bar_T of the data's variance, below 1e-4 everywhere."""
    assert make_schedule(name, T).alpha_bar[T] == pytest.approx(last, rel=1e-4)
    assert last < 1e-4


def test_linear_is_ho_at_1000_steps():
    beta = make_schedule("linear", 1000).beta
    assert beta[1] == 1e-4
    assert beta[1000] == 0.02
    np.testing.assert_allclose(np.diff(beta[1:]), (0.02 - 1e-4) / 999, rtol=1e-9)  # in beta, not in sqrt(beta)


@given(T=st.integers(21, 4000))
def test_linear_keeps_its_total_noise_at_any_number_of_steps(T):
    beta = make_schedule("linear", T).beta
    assert beta.sum() == pytest.approx(10.05, rel=1e-12)
    np.testing.assert_allclose(np.diff(beta[1:], n=2), 0, atol=1e-15)


@pytest.mark.parametrize("T", [1, 20])
def test_linear_refuses_so_few_steps_that_beta_would_reach_1(T):
    with pytest.raises(ValueError, match=f"T > 20 .at T={T}"):
        make_schedule("linear", T)


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_cosine_is_nichol_and_dhariwal_wherever_beta_is_not_clipped(T):
    schedule = make_schedule("cosine", T)
    f = [math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(T + 1)]
    np.testing.assert_allclose(schedule.alpha_bar[:T], np.array(f[:T]) / f[0], rtol=1e-11)
    assert schedule.beta[T] == 0.999
    assert (schedule.beta[:T] < 0.999).all()


@pytest.mark.parametrize("T", [1, 2, 10, 1000])
def test_sigmoid_is_jabri_wherever_beta_is_not_clipped(T):
    schedule = make_schedule("sigmoid", T)
    s = [1 / (1 + math.exp(-(6 * t / T - 3))) for t in range(T + 1)]
    expected = [(s[-1] - s[t]) / (s[-1] - s[0]) for t in range(T)]
    np.testing.assert_allclose(schedule.alpha_bar[:T], expected, rtol=1e-11)
    assert schedule.beta[T] == 0.999
    if T % 2 == 0:
        assert schedule.alpha_bar[T // 2] == pytest.approx(0.5)


@pytest.mark.parametrize(("wrong", "right"), [("cosin", "cosine"), ("Linear", "linear"), ("sigmod", "sigmoid")])
def test_an_unknown_name_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(ValueError, match=f"'{wrong}': did you mean '{right}'"):
        make_schedule(wrong, 100)


@pytest.mark.parametrize("T", [0, -3])
def test_a_schedule_without_steps_is_refused(T):
    with pytest.raises(ValueError, match=f"T, the number of steps, must be at least 1, got {T}"):
        make_schedule("cosine", T)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        (np.array([0, 0.5], np.float32), "float64 vector"),
        (np.zeros((2, 2)), "float64 vector"),
        (np.array([0.0]), "T + 1 >= 2"),
        (np.array([0.1, 0.5]), "beta[0] = 0"),
        (np.array([0.0, 1.0]), "0 < beta[t] < 1"),
        (np.array([0.0, np.nan]), "nan"),
    ],
)
def test_tables_that_are_no_schedule_are_refused(beta, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Schedule("mine", beta)
