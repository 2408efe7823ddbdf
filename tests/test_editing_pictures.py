"""Pictures of guidance and edits: drawn of small models, the same for the same seed, and showing what is known."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from tiny import SETTINGS

from minigen.data import ImageSet, to_model_range
from minigen.diffusion.editing import block_means
from minigen.pictures import PICTURES, find_picture, save_picture
from minigen.random import Generator
from minigen.train import DDPM, DDPMConfig

EDITS = [name for name, at in PICTURES["ddpm"].items() if at.startswith("editing:") and name != "guidance"]
FEW = {"shown": 2, "steps": 3}


def model_and_data(channels=1, **settings):
    """An untrained model of 8 x 8 pictures of noise, two classes."""
    config = DDPMConfig(**{**SETTINGS, **settings, "data": "mnist-mini", "dropout": 0.0})
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels)).astype(np.uint8)
    data = ImageSet("noise", images, np.array([0, 1, 0, 1]), tuple("0123456789"))
    return DDPM(config, images.shape[1:], Generator(0)), data


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_drawn_the_same_for_the_same_seed(name, tmp_path):
    model, data = model_and_data(channels=3 if name == "colorize" else 1)
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    for file in files:
        picture = find_picture("ddpm", name)(model, data, Generator(3), **FEW)
        assert isinstance(picture, Figure)
        save_picture(file, picture)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["inpaint", "outfill", "upscale"])
def test_the_column_known_and_the_versions_show_what_is_known(name, monkeypatch):
    seen = []
    monkeypatch.setattr("minigen.pictures.editing.show_rows", lambda axes, images, **names: seen.append(images))
    model, data = model_and_data()
    find_picture("ddpm", name)(model, data, Generator(3), versions=2, **FEW)
    original, known, *versions = np.moveaxis(seen[0], 1, 0)
    np.testing.assert_array_equal(original, to_model_range(data.images[:2]))
    part = {"inpaint": np.s_[:, :4], "outfill": np.s_[:, 2:6, 2:6], "upscale": np.s_[:]}[name]
    kept = block_means(original, 4) if name == "upscale" else original
    np.testing.assert_allclose(known[part], kept[part], atol=1e-6)
    if name != "upscale":
        rest = np.ones(known.shape, bool)
        rest[part] = False
        assert not known[rest].any()
        for version in versions:
            np.testing.assert_array_equal(version[part], original[part])
    assert abs(versions[0] - versions[1]).max() > 1e-3


def test_guidance_has_a_row_a_scale_and_a_column_a_class(tmp_path):
    model, data = model_and_data(condition="class")
    picture = find_picture("ddpm", "guidance")(model, data, Generator(3), scales=(0.0, 1.0), steps=2)
    save_picture(tmp_path / "guidance.png", picture)
    words = [text.get_text() for axes in picture.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert {"w = 0", "w = 1", "0", "9"} <= set(words)
