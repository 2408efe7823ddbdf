"""The pictures of a diffusion model show what they say: a model that knows the noise stands in for the network."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from minigen.data import ImageSet
from minigen.diffusion import GaussianDiffusion, make_schedule
from minigen.pictures import PICTURES, find_picture, save_picture
from minigen.pictures.diffusion import HELD, shares, trajectory
from minigen.random import Generator

SHAPE = (8, 8, 1)


@pytest.fixture
def model():
    """Data that is one grey image, and the network that knows it."""
    process = GaussianDiffusion(make_schedule("cosine", 60), "x0")
    point = np.linspace(-1, 1, 64, dtype=np.float32).reshape(SHAPE)
    return SimpleNamespace(
        process=process, network=lambda x, t: np.broadcast_to(point, x.shape), image_shape=SHAPE, point=point,
        config=SimpleNamespace(schedule="cosine"), variance=lambda fixed: fixed,
    )  # fmt: skip


@pytest.fixture
def data():
    images = np.random.default_rng(0).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
    return ImageSet("noise", images, np.zeros(64, np.int64), ("none",))


@pytest.mark.parametrize("name", [name for name, at in PICTURES["ddpm"].items() if at.startswith("diffusion:")])
def test_every_picture_is_drawn_and_the_same_for_the_same_seed(name, model, data, tmp_path):
    draw, files = find_picture("ddpm", name), []
    for i in range(2):
        picture = draw(model, data, Generator(3))
        assert isinstance(picture, Figure) or all(frame.dtype == np.uint8 for frame in picture)
        files.append(tmp_path / f"{i}.{'gif' if isinstance(picture, list) else 'png'}")
        save_picture(files[-1], picture)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_trajectory_begins_as_noise_ends_at_the_data_and_knows_it_all_along(model):
    states = trajectory(model, 200, Generator(0), 20, 1.0)
    assert [level for level, _, _ in states] == list(range(60, -1, -3))
    assert states[0][1].std() == pytest.approx(1, abs=0.02)
    for level, x, guess in states:
        np.testing.assert_allclose(guess, np.broadcast_to(model.point, x.shape), atol=1e-6)
        assert (x - np.sqrt(model.process.schedule.alpha_bar[level]) * model.point).std() == pytest.approx(
            model.process.noise[level], abs=0.03
        )


def test_the_film_ends_on_the_finished_images_and_holds_them(model, data):
    frames = find_picture("ddpm", "denoising")(model, data, Generator(0), shown=4, steps=10)
    assert len(frames) == 11 + HELD
    assert all(np.array_equal(frame, frames[-1]) for frame in frames[10:])
    assert not np.array_equal(frames[0], frames[-1])


def test_columns_are_spread_from_end_to_end():
    assert shares(1000, 5) == [0, 250, 500, 750, 1000]
    assert shares(3, 4) == [0, 1, 2, 3]
