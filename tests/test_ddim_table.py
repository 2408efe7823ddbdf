"""The harness of deck 003's table: which cells, what each asks of the sampler, and that a stopped table goes on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import logsumexp

from benchmarks import ddim_table, studies
from minigen.data import load, to_model_range
from minigen.diffusion.schedules import make_schedule
from minigen.random import Generator

SCORE = {"value": 1.25, "low": 1.0, "high": 1.5, "n": 20}


@pytest.fixture(scope="module")
def digits():
    return load().images, load(split="test").images


class Drawing:
    """A model whose images are noisier the fewer steps they took; it remembers what it was asked for."""

    def __init__(self, stop_after=99):
        self.networks = {"unet": SimpleNamespace(state_dict=lambda: {"w": np.ones(3)})}
        self.asked, self.stop_after = [], stop_after

    def sample(self, n, seed=0, progress=False, **settings):
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(settings)
        images = to_model_range(load().images[:n])
        noisy = images + 3 / settings["steps"] * Generator(seed).normal(images.shape)
        return noisy.astype(np.float32)


def run(model, digits, figures, kept, n=20):
    copy = lambda found: kept.append(json.loads(json.dumps(found)))  # noqa: E731
    return ddim_table.measure(model, *digits, n, (2, 4), figures, copy)


@pytest.mark.parametrize(
    ("model", "steps", "text"),
    [("vae", "10", "RUN must be a ddpm"), ("ddpm", "0,10", "between 1 and 50"), ("ddpm", "10,51", "between 1 and 50")],
)
def test_runs_and_steps_that_make_no_table_are_refused(model, steps, text, tmp_path, monkeypatch):
    loaded = SimpleNamespace(config=SimpleNamespace(model=model), process=SimpleNamespace(T=50))
    monkeypatch.setattr("minigen.train.load", lambda run: loaded)
    result = CliRunner().invoke(studies.ddim_table, [str(tmp_path), "--steps", steps])
    assert result.exit_code == 2 and text in result.output


def test_the_cells_are_those_of_the_table():
    cells = ddim_table.cells(ddim_table.STEPS)
    assert len(cells) == 4 * 5 + 2
    assert [cell for cell in cells if cell[1] == 1000] == [("eta = 0", 1000), ("sigma-hat", 1000)]


def test_a_stopped_table_goes_on_with_the_next_cell_and_ends_like_one_that_was_not(digits, monkeypatch):
    monkeypatch.setattr("minigen.metrics.interval.REPLICATES", 2)
    whole, part, rest = Drawing(), Drawing(stop_after=3), Drawing()
    expected = run(whole, digits, {}, [])
    kept = []
    with pytest.raises(KeyboardInterrupt):
        run(part, digits, {}, kept)
    assert len(kept[-1]["cells"]) == 3
    found = run(rest, digits, kept[-1], kept)
    assert part.asked + rest.asked == whole.asked
    assert whole.asked[:5] == [{"steps": 2, **noise} for noise in ddim_table.NOISE.values()]
    for figures in (expected, found):
        for cell in figures["cells"].values():
            assert cell.pop("seconds") >= 0
    assert found == expected
    fewer, more = (expected["cells"][f"eta = 0, {steps} steps"]["FID"] for steps in (2, 4))
    assert fewer["value"] > more["value"] > expected["floor"]["FID"]["value"]
    assert fewer["n"] == expected["floor"]["FID"]["n"] == 20


def test_other_weights_or_another_n_do_not_go_into_one_table(digits):
    begun = {"weights": ddim_table.digest(Drawing()), "n": 20, "seed": 0, "floor": {}, "cells": {}}
    with pytest.raises(ValueError, match="'n': 20"):
        run(Drawing(), digits, begun, [], n=30)
    with pytest.raises(ValueError, match="weights"):
        run(Drawing(), digits, {**begun, "weights": "of another"}, [])


def test_the_exact_network_is_the_gradient_of_the_log_density_of_the_noised_points():
    """eps = -b grad ln q(x_t), with q the mixture of Gaussians that the points become; the gradient by differences."""
    exact = ddim_table.ExactNetwork(
        make_schedule("cosine", 100), np.array([0, 90, 255, 40], np.uint8).reshape(2, 1, 2, 1)
    )
    x = np.array([[0.3, -0.5], [-0.1, 0.9]])
    for level in (5, 40, 90):
        a, b = exact.process.signal[level], exact.process.noise[level]

        def log_density(x, a=a, b=b):
            return logsumexp(-((x[:, None] - a * exact.points) ** 2).sum(axis=2) / (2 * b**2), axis=1)

        h = 1e-5 * np.eye(2)
        gradient = np.stack([(log_density(x + e) - log_density(x - e)) / 2e-5 for e in h], axis=1)
        eps = exact(x.reshape(2, 1, 2, 1), np.array([level, level])).reshape(2, 2)
        np.testing.assert_allclose(eps, -b * gradient, rtol=1e-6, atol=1e-6)


def test_the_exact_network_draws_its_own_points(digits):
    exact = ddim_table.ExactNetwork(make_schedule("cosine", 1000), digits[0][:20])
    for noise in ddim_table.NOISE.values():
        drawn = exact.sample(12, seed=3, steps=100, batch_size=5, **noise).reshape(12, 1, -1)
        distances = ((drawn - exact.points) ** 2).mean(axis=2)
        assert distances.min(axis=1).max() < 1e-3
        assert len(set(distances.argmin(axis=1))) > 4
    assert ddim_table.digest(exact) != ddim_table.digest(
        ddim_table.ExactNetwork(make_schedule("cosine", 1000), digits[0][1:21])
    )


def test_the_table_and_the_picture_show_what_was_measured(tmp_path):
    names = ["eta = 0, 10 steps", "sigma-hat, 10 steps", "eta = 0, 1000 steps"]
    figures = {"n": 20, "floor": {"FID": SCORE}, "cells": {name: {"FID": SCORE} for name in names}}
    lines = ddim_table.table(figures).splitlines()
    assert lines[0] == "| | 10 steps | 1000 steps |"
    assert lines[2] == "| eta = 0 | 1.2 [1.0, 1.5] | 1.2 [1.0, 1.5] |"
    assert lines[6] == "| sigma-hat | 1.2 [1.0, 1.5] |  |"
    assert lines[-1].endswith("n = 20 everywhere.")
    ddim_table.draw(figures, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
