"""What the benchmarks of autoencoders kept, and how they came to it."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pretraining
from benchmarks.autoencoders import CODE, RUNS, table
from benchmarks.report import RESULTS
from minigen.data import load
from minigen.random import Generator

PAGE = Path(__file__).parents[1] / "docs" / "autoencoders.md"


@pytest.fixture(scope="module")
def kinds():
    return json.loads((RESULTS / "autoencoders.json").read_text())["figures"]


@pytest.fixture(scope="module")
def figures():
    return json.loads((RESULTS / "pretraining.json").read_text())["figures"]


def test_networks_beat_pca_on_mnist_at_the_same_code_size(kinds):
    """Held-out error. The linear one cannot beat PCA by more than the luck of a test set, and comes near."""
    for name in ("mlp", "conv"):
        assert kinds[name]["code"] == kinds["pca"]["code"] == CODE
        assert kinds[name]["mse"] < kinds["pca"]["mse"]
    assert 0.99 < kinds["linear"]["mse"] / kinds["pca"]["mse"] < 1.05


def test_the_figures_are_of_the_settings_that_would_be_trained_now(kinds):
    assert set(kinds) == {"pca", *RUNS}
    for name, settings in RUNS.items():
        assert {key: kinds[name][key] for key in settings} == settings


def test_the_denoiser_removes_most_of_the_noise_and_sparse_codes_are_sparse(kinds):
    assert kinds["denoising"]["restored"] < kinds["denoising"]["noisy"] / 4
    assert kinds["sparse"]["nnz"] < kinds["sparse"]["code"] / 5


def test_the_committed_figures_are_complete_and_their_summary_follows(figures):
    cells = figures["cells"]
    assert list(cells) == pretraining.CELLS and len(cells) == 2 * 2 * 3
    assert all(len(values) == 5 and all(0.5 < value < 1 for value in values) for values in cells.values())
    for name, row in pretraining.summary(cells).items():
        assert row == pytest.approx(figures["summary"][name])


def test_the_page_shows_the_tables(kinds, figures):
    assert table(kinds) in PAGE.read_text()
    assert pretraining.table(figures) in PAGE.read_text()


def test_an_interval_is_students():
    """Mean 3, variance 2.5, t(0.975, 4) = 2.7764: 2.7764 sqrt(2.5 / 5) = 1.9632"""
    assert pretraining.interval([1, 2, 3, 4, 5]) == pytest.approx((3, 1.9632), abs=1e-4)


def test_gains_are_taken_in_pairs():
    cells = {"mlp 100 random": [0.1, 0.5, 0.9], "mlp 100 frozen": [0.2, 0.6, 1.0]}
    row = pretraining.summary(cells)["mlp 100 frozen"]
    assert (row["gain"], row["gain_half"]) == pytest.approx((0.1, 0), abs=1e-12)


def test_labelled_images_are_as_many_of_every_class_and_none_twice():
    labels = load("mnist-mini").labels
    few = pretraining.subset(labels, 100, Generator(3))
    assert np.bincount(labels[few]).tolist() == [10] * 10
    assert len(set(few.tolist())) == 100
    assert set(few.tolist()) != set(pretraining.subset(labels, 100, Generator(4)).tolist())


@pytest.mark.parametrize("network", pretraining.NETWORKS)
@pytest.mark.parametrize("start", pretraining.STARTS)
def test_only_a_frozen_encoder_stays_as_it_is(start, network, monkeypatch):
    monkeypatch.setitem(pretraining.NETWORKS[network], "steps", 3)
    digits, encoder = load("mnist-mini", split="test"), pretraining.new_encoder(network, Generator(0))
    before = encoder.state_dict()
    accuracy = pretraining.classify(network, encoder, start, digits.images[:60], digits.labels[:60], digits, seed=0)
    assert 0 <= accuracy <= 1
    kept = all(np.array_equal(before[name], array) for name, array in encoder.state_dict().items())
    assert kept == (start == "frozen")


def test_pretraining_sees_no_labels_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "PRETRAINING", 2)
    images = load("mnist-mini", split="test").images
    first = pretraining.pretrained(images, 0, tmp_path / "encoder.safetensors")
    monkeypatch.setattr(pretraining, "Autoencoder", None)  # from now on only the file can help
    again = pretraining.pretrained(images, 0, tmp_path / "encoder.safetensors")
    assert all(np.array_equal(first[name], again[name]) for name in first)
