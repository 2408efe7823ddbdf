"""Slant and thickness: exact on images whose slant and thickness are known."""

import numpy as np
import pytest

from minigen.data import load, to_model_range
from minigen.metrics.strokes import slant, thickness
from minigen.random import Generator


def bar(height, width, size=28, top=5, left=8):
    image = np.zeros((1, size, size, 1), np.uint8)
    image[:, top : top + height, left : left + width] = 255
    return image


def sheared(images, step):
    """Every row moved to the right by `step` pixels for each row that it is above the middle one."""
    middle = images.shape[1] // 2
    return np.stack([np.roll(images[:, row], step * (middle - row), axis=1) for row in range(2 * middle)], axis=1)


def test_an_upright_bar_has_no_slant_and_shearing_adds_to_it_exactly():
    upright = bar(12, 3, size=60, top=24, left=28)
    assert slant(upright) == pytest.approx([0])
    for step in (1, 2, -1):
        assert slant(sheared(upright, step)) == pytest.approx([step])


def test_shearing_any_image_adds_the_shear_to_its_slant():
    images = np.zeros((4, 20, 100, 1), np.uint8)
    images[:, :, 40:60] = Generator(0).integers(0, 256, (4, 20, 20, 1))
    np.testing.assert_allclose(slant(sheared(images, 1)) - slant(images), 1, atol=1e-12)


def test_a_digit_that_leans_right_has_positive_slant():
    diagonal = np.zeros((1, 28, 28, 1), np.uint8)
    diagonal[0, np.arange(28), 27 - np.arange(28)] = 255  # from bottom left to top right
    assert slant(diagonal) == pytest.approx([1])
    assert slant(diagonal[:, :, ::-1]) == pytest.approx([-1])


@pytest.mark.parametrize(("height", "width"), [(20, 1), (20, 2), (18, 5), (3, 15)])
def test_thickness_of_a_bar_is_twice_its_area_by_its_outline(height, width):
    outline = 2 * (height + width) - 2 + 2**0.5  # the corner where both differences meet counts its diagonal
    assert thickness(bar(height, width)) == pytest.approx([2 * height * width / outline])


def test_a_bar_at_the_border_is_as_thick_as_elsewhere():
    assert thickness(bar(20, 3, top=0, left=0)) == pytest.approx(thickness(bar(20, 3)))
    assert thickness(bar(20, 3, top=8, left=25)) == pytest.approx(thickness(bar(20, 3)))


def test_a_bolder_digit_is_thicker_and_as_slanted_within_a_little():
    images = load("mnist-mini", split="test").images[:200]
    bold = np.maximum(images, np.roll(images, 1, axis=2))
    assert (thickness(bold) > thickness(images)).all()
    assert np.abs(slant(bold) - slant(images)).mean() < 0.05


def test_bytes_and_the_models_range_measure_alike():
    images = load("mnist-mini", split="test").images[:50]
    for measure in (slant, thickness):
        np.testing.assert_allclose(measure(to_model_range(images)), measure(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("measure", [slant, thickness])
def test_images_without_ink_or_with_colours_are_refused(measure):
    images = np.concatenate([bar(5, 5), np.zeros((1, 28, 28, 1), np.uint8)])
    with pytest.raises(ValueError, match="number 1"):
        measure(images)
    with pytest.raises(ValueError, match=r"\(N, H, W, 1\), got \(1, 28, 28, 3\)"):
        measure(np.ones((1, 28, 28, 3), np.uint8))
