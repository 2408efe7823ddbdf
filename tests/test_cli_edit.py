"""`minigen edit`, and conditional models, from the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import SETTINGS, make_data

from minigen.cli.edit import TASKS
from minigen.random import Generator
from minigen.report import GAP
from minigen.train import DDPM, AEConfig, DDPMConfig, start
from minigen.train.edit import EDITS, edit

# ---------------------------------------------------------------- edit


@pytest.fixture
def run_and_pictures(minigen, tiny_flags, tmp_path):
    """A tiny run of 8 x 8 pictures, and a picture, a mask and a small picture to edit."""
    assert minigen(*tiny_flags, "--out", "r")[0] == 0
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save("image.png")
    Image.fromarray(np.where(np.arange(64).reshape(8, 8) < 32, 255, 0).astype(np.uint8)).save("mask.png")
    Image.fromarray(pixels[:2, :2]).save("small.png")
    Image.fromarray(np.stack([pixels] * 3, -1)).save("colour.png")
    return pixels


FEW = ("--steps", 4, "--n", 3, "--out", "out.png")


def test_edit_keeps_what_the_mask_says_and_shows_it_first(minigen, run_and_pictures):
    code, out, err = minigen("edit", "r", "inpaint", "--image", "image.png", "--mask", "mask.png", *FEW)
    assert code == 0, err
    picture = np.asarray(Image.open("out.png"))
    tiles = [picture[GAP : GAP + 8, GAP + i * (8 + GAP) : i * (8 + GAP) + GAP + 8] for i in range(4)]
    for tile in tiles:
        np.testing.assert_array_equal(tile[:4], run_and_pictures[:4])
    assert (tiles[0][4:] == 128).all()  # what is not known, as grey
    assert not np.array_equal(tiles[1], tiles[2])


@pytest.mark.parametrize(
    "args",
    [
        ("outfill", "--image", "small.png"),
        ("restore", "--image", "image.png", "--noise", "0.3"),
        ("restore", "--image", "image.png", "--mask", "mask.png"),
        ("upscale", "--image", "small.png"),
        ("sdedit", "--image", "image.png", "--strength", "0.5"),
    ],
)
def test_every_task_writes_a_picture(minigen, run_and_pictures, args):
    code, out, err = minigen("edit", "r", *args, *FEW)
    assert (code, out.strip()) == (0, "out.png"), err
    assert np.asarray(Image.open("out.png")).shape == (8 + 2 * GAP, 4 * (8 + GAP) + GAP)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (("inpaint", "--image", "image.png"), 1, "inpaint needs a mask"),
        (("inpaint", "--image", "small.png", "--mask", "mask.png"), 1, "picture must be 8 x 8 x 1 for this model"),
        (("inpaint", "--image", "colour.png", "--mask", "mask.png"), 1, "picture must be 8 x 8 x 1"),
        (("inpaint", "--image", "image.png", "--mask", "small.png"), 1, "must be a grey mask of 0 (draw)"),
        (("sdedit", "--image", "image.png", "--mask", "mask.png"), 1, "sdedit takes no mask"),
        (("outfill", "--image", "image.png"), 1, "outfill needs a picture smaller than 8 x 8 x 1"),
        (("upscale", "--image", "image.png"), 1, "picture must be 2 x 2 x 1"),
        (("colorize", "--image", "image.png"), 1, "colorize needs a model of coloured pictures"),
        (("inpaint", "--image", "image.png", "--mask", "mask.png", "--steps", "9"), 2, "steps must be at most 8"),
        (("sdedit", "--image", "image.png", "--strength", "1.5"), 2, "strength must be at least 0 and at most 1"),
        (("sdedit", "--image", "image.png", "--guidance", "2"), 2, "guidance needs a conditional model"),
        (("sdedit", "--image", "r/config.json"), 1, "is not a picture"),
        (("sdedit", "--image", "image.png", "--jump", "2"), 2, "jump says nothing about sdedit: leave it out"),
        (("upscale", "--image", "small.png", "--noise", "0.1"), 2, "noise says nothing about upscale: leave it out"),
        (("restore", "--image", "image.png", "--strength", "0.1"), 2, "strength says nothing about restore"),
        (("inpiant", "--image", "image.png"), 2, "did you mean 'inpaint'"),
    ],
)  # fmt: skip
def test_pictures_masks_and_wishes_that_do_not_fit_are_one_line(minigen, run_and_pictures, args, status, message):
    code, _, err = minigen("edit", "r", "--steps", 4, *args)
    assert code == status
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_the_command_knows_the_tasks():
    assert TASKS == EDITS


def test_models_without_a_process_are_refused(minigen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_data(tmp_path / "d")
    start(AEConfig(data="mnist", data_dir=str(data), steps=1, batch_size=8), "ae")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("image.png")
    code, _, err = minigen("edit", "ae", "sdedit", "--image", "image.png")
    assert (code, "edit needs a diffusion model, and ae holds a AE" in err) == (2, True), err


# ---------------------------------------------------------------- the function behind it


def model_of(channels=1):
    return DDPM(DDPMConfig(**{**SETTINGS, "dropout": 0.0, "data": "mnist-mini"}), (8, 8, channels), Generator(0))


def picture_of(height, width, channels=1):
    return Generator(5).uniform((height, width, channels)) * 2 - 1


def test_outfill_keeps_the_picture_in_the_middle():
    small = picture_of(4, 4)
    drawn, known = edit(model_of(), "outfill", small, n=2, steps=2)
    for image in (*drawn, known):
        np.testing.assert_array_equal(image[2:6, 2:6], small)
    assert not known[:2].any()


def test_upscale_and_colorize_keep_what_is_known():
    small, colour = picture_of(2, 2), picture_of(8, 8, 3)
    drawn, _ = edit(model_of(), "upscale", small, n=2, steps=2)
    np.testing.assert_allclose(drawn.reshape(2, 2, 4, 2, 4, 1).mean((2, 4)), np.stack([small] * 2), atol=1e-5)
    drawn, known = edit(model_of(3), "colorize", colour, n=2, steps=2)
    grey = colour.mean(-1, keepdims=True)
    np.testing.assert_allclose(drawn.mean(-1, keepdims=True), np.stack([grey] * 2), atol=1e-5)
    np.testing.assert_allclose(known, np.repeat(grey, 3, axis=-1), atol=1e-6)
    assert drawn.std(axis=-1).min() > 1e-3


@pytest.mark.parametrize(
    ("task", "name", "values"),
    [("restore", "noise", (0.1, 0.9)), ("sdedit", "strength", (0.3, 0.9)), ("restore", "eta", (0.0, 1.0)),
     ("upscale", "resamplings", (1, 3)), ("upscale", "jump", (1, 2)), ("sdedit", "eta", (0.0, 1.0))],
)  # fmt: skip
def test_a_setting_reaches_the_method(task, name, values):
    side = 2 if task == "upscale" else 8
    one, other = (edit(model_of(), task, picture_of(side, side), steps=8, **{name: value})[0] for value in values)
    assert abs(one - other).max() > 1e-3


def test_restore_forgets_what_the_mask_calls_damage():
    picture, mask = picture_of(8, 8), np.arange(64).reshape(8, 8) < 32
    other = np.where(mask[..., None], picture, -picture)
    assert np.array_equal(*(edit(model_of(), "restore", x, mask, steps=4)[0] for x in (picture, other)))
    assert not np.array_equal(*(edit(model_of(), "restore", x, steps=4)[0] for x in (picture, other)))


def test_a_picture_out_of_range_is_named_with_its_range():
    with pytest.raises(ValueError, match=r"picture must lie in \[-1, 1\], got values from 0 to 255"):
        edit(model_of(), "sdedit", np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8, 1), steps=8)


# ---------------------------------------------------------------- conditional models


def test_a_conditional_run_from_the_command_line(minigen, tiny_flags):
    code, _, err = minigen(*tiny_flags, "--condition", "class", "--condition-dropout", "0.5", "--out", "c")
    assert code == 0, err
    code, out, err = minigen("sample", "c", "--n", 3, "--label", "3,7", "--guidance", "2", "--steps", 2)
    assert code == 0, err
    assert Path(out.strip()).exists()
    code, _, err = minigen("sample", "c", "--label", "10")
    assert (code, "label must be below 10" in err) == (2, True)
