"""The one training loop of all GANs: a step written out, torch's DCGAN step, tricks, the watch, resume, sampling."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tiny import ended_by_an_exception

from minigen import nn, ops
from minigen.data import MODES, RING8, to_model_range
from minigen.metrics import count_modes
from minigen.models.gan.losses import LOSSES
from minigen.models.gan.verdict import Verdict
from minigen.random import Generator
from minigen.tensor import Tensor
from minigen.train import Diverged, GANConfig, GANTraining, RunFolder, SettingError, load, resume, start
from minigen.train.checkpoint import read_checkpoint
from minigen.train.gan_watch import PATIENCE, Watch, spread
from minigen.train.start import prepare

SMALL = {"data": "ring8", "arch": "mlp", "width": 16, "depth": 2, "latent": 3, "batch_size": 16, "steps": 8}


def config(**changes):
    return GANConfig(**{**SMALL, **changes})


class Known:
    """Batches that note what they are asked for."""

    def __init__(self, x, labels=None):
        self.images, self.labels, self.asked = x, np.zeros(len(x), np.int64) if labels is None else labels, []

    def batch_at(self, index):
        self.asked.append(index)
        return self.images, self.labels


def ring(n=16, seed=0):
    return Known(*RING8.sample(n, Generator(seed)))


def weights(network):
    return {name: p.data.copy() for name, p in network.named_parameters()}


def differ(a, b):
    return [name for name in a if not np.array_equal(a[name], b[name])]


# ---------------------------------------------------------------- a step


def test_modes_are_counted_where_they_are_known_and_counting_changes_nothing(monkeypatch):
    steps = {}
    for every in (2, 3):
        monkeypatch.setattr(GANTraining, "MODES_EVERY", every)
        task, batches = GANTraining(config(), (2,)), ring()
        steps[every] = [task.step(batches, index) for index in (0, 1)]
    points = task.sample(1000, Generator(task.config.seed).child("modes"))
    found = count_modes(points, RING8)
    assert (steps[2][1].pop("modes"), steps[2][1].pop("near")) == (found.covered, found.near)
    assert steps[2] == steps[3]


def test_k_steps_of_the_discriminator_take_k_batches_and_one_of_the_generator_none():
    task, batches = GANTraining(config(critic_steps=3), (2,)), ring()
    for index in (0, 1, 5):
        task.step(batches, index)
    assert batches.asked == [0, 1, 2, 3, 4, 5, 15, 16, 17]
    assert task.optimizers["discriminator"].steps == 9
    assert task.optimizers["generator"].steps == task.averages["generator"].updates == 3


def test_each_player_changes_its_own_weights_only():
    task = GANTraining(config(), (2,))
    real, labels = task.real_batch(ring(), 0)
    task.noise = 0
    before = weights(task.G), weights(task.D)
    task.discriminator_step(real, labels)
    assert differ(before[0], weights(task.G)) == []
    assert differ(before[1], weights(task.D)) == list(before[1])
    middle = weights(task.D)
    task.generator_step(16, labels)
    assert differ(before[0], weights(task.G)) == list(before[0])
    assert differ(middle, weights(task.D)) == []
    assert all(p.requires_grad for p in task.D.parameters())


def test_the_generators_step_draws_fresh_noise():
    task, seen = GANTraining(config(), (2,)), []
    draw = task.draw
    task.draw = lambda n, labels: seen.append(draw(n, labels)) or seen[-1]
    task.step(ring(), 0)
    assert len(seen) == 2
    assert not np.array_equal(seen[0][0].data, seen[1][0].data)


def test_a_dcgan_step_equals_torchs(torch):
    """Both networks after one step in float64, batch-norm statistics included; every number of the state compared."""
    settings = {"latent": 5, "channels": 4, "batch_size": 6, "steps": 8, "lr": 1e-3, "d_lr": 3e-3}
    task = GANTraining(GANConfig(**settings), (28, 28, 1))
    task.G.astype(np.float64), task.D.astype(np.float64)
    task.make_optimizers()
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1)).astype(np.uint8)
    noise = Generator(**task.generator.state())
    z = [torch.tensor(noise.normal((6, 5), np.float64)) for _ in range(2)]
    make, judge = torch_dcgan(torch, 5, 4)
    pairs = [*torch_pairs(task.G, make, torch), *torch_pairs(task.D, judge, torch)]
    for ours, theirs, layout in pairs:
        theirs.data.copy_(torch.tensor(layout(ours())))
    real = to_model_range(images).astype(np.float64)
    losses = torch_step(torch, make, judge, torch.tensor(real).permute(0, 3, 1, 2), z)
    metrics = task.step(Known(images), 0)
    np.testing.assert_allclose([metrics["loss"], metrics["g_loss"]], losses, rtol=1e-9)
    for ours, theirs, layout in pairs:
        np.testing.assert_allclose(layout(ours()), theirs.detach().numpy(), rtol=1e-6, atol=1e-8)
    assert len(pairs) == 17 + 14


def torch_dcgan(torch, latent, c):
    """Projection apart, since its pixels have to be put into torch's order."""
    t = torch.nn
    up = [t.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in ((4 * c, 2 * c), (2 * c, c))]
    down = [t.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in ((c, 2 * c), (2 * c, 4 * c))]
    make = t.ModuleDict({
        "project": t.Linear(latent, 16 * 4 * c, bias=False), "norm": t.BatchNorm2d(4 * c),
        "up0": up[0], "norm0": t.BatchNorm2d(2 * c), "up1": up[1], "norm1": t.BatchNorm2d(c),
        "output": t.ConvTranspose2d(c, 1, 4, 2, 1),
    }).double()  # fmt: skip
    judge = t.ModuleDict({
        "first": t.Conv2d(1, c, 4, 2, 1), "down0": down[0], "norm0": t.BatchNorm2d(2 * c),
        "down1": down[1], "norm1": t.BatchNorm2d(4 * c), "score": t.Linear(16 * 4 * c, 1),
    }).double()  # fmt: skip
    return make, judge


def torch_pairs(ours, theirs, torch):
    """(our array as a function, torch's tensor, what turns ours into torch's layout)"""
    names = {
        "project": "project", "norm.layers.0": "norm", "up.layers.0": "up0", "up.layers.1": "norm0",
        "up.layers.3": "up1", "up.layers.4": "norm1", "output": "output",
        "trunk.layers.layers.0": "first", "trunk.layers.layers.2": "down0", "trunk.layers.layers.3": "norm0",
        "trunk.layers.layers.5": "down1", "trunk.layers.layers.6": "norm1", "score": "score",
    }  # fmt: skip
    parts = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}

    def layout(array):
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array

    for name, part in (*ours.named_parameters(), *ours.named_buffers()):
        layer, _, kind = name.rpartition(".")
        yield (lambda part=part: part.data), getattr(theirs[names[layer]], parts.get(kind, kind)), layout


def torch_step(torch, make, judge, real, z):
    """One step of both, written once more in torch: -> the losses."""
    F = torch.nn.functional
    d_step = torch.optim.Adam(judge.parameters(), lr=3e-3, betas=(0.5, 0.999))
    g_step = torch.optim.Adam(make.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def draw(z):
        h = make["project"](z).reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        h = F.relu(make["norm"](h))
        h = F.relu(make["norm0"](make["up0"](h)))
        h = F.relu(make["norm1"](make["up1"](h)))
        return torch.tanh(make["output"](h))[:, :, 2:-2, 2:-2]

    def score(x):
        h = F.leaky_relu(judge["first"](F.pad(x, (2, 2, 2, 2), value=-1.0)), 0.2)
        h = F.leaky_relu(judge["norm0"](judge["down0"](h)), 0.2)
        h = F.leaky_relu(judge["norm1"](judge["down1"](h)), 0.2)
        return judge["score"](h.permute(0, 2, 3, 1).flatten(1))[:, 0]

    with torch.no_grad():
        fake = draw(z[0])
    d_loss = F.softplus(-score(real)).mean() + F.softplus(score(fake)).mean()
    d_loss.backward()
    d_step.step()
    g_loss = F.softplus(-score(draw(z[1]))).mean()
    g_step.zero_grad()
    g_loss.backward()
    g_step.step()
    return d_loss.item(), g_loss.item()


# ---------------------------------------------------------------- the tricks


def judged(task, real, fake):
    """Running mean of the discriminator's first batch norm after `judge_both`, and the scores."""
    norm = next(m for _, m in task.D.named_modules() if isinstance(m, nn.BatchNorm))
    labels = np.zeros(len(real), np.int64)
    on_real, on_fake = task.judge_both(real, labels, fake, labels)
    return norm, on_real.score.data, on_fake.score.data


@pytest.mark.parametrize("separate", [True, False])
def test_real_and_generated_samples_share_batch_statistics_only_where_asked(separate):
    """Moving the generated batch far away moves the scores of real samples if and only if the two are mixed."""
    scores = []
    for shift in (0, 50):
        task = GANTraining(config(d_norm="batch", separate_batches=separate), (2,))
        real, fake = (RING8.sample(16, Generator(seed))[0] for seed in (0, 1))
        scores.append(judged(task, real, fake + np.float32(shift))[1])
    assert np.array_equal(*scores) == separate


def test_separate_batches_are_two_updates_of_the_running_statistics_and_a_mixed_one_is_one():
    real, fake = (RING8.sample(16, Generator(seed))[0] for seed in (0, 1))
    for separate in (True, False):
        task = GANTraining(config(d_norm="batch", separate_batches=separate), (2,))
        linear = next(m for _, m in task.D.named_modules() if isinstance(m, nn.Linear))
        norm, *_ = judged(task, real, fake)
        means = [x @ linear.weight.data for x in (real.mean(0), fake.mean(0))]
        expected = 0.09 * means[0] + 0.1 * means[1] if separate else 0.1 * (means[0] + means[1]) / 2
        np.testing.assert_allclose(norm.running_mean.data, expected, atol=1e-6)


def test_smoothing_and_flips_change_the_targets_of_the_discriminator_only():
    task = GANTraining(config(label_smoothing=0.1, label_flips=0.25), (2,))
    real, fake = (RING8.sample(4000, Generator(seed))[0] for seed in (0, 1))
    labels = np.zeros(4000, np.int64)
    on_real, on_fake = task.judge_both(real, labels, fake, labels)
    assert set(np.unique(on_real.target)) == set(np.unique(on_fake.target)) == {0.0, 0.9}
    assert (on_real.target == 0).mean() == pytest.approx(0.25, abs=0.035)  # 5 standard errors
    assert (on_fake.target == 0.9).mean() == pytest.approx(0.25, abs=0.035)
    assert GANTraining(config(), (2,)).judge_both(real, labels, fake, labels)[0].target is None


def test_instance_noise_falls_to_nothing_and_draws_nothing_where_there_is_none():
    task = GANTraining(config(instance_noise=0.4), (2,))
    for index, expected in ((0, 0.4), (4, 0.2), (7, 0.05)):
        task.step(ring(), index)
        assert task.noise == pytest.approx(expected)
    like = np.zeros((20_000, 2), np.float32)
    task.noise = 0.3
    assert task.noise_like(like).std() == pytest.approx(0.3, rel=0.02)
    before = task.generator.state()
    task.noise = 0
    assert task.noise_like(like) == 0
    assert task.generator.state() == before


def test_wgan_weights_stay_within_the_clip_through_a_whole_step():
    task = GANTraining(config(loss="wgan", clip=0.02, critic_steps=2), (2,))
    task.step(ring(), 0)
    assert abs(task.optimizers["discriminator"].flat.data).max() <= np.float32(0.02)


def test_infogan_draws_codes_of_its_own_and_looks_at_no_label():
    task = GANTraining(config(loss="infogan", codes=4), (2,))
    codes = task.draw(4000, None)[1]
    assert np.bincount(codes).tolist() == pytest.approx([1000] * 4, abs=140)
    metrics = task.step(ring(), 0)
    assert metrics["information"] <= math.log(4)


def test_began_logs_its_measure_and_moves_k():
    task = GANTraining(config(loss="began", bottleneck=1), (2,))
    metrics = [task.step(ring(), i) for i in range(3)]
    assert {"k", "convergence"} <= metrics[0].keys()
    assert 0 <= metrics[-1]["k"] <= 1
    assert metrics[-1]["k"] == task.loss.k.data[0]


# ---------------------------------------------------------------- the toy, and what goes wrong


def test_theta_reaches_the_data_mean():
    """Deck 000's x* = z + theta; the data are N(3, 1). 32,000 of them bound the mean to about 0.02."""
    task = GANTraining(
        config(data="gaussian1d", arch="shift", lr=0.1, d_lr=0.1, beta1=0.0, steps=250, batch_size=128), (1,)
    )
    batches, _ = prepare(task.config)
    for index in range(250):
        task.step(batches, index)
    assert task.averages["generator"].average[0] == pytest.approx(3, abs=0.1)


def test_with_the_generator_fixed_its_minimax_gradient_vanishes_and_the_other_does_not():
    """Deck 000: fix the generator, go on training the discriminator. Norms of dL_G/dtheta before and after."""
    task = GANTraining(config(width=32, d_lr=3e-3, steps=400), (2,))
    task.noise, batches, norms = 0, ring(64), []
    real, labels = task.real_batch(batches, 0)
    z = Tensor(task.generator.normal((64, 3)))
    for count in (33, 400):
        for _ in range(count):
            task.discriminator_step(real, labels)
        for name in ("minimax", "non-saturating"):
            task.G.zero_grad()
            LOSSES[name]().generator(task.judge(task.G(z), labels)).backward()
            norms.append(math.sqrt(sum((p.grad.data**2).sum() for p in task.G.parameters())))
    (minimax, other), (minimax_late, other_late) = norms[:2], norms[2:]
    assert minimax_late < 0.1 * minimax
    assert other_late > other
    assert other_late > 100 * minimax_late


@pytest.mark.parametrize("collapse", [True, False], ids=["rates far apart", "rates of one size"])
def test_a_generator_much_faster_than_its_discriminator_collapses(collapse):
    """All samples at one place, on purpose: G runs to wherever D, nearly fixed, is most mistaken. With one rate for
    both the samples keep their spread."""
    apart = {"lr": 1e-2, "d_lr": 1e-4, "beta1": 0.9}
    rates = apart if collapse else {"lr": 3e-3, "d_lr": 3e-3}
    size = {"width": 64, "depth": 2, "latent": 8, "batch_size": 128}
    batches, task = prepare(config(**rates, **size, ema_decay=0.9, steps=600))
    for index in range(500):
        task.step(batches, index)
    ratio = spread(task.sample(1000, Generator(1))) / spread(batches.images)
    assert ratio < 0.05 if collapse else ratio > 0.5


def test_a_conditional_gan_learns_the_moments_of_every_class():
    """The ring's eight Gaussians as eight classes: every class's mean within 0.1 (neighbours are 1.53 apart), its
    deviation (0.02 in the data) below 0.15."""
    rates = {"lr": 3e-3, "d_lr": 3e-3, "ema_decay": 0.95, "steps": 600}
    batches, task = prepare(config(loss="cgan", width=32, latent=2, batch_size=128, **rates))
    for index in range(400):
        task.step(batches, index)
    points = task.sample(1600, Generator(1)).reshape(200, 8, 2)  # class k at every eighth place
    assert np.linalg.norm(points.mean(0) - RING8.centres, axis=1).max() < 0.1
    assert points.std(0).max() < 0.15


DOCUMENTED = {  # the cures of docs/gan.md: settings, the share within 3 sigma that they reach at least
    "ring8": ({"lr": 3e-3, "d_lr": 3e-3, "ema_decay": 0.9, "steps": 600}, 0.2),
    "grid25": ({"lr": 3e-3, "d_lr": 3e-3, "ema_decay": 0.99, "steps": 3000}, 0.98),
}


@pytest.mark.parametrize("data", ["ring8", pytest.param("grid25", marks=pytest.mark.slow)])
def test_the_cures_of_the_page_cover_every_mode(data):
    """As the page says of n = 1000 samples: 8 of 8 modes and 31.9% within 3 sigma, 25 of 25 and 99.5%."""
    rates, least = DOCUMENTED[data]
    size = {"width": 64, "depth": 2, "latent": 8, "batch_size": 128}
    batches, task = prepare(GANConfig(data=data, arch="mlp", loss="cgan", **size, **rates))
    for index in range(task.config.steps):
        metrics = task.step(batches, index)
    assert metrics["modes"] == len(MODES[data].centres)
    assert metrics["near"] > least


def look(watch, name, d_real, d_fake, scale, times, value=0.01, n=50):
    real, fake = RING8.sample(n, Generator(0))[0], scale * RING8.sample(n, Generator(1))[0]
    shown = {"d_real": d_real, "d_fake": d_fake}
    return [watch.look(LOSSES[name](), value, real, fake, shown) for _ in range(times)]


def test_a_game_that_is_won_is_named_once_with_its_likely_cause():
    watch = Watch()
    said = look(watch, "minimax", 0.999, 0.001, 1, PATIENCE + 50)
    assert [i for i, text in enumerate(said) if text] == [PATIENCE - 1]
    assert "made no mistake for 200 steps (D(real) 0.999, D(generated) 0.001)" in said[PATIENCE - 1]
    assert "Likely cause: it learns faster than the generator" in said[PATIENCE - 1]
    look(watch, "minimax", 0.7, 0.3, 1, 1)  # one mistake, and the count begins anew
    assert not any(look(watch, "minimax", 0.999, 0.001, 1, PATIENCE - 1))
    assert look(watch, "minimax", 0.999, 0.001, 1, 1)[0]  # and it is named again
    assert not any(look(Watch(), "wgan", 100.0, -100.0, 1, PATIENCE + 1, value=-200.0))  # a critic has no 0


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "lsgan", "r1"])
def test_only_under_minimax_a_won_game_takes_the_generators_gradient(name):
    said = look(Watch(), name, 0.999, 0.001, 1, PATIENCE)[-1]
    assert ("loss vanishes, and the generator's gradient with it" in said) == (name == "minimax")
    assert ("loss vanishes. Likely" in said) == (name != "minimax")


def test_a_margin_that_every_sample_keeps_is_a_won_game():
    """Hinge at D = 3 and -3: the loss is exactly 0. Where one sample is within the margin, it is not."""
    sure = LOSSES["hinge"]().discriminator(Verdict(Tensor(np.full(5, 3.0))), Verdict(Tensor(np.full(5, -3.0))))
    assert "made no mistake" in look(Watch(), "hinge", 3.0, -3.0, 1, PATIENCE, value=sure.item())[-1]
    assert not any(look(Watch(), "hinge", 3.0, -3.0, 1, PATIENCE, value=0.02))


def test_a_collapse_is_named_with_its_likely_cause():
    said = look(Watch(), "wgan", 0.0, 0.0, 0.01, PATIENCE)
    assert "generated samples have been nearly alike for 200 steps" in said[-1]
    assert "mode collapse. Likely cause:" in said[-1]
    assert not any(look(Watch(), "wgan", 0.0, 0.0, 0.5, PATIENCE))
    assert not any(look(Watch(), "wgan", 0.0, 0.0, 0.01, PATIENCE, n=1))  # one sample has no spread


def test_the_watch_sees_the_loss_without_penalty_and_the_samples_without_noise():
    """Instance noise would hide that samples are all one, a penalty that the game is won."""
    task, batches = GANTraining(config(loss="hinge", penalty="r1", instance_noise=0.3), (2,)), ring()
    for p in task.G.parameters():
        p.data[...] = 0
    judge, says, task.noise = task.D, iter([9.0, -9.0, 0.0]), 0.3
    task.judge = lambda x, labels: Verdict(x[:, 0] + 0.0 * judge(x).score + next(says))
    (value, real, fake, shown), metrics = task.discriminator_step(*task.real_batch(batches, 0))
    assert value == 0
    assert metrics["loss"] == pytest.approx(5)  # half the weight 10 times the slope 1
    assert shown["d_real"] > 5 > -5 > shown["d_fake"]
    np.testing.assert_array_equal(real, batches.images)
    assert spread(fake) == 0


def test_a_lost_game_stops_the_run_only_where_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("minigen.train.gan_watch.PATIENCE", 3)
    monkeypatch.setattr("minigen.train.gan_watch.NARROW", 1e9)
    run = start(config(), tmp_path / "goes-on")
    assert [row["step"] for row in run.read_metrics() if "remark" in row] == [3]
    assert "step 3: generated samples have been nearly alike" in capsys.readouterr().err
    with pytest.raises(Diverged, match="step 3: generated samples have been nearly alike"):
        start(config(stop_when_lost=True), tmp_path / "stops")
    rows = RunFolder(tmp_path / "stops").read_metrics()
    assert [(row["step"], "remark" in row) for row in rows] == [(1, False), (2, False), (3, True)]


def test_a_nan_is_named_with_its_layer_and_likely_cause(tmp_path):
    batches, task = prepare(config())
    next(p for name, p in task.D.named_parameters() if name == "score.weight").data[...] = np.nan
    from minigen.train.loop import finite_step

    with pytest.raises(
        Diverged,
        match=r"the loss of the discriminator is nan \(likely cause: a learning rate too high.*; "
        r"first in the output of discriminator\.score \(Linear\)",
    ):
        finite_step(task, batches, 0)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_resumes_and_samples(loss, tmp_path):
    """Two steps, then four of the same run; each leaves finite numbers and samples of the right shape."""
    run = start(config(loss=loss, bottleneck=1, steps=2), tmp_path / "run")
    resume(run.path, {"steps": 4})
    rows = run.read_metrics()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "g_loss", "d_real", "d_fake", "grad_norm", "d_grad_norm"} <= rows[-1].keys()
    points = load(run.path).sample(5, seed=1)
    assert points.shape == (5, 2)
    assert np.isfinite(points).all()


STATEFUL = {
    "targets, noise, spectral norm": {
        "label_flips": 0.2, "label_smoothing": 0.1, "instance_noise": 0.1, "d_norm": "spectral", "g_norm": "batch",
        "minibatch_std": True, "critic_steps": 2,
    },
    "k of began, batch norm": {"loss": "began", "bottleneck": 1, "g_norm": "batch", "d_norm": "batch"},
    "codes, penalty": {"loss": "infogan", "codes": 3, "penalty": "dragan"},
}  # fmt: skip


@pytest.mark.parametrize("name", STATEFUL)
def test_a_gan_resumes_bit_for_bit(name, tmp_path):
    settings = config(**STATEFUL[name], checkpoint_every=2)
    whole = start(settings, tmp_path / "whole")
    with ended_by_an_exception("gan", step=5):
        start(settings, tmp_path / "half")
    half = resume(tmp_path / "half")
    ends = [read_checkpoint(run.checkpoint_files()[0][1]) for run in (whole, half)]
    assert ends[0][1] == ends[1][1]
    assert [k for k in ends[0][0] if ends[0][0][k].tobytes() != ends[1][0][k].tobytes()] == []
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.read_metrics()] for run in (whole, half)]
    assert rows[0] == rows[1]


def test_a_checkpoint_holds_both_optimisers_every_buffer_and_the_counts():
    task = GANTraining(config(loss="began", bottleneck=1, d_norm="batch"), (2,))
    arrays, header = task.state()
    parts = {name.rsplit("/", 1)[0] for name in arrays}
    assert parts >= {"model/generator", "model/discriminator", "model/loss", "model/watch", "ema/generator"}
    assert parts >= {"optimizer/generator", "optimizer/discriminator"}
    assert {"model/loss/k", "model/watch/won", "model/watch/collapsed"} <= arrays.keys()
    assert header["ema_updates"] == {"generator": 0}


# ---------------------------------------------------------------- sampling


@pytest.fixture
def model():
    return GANTraining(config(loss="cgan", g_norm="batch"), (2,)).model


def test_samples_repeat_with_the_seed_and_do_not_depend_on_the_batch_size(model):
    points = model.sample(10, seed=3)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, model.sample(10, seed=3))
    np.testing.assert_allclose(points, model.sample(10, seed=3, batch_size=4), atol=1e-6)
    assert not np.array_equal(points, model.sample(10, seed=4))
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        model.sample(0)


def test_sampling_leaves_the_running_statistics_and_the_mode_as_they_were(model):
    before, state = model.G.training, copy.deepcopy(model.G.state_dict())
    model.sample(3)
    after = model.G.state_dict()
    assert model.G.training == before
    assert differ(state, after) == []


def test_batch_norm_holds_the_statistics_of_the_weights_that_are_sampled(model):
    """After a change of the weights, samples in evaluation mode are those of large batches in training mode."""
    model.G.hidden.layers[0].weight.data[...] *= 3
    z, labels = Generator(9).normal((2000, 3)), np.arange(2000) % 8
    found = model.generate(z, labels)
    model.G.train()
    expected = model.G(Tensor(z), labels).data
    assert abs(found - expected).mean() < 0.1 * expected.std()


def test_classes_are_made_in_turn_and_truncation_narrows_the_latents(model, monkeypatch):
    seen = []
    monkeypatch.setattr(model, "generate", lambda z, labels, batch_size: seen.append((z, labels)))
    model.sample(10)
    model.sample(4, classes=(5, 2), truncation=0.5)
    assert seen[0][1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    assert seen[1][1].tolist() == [5, 2, 5, 2]
    assert abs(seen[1][0]).max() <= 0.5 < abs(seen[0][0]).max()


def test_classes_that_the_model_does_not_have_are_refused(model):
    with pytest.raises(SettingError, match=r"classes must be below 8, those of this model, got \(8,\)"):
        model.sample(3, classes=(8,))
    plain = GANTraining(config(), (2,)).model
    with pytest.raises(SettingError, match=r"classes must be left out, since this model has none, got \(1,\)"):
        plain.sample(3, classes=(1,))


def test_pictures_come_from_the_averaged_weights():
    task = GANTraining(config(), (2,))
    task.averages["generator"].average[...] = 0
    assert not task.sample(5, Generator(0)).any()
    assert task.model.sample(5).any()
    assert task.pictured == 2000


# ---------------------------------------------------------------- settings that do not go together


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"arch": "dcgan"}, "arch dcgan makes images, but ring8 has points: use arch mlp"),
        ({"arch": "shift", "data": "mnist-mini"}, "arch shift makes points, but mnist-mini has images"),
        ({"arch": "shift", "loss": "acgan"}, "arch shift has neither classes nor an autoencoder, but acgan needs them"),
        ({"loss": "wgan", "label_smoothing": 0.1}, "label_smoothing must be 0 for wgan, which has no targets"),
        ({"loss": "hinge", "label_flips": 0.1}, "label_flips must be 0 for hinge"),
        ({"loss": "wgan-gp", "d_norm": "batch"}, "d_norm must not be batch under the penalty wgan-gp"),
        ({"penalty": "r1", "d_norm": "batch"}, "d_norm must not be batch under the penalty r1"),
        ({"loss": "ebgan", "d_norm": "spectral"}, "d_norm must not be spectral for the energies of ebgan"),
        ({"loss": "began", "minibatch_std": True}, "minibatch_std must be false for the energies of began"),
        ({"loss": "wgan-gp", "penalty": "none"}, "penalty must not be none for wgan-gp"),
        ({"loss": "ebgan", "batch_size": 1}, "batch_size must be at least 2 for ebgan"),
        ({"g_norm": "batch", "batch_size": 1}, "batch_size must be at least 2 for g_norm batch, got 1"),
        ({"d_norm": "batch", "batch_size": 1}, "batch_size must be at least 2 for d_norm batch, got 1"),
        ({"g_norm": "group", "width": 20}, "width must be a multiple of 8 for g_norm group, got 20"),
        ({"d_norm": "group", "width": 20}, "width must be a multiple of 8 for d_norm group, got 20"),
        ({"data": "mnist", "arch": "dcgan", "d_norm": "group", "channels": 12}, "channels must be a multiple of 8"),
        ({"arch": "upsampling", "loss": "began"}, "arch upsampling makes images, but ring8 has points: use arch mlp"),
        ({"data": "mnist", "arch": "upsampling"}, "arch upsampling is for energies, ebgan and began, but loss is"),
        ({"data": "mnist", "loss": "began", "arch": "auto", "d_norm": "batch"}, "d_norm must be none for arch upsamp"),
        ({"arch": "shift", "minibatch_std": True}, "minibatch_std must be false for arch shift"),
        ({"arch": "shift", "g_norm": "layer"}, "g_norm must be none for arch shift, .*, got layer"),
        ({"arch": "shift", "d_norm": "spectral"}, "d_norm must be none for arch shift, .*, got spectral"),
        ({"clip": 0.0}, "clip must be at least 1e-12, got 0.0"),
        ({"gamma": 0.0}, "gamma must be at least 1e-12 and at most 1, got 0.0"),
        ({"loss": "wgan-pg"}, "did you mean 'wgan-gp'"),
        ({"data": "ring9"}, "did you mean 'ring8'"),
        ({"label_smoothing": 0.7}, "label_smoothing must be at least 0 and below 0.5"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, text):
    with pytest.raises(SettingError, match=text):
        config(**settings)


def test_open_settings_follow_the_loss_and_the_architecture():
    dcgan = {"data": "mnist", "arch": "dcgan"}
    assert config(**dcgan).discriminator_norm == config(**dcgan).generator_norm == "batch"
    assert config(**dcgan, loss="wgan-gp").discriminator_norm == "layer"
    assert config().discriminator_norm == config().generator_norm == "none"
    assert [config(loss=name).given_classes for name in ("minimax", "cgan", "acgan", "infogan")] == [0, 8, 8, 10]
    steps = {name: GANTraining(config(loss=name), (2,)).critic_steps for name in ("hinge", "wgan", "wgan-gp")}
    assert steps == {"hinge": 1, "wgan": 5, "wgan-gp": 5}
    assert GANTraining(config(loss="wgan-gp", penalty="none", d_norm="spectral"), (2,)).penalty is None


def test_the_architecture_follows_the_data_and_the_loss_unless_it_is_named():
    assert config(arch="auto").architecture == "mlp"
    assert GANConfig().architecture == "dcgan"
    assert GANConfig(loss="began").architecture == "upsampling"
    assert GANConfig(loss="began", arch="dcgan").architecture == "dcgan"


def test_only_the_decoder_of_began_is_without_bounds():
    task = GANTraining(GANConfig(loss="began", channels=4, latent=4, bottleneck=4), (28, 28, 1))
    assert task.G.bounded and not task.D.decoder.bounded and task.D.power == 1
    assert GANTraining(replace(task.config, loss="ebgan", arch="upsampling"), (28, 28, 1)).D.power == 2


def test_a_batch_of_one_trains_where_nothing_compares_samples():
    batches, task = prepare(GANConfig(channels=2, latent=2, batch_size=1, steps=1))  # batch norm over the pixels
    assert math.isfinite(task.step(batches, 0)["loss"])


def test_a_run_of_points_says_so_in_its_folder(tmp_path):
    run = start(config(steps=1), tmp_path / "run", save_images=lambda path, points: path.write_text(str(points.shape)))
    assert json.loads(run.config_file.read_text())["image_shape"] == [2]
    assert RunFolder(run.path).samples_file(1).read_text() == "(2000, 2)"


def test_a_verdict_on_one_batch_is_what_the_discriminator_says():
    task = GANTraining(config(loss="acgan"), (2,))
    x, labels = RING8.sample(5, Generator(0))
    verdict = task.judge(Tensor(x), labels)
    assert isinstance(verdict, Verdict)
    assert verdict.labels is labels
    assert task.mean_verdict(verdict) == pytest.approx(ops.sigmoid(verdict.score).data.mean())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_a_dcgan_on_digits(loss):
    """A step of each at a width of a few channels; samples are digits' size and in range."""
    settings = {"channels": 2, "latent": 4, "batch_size": 4, "steps": 4, "critic_steps": 1, "bottleneck": 3}
    batches, task = prepare(GANConfig(loss=loss, **settings))
    metrics = task.step(batches, 0)
    assert all(math.isfinite(value) for value in metrics.values())
    images = task.model.sample(2)
    assert images.shape == (2, 28, 28, 1)
    assert abs(images).max() <= 1
