"""The run folder: who owns it, what it keeps, and what it does about damage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import config

from minigen.train import RunError, RunFolder
from minigen.train.run_folder import create_numbered

ARRAYS = {"w": np.zeros(3, np.float32)}


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run").create()


def steps(run):
    return [step for step, _ in run.checkpoint_files()]


# ---------------------------------------------------------------- birth and ownership


def test_a_folder_with_anything_in_it_is_not_taken(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path).create()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_empty_folder_may_become_a_run(tmp_path):
    RunFolder(tmp_path).create()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "samples"]


def test_numbered_runs_take_the_number_after_the_highest(tmp_path):
    (tmp_path / "ddpm-9").mkdir()
    (tmp_path / "ddpm-notes").mkdir()
    assert create_numbered(tmp_path, "ddpm").path == tmp_path / "ddpm-10"
    assert create_numbered(tmp_path, "ddpm").path == tmp_path / "ddpm-11"
    assert create_numbered(tmp_path, "vae").path == tmp_path / "vae-1"


HOLD = """
import sys, time
from minigen.train import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_run_in_use_names_its_process_and_a_killed_one_is_free(run):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, run.path], env=environment, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"locked\n"
        for _ in range(2):  # being refused must not wipe out the number for the next
            with pytest.raises(RunError, match=f"run: in use by process {holder.pid}$"), run.locked():
                pass
    finally:
        holder.kill()
        holder.communicate()
    with run.locked():
        assert int((run.path / "lock.pid").read_text()) == os.getpid()


# ---------------------------------------------------------------- settings


def test_config_json_gives_back_the_settings(run):
    settings = config("d", lr=3e-4, seed=2**63)
    run.write_config(settings, (8, 8, 1))
    found = run.read_config()
    assert type(settings).from_dict(found["config"]) == settings
    assert (found["model"], found["image_shape"]) == ("ddpm", [8, 8, 1])


def test_what_is_no_run_folder_is_named(tmp_path):
    with pytest.raises(RunError, match="nowhere: not a run folder: there is no such folder"):
        RunFolder(tmp_path / "nowhere").read_config()
    with pytest.raises(RunError, match="not a run folder: it has no config.json"):
        RunFolder(tmp_path).read_config()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="config.json: not JSON"):
        RunFolder(tmp_path).read_config()
    (tmp_path / "config.json").write_text('{"format_version": 99}')
    with pytest.raises(RunError, match="expected format version 1"):
        RunFolder(tmp_path).read_config()


# ---------------------------------------------------------------- metrics


def test_cut_metrics_drops_later_steps_and_a_line_cut_short(run):
    for step in (1, 2, 3):
        run.append_metrics({"step": step, "loss": 0.1 * step})
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    assert [row["step"] for row in run.read_metrics()] == [1, 2, 3]
    run.cut_metrics(2)
    run.append_metrics({"step": 3, "loss": 0.5})
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    assert rows == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}, {"step": 3, "loss": 0.5}]


def test_metrics_refuse_what_json_cannot_hold(run):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_metrics({"step": 1, "loss": float("nan")})
    assert run.read_metrics() == []


# ---------------------------------------------------------------- checkpoints


def test_the_last_three_checkpoints_are_kept(run):
    for step in (2, 10, 100_000_000, 9):
        run.save_checkpoint(step, ARRAYS, {})
    assert steps(run) == [100_000_000, 10, 9]


def test_old_checkpoints_go_only_after_the_new_one_is_in_place(run, monkeypatch):
    for step in (1, 2, 3):
        run.save_checkpoint(step, ARRAYS, {})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run.save_checkpoint(4, ARRAYS, {})
    assert steps(run) == [3, 2, 1]
    assert not list(run.checkpoints.glob("*.tmp"))


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(run):
    for step in (1, 2, 3):
        run.save_checkpoint(step, ARRAYS, {})
    newest = run.checkpoints / "step-00000003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    said = []
    _, header, damaged = run.newest_checkpoint(said.append)
    assert header["step"] == 2
    assert damaged == [newest]
    assert len(said) == 1
    assert str(newest) in said[0]
    assert "damaged" in said[0]

    run.set_aside(damaged)
    assert steps(run) == [2, 1]
    assert newest.with_suffix(".damaged").exists()


def test_no_usable_checkpoint_is_an_error_that_gives_every_reason(run):
    assert run.newest_checkpoint(print) is None
    for step in (1, 2):
        run.save_checkpoint(step, ARRAYS, {})
    for _, path in run.checkpoint_files():
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"no usable checkpoint:\n.*step-00000002.*\n.*step-00000001"):
        run.newest_checkpoint(lambda text: None)


def test_what_a_killed_writer_left_is_cleared(run):
    (run.checkpoints / "step-00000001.tmp").write_bytes(b"half")
    run.set_aside([])
    assert list(run.checkpoints.iterdir()) == []
