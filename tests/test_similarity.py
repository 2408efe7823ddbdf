"""PSNR and SSIM: closed forms on flat pictures, and the definition written out in torch."""

import numpy as np
import pytest

from minigen.metrics import psnr, ssim
from minigen.metrics.similarity import C1


def pictures(shape=(3, 16, 20, 2)):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, shape).astype(np.uint8)
    return a, np.clip(a + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)


def test_psnr_of_a_constant_error():
    a = np.full((2, 4, 5, 3), 100, np.uint8)
    np.testing.assert_allclose(psnr(a, a + np.uint8(10)), 20 * np.log10(255 / 10))
    assert np.isinf(psnr(a, a)).all()


def test_ssim_of_equal_pictures_is_1_and_of_flat_ones_the_luminance_term():
    a, b = pictures()
    np.testing.assert_allclose(ssim(a, a), 1)
    assert (ssim(a, b) < 1).all()
    flat = [np.full((1, 12, 12, 1), level, np.uint8) for level in (50, 90)]
    np.testing.assert_allclose(ssim(*flat), (2 * 50 * 90 + C1) / (50**2 + 90**2 + C1))


def test_ssim_of_a_negative_is_below_0():
    a = pictures()[0]
    assert (ssim(a, 255 - a) < 0).all()


def test_ssim_is_the_definition_window_by_window(torch):
    a, b = pictures()
    line = np.exp(-0.5 * (np.arange(11) - 5) ** 2 / 1.5**2)
    window = torch.tensor(np.outer(line, line) / line.sum() ** 2)
    x, y = (torch.tensor(p.astype(float)).unfold(1, 11, 1).unfold(2, 11, 1) for p in (a, b))

    def mean(z):
        return (z * window).sum((-1, -2))

    def spread(u, v):
        return mean((u - mean(u)[..., None, None]) * (v - mean(v)[..., None, None]))

    mx, my = mean(x), mean(y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * spread(x, y) + c2)
    bottom = (mx**2 + my**2 + c1) * (spread(x, x) + spread(y, y) + c2)
    np.testing.assert_allclose(ssim(a, b), (top / bottom).mean((1, 2, 3)).numpy(), rtol=1e-10)


def test_floats_and_bytes_are_the_same_pictures():
    a, b = pictures()
    np.testing.assert_array_equal(psnr(a / 127.5 - 1, b), psnr(a, b))
    np.testing.assert_array_equal(ssim(a, b / 127.5 - 1), ssim(a, b))


def test_pictures_that_do_not_match_or_are_too_small_are_refused():
    a, b = pictures()
    with pytest.raises(ValueError, match="must both be"):
        psnr(a, b[:, :-1])
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a[:, :10], b[:, :10])
