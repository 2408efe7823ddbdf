"""`minigen train ae`: every kind trains, resumes bit for bit, loads, and refuses what it cannot use."""

import numpy as np
import pytest
from tiny import command, ended_by_an_exception, flags, make_data

from minigen.data import ImageSet, to_model_range
from minigen.models.autoencoder import CodeGaussian
from minigen.pictures import find_picture
from minigen.pictures.style import mosaic, on_paper
from minigen.random import Generator
from minigen.train import AEConfig, RunFolder, SettingError, load, resume, start
from minigen.train.ae import KINDS
from minigen.train.checkpoint import read_checkpoint
from minigen.train.start import prepare

SIZES = {
    "linear": {"code": 3},
    "mlp": {"code": 3, "hidden": (6,)},
    "conv": {"code": 3, "channels": (4,)},
    "sparse": {"atoms": 70, "l1": 0.5},
    "denoising": {"code": 3, "channels": (4,), "sigma": 0.4, "masked": 0.1},
}
kinds = pytest.mark.parametrize("kind", list(SIZES))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


def settings(kind, data_dir, **changes):
    own = {"data": "mnist", "data_dir": str(data_dir), "batch_size": 8, "steps": 8, "checkpoint_every": 2}
    return AEConfig(**{**own, "kind": kind, **SIZES[kind], **changes})


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory):
    """A finished run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    return {kind: start(settings(kind, data_dir), folder / kind) for kind in SIZES}


def end(run):
    arrays, header = read_checkpoint(RunFolder(run.path).checkpoint_files()[0][1])
    metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in run.read_metrics()]
    return {name: array.tobytes() for name, array in arrays.items()}, header, metrics


def test_the_kinds_are_those_tested():
    assert set(KINDS) == set(SIZES)


@kinds
def test_a_killed_run_resumes_bit_for_bit(kind, runs, data_dir, tmp_path):
    with ended_by_an_exception("ae", step=5):
        start(settings(kind, data_dir), tmp_path / "run")
    assert end(resume(tmp_path / "run")) == end(runs[kind])


@kinds
def test_a_loaded_run_encodes_decodes_and_samples(kind, runs):
    model, x = load(runs[kind].path), np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    codes, r = model.encode(x), model.reconstruct(x)
    assert codes.shape == (5, model.code_size)
    np.testing.assert_array_equal(model.encode(to_model_range(x)), codes)
    np.testing.assert_array_equal(model.decode(codes), r)
    np.testing.assert_allclose(model.reconstruct(x, batch_size=2), r, atol=1e-5)
    assert model.mse(x) == pytest.approx(((r - to_model_range(x)) ** 2).mean(), rel=1e-5)
    first, again, other = model.sample(4, seed=1), model.sample(4, seed=1), model.sample(4, seed=2)
    assert first.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_samples_are_decoded_from_the_statistics_of_the_training_codes(data_dir, tmp_path, monkeypatch):
    """The checkpoint has the moments of the codes of all batches, each with the weight that later ones left it."""
    batches, update = [], CodeGaussian.update

    def watched(self, codes, decay):
        batches.append((codes.astype(np.float64), decay))
        update(self, codes, decay)

    monkeypatch.setattr(CodeGaussian, "update", watched)
    config = settings("linear", data_dir)
    model = load(start(config, tmp_path / "run").path)
    data, new = prepare(config)
    np.testing.assert_allclose(batches[0][0], new.model.encode(data.batch_at(0)[0]), atol=1e-5)
    weights = [(1 - decay) * np.prod([later for _, later in batches[i + 1 :]]) for i, (_, decay) in enumerate(batches)]
    codes, weights = np.concatenate([codes for codes, _ in batches]), np.repeat(weights, config.batch_size)
    mean, covariance = np.average(codes, axis=0, weights=weights), np.cov(codes.T, ddof=0, aweights=weights)
    np.testing.assert_allclose(model.codes.mean.data, mean, atol=1e-5)
    np.testing.assert_allclose(model.codes.covariance.data, covariance, atol=1e-5)
    expected = model.decode(model.codes.draw(3, Generator(5)))
    np.testing.assert_array_equal(model.sample(3, seed=5), expected)


def test_the_sample_picture_pairs_inputs_with_reconstructions(data_dir, tmp_path):
    pictures = []
    start(settings("conv", data_dir), tmp_path / "run", lambda path, images: pictures.append(images))
    pairs, model = pictures[-1].reshape(-1, 2, 8, 8, 1), load(tmp_path / "run")
    np.testing.assert_allclose(model.reconstruct(pairs[:, 0]), pairs[:, 1], atol=1e-5)


def test_the_number_of_nonzero_codes_is_a_metric_of_sparse_runs(runs):
    row = runs["sparse"].read_metrics()[-1]
    assert 0 < row["nnz"] <= 70
    assert "nnz" not in runs["mlp"].read_metrics()[-1]


def test_mse_and_loss_tell_the_same(runs):
    row = runs["conv"].read_metrics()[-1]
    assert row["loss"] == pytest.approx(row["mse"] * 64 / 2, rel=1e-5)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "linaer"}, "kind must be one of .* got 'linaer'; did you mean 'linear'"),
        ({"code": 0}, "code must be at least 1, got 0"),
        ({"kind": "denoising", "sigma": -0.1}, "sigma must be at least 0, got -0.1"),
        ({"kind": "denoising", "masked": 1.0}, "masked must be at least 0 and below 1, got 1.0"),
        ({"kind": "denoising", "sigma": 0.0}, "needs noise: sigma and masked are both 0"),
        ({"kind": "mlp", "sigma": 0.1}, "sigma is no setting of kind 'mlp', which heeds code, hidden"),
        ({"kind": "sparse", "code": 8}, "code is no setting of kind 'sparse', which heeds atoms, l1"),
        ({"kind": "sparse", "l1": -1.0}, "l1 must be at least 0, got -1.0"),
    ],
)
def test_settings_that_cannot_be_used(changes, message):
    with pytest.raises(SettingError, match=message):
        AEConfig(**changes)


@pytest.mark.parametrize("kind", ["conv", "denoising"])
def test_convolutions_without_channels_are_refused_before_anything_is_written(kind, data_dir, tmp_path):
    with pytest.raises(ValueError, match="channels must hold at least one number, got none"):
        start(settings(kind, data_dir, channels=()), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_and_codes_of_another_size_than_trained_are_refused(runs):
    model = load(runs["mlp"].path)
    with pytest.raises(ValueError, match=r"images must be \(N, 8, 8, 1\), as the network's, got \(2, 28, 28, 1\)"):
        model.reconstruct(np.zeros((2, 28, 28, 1), np.uint8))
    with pytest.raises(TypeError, match=r"images must be uint8, or floats in \[-1, 1\], got int64"):
        model.mse(np.full((2, 8, 8, 1), 255))
    with pytest.raises(ValueError, match=r"codes must be \(N, 3\), got \(2, 4\)"):
        model.decode(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        model.sample(0)


# ---------------------------------------------------------------- pictures and the command line


@pytest.fixture
def digits():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    return ImageSet("mnist", images, np.arange(20) % 10, tuple("0123456789"))


@kinds
def test_reconstructions_show_inputs_noise_and_outputs(kind, runs, digits):
    figure = find_picture("ae", "reconstructions")(load(runs[kind].path), digits, Generator(0), n=4)
    (axes,), heading = figure.axes, figure._suptitle.get_text()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["test images", *(["noisy"] if kind == "denoising" else []), "reconstructions"]
    model, x = load(runs[kind].path), to_model_range(digits.images)
    seen = model.network.corrupt(x, Generator(0))
    rows = {"test images": x[:4], "noisy": seen[:4], "reconstructions": model.reconstruct(seen[:4])}
    expected = mosaic(on_paper(np.stack([rows[label] for label in labels])), gap=2)
    assert np.abs(axes.images[0].get_array().astype(int) - expected).max() <= 1
    assert f"without noise {model.mse(x):.4f}" in heading
    if kind == "denoising":
        assert f"from noisy images {np.mean((model.reconstruct(seen) - x) ** 2):.4f}" in heading


def test_atoms_are_those_of_linear_decoders(runs, digits):
    for kind, count in (("linear", 3), ("sparse", 64)):
        figure = find_picture("ae", "atoms")(load(runs[kind].path), digits, Generator(0))
        assert sum(bool(ax.images) for ax in figure.axes) == count
        model = load(runs[kind].path)
        decoder, codes = model.network.decoder, model.encode(digits.images)
        weights = decoder.atoms().numpy() if kind == "sparse" else decoder.layers[0].weight.numpy()
        most = max(range(len(weights)), key=lambda k: np.abs(codes[:, k]).mean() * np.linalg.norm(weights[k]))
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights[most].reshape(8, 8))
        assert f"{(codes != 0).sum(1).mean():.1f} are not zero" in figure._suptitle.get_text()
    with pytest.raises(ValueError, match="kinds sparse and linear, got 'conv'"):
        find_picture("ae", "atoms")(load(runs["conv"].path), digits, Generator(0))


def test_the_command_line_trains_and_samples(data_dir, tmp_path):
    given = {"data": "mnist", "data_dir": data_dir, "batch_size": 8, "steps": 2, **SIZES["denoising"]}
    process = command("train", "ae", "--kind", "denoising", *flags(given), "--out", tmp_path / "run")
    assert (process.communicate()[1], process.returncode)[1] == 0
    process = command("sample", tmp_path / "run", "--n", 4, "--out", tmp_path / "x.png")
    assert (process.communicate()[1], process.returncode)[1] == 0
    assert (tmp_path / "x.png").exists()
