"""Editing against Gaussian conditioning, exactly: under the exact eps every move of the sampler is an affine map.

The data is N(MEAN, COVARIANCE) of two pixels; the first is known. `moments` carries mean and covariance through every
move, up and down, by evaluating it at a basis of its inputs, so nothing is estimated.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minigen.diffusion import GaussianDiffusion, ddim_levels, ddim_step, make_schedule
from minigen.diffusion.editing import (
    block_means,
    grey,
    inpaint,
    inpaint_levels,
    pixels,
    repaint_levels,
    sdedit,
    up,
    with_known,
)
from minigen.random import Generator

MEAN, COVARIANCE = np.array([0.3, -0.5]), np.array([[0.5, 0.4], [0.4, 0.5]])
UNEQUAL = np.array([[0.6, 0.1], [0.1, 0.2]])
FIRST = np.array([True, False])


def process_of(T=1000, target="eps"):
    return GaussianDiffusion(make_schedule("cosine", T), target)


def exact_eps(process, mean=MEAN, covariance=COVARIANCE):
    """E[eps | x_t] for rows x (N, 2)."""

    def model(x, t):
        a, b = process.signal[t[0]], process.noise[t[0]]
        return b * np.linalg.solve(a**2 * covariance + b**2 * np.eye(2), (x - a * mean).T).T

    return model


def conditional(y, noise=0.0, known=FIRST):
    """Mean and covariance of N(MEAN, COVARIANCE) given the known pixels' y with noise of that deviation."""
    H = np.eye(2)[known]
    gain = COVARIANCE @ H.T @ np.linalg.inv(H @ COVARIANCE @ H.T + noise**2 * np.eye(len(H)))
    return MEAN + gain @ (y[known] - H @ MEAN), COVARIANCE - gain @ H @ COVARIANCE


def affine(move):
    """Of a map x, noise, noise -> (N, 2): offset (2,) and the three matrices."""
    basis = np.zeros((7, 6))
    basis[1:] = np.eye(6)
    out = move(basis[:, :2], basis[:, 2:4], basis[:, 4:])
    return out[0], [(out[i : i + 2] - out[0]).T for i in (1, 3, 5)]


def moments(
    process, y, known=FIRST, steps=None, jump=1, resamplings=1, noise=0.0, eta=1.0, project=None, prior=COVARIANCE
):
    """Mean and covariance of what inpaint draws; project: pixels(known) where None."""
    project, alpha_bar = project or pixels(known), process.schedule.alpha_bar
    model = exact_eps(process, covariance=prior)
    y = project(y[None])

    def start(x, z, fresh):
        return with_known(z, y, project, alpha_bar[process.T], noise, lambda: fresh)

    mean, covariance = np.zeros(2), np.zeros((2, 2))
    path = inpaint_levels(process, steps or process.T, jump, resamplings, noise)
    moves = [start] + [
        (lambda x, z, fresh, a=a, b=b: up(process, x, a, b, z))
        if b > a
        else (
            lambda x, z, fresh, a=a, b=b: with_known(
                ddim_step(process, x, model(x, np.full(len(x), a)), a, b, eta, z),
                y,
                project,
                alpha_bar[b],
                noise,
                lambda: fresh,
            )
        )
        for a, b in zip(path, path[1:])
    ]
    for move in moves:
        offset, (A, B, C) = affine(move)
        mean, covariance = A @ mean + offset, A @ covariance @ A.T + B @ B.T + C @ C.T
    return mean, covariance


# ---------------------------------------------------------------- RePaint: biased, and less so with every resampling


def test_resampling_brings_repaint_to_the_conditional_law():
    """In one passage the unknown pixel hangs too little on the known one; the error falls about as 1 / resamplings."""
    process, y = process_of(500), np.array([1.2, 0.0])
    mean, covariance = conditional(y)
    found = [moments(process, y, jump=5, resamplings=n) for n in (1, 3, 9)]
    errors = [abs(m[1] - mean[1]) for m, _ in found]
    assert errors[0] > 0.25  # of a conditional mean that is 0.72 away from the plain one
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[1] / 2
    assert errors[2] < 0.05
    wide = [c[1, 1] / covariance[1, 1] for _, c in found]
    assert wide[0] > 1.3
    assert wide[2] == pytest.approx(1, abs=0.05)
    for m, c in found:
        assert m[0] == pytest.approx(1.2, abs=1e-12)
        assert abs(c[0]).max() < 1e-20


@pytest.mark.parametrize("name", ["grey", "blocks"])
def test_resampling_brings_colours_and_details_to_the_conditional_law(name):
    """Of two pixels, or colours, whose variances differ, the mean is known: H = [1/2, 1/2].

    Only the difference is free. Where both have one variance it would be independent of the mean.
    """
    project = {"grey": mean_of_colours, "blocks": mean_of_block}[name]
    process, y, H = process_of(300), np.array([1.4, 0.0]), np.array([[0.5, 0.5]])
    gain = UNEQUAL @ H.T / (H @ UNEQUAL @ H.T)
    mean, covariance = MEAN + gain @ (H @ (y - MEAN)), UNEQUAL - gain @ H @ UNEQUAL
    found = [moments(process, y, jump=5, resamplings=n, project=project, prior=UNEQUAL) for n in (1, 4, 12)]
    errors = [abs(m - mean).max() for m, _ in found]
    assert errors[0] > 0.1
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[0] / 4
    assert abs(found[2][1] - covariance).max() < 0.1 * covariance.max()
    for m, c in found:
        assert m.mean() == pytest.approx(0.7, abs=1e-12)
        assert abs(H @ c @ H.T).item() < 1e-15


def mean_of_colours(x):
    """Rows (N, 2) as N pixels of two colours."""
    return grey(x.reshape(-1, 1, 1, 2)).reshape(x.shape)


def mean_of_block(x):
    """Rows (N, 2) as the upper and lower rows of N blocks of 2 x 2, both columns alike."""
    blocks = np.repeat(x[:, :, None], 2, axis=2)[..., None]
    return block_means(blocks, 2)[:, :, 0, 0]


def test_repaint_is_exact_where_the_pixels_are_independent():
    """Then the unknown pixel is sampled as without the known one, resampled or not."""
    process, y = process_of(200), np.array([1.2, 0.0])
    independent = np.diag([0.5, 0.2])
    model = exact_eps(process, covariance=independent)
    n = 4000
    x = inpaint(process, model, np.tile(y, (n, 1)), pixels(FIRST), Generator(0), steps=200, resamplings=1)
    assert np.array_equal(x[:, 0], np.full(n, 1.2))
    assert x[:, 1].mean() == pytest.approx(MEAN[1], abs=4 * np.sqrt(0.2 / n))
    assert x[:, 1].var() == pytest.approx(0.2, rel=5 * np.sqrt(2 / n))


def test_drawn_pictures_have_the_moments_that_were_carried_through():
    process, y, n = process_of(60), np.array([1.2, 0.0]), 4000
    mean, covariance = moments(process, y, steps=20, jump=4, resamplings=3)
    x = inpaint(process, exact_eps(process), np.tile(y, (n, 1)), pixels(FIRST), Generator(1), 20, 4, 3)
    assert x[:, 1].mean() == pytest.approx(mean[1], abs=4 * np.sqrt(covariance[1, 1] / n))
    assert x[:, 1].var() == pytest.approx(covariance[1, 1], rel=5 * np.sqrt(2 / n))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_what_is_put_in_has_the_law_of_x_t(noise):
    """y = x0 + noise n, scaled, and the rest of the level's noise: mean sqrt(alpha_bar) x0, variance 1 - alpha_bar."""
    alpha_bar, y = 0.6, np.array([[1.2, 0.0]])
    offset, (kept, _, fresh) = affine(
        lambda x, z, fresh: with_known(x, y, pixels(FIRST), alpha_bar, noise, lambda: fresh)
    )
    assert offset[0] == pytest.approx(np.sqrt(alpha_bar) * 1.2, rel=1e-12)
    assert fresh[0, 0] ** 2 + alpha_bar * noise**2 == pytest.approx(1 - alpha_bar, rel=1e-12)
    np.testing.assert_array_equal(kept, np.diag([0.0, 1.0]))
    assert not fresh[1].any()


# ---------------------------------------------------------------- restoration


@pytest.mark.parametrize(("resamplings", "levels"), [(1, (250, 1000)), (5, (125, 500))])
@pytest.mark.parametrize("noise", [0.2, 0.7])
def test_restoring_a_noisy_picture_reaches_the_conditional_law(noise, resamplings, levels):
    """y = x0 + noise n: mean and covariance of p(x0 | y), to the sampler's own error, which falls with the steps."""
    y, known = np.array([1.2, -0.9]), np.array([True, True])
    mean, covariance = conditional(y, noise, known)
    errors = []
    for T in levels:
        found = moments(process_of(T), y, known, jump=5, resamplings=resamplings, noise=noise)
        assert abs(found[0] - mean).max() < 8e-3
        errors.append(abs(found[1] - covariance).max() / covariance.max())
    assert errors[1] < 0.06
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("noise", [0.2, 0.7])
def test_resampling_brings_a_damaged_noisy_picture_to_the_conditional_law(noise):
    """One pixel is known up to noise, the other not at all."""
    y = np.array([1.2, 0.0])
    mean, covariance = conditional(y, noise)
    found = [moments(process_of(100), y, jump=5, resamplings=n, noise=noise) for n in (1, 4, 12)]
    errors = [abs(m - mean).max() for m, _ in found]
    assert errors[0] > 0.06
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[0] / 3
    assert abs(found[2][1] - covariance).max() < 0.1 * covariance.max()


def test_levels_are_resampled_only_where_the_picture_is_put_in():
    """Above its own noise. Below, going back up would forget it."""
    process, steps = process_of(100), 20
    path = inpaint_levels(process, steps, jump=4, resamplings=3, noise=0.7)
    levels, ups = ddim_levels(100, steps), {b for a, b in zip(path, path[1:]) if b > a}
    own = [process.noise[level] < 0.7 * process.signal[level] for level in levels]
    assert 0 < sum(own) < len(levels) - 1
    assert path[-sum(own) :] == levels[-sum(own) :]
    assert ups == set(levels[: -sum(own) - 1])
    assert inpaint_levels(process, steps, 4, 3, 0.0) == repaint_levels(levels, 4, 3)
    assert inpaint_levels(process, steps, 4, 3, 1e9) == levels


def test_restoring_without_fresh_noise_is_biased():
    """eta = 0 turns a noisy picture into one answer: no spread is left, though p(x0 | y) has one."""
    y, known = np.array([1.2, -0.9]), np.array([True, True])
    _, covariance = moments(process_of(1000), y, known, noise=0.7, eta=0.0)
    assert abs(covariance).max() < 0.02 * conditional(y, 0.7, known)[1].max()


# ---------------------------------------------------------------- SDEdit


@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_sdedit_is_noise_and_then_the_posterior(strength):
    """x_t = a y + b n, then p(x0 | x_t): mean and covariance in closed form (K the gain of the posterior)."""
    process, y, n = process_of(400), np.array([1.2, -0.9]), 6000
    level = round(strength * 400)
    a, b = process.signal[level], process.noise[level]
    K = a * COVARIANCE @ np.linalg.inv(a**2 * COVARIANCE + b**2 * np.eye(2))
    mean, covariance = MEAN + K @ (a * y - a * MEAN), b**2 * K @ K.T + COVARIANCE - a * K @ COVARIANCE
    x = sdedit(process, exact_eps(process), np.tile(y, (n, 1)), strength, Generator(0), steps=400)
    assert abs(x.mean(0) - mean).max() < 4 * np.sqrt(covariance.max() / n) + 0.01
    assert abs(np.cov(x.T) - covariance).max() < 0.07 * covariance.max()


def test_sdedit_of_strength_0_gives_the_picture_back_and_of_strength_1_forgets_it():
    process, model = process_of(50), exact_eps(process_of(50))
    one, other = np.ones((3, 2)), -np.ones((3, 2))
    assert np.array_equal(sdedit(process, model, one, 0, Generator(0)), one)
    near = sdedit(process, model, one, 1.0, Generator(0)) - sdedit(process, model, other, 1.0, Generator(0))
    assert abs(near).max() < 0.01


# ---------------------------------------------------------------- projections


def projections():
    mask = np.random.default_rng(0).random((8, 12, 1)) < 0.5
    return {"pixels": pixels(mask), "grey": grey, "blocks": lambda x: block_means(x, 4)}


@pytest.mark.parametrize("name", ["pixels", "grey", "blocks"])
@given(x=arrays(np.float64, (2, 8, 12, 3), elements=st.floats(-1, 1)), seed=st.integers(0, 100))
def test_each_is_an_orthogonal_projection(name, x, seed):
    P, y = projections()[name], np.random.default_rng(seed).normal(size=x.shape)
    np.testing.assert_allclose(P(P(x)), P(x), atol=1e-15)
    assert (P(x) * y).sum() == pytest.approx((x * P(y)).sum(), abs=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["pixels", "grey", "blocks"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_what_is_known_is_kept_exactly(name, dtype, eta):
    process, P, rng = process_of(30), projections()[name], Generator(0)
    image = (rng.uniform((2, 8, 12, 3)) * 2 - 1).astype(dtype)
    x = inpaint(process, lambda x, t: x * dtype(0.5), image, P, rng, steps=10, jump=3, resamplings=2, eta=eta)
    assert x.dtype == dtype
    if name == "pixels":
        assert np.array_equal(P(x), P(image))
        assert not np.array_equal(x, image)
    else:
        np.testing.assert_allclose(P(x), P(image), atol=8 * np.finfo(dtype).eps * abs(x).max())


def test_block_means_and_grey_by_hand():
    x = np.arange(32.0).reshape(1, 4, 4, 2)
    np.testing.assert_array_equal(block_means(x, 2)[0, :2, :2, 0], np.full((2, 2), (0 + 2 + 8 + 10) / 4))
    np.testing.assert_array_equal(grey(x)[0, 0, 0], [0.5, 0.5])
    with pytest.raises(ValueError, match="factor must divide the image's sides, got factor=3 and 4x4"):
        block_means(x, 3)


# ---------------------------------------------------------------- the way up and down


def test_the_order_of_levels_by_hand():
    assert repaint_levels([4, 3, 2, 1, 0], jump=2, resamplings=2) == [4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0]
    assert repaint_levels([9, 5, 0], jump=1, resamplings=1) == [9, 5, 0]
    assert repaint_levels([9, 5, 0], jump=5, resamplings=2) == [9, 5, 0, 5, 9, 5, 0]


@given(steps=st.integers(1, 30), jump=st.integers(1, 40), resamplings=st.integers(1, 5))
def test_every_stretch_is_gone_down_as_often_as_asked_and_every_move_is_one_step(steps, jump, resamplings):
    levels = ddim_levels(1000, steps)
    path = repaint_levels(levels, jump, resamplings)
    assert path[0] == 1000
    assert path[-1] == 0
    places = np.array([levels.index(level) for level in path])
    assert (abs(np.diff(places)) == 1).all()
    assert (np.diff(places) == 1).sum() == steps * resamplings


def test_going_up_undoes_nothing_of_the_law_of_x_t():
    """From q(x_s | x0), up to t, it is q(x_t | x0)."""
    process = process_of(100)
    for s, t in [(0, 7), (20, 21), (40, 100)]:
        a, b = up(process, process.signal[s], s, t, 0.0), up(process, process.noise[s], s, t, 0.0)
        added = up(process, 0.0, s, t, 1.0)
        assert a == pytest.approx(process.signal[t], rel=1e-12)
        assert b**2 + added**2 == pytest.approx(process.noise[t] ** 2, rel=1e-12)


# ---------------------------------------------------------------- bad input


def test_bad_arguments_are_named():
    process, rng, x = process_of(10), Generator(0), np.zeros((2, 4, 4, 1))
    model, P = (lambda x, t: x), pixels(np.ones((4, 4, 1), bool))
    for call, error, message in [
        (lambda: pixels(np.ones((4, 4), np.uint8)), TypeError, "mask must be boolean, True = keep, got uint8"),
        (lambda: pixels(np.ones((5, 4, 1), bool))(x), ValueError, "broadcast"),
        (lambda: pixels(np.ones((3, 2, 4, 4, 1), bool))(x), ValueError, r"mask must broadcast to the images \(2, 4"),
        (lambda: inpaint(process, model, x, P, rng, steps=11), ValueError, "steps must lie in 1 ... T = 10, got 11"),
        (lambda: inpaint(process, model, x, P, rng, steps=5, jump=0), ValueError, "must be >= 1"),
        (lambda: inpaint(process, model, x, P, rng, steps=5, resamplings=0), ValueError, "must be >= 1"),
        (lambda: inpaint(process, model, x, P, rng, steps=5, noise=-1.0), ValueError, "noise >= 0"),
        (lambda: inpaint(process, model, x * np.nan, P, rng, steps=5), ValueError, "image must be finite"),
        (lambda: sdedit(process, model, x, 1.5, rng), ValueError, r"strength must lie in \[0, 1\], got 1.5"),
    ]:
        with pytest.raises(error, match=message):
            call()
