"""`minigen edit`, and conditional models, from the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigen.report import GAP

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


def test_a_conditional_run_from_the_command_line(minigen, tiny_flags):
    code, _, err = minigen(*tiny_flags, "--condition", "class", "--condition-dropout", "0.5", "--out", "c")
    assert code == 0, err
    code, out, err = minigen("sample", "c", "--n", 3, "--label", "3,7", "--guidance", "2", "--steps", 2)
    assert code == 0, err
    assert Path(out.strip()).exists()
    code, _, err = minigen("sample", "c", "--label", "10")
    assert (code, "label must be below 10" in err) == (2, True)
