"""The ablation of GAN tricks: rows are settings that can be used, a cell is done once, the table says what it has."""

import numpy as np
import pytest

from benchmarks import gan, gan_losses
from minigen.random import Generator


@pytest.mark.parametrize("data", gan.BASE)
@pytest.mark.parametrize("trick", gan.TRICKS)
def test_every_cell_has_settings_that_can_be_used(data, trick):
    config = gan.settings_of(data, trick, seed=3)
    assert config.seed == 3
    assert (config.discriminator_norm == "none") == ("d_norm" not in gan.TRICKS[trick])


def test_a_cell_is_trained_once_and_goes_on_where_it_was(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(gan, "trained", lambda path, config: calls.append(path.name))
    monkeypatch.setattr(gan, "scores", lambda path, data, with_truncation: {"modes": 8, "of": 8, "near": 0.9, "n": 10})
    kept = []
    for _ in range(2):
        rows = gan.measure(tmp_path, ["ring8"], [0, 1], ["nothing", "label flips 5%"], None, kept.append)
    assert calls == ["ring8-00-0", "ring8-00-1", "ring8-07-0", "ring8-07-1"]
    assert set(rows) == {f"ring8, {trick}, seed {s}" for trick in ("nothing", "label flips 5%") for s in (0, 1)}


def test_an_interrupted_cell_resumes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gan, "start", lambda config, path: seen.append("start"))
    monkeypatch.setattr(gan, "resume", lambda path: seen.append("resume"))
    gan.trained(tmp_path / "a", None)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text("{}")
    gan.trained(tmp_path / "b", None)
    assert seen == ["start", "resume"]


def test_the_table_shows_means_and_ranges_of_what_is_there():
    rows = {
        "ring8, nothing, seed 0": {"modes": 4, "of": 8, "near": 0.5, "n": 10},
        "ring8, nothing, seed 1": {"modes": 7, "of": 8, "near": 0.7, "n": 10},
        "mnist, label smoothing 0.1, seed 0": {
            "n": 10,
            "FID": 31.4,
            "recognised": 0.912,
            "rarest": 0.05,
            "commonest": 0.2,
        },
    }
    text = gan.table(rows)
    assert "| one trick | ring8 | mnist |" in text
    assert "| nothing | 5.5 (4 to 7) of 8 modes, 60% near |  |" in text
    assert "| label smoothing 0.1 |  | FID 31, 91.2% recognised, classes 5% to 20% |" in text
    assert "minibatch" not in text


def test_scores_of_true_points_cover_every_mode():
    points, _ = gan.MODES["grid25"].sample(2500, Generator(0))
    row = gan.score_points(points, "grid25")
    assert (row["modes"], row["of"]) == (25, 25)
    assert row["near"] == pytest.approx(0.98889, abs=0.01)
    assert np.isscalar(row["near"])


# ---------------------------------------------------------------- every loss on MNIST


@pytest.mark.parametrize("row", gan_losses.ROWS)
def test_every_loss_has_a_row_with_settings_that_can_be_used(row):
    config = gan_losses.settings_of(row, shorten=100)
    assert config.loss == ("non-saturating" if row == gan_losses.LONG else row)
    assert config.steps == gan_losses.settings_of(row).steps // 100
    assert set(gan_losses.ROWS) == {gan_losses.LONG, *gan_losses.LOSSES}


def test_codes_are_matched_with_classes_one_to_one():
    codes = np.arange(1000) % 10
    shuffled = Generator(0).permutation(10)
    assert (gan_losses.one_to_one(codes, shuffled[codes]) == shuffled).all()
    assert sorted(gan_losses.one_to_one(codes, np.full(1000, 3))) == list(range(10)), "no class twice"


def test_the_seconds_of_a_resumed_run_are_added(tmp_path):
    run = gan_losses.RunFolder(tmp_path).create()
    for seconds in (1.0, 2.5, 0.5, 4.0):  # the clock of the second process starts again
        run.append_metrics({"step": 1, "seconds": seconds})
    assert gan_losses.taken(tmp_path) == 6.5


def test_the_rows_show_scores_and_promises():
    score = {"value": 0.5, "low": 0.25, "high": 0.75}
    row = {"n": 2000, **dict.fromkeys(gan_losses.SHOWN, score), "rarest": 0.05, "commonest": 0.2, "seconds": 90}
    text = gan_losses.table({
        "began": {**row, "energy ratio": 0.61, "gamma": 0.5},
        "infogan": {**row, "asked": 0.8},
        "long": {**row, **{f"truncated at {tau:g}": row for tau in gan_losses.TRUNCATION}},
    })  # fmt: skip
    scores = "2000 | " + " | ".join(["0.5 [0.25, 0.75]"] * 4) + " | 5.0% to 20.0%"
    assert f"| infogan | 1.5 | {scores} | 80.0% as asked |" in text
    assert f"| began | 1.5 | {scores} | energies as 0.61 to 1, gamma 0.5 |" in text
    assert f"| long, truncated at 0.25 |  | {scores} |  |" in text
