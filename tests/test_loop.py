"""The training loop around a task of one layer: what it writes, how it stops, what it says of a NaN."""

import io
import os
import signal
import threading

import numpy as np
import pytest
from tiny import config, make_data

from minigen import nn
from minigen.data import Batches
from minigen.ops import mse, sqrt
from minigen.optim import EMA, SGD
from minigen.random import Generator
from minigen.train import Diverged, RunFolder, Stopped
from minigen.train.ddpm import DDPMTraining
from minigen.train.loop import fit
from minigen.train.progress import Bar, Lines, progress
from minigen.train.start import prepare
from minigen.train.task import Task, check_finite


class Net(nn.Module):
    def __init__(self, generator):
        self.first, self.second = nn.Linear(3, 4, generator), nn.Linear(4, 2, generator)

    def forward(self, x):
        return self.second(self.first(x))


class Regression(Task):
    """A small task; `before_step(index)` lets a test interfere."""

    def __init__(self, settings, before_step=lambda index: None):
        self.config, self.before_step, self.generator = settings, before_step, Generator(0)
        self.net = Net(self.generator)
        self.optimizer = SGD(self.net.parameters(), lr=0.01)
        self.networks, self.optimizers = {"net": self.net}, {"net": self.optimizer}
        self.averages = {"net": EMA(self.optimizer.flat, 0.5)}

    def step(self, batches, index):
        self.before_step(index)
        x, y = batches.batch_at(index)
        loss = mse(self.net(x + 0.1 * self.generator.normal(x.shape)), y)
        check_finite(loss=loss.item())
        self.optimizer.zero_grad()
        loss.backward()
        norm = self.optimizer.step(max_norm=1.0)
        self.averages["net"].update()
        return {"loss": loss.item(), "grad_norm": norm}

    def sample(self, n, generator):
        return generator.uniform((n, 4, 4, 1))


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run").create()


@pytest.fixture
def batches():
    rng = np.random.default_rng(1)
    return Batches(rng.normal(size=(16, 3)).astype(np.float32), rng.normal(size=(16, 2)).astype(np.float32), 4, seed=5)


def task(before_step=lambda index: None, **changes):
    return Regression(config("d", **{"steps": 7, "checkpoint_every": 3, "sample_every": 2, **changes}), before_step)


# ---------------------------------------------------------------- an ordinary run


def test_metrics_pictures_and_checkpoints_come_at_their_steps(run, batches):
    pictures = []
    fit(task(), batches, run, save_images=lambda path, images: pictures.append((path.name, images.shape)))
    assert [row["step"] for row in run.read_metrics()] == [1, 2, 3, 4, 5, 6, 7]
    assert {"step", "loss", "grad_norm", "seconds"} <= run.read_metrics()[0].keys()
    assert [step for step, _ in run.checkpoint_files()] == [7, 6, 3]
    assert pictures == [(f"step-{step:08d}.png", (64, 4, 4, 1)) for step in (2, 4, 6, 7)]


def test_a_checkpoint_continues_bit_for_bit_in_a_new_task(run, batches):
    whole = task()
    fit(whole, batches, run)
    half = task()
    for index in range(3):
        half.step(batches, index)
    resumed = task()
    resumed.load_state(*half.state())
    for index in range(3, 7):
        resumed.step(batches, index)
    (expected, header), (found, found_header) = whole.state(), resumed.state()
    assert header == found_header
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_the_state_names_every_weight_average_and_optimiser_vector():
    arrays, header = task().state()
    weights = ["first.weight", "first.bias", "second.weight", "second.bias"]
    own = [f"optimizer/net/{name}" for name in ("steps", "momentum")]
    assert sorted(arrays) == sorted([*(f"model/net/{w}" for w in weights), *(f"ema/net/{w}" for w in weights), *own])
    assert header["generator"].keys() == {"seed", "counter"}
    assert header["ema_updates"] == {"net": 0}


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(run, batches, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped, match=f"{number.name} after step 5") as stopped:
        fit(task(lambda index: index == 4 and os.kill(os.getpid(), number)), batches, run)
    assert stopped.value.signal == number
    assert run.checkpoint_files()[0][0] == 5
    assert run.read_metrics()[-1]["step"] == 5
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_after_the_first_signal_the_second_one_has_its_deadly_default(run, batches):
    seen = []

    def interfere(index):
        if index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            seen.extend(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM))

    with pytest.raises(Stopped):
        fit(task(interfere), batches, run)
    assert seen == [signal.SIG_DFL, signal.SIG_DFL]


def test_training_outside_the_main_thread_works(run, batches):
    thread = threading.Thread(target=fit, args=(task(), batches, run))
    thread.start()
    thread.join()
    assert run.checkpoint_files()[0][0] == 7


# ---------------------------------------------------------------- NaN and infinity


def spoil(model, parameter):
    """Put a NaN into a weight at step index 4, as a diverging run would have it."""

    def interfere(index):
        if index == 4:
            getattr(model[0].net, parameter).weight.data[0, 0] = np.nan

    return interfere


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_nan_stops_with_the_step_the_batch_and_the_first_layer(run, batches, layer):
    model = []
    model.append(task(spoil(model, layer)))
    with pytest.raises(Diverged) as error:
        fit(model[0], batches, run)
    assert f"first in the output of net.{layer} (Linear)" in str(error.value)
    assert "step 5 (batch_at(4) of Batches(seed=5), noise from Generator(0, " in str(error.value)
    assert [step for step, _ in run.checkpoint_files()] == [3]
    assert [row["step"] for row in run.read_metrics()] == [1, 2, 3, 4]


def test_the_numbers_in_the_message_bring_the_batch_and_its_noise_back(run, batches):
    model, states = [], []
    model.append(task(lambda index: states.append(model[0].generator.state()) or spoil(model, "first")(index)))
    with pytest.raises(Diverged) as error:
        fit(model[0], batches, run)
    assert f"Generator({states[4]['seed']}, {states[4]['counter']})" in str(error.value)
    assert states[5] == states[4], "the step was examined with other random numbers than it failed with"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_data_is_seen_in_the_first_layer(run, batches):
    batches.images[:] = np.inf
    with pytest.raises(Diverged, match=r"first in the output of net.first \(Linear\)"):
        fit(task(), batches, run)


def test_a_nan_that_only_the_loss_holds_is_said_to_be_there(run, batches):
    batches.labels[:] = np.nan
    with pytest.raises(Diverged, match="loss is nan; every layer's output is finite"):
        fit(task(), batches, run)


class InfiniteSlope(Regression):
    """sqrt is 0 at 0, and its slope is not finite there."""

    def step(self, batches, index):
        loss = sqrt((self.net.first.bias * 0.0).sum())
        self.optimizer.zero_grad()
        loss.backward()
        return {"loss": loss.item(), "grad_norm": self.optimizer.step(max_norm=1.0)}


@pytest.mark.filterwarnings("ignore:divide by zero|invalid value")
def test_a_gradient_that_is_not_finite_behind_a_finite_loss_is_seen(run, batches):
    with pytest.raises(Diverged, match="step 1 .*grad_norm is nan; the gradient of net.first.bias is not finite"):
        fit(InfiniteSlope(task().config), batches, run)
    assert run.checkpoint_files() == []
    assert run.read_metrics() == []


# ---------------------------------------------------------------- a full disk


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_in_place(run, batches, monkeypatch):
    def interfere(index):
        if index == 5:
            monkeypatch.setattr(os, "fsync", full)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fit(task(interfere), batches, run)
    monkeypatch.undo()
    assert [step for step, _ in run.checkpoint_files()] == [3]
    resumed = task()
    resumed.load_state(*run.newest_checkpoint(print)[:2])


# ---------------------------------------------------------------- what a person sees


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left():
    stream = Terminal()
    with progress(10, 4, 8, stream) as shown:
        assert isinstance(shown, Bar)
        shown.bar.mininterval = 0
        shown.update({"loss": 0.25})
        shown.update({"loss": 0.125})
    assert "6/10" in stream.getvalue()
    assert "loss=0.1250" in stream.getvalue()
    assert "images/s" in stream.getvalue()


@pytest.mark.parametrize("first", [2.0, 20.0])
def test_elsewhere_plain_lines_come_every_few_seconds_with_the_speed_after_the_first_step(monkeypatch, first):
    now = [0.0]
    monkeypatch.setattr("minigen.train.progress.monotonic", lambda: now[0])
    stream = io.StringIO()
    with progress(100, 90, 8, stream) as shown:
        assert isinstance(shown, Lines)
        for seconds in [first, *[2.0] * 9]:
            now[0] += seconds
            shown.update({"loss": 0.5})
    assert stream.getvalue().splitlines() == [
        *(["step 91/100  loss 0.5000  after 20 s"] if first == 20.0 else []),
        "step 94/100  loss 0.5000  4 images/s  0:12 left",
        "step 97/100  loss 0.5000  4 images/s  0:06 left",
        "step 100/100  loss 0.5000  4 images/s  0:00 left",
    ]


def test_a_bar_reckons_its_speed_without_the_first_step(monkeypatch):
    stream = Terminal()
    with progress(100, 0, 8, stream) as shown:
        now = [shown.bar.start_t]
        shown.bar._time, shown.bar.mininterval = lambda: now[0], 0
        for seconds in [20.0, *[2.0] * 9]:
            now[0] += seconds
            shown.update({"loss": 0.5})
    assert "4 images/s" in stream.getvalue().splitlines()[-1].split("\r")[-1]
    assert "10/100 [00:18<" in stream.getvalue()


# ---------------------------------------------------------------- the diffusion task


def test_a_ddpm_step_is_algorithm_1_written_out(tmp_path):
    """Same weights, same random numbers, the loss by hand: mean (v_theta(x_t, t) - v)^2 at the levels 1 ... T."""
    settings = config(make_data(tmp_path / "d"), dropout=0.0, steps=10)
    batches, ours = prepare(settings)
    twin = DDPMTraining(settings, (8, 8, 1))
    shake = Generator(1)  # at its initialisation the network answers 0 to everything
    for mine, other in zip(ours.network.parameters(), twin.network.parameters()):
        mine.assign(mine.data + 0.2 * shake.normal(mine.shape))
        other.assign(mine.data)
    rng = Generator(settings.seed, twin.generator.counter)
    images, _ = batches.batch_at(3)
    x0 = images.astype(np.float32) / 127.5 - 1
    u = rng.uniform(1, np.float64)  # 8 of 8 levels: the batch visits each once, beginning anywhere
    t = (np.floor(8 * u[0]).astype(int) + np.arange(8)) % 8 + 1
    eps = rng.normal((8, 8, 8, 1))
    alpha_bar = twin.model.process.schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
    a, b = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    prediction = np.asarray(twin.network((a * x0 + b * eps).astype(np.float32), t))
    expected = np.mean((prediction - (a * eps - b * x0)) ** 2)
    before = ours.network.state_dict()
    metrics = ours.step(batches, 3)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert any(not np.array_equal(before[name], array) for name, array in ours.network.state_dict().items())


def test_the_average_takes_in_every_step_with_its_warm_up(tmp_path):
    batches, model = prepare(config(make_data(tmp_path / "d"), steps=20))
    expected = model.optimizer.flat.data.astype(np.float64)
    for index in range(3):
        model.step(batches, index)
        decay = (1 + index) / (10 + index)  # below ema_decay = 0.9 for these
        expected = decay * expected + (1 - decay) * model.optimizer.flat.data
    np.testing.assert_allclose(model.average.average, expected, rtol=1e-5, atol=1e-7)


def test_the_learning_rate_warms_up_and_falls_towards_the_last_step(tmp_path):
    batches, model = prepare(config(make_data(tmp_path / "d"), steps=40, warmup=4, lr=0.5))
    rates = [model.step(batches, index)["lr"] for index in (0, 3, 4, 22, 39)]
    assert rates == pytest.approx([0.125, 0.5, 0.5, 0.25, 0.00095], rel=0.01)


def test_samples_come_from_the_averaged_weights_and_leave_the_others_alone(tmp_path):
    batches, model = prepare(config(make_data(tmp_path / "d"), steps=20))
    for index in range(4):
        model.step(batches, index)
    before, position = model.network.state_dict(), model.generator.state()
    drawn = model.sample(3, Generator(9))
    assert model.generator.state() == position
    assert model.network.training
    assert all(np.array_equal(before[name], array) for name, array in model.network.state_dict().items())
    with model.average.weights():
        np.testing.assert_array_equal(drawn, model.model.sample(3, steps=8, eta=1.0, seed=9))
    assert not np.array_equal(drawn, model.model.sample(3, steps=8, eta=1.0, seed=9))
