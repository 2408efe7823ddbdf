"""Data sets by name, the map between bytes and models, and toy sets against their closed forms."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from minigen.data import (
    DATA_SETS,
    GRID25,
    RING8,
    TOY_SETS,
    IdxError,
    Mixture1d,
    check,
    class_count,
    load,
    read_idx,
    to_model_range,
    to_uint8,
    write_idx,
)
from minigen.data.registry import IDX_NAMES, MNIST_MINI
from minigen.random import Generator

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def mnist():
    """The folder with the four MNIST files: MINIGEN_DATA or its `mnist`."""
    folder = os.environ.get("MINIGEN_DATA")
    if not folder:
        pytest.skip("MINIGEN_DATA does not name the folder with the MNIST files")
    nested = Path(folder) / "mnist"
    return nested if nested.is_dir() else Path(folder)


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """No MINIGEN_DATA, and a home folder without a cache."""
    monkeypatch.delenv("MINIGEN_DATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")


def write_digits(folder, n=6, labels=None):
    """Small but well-formed files under MNIST's four names."""
    folder.mkdir(parents=True, exist_ok=True)
    for images_name, labels_name in (IDX_NAMES[:2], IDX_NAMES[2:]):
        write_idx(folder / images_name, np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2))
        write_idx(folder / labels_name, np.arange(n, dtype=np.uint8) if labels is None else labels)


# ---------------------------------------------------------------- mnist-mini


@pytest.mark.parametrize(("split", "n"), [("train", 10_000), ("test", 2_000)])
def test_mnist_mini_loads_with_no_settings_and_is_balanced(no_data, split, n):
    digits = load(split=split)
    assert digits.name == "mnist-mini" and len(digits) == n
    assert digits.images.shape == (n, 28, 28, 1) and digits.images.dtype == np.uint8
    assert digits.labels.shape == (n,) and digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [n // 10] * 10
    assert digits.classes == tuple("0123456789")


def test_mnist_mini_fits_its_budget_and_states_source_and_licence():
    files = list(MNIST_MINI.embedded.iterdir())
    assert sum(f.stat().st_size for f in files) <= 3_000_000
    text = (MNIST_MINI.embedded / "README.md").read_text()
    assert "LeCun" in text and "Attribution-Share Alike 3.0" in text


def test_shipped_digits_have_the_digests_of_the_registry():
    assert [v.status for v in check("mnist-mini")] == ["ok"] * 4


def test_shipped_digits_are_exactly_those_that_the_script_chooses(mnist):
    path = ROOT / "examples" / "data" / "make_mnist_mini.py"
    spec = importlib.util.spec_from_file_location("make_mnist_mini", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for split in ("train", "t10k"):
        chosen = script.choose(read_idx(mnist / f"{split}-labels-idx1-ubyte.gz"), split)
        for name in (f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz"):
            np.testing.assert_array_equal(read_idx(MNIST_MINI.embedded / name), read_idx(mnist / name)[chosen])


# ---------------------------------------------------------------- sets on disk


def test_real_mnist_loads_and_its_files_have_the_digests_of_the_registry(mnist):
    train, test = load("mnist", mnist), load("mnist", mnist, split="test")
    assert train.images.shape == (60_000, 28, 28, 1) and test.images.shape == (10_000, 28, 28, 1)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]  # the digits every textbook shows first
    assert [v.status for v in check("mnist", mnist)] == ["ok"] * 4


@pytest.mark.parametrize("sub", ["", "mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_in_the_folder_or_below_it_packed_or_not(no_data, tmp_path, sub, packed):
    write_digits(tmp_path / sub)
    if not packed:
        for name in IDX_NAMES:
            write_idx(tmp_path / sub / name.removesuffix(".gz"), read_idx(tmp_path / sub / name))
            (tmp_path / sub / name).unlink()
    assert load("mnist", tmp_path).images[1, 0, 1, 0] == 5


def test_the_folder_is_the_argument_then_the_environment_then_the_cache(no_data, tmp_path, monkeypatch):
    write_digits(tmp_path / "home" / ".cache" / "minigen" / "data" / "mnist", n=3)
    assert len(load("mnist")) == 3
    write_digits(tmp_path / "environment", n=4)
    monkeypatch.setenv("MINIGEN_DATA", str(tmp_path / "environment"))
    assert len(load("mnist")) == 4
    write_digits(tmp_path / "argument", n=5)
    assert len(load("mnist", tmp_path / "argument")) == 5


def test_missing_files_are_named_with_the_folder_and_the_command(no_data, tmp_path):
    write_digits(tmp_path)
    (tmp_path / IDX_NAMES[1]).unlink()
    (tmp_path / IDX_NAMES[2]).unlink()  # of the other split: must not be asked for
    with pytest.raises(FileNotFoundError) as caught:
        load("mnist", tmp_path)
    message = str(caught.value)
    assert IDX_NAMES[1] in message and IDX_NAMES[0] not in message and IDX_NAMES[2] not in message
    assert str(tmp_path) in message and f"minigen data download mnist --data-dir {tmp_path}" in message


@pytest.mark.parametrize(
    ("typed", "meant"), [("mnst", "mnist"), ("Fashion_MNIST", "fashion-mnist"), ("cifar", "cifar10")]
)
def test_an_unknown_name_suggests_the_nearest(typed, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        load(typed)


def test_an_unknown_split_and_a_folder_for_the_embedded_set_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train, test, got 'valid'"):
        load(split="valid")
    with pytest.raises(ValueError, match="ships with the package"):
        load("mnist-mini", tmp_path)


def test_digits_are_not_loaded_as_clothing(tmp_path):
    for name in IDX_NAMES:
        shutil.copy(MNIST_MINI.embedded / name, tmp_path)
    with pytest.raises(ValueError, match="belongs to mnist-mini, not to fashion-mnist"):
        load("fashion-mnist", tmp_path)


def test_files_that_contradict_each_other_are_refused(tmp_path):
    write_digits(tmp_path, labels=np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match=r"expected 6 uint8 labels.*found uint8 \(5,\)"):
        load("mnist", tmp_path)
    write_digits(tmp_path, labels=np.full(6, 10, np.uint8))
    with pytest.raises(ValueError, match=r"must lie in 0..9, found 10"):
        load("mnist", tmp_path)
    write_digits(tmp_path)
    write_idx(tmp_path / IDX_NAMES[0], np.zeros((6, 4), np.uint8))
    with pytest.raises(ValueError, match=r"expected uint8 images \(N, H, W\), found uint8 \(6, 4\)"):
        load("mnist", tmp_path)
    (tmp_path / IDX_NAMES[0]).write_bytes(b"<html>")
    with pytest.raises(IdxError, match=IDX_NAMES[0]):
        load("mnist", tmp_path)


def test_check_tells_a_wrong_a_missing_and_an_uncheckable_file_apart(no_data, tmp_path):
    write_digits(tmp_path)
    (tmp_path / IDX_NAMES[1]).unlink()
    cut = tmp_path / IDX_NAMES[2]
    cut.write_bytes(cut.read_bytes()[:-9])
    wrong, missing, damaged, _ = check("mnist", tmp_path)
    assert wrong.status == "mismatch" and wrong.size == wrong.path.stat().st_size
    assert DATA_SETS["mnist"].files[0].digest in wrong.detail
    assert missing.status == "missing" and missing.path is None
    assert damaged.status == "mismatch" and "damaged gzip" in damaged.detail

    plain = tmp_path / "fashion-mnist"
    write_digits(plain)
    (plain / IDX_NAMES[0]).rename(plain / IDX_NAMES[0].removesuffix(".gz"))
    assert [v.status for v in check("fashion-mnist", tmp_path)] == ["no digest", "mismatch", "mismatch", "mismatch"]


# ---------------------------------------------------------------- CIFAR-10


def write_cifar10(folder, records=2, cut=0, test_name="test_batch.bin"):
    """An archive of the real layout, with `records` a batch: pixel values tell batch, channel, row and column."""
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + [test_name]
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for i, name in enumerate(names):
            channel, row, column = np.ogrid[:3, :32, :32]
            pixels = (channel * 64 + row + column // 16 + i).astype(np.uint8).tobytes()
            content = (bytes([i]) + pixels) * records
            content = content[: len(content) - cut]
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_cifar10_becomes_channels_last(tmp_path):
    write_cifar10(tmp_path)
    train, test = load("cifar10", tmp_path), load("cifar10", tmp_path, split="test")
    assert train.images.shape == (10, 32, 32, 3) and train.images.flags.c_contiguous
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and test.labels.tolist() == [5, 5]
    assert train.images[2, 7, 20].tolist() == [7 + 1 + 1, 64 + 7 + 1 + 1, 128 + 7 + 1 + 1]
    assert train.classes[3] == "cat"


def test_cifar10_with_broken_records_a_missing_batch_or_a_cut_archive_is_refused(tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    write_cifar10(tmp_path, cut=1)
    with pytest.raises(ValueError, match="data_batch_1.bin must hold whole records of 3073 bytes, found 6145"):
        load("cifar10", tmp_path)
    write_cifar10(tmp_path, test_name="other.bin")
    with pytest.raises(ValueError, match="test_batch.bin"):
        load("cifar10", tmp_path, split="test")
    write_cifar10(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz"):
        load("cifar10", tmp_path)
    archive.write_bytes(b"<html>not here</html>")
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz"):
        load("cifar10", tmp_path)


# ---------------------------------------------------------------- bytes and the models' range


def test_all_256_bytes_survive_the_way_to_the_model_and_back():
    every = np.arange(256, dtype=np.uint8)
    x = to_model_range(every)
    assert x.dtype == np.float32 and x.min() == -1 and x.max() == 1
    np.testing.assert_array_equal(to_uint8(x), every)
    np.testing.assert_array_equal(to_uint8(x.astype(np.float64)), every)


def test_to_uint8_rounds_to_the_nearest_and_clips():
    step = 2 / 255
    x = np.array([-1 + 0.49 * step, -1 + 0.51 * step, 1 + step, -3, np.inf, -np.inf])
    assert to_uint8(x).tolist() == [0, 1, 255, 0, 255, 0]


def test_ranges_refuse_what_they_cannot_map():
    with pytest.raises(TypeError, match="uint8, got float32"):
        to_model_range(np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="floating point.*got uint8"):
        to_uint8(np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match="found 1 in 2 values"):
        to_uint8(np.array([0, np.nan]))


# ---------------------------------------------------------------- toy sets


@pytest.mark.parametrize("name", TOY_SETS)
def test_toy_sets_have_their_shapes_and_repeat_with_the_seed(name):
    points, labels = TOY_SETS[name](500, Generator(3))
    again, _ = TOY_SETS[name](500, Generator(3))
    other, _ = TOY_SETS[name](500, Generator(4))
    axes = 1 if name == "gaussian1d" else 2
    assert points.shape == (500, axes) and points.dtype == np.float32
    assert labels.shape == (500,) and labels.dtype == np.int64
    np.testing.assert_array_equal(points, again)
    assert (points != other).any()
    assert TOY_SETS[name](0, Generator(3))[0].shape == (0, axes)


@pytest.mark.parametrize("name", TOY_SETS)
def test_a_toy_set_loads_like_an_image_set(name):
    """The same points at every call, others in the test split, and every class of the count that is stated."""
    train, again, test = load(name), load(name), load(name, split="test")
    assert (len(train), len(test)) == (50_000, 10_000)
    np.testing.assert_array_equal(train.images, again.images)
    assert not np.isin(test.points[:, 0], train.points[:, 0]).all()
    assert set(train.labels.tolist()) == set(range(class_count(name))) == set(range(len(train.classes)))
    with pytest.raises(ValueError, match="is computed and has no data_dir"):
        load(name, data_dir="somewhere")


@pytest.mark.parametrize(("modes", "k"), [(RING8, 8), (GRID25, 25)])
def test_modes_are_equally_likely_and_98_889_percent_lie_within_3_sigma(modes, k):
    n = 50_000
    points, labels = modes.sample(n, Generator(0))
    assert modes.centres.shape == (k, 2) == np.unique(modes.centres.round(9), axis=0).shape
    counts = np.bincount(labels, minlength=k)
    assert abs(counts - n / k).max() < 5 * np.sqrt(n / k)
    distance = np.linalg.norm(points - modes.centres[labels], axis=1)
    expected = 1 - np.exp(-4.5)
    assert abs((distance < 3 * modes.sigma).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_modes_lie_where_the_papers_put_them():
    np.testing.assert_allclose(np.linalg.norm(RING8.centres, axis=1), 2)
    neighbours = np.linalg.norm(RING8.centres - np.roll(RING8.centres, 1, axis=0), axis=1)
    np.testing.assert_allclose(neighbours, 4 * np.sin(np.pi / 8))  # the side of an octagon of radius 2
    assert set(GRID25.centres.ravel()) == {-4, -2, 0, 2, 4}


def test_moons_lie_on_their_half_circles():
    points, labels = TOY_SETS["two-moons"](4000, Generator(0), noise=0)
    centres = np.array([[0, 0], [1, 0.5]])[labels]
    np.testing.assert_allclose(np.linalg.norm(points - centres, axis=1), 1, atol=1e-5)
    assert (points[labels == 0, 1] >= -1e-5).all() and (points[labels == 1, 1] <= 0.5 + 1e-5).all()
    assert abs((labels == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_the_swiss_roll_is_the_spiral_with_radius_proportional_to_the_angle():
    points, labels = TOY_SETS["swiss-roll"](2000, Generator(0), noise=0)
    t = np.linalg.norm(points, axis=1) * 4.5 * np.pi
    assert t.min() >= 1.5 * np.pi - 1e-4 and t.max() <= 4.5 * np.pi + 1e-4
    np.testing.assert_allclose(points, (t / (4.5 * np.pi))[:, None] * np.stack([np.cos(t), np.sin(t)], 1), atol=1e-4)
    np.testing.assert_array_equal(labels, np.minimum((t / np.pi - 1.5).astype(int), 2))


def test_the_checkerboard_fills_its_dark_squares_evenly_and_no_other():
    n = 16_000
    points, labels = TOY_SETS["checkerboard"](n, Generator(0))
    cells = np.floor(points / 2).astype(int) + 2
    assert (cells.sum(axis=1) % 2 == 0).all() and cells.min() == 0 and cells.max() == 3
    assert len(np.unique(cells, axis=0)) == 8
    np.testing.assert_array_equal(cells[:, 0], labels // 2)
    assert abs(np.bincount(labels) - n / 8).max() < 5 * np.sqrt(n / 8)
    inside = points / 2 - np.floor(points / 2)
    np.testing.assert_allclose(inside.mean(axis=0), 0.5, atol=4 / np.sqrt(12 * n))


# ---------------------------------------------------------------- the mixture


@pytest.mark.parametrize("alpha_bar", [1.0, 0.7, 0.05, 0.0])
def test_the_marginal_integrates_to_1_and_its_score_is_the_slope_of_logpdf(alpha_bar):
    marginal = Mixture1d().marginal(alpha_bar)
    assert quad(marginal.pdf, -8, 8, points=marginal.mu, limit=200)[0] == pytest.approx(1, abs=1e-9)
    x, h = np.linspace(-4, 4, 81), 1e-5
    slope = (marginal.logpdf(x + h) - marginal.logpdf(x - h)) / (2 * h)
    np.testing.assert_allclose(marginal.score(x), slope, rtol=1e-6, atol=1e-6)


def test_the_marginal_is_the_mixture_convolved_with_the_noise():
    mixture, alpha_bar, xt = Mixture1d(), 0.6, 0.37
    noise = norm(scale=np.sqrt(1 - alpha_bar))

    def joint(x0):
        return mixture.pdf(x0) * noise.pdf(xt - np.sqrt(alpha_bar) * x0)

    brute = quad(joint, -5, 5, points=mixture.mu, limit=200)[0]
    assert mixture.marginal(alpha_bar).pdf(xt) == pytest.approx(brute, rel=1e-9)


def test_best_eps_is_the_posterior_mean_of_the_noise():
    mixture, alpha_bar, xt = Mixture1d(), 0.6, 0.37
    a, s = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)

    def joint(eps):
        return mixture.pdf((xt - s * eps) / a) * np.exp(-0.5 * eps**2)

    peaks = [(xt - a * mu) / s for mu in mixture.mu]
    total, moment = (quad(f, -12, 12, points=peaks, limit=400)[0] for f in (joint, lambda e: e * joint(e)))
    assert mixture.best_eps(xt, alpha_bar) == pytest.approx(moment / total, rel=1e-8)


def test_the_ends_of_the_marginal_are_the_data_and_the_standard_normal():
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(Mixture1d().marginal(1).pdf(x), Mixture1d().pdf(x), rtol=1e-12)
    np.testing.assert_allclose(Mixture1d().marginal(0).score(x), -x, atol=1e-12)
    with pytest.raises(ValueError, match="alpha_bar.*got 1.5"):
        Mixture1d().marginal(1.5)


def test_samples_follow_the_density():
    n, mixture = 20_000, Mixture1d()
    x = np.sort(mixture.sample(n, Generator(0)))
    edges = np.linspace(-2.2, 2.4, 24)
    expected = [quad(mixture.pdf, -9, e, points=mixture.mu, limit=200)[0] for e in edges]
    distance = abs(np.searchsorted(x, edges) / n - expected).max()
    assert distance < 1.95 / np.sqrt(n)  # Kolmogorov-Smirnov at 0.1%
    assert x.dtype == np.float64


# ---------------------------------------------------------------- the package


def test_importing_data_loads_neither_network_nor_progress_bar():
    code = "import sys, minigen.data; print([m for m in ('tqdm', 'urllib.request', 'numba') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- tinted digits


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_tinted_digit_is_its_grey_one_times_one_colour(split):
    grey, colour = load("mnist-mini", split=split), load("mnist-mini-color", split=split)
    np.testing.assert_array_equal(colour.labels, grey.labels)
    np.testing.assert_array_equal(colour.images.max(axis=-1), grey.images[..., 0])  # the largest part of a colour is 1
    ink = grey.images[:50].astype(float)
    tint = (colour.images[:50] * ink).sum((1, 2), keepdims=True) / (ink * ink).sum((1, 2), keepdims=True)
    assert abs(colour.images[:50] - tint * ink).max() <= 1
    assert tint.min() < 0.1 and tint.std(axis=0).min() > 0.2  # all kinds of colours
    np.testing.assert_array_equal(colour.images, load("mnist-mini-color", split=split).images)
