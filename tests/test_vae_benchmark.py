"""The benchmark of likelihoods, at a size that takes seconds: stages begin where they say, and their cost adds up."""

import dataclasses
import json

import click
import numpy as np
import pytest

from benchmarks import vae
from minigen.train import load


@pytest.fixture
def small(monkeypatch):
    """Three stages of a few steps on the digits that ship with minigen."""
    steps = {"vae": 6, "iwae5": 4, "iwae50": 2}
    stages = {
        name: dataclasses.replace(stage, settings={**stage.settings, "steps": steps[name], "hidden": (8,), "latent": 3})
        for name, stage in vae.STAGES.items()
    }
    stages["iwae5"] = dataclasses.replace(stages["iwae5"], begins_at=("vae", 4))
    stages["iwae50"] = dataclasses.replace(stages["iwae50"], begins_at=("iwae5", 4))
    monkeypatch.setattr(vae, "STAGES", stages)
    monkeypatch.setattr(vae, "DATA", "mnist-mini")
    monkeypatch.setattr(vae, "SAMPLES", 20)
    monkeypatch.setattr(vae, "CURVE", {"images": 10, "samples": 5})


def test_a_stage_begins_at_the_weights_that_another_leaves(small, tmp_path, monkeypatch):
    begun = {}
    fit = vae.fit

    def looked_at(task, batches, run, first):
        begun[run.path.name] = {name: array.copy() for name, array in task.network.state_dict().items()}
        fit(task, batches, run, first)

    monkeypatch.setattr(vae, "fit", looked_at)
    rows = vae.measure(tmp_path)
    left = vae.load_file(tmp_path / "vae-4.safetensors")
    assert all(np.array_equal(begun["iwae5"][name], left[name]) for name in left)
    last = load(tmp_path / "iwae5").network.state_dict()  # the last step's average
    assert all(np.array_equal(begun["iwae50"][name], last[name]) for name in last)
    assert not np.array_equal(left["encoder.layers.0.weight"], last["encoder.layers.0.weight"])

    assert rows["vae"]["cpu_seconds_before"] == 0
    assert 0 < rows["iwae5"]["cpu_seconds_before"] < rows["vae"]["cpu_seconds"]
    both = rows["iwae5"]["cpu_seconds_before"] + rows["iwae5"]["cpu_seconds"]
    assert rows["iwae50"]["cpu_seconds_before"] == pytest.approx(both)
    assert rows["vae"]["images"] == 2000 and rows["vae"]["samples"] == 20


def test_a_finished_stage_is_not_done_again_and_one_of_other_settings_is_refused(small, tmp_path, monkeypatch):
    first = vae.measure(tmp_path, stages=("vae",))
    monkeypatch.setattr(vae, "fit", None)
    assert vae.measure(tmp_path, stages=("vae",)) == first
    row = json.loads((tmp_path / "vae.json").read_text())
    (tmp_path / "vae.json").write_text(json.dumps({**row, "settings": {**row["settings"], "lr": 0.5}}))
    with pytest.raises(click.UsageError, match="other settings"):
        vae.measure(tmp_path, stages=("vae",))


def test_the_cpu_time_of_a_resumed_run_is_that_of_both_processes():
    assert vae.cpu_seconds([{"cpu": t} for t in (3.0, 4.0, 2.5, 3.0)]) == 7.0
