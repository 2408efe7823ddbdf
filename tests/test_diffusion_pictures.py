"""The pictures of a diffusion model show what they say: a model that knows the noise stands in for the network."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from minigen.data import ImageSet, to_model_range
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
        config=SimpleNamespace(schedule="cosine", device="cpu"), variance=lambda fixed: fixed,
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


def words(figure):
    return [
        text.get_text()
        for axes in figure.axes
        for text in (axes.title, *axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())
    ] + [text.get_text() for text in figure.texts]


def test_the_rows_of_steps_are_named_by_the_calls_that_they_take(model, data):
    """Heun calls twice in every step but the last."""
    calls = []
    network, model.network = model.network, lambda x, t: calls.append(t[0]) or network(x, t)
    figure = find_picture("ddpm", "steps")(model, data, Generator(0), shown=2, counts=(5, 10))
    names = ["ddim 5", "ddim 10", "dpm++ 5", "dpm++ 10", "heun 5", "heun 9"]
    assert [word for word in words(figure) if word in names] == names
    assert len(calls) == sum(int(name.split()[1]) for name in names)


def test_the_way_to_the_noise_and_back_is_measured(model, data):
    """Images that are the model's one point come back as they were; others, by the error that they must have."""
    draw = find_picture("ddpm", "interpolate")
    point = np.clip(np.rint((model.point + 1) * 127.5), 0, 255).astype(np.uint8)
    model.point[...] = to_model_range(point)
    images = np.stack([point] * 8)
    figure = draw(model, replace(data, images=images), Generator(0))
    assert error_of(figure) < 1e-5
    error = abs(to_model_range(data.images[:8]) - model.point).mean()
    assert error_of(draw(model, data, Generator(0))) == pytest.approx(error, rel=0.06)  # two digits are shown


def error_of(figure):
    return float(next(word for word in words(figure) if "there and back" in word).rsplit(": ", 1)[1])


def test_a_model_of_few_levels_has_all_its_pictures(model, data):
    """Fewer levels than the steps that a picture takes: every level is one."""
    model.process = GaussianDiffusion(make_schedule("cosine", 8), "x0")
    figure = find_picture("ddpm", "backward")(model, data, Generator(0))
    assert [word for word in words(figure) if word.startswith("t = ")] == [f"t = {t}" for t in range(8, -1, -1)]
    assert any("DDIM, 8 steps" in word for word in words(figure))
    steps = words(find_picture("ddpm", "steps")(model, data, Generator(0), shown=2))
    assert [word for word in steps if word.startswith("ddim")] == ["ddim 5", "ddim 8"]
    assert any(
        "DDIM, 8 steps" in word for word in words(find_picture("ddpm", "interpolate")(model, data, Generator(0)))
    )


def test_columns_are_spread_from_end_to_end():
    assert shares(1000, 5) == [0, 250, 500, 750, 1000]
    assert shares(3, 4) == [0, 1, 2, 3]
