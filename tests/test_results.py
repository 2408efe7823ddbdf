"""The figures in the README are those that were measured, and they keep what was promised."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks import bound, ddim_table, gan, gan_losses, score_checks, scores, studies
from benchmarks.report import RESULTS, table
from minigen.models.gan.losses import LOSSES

README = Path(__file__).parents[1] / "README.md"
GIT = ["git", "-C", str(README.parent)]


@pytest.fixture(scope="module")
def ddpm():
    return json.loads((RESULTS / "ddpm.json").read_text())["figures"]


def test_the_readme_shows_the_measured_table():
    assert table() in README.read_text(), "make it again with: python -m benchmarks.report"


def test_the_readme_says_how_another_processor_compares():
    rows = json.loads((RESULTS / "models-xeon.json").read_text())["results"]
    ratio = {row["name"].rpartition(" ")[0]: row["ratio"] for row in rows}
    text = " ".join(README.read_text().split())
    assert (
        "U-Net's training step is {unet train:.1f} times as fast as PyTorch's, a sampling step {unet forward:.1f}, "
        "the DCGAN's step {dcgan train:.1f}, and the MLP VAE's step is not faster than PyTorch's ({vae train:.2f})"
    ).format(**ratio) in text


def test_every_result_says_how_it_was_made():
    for path in RESULTS.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["command"].startswith("python -m benchmarks "), path
        assert len(record["commit"]) == 40, path
        assert record.get("figures") or record.get("results"), path


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_result_cites_a_commit_that_a_clone_has(path):
    """One before HEAD. Where history was rebased since, that of the same change; `measured_at` is the one before."""
    try:
        shallow = subprocess.run([*GIT, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True)
    except OSError:
        pytest.skip("git is not there to ask")
    if shallow.stdout.strip() != "false":
        pytest.skip("not a git checkout with its history")
    commit = json.loads(path.read_text())["commit"]
    asked = subprocess.run([*GIT, "merge-base", "--is-ancestor", commit, "HEAD"], capture_output=True)
    assert asked.returncode == 0, f"{commit} is no ancestor of HEAD"


def test_the_main_job_takes_at_most_five_minutes_and_half_its_samples_are_recognised(ddpm):
    assert set(ddpm) >= {"seed 0", "seed 1", "seed 2"}
    for seed in ("seed 0", "seed 1", "seed 2"):
        assert ddpm[seed]["n"] == 256
        assert ddpm[seed]["seconds"] <= 300
        assert ddpm[seed]["recognised"] >= 0.5
        assert min(ddpm[seed]["classes"]) >= 0.04 and max(ddpm[seed]["classes"]) <= 0.20


def test_guidance_makes_samples_show_the_class_that_was_asked_for():
    """Unguided it is chance, 1 in 10; each scale below 4 is surer than the one before, at the price of variety."""
    record = json.loads((RESULTS / "guidance.json").read_text())
    figures = record["figures"]
    rows = [figures[f"scale {scale}"] for scale in ("0", "0.5", "1", "2", "4")]
    assert abs(rows[0]["accuracy"] - 0.1) < 4 * (0.1 * 0.9 / figures["samples"]) ** 0.5
    assert all(a["accuracy"] < b["accuracy"] for a, b in zip(rows, rows[1:]))
    assert all(a["spread"] > b["spread"] for a, b in zip(rows, rows[1:]))
    assert rows[2]["accuracy"] > 0.7 and rows[-1]["accuracy"] > 0.95 and figures["training"]["steps"] == 1500
    page = (README.parent / "docs" / "editing.md").read_text()
    assert record["command"] in page
    for row in rows:
        assert (
            "{accuracy:.1%} ± {0:.1f} | {recognised:.1%} | {spread:.3f} |".format(100 * row["standard error"], **row)
            in page
        )


def ddim_record(name):
    """A record of deck 003's table, and {noise: {steps: FID}}."""
    record = json.loads((RESULTS / f"{name}.json").read_text())
    fid = {}
    for cell, found in record["figures"]["cells"].items():
        noise, steps = cell.removesuffix(" steps").split(", ")
        fid.setdefault(noise, {})[int(steps)] = found["FID"]
    assert list(fid) == list(ddim_table.NOISE) and record["figures"]["n"] == 2000
    page = (README.parent / "docs" / "metrics.md").read_text()
    assert ddim_table.table(record["figures"]) in page and record["command"] in page
    return record, fid


def test_more_steps_help_and_the_larger_noise_needs_most_of_them():
    """Deck 003's table: what docs/metrics.md says of ours, and where it is not the paper's."""
    record, fid = ddim_record("ddim_table")
    assert set(record["figures"]["cells"]) == {ddim_table.name_of(*cell) for cell in ddim_table.cells(ddim_table.STEPS)}
    for row in fid.values():
        assert row[10]["value"] > row[20]["value"] > row[50]["value"]
    larger, none = fid["sigma-hat"], fid["eta = 0"]
    assert larger[10]["value"] > 1.5 * none[10]["value"] and larger[20]["value"] > none[20]["value"], "worst in few"
    assert all(larger[steps]["value"] < none[steps]["value"] for steps in (50, 100, 1000)), "better than none in many"
    etas = [name for name in fid if name.startswith("eta")]
    for steps in (10, 20, 50, 100):
        best = min(etas, key=lambda name, steps=steps: fid[name][steps]["value"])
        assert best == "eta = 1", "not so in the paper, where less noise is better"


def test_training_four_times_as_long_halves_the_error_and_keeps_the_order_of_the_noise():
    _, short = ddim_record("ddim_table")
    _, long = ddim_record("ddim_table_long")
    for steps in (10, 20, 50, 100):
        left = [long[noise][steps]["value"] / short[noise][steps]["value"] for noise in short]
        assert min(left) > 0.25 and max(left) < 0.52
        best = min(long, key=lambda name, steps=steps: long[name][steps]["value"])
        assert best == "eta = 1"


def test_with_the_exact_network_the_kind_of_noise_hardly_matters():
    _, exact = ddim_record("ddim_table_exact")
    for steps in (3, 4, 5, 10):
        column = [row[steps] for row in exact.values()]
        assert max(score["low"] for score in column) < min(score["high"] for score in column)
    assert max(row[10]["value"] for row in exact.values()) < 50
    three = [exact[f"eta = {eta}"][3]["value"] for eta in ("0", "0.2", "0.5", "1")]
    assert three == sorted(three), "the paper's order"
    trained = [row[10]["value"] for name in ("ddim_table", "ddim_table_long") for row in ddim_record(name)[1].values()]
    assert round(min(trained)) == 85


def test_the_likelihoods_of_vae_and_iwae_are_near_the_published_ones():
    """Burda et al., table 1: 86.76, 85.54, 84.78 nats. All test images, and the estimate that the paper uses."""
    figures = json.loads((RESULTS / "vae.json").read_text())["figures"]
    assert {row["images"] for row in figures.values()} == {10_000}
    assert {row["samples"] for row in figures.values()} == {5_000}
    assert figures["vae"]["nll"] <= 86.9
    assert figures["iwae5"]["nll"] < figures["vae"]["nll"]
    assert figures["iwae50"]["nll"] <= 85.3
    spent = {name: row["cpu_seconds"] + row["cpu_seconds_before"] for name, row in figures.items()}
    assert spent["vae"] <= 80 * 60, "40 minutes of two cores"
    assert spent["iwae5"] <= 1.05 * spent["vae"]
    assert figures["vae"]["cpu_seconds"] / figures["vae"]["epochs"] < 2
    assert all(row["evaluation"]["seconds"] < 600 for row in figures.values())
    page = (README.parent / "docs" / "vae.md").read_text()
    for row in figures.values():
        minutes = (row["cpu_seconds"] + row["cpu_seconds_before"]) / 60
        assert f"| {minutes:.0f} | {row['nll']:.2f} ± {row['standard_error']:.2f} | {row['published']} |" in page
        assert row["evaluation"]["seconds"] < 600
        epochs, nats = zip(*row["curve"])
        assert len(epochs) >= 2 and min(nats) == min(nats[-3:])


def test_the_page_on_scores_shows_the_measured_tables():
    page = (README.parent / "docs" / "metrics.md").read_text()
    records = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in ("scores", "score_checks")}
    floor, checks = (record["figures"] for record in records.values())
    assert all(f"`{record['command']}`" in page for record in records.values())
    assert scores.markdown(floor) in page
    ends = [floor["curve"][f"training against {which} images"][-1] for which in ("other training", "test")]
    assert "{:.1f} at n = 10,000, against {:.1f}".format(*ends) in page
    assert score_checks.feature_table(checks["features"]) in page
    assert score_checks.interval_table(checks["intervals"]) in page
    assert f"{checks['draws']} draws for each row" in page


def test_before_the_relu_noise_scores_as_noise_and_after_it_as_digits_do():
    """minigen/metrics/features.py. And the two commands score the same images alike."""
    rows = json.loads((RESULTS / "score_checks.json").read_text())["figures"]["features"]
    noise, blurs, digits = (rows[name] for name in ("uniform noise", "PCA-Gaussian", "training images"))
    assert noise["after"]["precision"] > 0.995 and noise["before"]["precision"] == 0
    assert noise["after"]["FID"] < 1.1 * blurs["after"]["FID"]
    assert noise["before"]["FID"] > 5 * blurs["before"]["FID"]
    assert digits["before"]["precision"] == pytest.approx(digits["after"]["precision"], abs=0.05)
    floor = json.loads((RESULTS / "scores.json").read_text())["figures"]["n = 2000"]
    for name in floor:
        assert {score: floor[name][score]["value"] for score in ("FID", "precision")} == rows[name]["before"], name


def test_intervals_of_fid_and_is_hold_and_those_of_precision_and_recall_are_too_narrow():
    """docs/metrics.md. Of 100 draws, a right 95% interval holds in fewer than 88 once in 700 times."""
    rows = json.loads((RESULTS / "score_checks.json").read_text())["figures"]["intervals"]
    distances = {name: row for name, row in rows.items() if name.startswith(("FID", "IS"))}
    assert len(distances) == 5 and min(row["centred"] for row in distances.values()) >= 0.88
    near_the_floor = [row for name, row in distances.items() if "one Gaussian" in name or "FID, training" in name]
    assert all(row["centred"] == 1 and row["plain"] < 0.2 for row in near_the_floor)
    of_digits = [row for name, row in rows.items() if name.startswith(("precision, training", "recall, training"))]
    assert len(of_digits) == 4 and all(0.8 < row["centred"] < 0.95 for row in of_digits)
    of_blurs = [row for name, row in rows.items() if name.startswith("precision, PCA-Gaussian")]
    assert len(of_blurs) == 2 and all(row["centred"] < 0.3 for row in of_blurs)


def test_the_page_on_diffusion_shows_the_measured_bound_and_its_estimate_is_near_what_it_estimates():
    """On the same ten images, 50 levels an image say what all 1000 say, to far less than images differ."""
    record, page = (
        json.loads((RESULTS / "bound.json").read_text()),
        (README.parent / "docs" / "diffusion.md").read_text(),
    )
    rows = record["figures"]["rows"]
    assert bound.table(rows) in page and f"`{record['command']}`" in page
    estimate, whole = rows["--n 10"], rows["--n 10 --samples 1000"]
    assert (estimate["levels an image"], whole["levels an image"]) == (50, 1000)
    assert abs(estimate["bits/dim"] - whole["bits/dim"]) < 0.5 * whole["standard error"]


@pytest.mark.parametrize(("model", "T"), [("vae", 1000), ("ddpm", 50)])
def test_a_bound_of_other_models_than_those_of_1000_levels_is_refused(model, T, tmp_path, monkeypatch):
    loaded = SimpleNamespace(config=SimpleNamespace(model=model), process=SimpleNamespace(T=T))
    monkeypatch.setattr("minigen.train.load", lambda run: loaded)
    result = CliRunner().invoke(studies.bound, [str(tmp_path)])
    assert result.exit_code == 2 and "RUN must be a ddpm of 1000 levels" in result.output


def test_a_dcgan_draws_digits_that_are_recognised_and_no_class_is_rare():
    """acgan, 10,000 samples: at least 95% recognised, every class between 5% and 20%, after 15 minutes of two cores."""
    row = json.loads((RESULTS / "gan_losses.json").read_text())["figures"]["rows"]["acgan"]
    assert row["many samples"]["n"] == 10_000 and row["seconds"] <= 900
    assert row["many samples"]["recognised"]["value"] >= 0.95
    assert row["many samples"]["rarest"] >= 0.05 and row["many samples"]["commonest"] <= 0.20


def test_every_gan_loss_makes_better_digits_than_a_gaussian_and_keeps_its_promise():
    figures = json.loads((RESULTS / "gan_losses.json").read_text())["figures"]
    rows, floor = figures["rows"], figures["context"]
    assert set(rows) == set(LOSSES)
    assert not [name for name, row in rows.items() if "diverged" in row]
    assert max(row["FID"]["value"] for row in rows.values()) < floor["PCA-Gaussian, n = 2000"]["FID"]["value"]
    assert min(row["FID"]["value"] for row in rows.values()) > floor["training images, n = 2000"]["FID"]["value"]
    assert min(rows["cgan"]["asked"], rows["acgan"]["asked"]) > 0.9
    assert rows["infogan"]["asked"] > 0.6, "of codes that never saw a label; guessing would be right once in ten"
    assert rows["began"]["energy ratio"] == pytest.approx(rows["began"]["gamma"], rel=0.2)
    assert rows["began"]["recall"]["value"] > 0.1, "with DCGAN's networks it was 0: a few kinds of blobs"
    assert max(rows, key=lambda name: rows[name]["FID"]["value"]) == "began" and 0.4 < rows["began"]["commonest"] < 0.6


def test_truncated_latents_trade_variety_for_quality():
    """Deck 000, "Trick 2: Truncation": precision up, recall down as the threshold falls."""
    row = json.loads((RESULTS / "gan_losses.json").read_text())["figures"]["rows"]["acgan"]
    cuts = [row, *(row[f"truncated at {tau:g}"] for tau in (2, 1, 0.5, 0.25))]
    precision, recall = ([cut[score]["value"] for cut in cuts] for score in ("precision", "recall"))
    assert precision[:3] == sorted(precision[:3]) and precision[2] > precision[0] + 0.1
    assert recall == sorted(recall, reverse=True) and recall[2] < 0.5 * recall[0]


def test_the_page_on_gans_shows_the_measured_tables():
    page = (README.parent / "docs" / "gan.md").read_text()
    record = json.loads((RESULTS / "gan_losses.json").read_text())
    assert gan_losses.table(record["figures"]["rows"], record["figures"]["context"]) in page
    assert record["command"] in page
    tricks = {}
    for data in gan.BASE:
        record = json.loads((RESULTS / f"gan_{data}.json").read_text())
        assert record["command"] in page
        tricks |= record["figures"]
    assert gan.table(tricks) in page
    assert len(tricks) == len(gan.TRICKS) * 5, "three seeds of the ring, one of the grid and of digits"


def test_labels_find_every_mode_and_penalties_most():
    """The ablation on points: what docs/gan.md says of it."""
    ring, grid = (json.loads((RESULTS / f"gan_{data}.json").read_text())["figures"] for data in ("ring8", "grid25"))

    def modes(rows, trick):
        return [row["modes"] for cell, row in rows.items() if f", {trick}, seed" in cell]

    assert max(modes(ring, "nothing")) < 8 and max(modes(grid, "nothing")) < 25
    for trick in ("labels (cgan)", "all"):
        assert min(modes(ring, trick)) == 8 and min(modes(grid, trick)) == 25
    for trick in ("instance noise 0.3", *(name for name in gan.TRICKS if name.startswith("gradient penalty"))):
        assert min(modes(ring, trick)) == 8
    for rows in (ring, grid):
        near = {cell.split(", seed")[0].split(", ", 1)[1]: row["near"] for cell, row in rows.items()}
        assert near["labels (cgan)"] > 0.98 and near["all but labels"] < near["all"] / 2


@pytest.mark.slow
def test_the_main_job_measured_again(tmp_path):
    """One seed from a cold cache, as in the README's table; four minutes on a fast machine, ten on a slow one."""
    from benchmarks.ddpm import measure

    figures = measure([0], 256)
    assert figures["seed 0"]["recognised"] >= 0.75
