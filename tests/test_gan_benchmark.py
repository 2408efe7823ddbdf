"""The ablation of GAN tricks: rows are settings that can be used, a cell is done once, the table says what it has."""

import click
import numpy as np
import pytest

from benchmarks import gan, gan_losses
from minigen.data import load, to_model_range
from minigen.random import Generator


@pytest.mark.parametrize("data", gan.BASE)
@pytest.mark.parametrize("trick", gan.TRICKS)
def test_every_cell_has_settings_that_can_be_used(data, trick):
    assert gan.settings_of(data, trick, seed=3).seed == 3


@pytest.mark.parametrize("trick", gan.ON)
def test_a_trick_is_added_to_nothing_and_taken_from_all(trick):
    """One at a time: of the settings of the first row, none but the trick's own differ; "all" has every one."""
    first, config = (gan.settings_of("ring8", name, 0).to_dict() for name in ("nothing", trick))
    assert {name for name in config if config[name] != first[name]} == set(gan.ON[trick])


def test_what_is_taken_away_is_all_that_differs_from_the_row_with_everything():
    everything, nothing = (gan.settings_of("ring8", name, 0).to_dict() for name in ("all", "nothing"))
    taken = set()
    for trick, settings in gan.OFF.items():
        config = gan.settings_of("ring8", trick, 0).to_dict()
        assert {name for name in config if config[name] != everything[name]} == set(settings)
        assert all(config[name] == nothing[name] for name in settings if name != "penalty"), "own is none here"
        taken |= set(settings)
    assert taken | {"penalty_weight"} == {name for name in everything if everything[name] != nothing[name]}


def test_a_cell_is_trained_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(gan, "trained", lambda path, config: calls.append(path.name))
    monkeypatch.setattr(gan, "scores", lambda path, with_truncation: {"modes": 8, "of": 8, "near": 0.9, "n": 10})
    for _ in range(2):
        rows = gan.measure(tmp_path, "ring8", [0, 1], ["nothing", "label flips 5%"], None)
    assert calls == ["ring8-nothing-0", "ring8-nothing-1", "ring8-label-flips-5--0", "ring8-label-flips-5--1"]
    assert set(rows) == {f"ring8, {trick}, seed {s}" for trick in ("nothing", "label flips 5%") for s in (0, 1)}


def test_an_interrupted_cell_resumes_and_one_of_other_settings_is_refused(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gan, "start", lambda config, path: seen.append("start"))
    monkeypatch.setattr(gan, "resume", lambda path: seen.append("resume"))
    config = gan.settings_of("ring8", "nothing", 0)
    gan.trained(tmp_path / "a", config)
    gan.RunFolder(tmp_path / "b").create().write_config(config, (2,))
    gan.trained(tmp_path / "b", config)
    assert seen == ["start", "resume"]
    with pytest.raises(click.UsageError, match="seed = 0, not 1: give another --folder"):
        gan.trained(tmp_path / "b", gan.settings_of("ring8", "nothing", 1))


def test_figures_of_other_settings_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(gan, "trained", lambda path, config: None)
    config = gan.settings_of("ring8", "nothing", 0)
    assert gan.once(tmp_path / "a", config, lambda path: {"modes": 3}) == {"modes": 3}
    assert gan.once(tmp_path / "a", config, lambda path: {"modes": 4}) == {"modes": 3}, "found before"
    with pytest.raises(click.UsageError, match="label_flips = 0.0, not 0.05"):
        gan.once(tmp_path / "a", gan.settings_of("ring8", "label flips 5%", 0), None)


def test_a_cell_that_diverges_is_a_figure_and_not_the_end(tmp_path, monkeypatch):
    def trained(path, config):
        raise gan.Diverged("step 7: the loss is nan")

    monkeypatch.setattr(gan, "trained", trained)
    rows = gan.measure(tmp_path, "ring8", [0], ["nothing"], None)
    assert rows == {"ring8, nothing, seed 0": {"diverged": "step 7: the loss is nan"}}
    assert "| nothing | 1 diverged |" in gan.table(rows)


def test_the_table_shows_means_and_ranges_of_what_is_there():
    cut = {"modes": 3, "of": 8, "near": 0.9, "n": 10}
    rows = {
        "ring8, nothing, seed 0": {"modes": 4, "of": 8, "near": 0.5, "n": 10, "truncated at 0.5": cut},
        "ring8, nothing, seed 1": {"modes": 7, "of": 8, "near": 0.7, "n": 10, "truncated at 0.5": cut},
        "mnist, label smoothing 0.1, seed 0": {
            "n": 10,
            "FID": 31.4,
            "recognised": 0.912,
            "rarest": 0.05,
            "commonest": 0.2,
        },
    }
    text = gan.table(rows)
    assert "| tricks | ring8 | mnist |" in text
    assert "| nothing | 5.5 (4 to 7) of 8 modes, 60% near |  |" in text
    assert "| nothing, latents truncated at 0.5 | 3.0 (3 to 3) of 8 modes, 90% near |  |" in text
    assert "| label smoothing 0.1 |  | FID 31, 91.2% recognised, classes 5% to 20% |" in text
    assert "minibatch" not in text


def test_digits_scored_against_themselves_have_fid_0():
    digits = load("mnist-mini", split="test").images[:300]
    row = gan.score_images(to_model_range(digits), digits)
    assert row["FID"] < 1e-6 and row["recognised"] > 0.95 and row["n"] == 300


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
    assert config.loss == row
    assert config.steps == gan_losses.settings_of(row).steps // 100
    assert set(gan_losses.ROWS) == set(gan_losses.LOSSES)


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
    rows = {
        "began": {**row, "energy ratio": 0.61, "gamma": 0.5},
        "infogan": {**row, "asked": 0.8},
        "wgan": {"diverged": "step 3: nan"},
        "acgan": {**row, "asked": 0.9, "many samples": {**row, "n": 10_000}, "truncated at 0.25": row},
    }
    assert gan_losses.sizes(rows) == [2000, 10_000]
    text = gan_losses.table(rows, {"training images, n = 2000": {"n": 2000, **dict.fromkeys(gan_losses.SHOWN, score)}})
    scores = "2000 | " + " | ".join(["0.5 [0.25, 0.75]"] * 4)
    assert f"| infogan | 1.5 | {scores} | 5.0% to 20.0% | 80.0% as asked |" in text
    assert f"| began | 1.5 | {scores} | 5.0% to 20.0% | energies as 0.61 to 1, gamma 0.5 |" in text
    assert f"| acgan, truncated at 0.25 |  | {scores} | 5.0% to 20.0% |  |" in text
    assert "| acgan, many samples |  | 10000 | 0.5 [0.25, 0.75] |" in text
    assert f"| *training images* |  | {scores} |  |  |" in text
    assert "| wgan |  |  |  |  |  |  |  | step 3: nan |" in text
    assert len({line.count(" | ") for line in text.splitlines() if "---" not in line}) == 1, "every row as many cells"
