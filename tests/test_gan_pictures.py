"""From the command line to a picture of a GAN: train, sample, plot; what each picture shows."""

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.axes import Axes
from PIL import Image

from minigen.cli import root
from minigen.data import PointSet, load
from minigen.models.gan.verdict import Verdict
from minigen.models.latent import cos_sin, lerp, slerp
from minigen.pictures import PICTURES, PictureError, find_picture
from minigen.pictures.gan import classes, evolution, interpolation, judgement, toy, truncation, vanishing
from minigen.random import Generator
from minigen.report import GAP, point_cloud
from minigen.train import GANConfig, GANTraining, start
from minigen.train import load as load_model

SMALL = {"data": "ring8", "arch": "mlp", "width": 8, "depth": 1, "latent": 2, "batch_size": 8, "steps": 4}


def points_model(**changes):
    settings = GANConfig(**{**SMALL, **changes})
    shape = (1,) if settings.data == "gaussian1d" else (2,)
    return GANTraining(settings, shape).model


def some(name):
    whole = load(name)
    return PointSet(name, whole.points[:200], whole.labels[:200], whole.classes)


@pytest.fixture(scope="module")
def digits():
    """An untrained generator of 28x28 images in three classes' worth of one-hot inputs: cgan on the ten digits."""
    return GANTraining(GANConfig(loss="cgan", channels=2, latent=3), (28, 28, 1)).model


def rows_of(grid, side=28):
    return (grid.shape[0] - GAP) // (side + GAP), (grid.shape[1] - GAP) // (side + GAP)


def cell(grid, row, column, side=28):
    top, left = (GAP + i * (side + GAP) for i in (row, column))
    return grid[top : top + side, left : left + side]


def test_interpolation_shows_three_paths_between_the_same_ends(digits):
    grid = interpolation(digits, None, Generator(0), pairs=2, columns=5)
    assert rows_of(grid) == (6, 5)
    for column in (0, 4):
        np.testing.assert_allclose(cell(grid, 0, column).astype(int), cell(grid, 1, column), atol=1)
        np.testing.assert_allclose(cell(grid, 0, column).astype(int), cell(grid, 2, column), atol=1)
    assert (cell(grid, 0, 2) != cell(grid, 1, 2)).any()


def test_interpolation_goes_along_the_paths_it_names(digits, monkeypatch):
    seen = []
    monkeypatch.setattr(digits, "generate", lambda z, labels: seen.append(z) or np.zeros((len(z), 28, 28, 1)))
    interpolation(digits, None, Generator(0), pairs=2, columns=5)
    z = seen[0].reshape(2, 3, 5, 3)  # pairs, paths, columns, latent
    starts, ends = z[:, 0, 0], z[:, 0, -1]
    for i, path in enumerate((lerp, cos_sin, slerp)):
        np.testing.assert_allclose(z[:, i, 1], path(starts, ends, 0.25), atol=1e-6)


def test_classes_are_rows_and_latents_are_columns(digits):
    grid = classes(digits, None, Generator(0), columns=3)
    assert rows_of(grid) == (10, 3)
    z = np.tile(Generator(0).normal((3, 3))[1], (10, 1))
    images = digits.generate(z, np.arange(10))
    np.testing.assert_allclose(cell(grid, 7, 1), (images[7] + 1) * 127.5, atol=1)


def test_truncation_has_a_row_for_every_limit(digits):
    assert rows_of(truncation(digits, None, Generator(0), limits=(0.0, 0.5), n=4)) == (2, 4)
    figure = truncation(points_model(), some("ring8"), Generator(0), limits=(0.0, 1.0, 0.5))
    assert [axes.get_title() for axes in figure.axes] == ["no limit", "tau = 1", "tau = 0.5"]


def test_the_score_is_drawn_over_the_plane(monkeypatch):
    """A discriminator that says x[:, 0]: its score rises from left to right, and not from below."""
    drawn, contourf = [], Axes.contourf
    monkeypatch.setattr(Axes, "contourf", lambda *args, **how: drawn.append(args[1:4]) or contourf(*args, **how))
    for loss, title in (("non-saturating", "score"), ("cgan", "score for class 0")):
        model, asked = points_model(loss=loss), []
        model.D = lambda x, labels, asked=asked: asked.append(labels) or Verdict(x[:, 0])
        figure = judgement(model, some("ring8"), Generator(0), n=50, cells=8)
        xs, _, score = drawn.pop()
        np.testing.assert_array_equal(score, np.tile(xs, (8, 1)))
        assert (np.diff(xs) > 0).all()
        assert figure.axes[1].get_ylabel() == title
        assert asked[0] is None if loss == "non-saturating" else not asked[0].any()


def test_vanishing_trains_a_new_discriminator_on_the_runs_generator():
    model = points_model()
    before = model.G.state_dict(), model.D.state_dict()
    figure = vanishing(model, some("ring8"), Generator(0), steps=4, every=2, batch_size=8)
    assert [line.get_label() for line in figure.axes[0].lines] == ["minimax", "non-saturating"]
    assert all(len(line.get_ydata()) == 2 and (line.get_ydata() > 1e-9).all() for line in figure.axes[0].lines)
    for state, network in zip(before, (model.G, model.D)):
        assert all(np.array_equal(state[name], array) for name, array in network.state_dict().items())


def test_the_toy_is_a_film_and_evolution_a_row():
    film = toy(points_model(data="gaussian1d", arch="shift"), some("gaussian1d"), Generator(0), frames=2)
    assert len(film) == 3
    assert {frame.shape for frame in film} == {film[0].shape}
    assert film[0].dtype == np.uint8
    figure = evolution(points_model(), some("ring8"), Generator(0), moments=3, n=20)
    assert [axes.get_title() for axes in figure.axes] == ["step 0", "step 2", "step 4"]


def test_evolution_is_the_runs_own_training(tmp_path):
    """On its data, in its order: the samples of the last panel are those of the trained model, to the last bit."""
    model = load_model(start(GANConfig(**SMALL), tmp_path / "run").path)
    figure = evolution(model, some("ring8"), Generator(0), moments=2, n=20)
    last = figure.axes[-1].collections[-1].get_offsets()
    np.testing.assert_array_equal(last, model.sample(20, seed=Generator(0).child(4)))


def test_a_picture_of_a_logit_refuses_other_scores():
    with pytest.raises(PictureError, match="gradients of losses on a logit, but the score of wgan is not a logit"):
        vanishing(points_model(loss="wgan"), some("ring8"), Generator(0))
    with pytest.raises(PictureError, match="a probability, but the score of lsgan is not a logit"):
        toy(points_model(data="gaussian1d", arch="shift", loss="lsgan"), some("gaussian1d"), Generator(0))


def test_a_picture_that_does_not_fit_the_samples_says_so(digits):
    with pytest.raises(ValueError, match=r"shows images, but the model's samples have shape \(2,\)"):
        interpolation(points_model(), None, Generator(0))
    with pytest.raises(ValueError, match=r"shows points, but the model's samples have shape \(28, 28, 1\)"):
        judgement(digits, None, Generator(0))
    with pytest.raises(ValueError, match="shows classes, but the loss non-saturating has none"):
        classes(GANTraining(GANConfig(channels=2), (28, 28, 1)).model, None, Generator(0))
    with pytest.raises(ValueError, match="shows numbers"):
        toy(points_model(), None, Generator(0))


def test_every_picture_of_the_list_is_there():
    assert all(callable(find_picture("gan", name)) for name in PICTURES["gan"])


def test_points_are_drawn_as_a_cloud_and_numbers_as_a_histogram():
    assert len(point_cloud(np.zeros((5, 2))).axes[0].collections) == 1
    assert len(point_cloud(np.zeros((5, 1))).axes[0].patches) == 60
    with pytest.raises(ValueError, match=r"points must be \(n, 1\) or \(n, 2\) to be drawn, got \(5, 3\)"):
        point_cloud(np.zeros((5, 3)))


def test_train_sample_and_plot_from_the_command_line(tmp_path):
    run, call = tmp_path / "run", CliRunner().invoke
    flags = "--data ring8 --arch mlp --loss cgan --width 8 --depth 1 --latent 2 --steps 2 --minibatch-std true"
    done = call(root, ["train", "gan", *flags.split(), "--out", str(run)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (run / "samples" / "step-00000002.png").exists()
    picture = tmp_path / "points.png"
    more = ["--n", "20", "--truncation", "0.7", "--classes", "1,2", "--out", str(picture)]
    done = call(root, ["sample", str(run), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert Image.open(picture).size == (500, 500)
    done = call(root, ["plot", str(run), "judgement"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (run / "judgement.png").exists()
    done = call(root, ["eval", str(run), "--scores", "--n", "200"], catch_exceptions=False)
    lines = [line.split("  ") for line in done.output.splitlines()]
    assert [[cell.strip() for cell in line if cell] for line in lines[:2]] == [
        ["n = 200", "samples", "test points"],
        ["modes covered", "0 [0, 0]", "8 [8, 8]"],
    ]
    done = call(root, ["sample", str(run), "--classes", "9"])
    assert done.exit_code == 2
    assert "classes must be below 8" in done.output
