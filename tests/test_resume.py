"""2N steps = N steps, a violent end, --resume and N more: bit for bit, weights, optimiser, average and metrics."""

import json
import signal
import time

import numpy as np
import pytest
from tiny import SETTINGS, command, config, ended_by_an_exception, flags, make_data

from minigen.optim import EMA, Optimizer
from minigen.random import Generator
from minigen.train import RunError, RunFolder, SettingError, load, resume, start
from minigen.train.checkpoint import read_checkpoint

STEPS = 12  # three batches past an epoch's end, so that the order of the second epoch counts too


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


@pytest.fixture(scope="module")
def settings(data_dir):
    return config(data_dir, steps=STEPS, checkpoint_every=2, sample_every=1000)


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that nothing interrupted."""
    return start(settings, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def half(settings, whole, tmp_path):
    """The same run, ended by an exception in step 8; its last checkpoint is of step 6."""
    with ended_by_an_exception("ddpm", step=7):
        start(settings, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert run.checkpoint_files()[0][0] == 6
    assert len(run.read_metrics()) == 7
    return run


def last(run):
    step, path = RunFolder(run.path).checkpoint_files()[0]
    assert step == STEPS
    return read_checkpoint(path)


def assert_same_end(run, expected):
    (arrays, header), (expected_arrays, expected_header) = last(run), last(expected)
    assert header == expected_header
    assert arrays.keys() == expected_arrays.keys()
    different = [name for name in arrays if arrays[name].tobytes() != expected_arrays[name].tobytes()]
    assert different == []
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.read_metrics()] for r in (run, expected)]
    assert timeless[0] == timeless[1]


def test_resume_equals_the_uninterrupted_run(half, whole, capsys):
    resume(half.path)
    assert "resumed at step 6 of 12" in capsys.readouterr().err
    assert_same_end(half, whole)


@pytest.mark.parametrize("owner", [Optimizer, EMA, Generator], ids=["optimiser", "average", "random numbers"])
def test_the_comparison_would_see_a_forgotten_part(half, whole, monkeypatch, owner):
    """Each part of the state in turn is not restored; then the ends must differ."""
    if owner is EMA:
        monkeypatch.setattr(EMA, "updates", property(lambda ema: 0, lambda ema, value: None), raising=False)
    else:
        monkeypatch.setattr(owner, "load_state_dict" if owner is Optimizer else "load_state", lambda self, state: None)
    resume(half.path)
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        assert_same_end(half, whole)


def test_resume_after_a_damaged_checkpoint_goes_back_one_and_ends_the_same(half, whole, capsys):
    newest = half.checkpoint_files()[0][1]
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    resume(half.path)
    said = capsys.readouterr().err
    assert f"{newest}: damaged" in said
    assert "resumed at step 4" in said
    assert_same_end(half, whole)
    assert newest.with_suffix(".damaged").exists()


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(half, whole):
    for _, path in half.checkpoint_files():
        path.unlink()
    resume(half.path)
    assert_same_end(half, whole)


def test_resume_without_any_usable_checkpoint_changes_nothing(half):
    for _, path in half.checkpoint_files():
        path.write_bytes(b"x")
    before = half.metrics_file.read_bytes()
    with pytest.raises(RunError, match="no usable checkpoint"):
        resume(half.path)
    assert half.metrics_file.read_bytes() == before


# ---------------------------------------------------------------- what may change


def test_only_steps_and_the_data_folder_may_change(half, settings):
    with pytest.raises(SettingError, match="lr of a run cannot change: it began with 0.002, got 0.5"):
        resume(half.path, {"lr": 0.5})
    with pytest.raises(SettingError, match="steps must be at least 6, where the run stands, got 5"):
        resume(half.path, {"steps": 5})
    resume(half.path, {"steps": 14, "lr": settings.lr})
    assert json.loads(half.config_file.read_text())["config"]["steps"] == 14
    assert [row["step"] for row in half.read_metrics()] == list(range(1, 15))


def test_other_data_under_the_same_name_is_refused(half, whole):
    saved = json.loads(half.config_file.read_text())
    half.config_file.write_text(json.dumps(saved | {"image_shape": [28, 28, 1]}))
    with pytest.raises(RunError, match=r"trained on images \(28, 28, 1\), but mnist now has \(8, 8, 1\)"):
        resume(half.path)


# ---------------------------------------------------------------- load


def test_load_gives_the_averaged_weights_or_the_last_ones(whole):
    arrays, _ = last(whole)
    for weights, prefix in (("ema", "ema/unet/"), ("model", "model/unet/")):
        state = load(whole.path, weights).network.state_dict()
        assert all(np.array_equal(state[name], arrays[prefix + name]) for name in state)
    assert not np.array_equal(arrays["ema/unet/input.weight"], arrays["model/unet/input.weight"])
    with pytest.raises(ValueError, match="weights must be 'ema' or 'model', got 'best'"):
        load(whole.path, "best")


def test_a_loaded_model_samples_the_same_images_for_the_same_seed(whole):
    model = load(whole.path)
    images = model.sample(5, steps=4, seed=1)
    assert images.shape == (5, 8, 8, 1)
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1
    np.testing.assert_array_equal(images, model.sample(5, steps=4, seed=1))  # no dropout
    np.testing.assert_array_equal(images, load(whole.path).sample(5, steps=4, seed=1))
    assert not np.array_equal(images, model.sample(5, steps=4, seed=2))
    assert model.sample(5, sampler="ddpm", batch_size=2).shape == (5, 8, 8, 1)


def test_load_reads_a_run_that_is_in_use(whole):
    with whole.locked():
        load(whole.path)


def test_load_of_a_run_without_a_checkpoint_says_so(half):
    for _, path in half.checkpoint_files():
        path.unlink()
    with pytest.raises(RunError, match="has no checkpoint yet"):
        load(half.path)


# ---------------------------------------------------------------- real processes, real signals

LONG = {**SETTINGS, "steps": 50, "checkpoint_every": 5, "sample_every": 1000}


@pytest.fixture
def running(data_dir, tmp_path):
    """`minigen train` as a process of its own that has just written a checkpoint -> (process, its run)."""
    run = RunFolder(tmp_path / "run")
    process = launch(data_dir, run)
    while not (run.checkpoints.exists() and run.checkpoint_files()):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    yield process, run
    process.kill()
    process.communicate()


def launch(data_dir, run, *more):
    return command("train", "ddpm", *flags({**LONG, "data_dir": data_dir}), "--out", run.path, *more)


def end_of(run):
    arrays, header = read_checkpoint(run.checkpoint_files()[0][1])
    return {name: array.tobytes() for name, array in arrays.items()}, header


def test_a_process_killed_with_9_resumes_bit_for_bit(running, data_dir, tmp_path):
    process, run = running
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    stopped_at = run.checkpoint_files()[0][0]
    assert 0 < stopped_at < 50

    process = launch(data_dir, run, "--resume")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert f"resumed at step {stopped_at} of 50" in said
    settings = {name: value for name, value in LONG.items() if name not in SETTINGS}
    assert end_of(run) == end_of(start(config(data_dir, **settings), tmp_path / "whole"))
    assert [row["step"] for row in run.read_metrics()] == list(range(1, 51))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_process_writes_a_checkpoint_and_says_so_in_its_exit_code(running, number):
    process, run = running
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    step = run.checkpoint_files()[0][0]
    assert f"stopped by {number.name} after step {step}" in said
    assert "Traceback" not in said
    assert run.read_metrics()[-1]["step"] == step
    with run.locked():
        pass
