"""The pictures: what they show is what the model says, they refuse what they cannot show, and they become files."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minigen import pictures
from minigen.cli import main
from minigen.data import ImageSet, load, to_uint8
from minigen.pictures import PICTURES, PictureError, find_picture, save_picture, style
from minigen.pictures import vae as drawn
from minigen.pictures.latent_space import Codes, decoded, quantile_grid
from minigen.random import Generator
from minigen.train import VAE, VAEConfig


@pytest.fixture(scope="module")
def digits():
    whole = load("mnist-mini", split="test")
    return ImageSet(whole.name, whole.images[:300], whole.labels[:300], whole.classes)


def untrained(latent, **settings):
    return VAE(VAEConfig(latent=latent, hidden=(16,), **settings), (28, 28, 1), Generator(0))


def heading(figure):
    return figure._suptitle.get_text()


def shown(axes):
    """The pixels of the axes' image, 0 ink and 255 paper."""
    return np.asarray(axes.images[0].get_array())


# ---------------------------------------------------------------- style


def seen_by(colours, lacking):
    """CIE Lab of sRGB colours as seen with all cones (None) or without the long (0) or the middle (1) ones.

    Source: Vienot, Brettel and Mollon, Color Research and Application 24, 1999
    """
    srgb = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lost = np.eye(3)
    if lacking is not None:
        lost[lacking] = ([0, 2.02344, -2.52581], [0.494207, 0, 1.24827])[lacking]
    linear = np.clip(linear @ (np.linalg.inv(cones) @ lost @ cones).T, 0, 1)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("lacking", [None, 0, 1], ids=["all cones", "no long ones", "no middle ones"])
def test_class_colours_stay_apart_whatever_cones_an_eye_has(lacking):
    """At least 15 apart in Lab, where 2.3 is just noticeable; red and green of equal lightness would be at 0."""
    lab = seen_by(style.CLASS_COLOURS, lacking)
    assert len(set(style.CLASS_COLOURS)) == 10
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 15


@pytest.mark.parametrize(("value", "digits", "text"), [(-1.25, 2, "−1.25"), (-0.01, 1, "0.0"), (3, 1, "3.0")])
def test_numbers_have_a_minus_sign_and_no_minus_zero(value, digits, text):
    assert style.number(value, digits) == text


def test_a_mosaic_keeps_every_image_in_its_place():
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1)
    np.testing.assert_array_equal(style.mosaic(images), [[0, 1, 2], [3, 4, 5]])
    spaced = style.mosaic(images, gap=1)
    np.testing.assert_array_equal(spaced[::2, ::2], [[0, 1, 2], [3, 4, 5]])
    assert (spaced[1] == 255).all() and (spaced[:, 1::2] == 255).all()


# ---------------------------------------------------------------- what they show


def test_the_manifold_shows_the_decoded_grid(digits):
    model = untrained(2)
    figure = drawn.manifold(model, digits, Generator(0), side=4)
    expected = decoded(model, quantile_grid(4)[1, 2][None])[0, ..., 0]  # second row from the top, third column
    np.testing.assert_array_equal(shown(figure.axes[0])[28:56, 56:84], 255 - expected)


def test_reconstructions_are_below_what_the_model_sees(digits):
    model = untrained(2)
    figure = drawn.reconstructions(model, digits, Generator(4), n=3)
    seen = model.pixels(digits.images[:3], Generator(4).child("binarise"))
    paper = shown(figure.axes[0])
    np.testing.assert_array_equal(paper[:28], 255 - 255 * np.hstack(list(seen[..., 0])).astype(np.uint8))
    made = model.reconstruct(digits.images, seed=Generator(4).child("binarise"))
    np.testing.assert_array_equal(paper[28:], 255 - np.hstack(list(to_uint8(made[:3])[..., 0])))
    error = np.mean(((made + 1) / 2 - digits.images / np.float32(255)) ** 2)
    assert f"squared error {error:.4f} a pixel" in heading(figure)


def test_latents_states_the_kl_and_the_error_of_what_it_shows(digits):
    model = untrained(2)
    figure = drawn.latents(model, digits, Generator(0))
    dots = figure.axes[0].collections[0]
    assert dots.get_offsets().shape == (300, 2)
    codes = Codes(model, digits.images, Generator(0))
    assert f"KL {codes.kl.sum():.2g} nats" in heading(figure)
    wanted = [style.CLASS_COLOURS[label] for label in digits.labels[:5]]
    for colour, face in zip(wanted, dots.get_facecolors()):
        assert tuple(np.rint(face[:3] * 255).astype(int)) == tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


class Certain:
    """An autoencoder whose two numbers are the ink of an image's left and right half."""

    config = None

    def encode(self, images):
        return images.reshape(len(images), 28, 2, 14).mean((1, 3)).astype(np.float32)

    def decode(self, codes):
        halves = np.repeat(codes / 127.5 - 1, 14, axis=1)[:, None, :, None]
        return np.broadcast_to(halves, (len(codes), 28, 28, 1)).astype(np.float32)


@pytest.mark.parametrize("name", ["latents", "gaps"])
def test_an_autoencoder_is_drawn_at_its_codes_without_rings_or_kl(digits, name):
    figure = getattr(drawn, name)(Certain(), digits, Generator(0))
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), Certain().encode(digits.images))
    assert not axes.patches
    assert "KL" not in heading(figure)
    assert drawn.latents(untrained(2), digits, Generator(0)).axes[0].patches


def test_a_traversal_has_the_axis_that_says_most_first_and_the_one_that_says_least_last(digits):
    model = untrained(6)
    figure = drawn.traversal(model, digits, Generator(0), axes=4, steps=5)
    kl = Codes(model, digits.images, Generator(0)).kl
    order = np.argsort(-kl)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [f"$z_{{{k + 1}}}$   {kl[k]:.2f} nats" for k in [*order[:3], order[-1]]]
    assert shown(figure.axes[0]).shape == (4 * 30 - 2, 5 * 30 - 2)


def test_an_interpolation_begins_and_ends_at_the_images(digits):
    figure = drawn.interpolate(untrained(2), digits, Generator(0), pairs=2, steps=3, measured=10)
    first, second = drawn.different_pairs(digits, 10, Generator(0))
    assert (digits.labels[first] != digits.labels[second]).all()
    for axes, one, other in zip(figure.axes, first, second):
        pixels = shown(axes)[30:58]
        np.testing.assert_array_equal(pixels[:, :28], 255 - digits.images[one][..., 0])
        np.testing.assert_array_equal(pixels[:, -28:], 255 - digits.images[other][..., 0])


def test_groups_of_the_arithmetic_are_the_quarters_of_a_class(digits):
    less, more = drawn.quarters(digits, 7, "slant")
    members = np.flatnonzero(digits.labels == 7)
    slants = drawn.ATTRIBUTES["slant"](digits.images)
    assert len(less) == len(more) == len(members) // 4
    assert slants[less].max() <= np.quantile(slants[members], 0.25)
    assert slants[more].min() >= np.quantile(slants[members], 0.75)


@pytest.mark.parametrize("name", PICTURES["vae"])
def test_every_picture_of_a_vae_is_a_figure_that_another_call_repeats(digits, name):
    model, few = untrained(2), {"interpolate": {"measured": 8}}
    figures = [getattr(drawn, name)(model, digits, Generator(1), **few.get(name, {})) for _ in range(2)]
    assert all(isinstance(figure, Figure) for figure in figures)
    for one, other in zip(*(figure.axes for figure in figures)):
        if one.images:
            np.testing.assert_array_equal(shown(one), shown(other))


@pytest.mark.parametrize(("model", "name"), [(model, name) for model in PICTURES for name in PICTURES[model]])
def test_every_name_leads_to_a_function(model, name):
    assert callable(find_picture(model, name))


# ---------------------------------------------------------------- what they refuse


@pytest.mark.parametrize(("name", "latent"), [("manifold", 3), ("gaps", 3), ("latents", 1)])
def test_a_latent_space_of_the_wrong_size_is_refused(digits, name, latent):
    with pytest.raises(PictureError, match=f"2 latent axes, this one has {latent}"):
        getattr(drawn, name)(untrained(latent), digits, Generator(0))


def test_conditional_models_one_class_and_colours_are_refused(digits):
    with pytest.raises(PictureError, match="without labels"):
        drawn.latents(untrained(2, classes=10), digits, Generator(0))
    ones = ImageSet("ones", digits.images[:9], np.ones(9, np.int64), digits.classes)
    with pytest.raises(PictureError, match="at least two classes"):
        drawn.interpolate(untrained(2), ones, Generator(0))
    with pytest.raises(PictureError, match="4 images of class 9 at least, the data has 0"):
        drawn.arithmetic(untrained(2), ones, Generator(0))
    coloured = ImageSet("coloured", np.zeros((9, 28, 28, 3), np.uint8), ones.labels, digits.classes)
    with pytest.raises(PictureError, match=r"grey images, \(N, H, W, 1\), the data has \(9, 28, 28, 3\)"):
        drawn.arithmetic(untrained(2), coloured, Generator(0))


def test_images_of_another_size_than_trained_are_refused(digits):
    small = ImageSet("small", digits.images[:, :20, :20], digits.labels, digits.classes)
    with pytest.raises(ValueError, match="images must be"):
        drawn.latents(untrained(2), small, Generator(0))


# ---------------------------------------------------------------- files


def test_a_figure_becomes_an_opaque_png_of_its_size(tmp_path):
    figure = style.new_figure(2, 1, "a heading")
    figure.add_subplot()
    save_picture(tmp_path / "a.png", figure)
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "RGB"
    assert abs(image.width - 2 * pictures.DPI) < 40


def test_plot_draws_a_trained_model_or_says_in_one_line_why_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return ended.value.code, capsys.readouterr()

    assert run("train", "vae", "--latent", "3", "--hidden", "8", "--steps", "2", "--out", "r")[0] == 0
    code, said = run("plot", "r", "traversal")
    assert (code, said.out) == (0, "r/traversal.png\n")
    assert Image.open("r/traversal.png").width > 400
    code, said = run("plot", "r", "manifold")
    assert code == 1
    assert said.err.strip().splitlines()[-1] == "Error: manifold needs a model with 2 latent axes, this one has 3"
