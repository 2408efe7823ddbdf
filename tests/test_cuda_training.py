"""Training on a GPU, for which the stand-in for CuPy does duty. The losses and weights are those of the same training
on the CPU, checkpoints go from one to the other, batches arrive in time, and the CPU waits for the GPU only where it
must.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from cuda_on_cpu import build
from cuda_on_cpu.standin import installed
from tiny import SETTINGS, config, flags, make_data
from tolerances import assert_close

from minigen import Generator, Tensor, grad, nn, no_grad, ops
from minigen.data import Batches, ImageSet, Prefetched
from minigen.device import NoGPU, device, to_device
from minigen.diffusion import GaussianDiffusion, make_schedule
from minigen.optim import EMA, SGD, Adam, AdamW, RMSprop
from minigen.pictures import find_picture
from minigen.train import DDPM, MODELS, AEConfig, GANConfig, RunFolder, VAEConfig, load, start
from minigen.train.start import prepare

pytestmark = pytest.mark.skipif(build.missing() is not None, reason=str(build.missing()))

STEPS = 3


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


# ---------------------------------------------------------------- a VAE, a GAN, a diffusion model


class Autoencoder(nn.Module):
    """A small variational autoencoder of 8 x 8 images: convolution down, two Gaussian parameters, convolution up."""

    def __init__(self, generator, latent=4):
        self.down = nn.Conv2d(1, 6, 4, generator, stride=2, padding=1)
        self.norm = nn.LayerNorm(96)
        self.gaussian = nn.Linear(96, 2 * latent, generator)
        self.wide = nn.Linear(latent, 96, generator)
        self.up = nn.ConvTranspose2d(6, 1, 4, generator, stride=2, padding=1)

    def forward(self, x, generator):
        h = self.norm(ops.gelu(self.down(x)).reshape(len(x), 96))
        mu, logvar = ops.split(self.gaussian(h), 2, -1)
        eps = Tensor(generator.normal(mu.shape, mu.dtype, mu.device))
        z = mu + ops.exp(logvar * 0.5) * eps
        return self.up(ops.silu(self.wide(z)).reshape(len(x), 4, 4, 6)), mu, logvar


def train_vae(where, images):
    """Kingma and Welling's bound, summed over pixels: -> losses, weights."""
    generator = Generator(0)
    model = Autoencoder(generator).to(where)
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    average = EMA(optimizer.flat, 0.9)
    losses = []
    for _ in range(STEPS):
        x = Tensor(to_device((images + 1) / 2, where))
        logits, mu, logvar = model(x, generator)
        loss = (ops.bce_with_logits(logits, x, "sum") + ops.kl_gaussian(mu, logvar, "sum")) * (1 / len(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(max_norm=1.0, average=average)
        losses.append(loss.item())
    return losses, {**model.state_dict(), "average": to_device(average.average, "cpu")}


def generator_network(generator):
    """z (N, 4) -> images (N, 8, 8, 1), as DCGAN does it. A bias before a batch norm would have a gradient of 0, and
    Adam makes steps of its rounding errors."""
    return nn.Sequential(
        nn.Linear(4, 4 * 4 * 6, generator, bias=False), lambda x: x.reshape(len(x), 4, 4, 6), nn.BatchNorm(6), ops.relu,
        nn.ConvTranspose2d(6, 1, 4, generator, stride=2, padding=1), ops.tanh,
    )  # fmt: skip


def discriminator_network(generator):
    """images (N, 8, 8, 1) -> logits (N, 1)"""
    return nn.Sequential(
        nn.Conv2d(1, 6, 4, generator, stride=2, padding=1), ops.leaky_relu,
        nn.Conv2d(6, 8, 3, generator, padding=1, bias=False), nn.BatchNorm(8), ops.leaky_relu, ops.avg_pool2d,
        lambda x: x.reshape(len(x), 32), nn.Linear(32, 1, generator),
    )  # fmt: skip


def train_gan(where, images):
    """Goodfellow et al.'s game with the non-saturating loss, and a gradient penalty: -> losses, weights."""
    rng = Generator(0)
    g, d = generator_network(rng).to(where), discriminator_network(rng).to(where)
    optimizer_g, optimizer_d = Adam(g.parameters(), lr=1e-2, betas=(0.5, 0.999)), RMSprop(d.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        real = Tensor(to_device(images, where), requires_grad=True)
        z = Tensor(rng.normal((len(images), 4), device=where))
        with no_grad():
            fake = g(z)
        ones = Tensor(device(where).xp.ones((len(images), 1), np.float32))
        logits = d(real)
        (slope,) = grad(logits.sum(), real, create_graph=True)
        loss_d = ops.bce_with_logits(logits, ones) + ops.bce_with_logits(d(fake), ones * 0.0) + (slope * slope).mean()
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()

        d.requires_grad(False)
        loss_g = ops.bce_with_logits(d(g(z)), ones)
        optimizer_g.zero_grad()
        loss_g.backward()
        optimizer_g.step()
        d.requires_grad(True)
        losses += [loss_d.item(), loss_g.item()]
    return losses, {**g.state_dict(), **{f"d.{name}": array for name, array in d.state_dict().items()}}


def train_classifier(where, images):
    """Group norm, dropout, max pooling, embedding and cross-entropy; SGD with momentum: -> losses, weights."""
    rng = Generator(0)
    body = nn.Sequential(nn.Conv2d(1, 8, 3, rng, padding=1), nn.GroupNorm(2, 8, silu=True), ops.max_pool2d,
                         nn.Dropout(0.2, rng), nn.InstanceNorm(8), ops.global_avg_pool2d)  # fmt: skip
    table, output = nn.Embedding(3, 8, rng), nn.Linear(8, 4, rng)
    parts = nn.Sequential(body, table, output).to(where)
    optimizer = SGD(parts.parameters(), lr=0.1, momentum=0.9)
    labels, kinds = np.arange(len(images)) % 4, np.arange(len(images)) % 3
    losses = []
    for _ in range(STEPS):
        logits = output(body(Tensor(to_device(images, where))) + table(kinds))
        loss = ops.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, parts.state_dict()


@pytest.mark.parametrize("train", [train_vae, train_gan, train_classifier])
def test_training_on_the_gpu_is_training_on_the_cpu(train, cupy):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
    expected, weights = train("cpu", images)
    actual, moved = train("cuda", images)
    assert cupy.launches
    assert_close(np.array(actual, np.float32), np.array(expected, np.float32), "norm", 1, what="losses")
    for name, array in weights.items():
        assert_close(moved[name], array, "norm", 2, what=name)


# ---------------------------------------------------------------- the diffusion model, and all around it


def test_the_process_works_where_its_arrays_are(cupy):
    process, t = GaussianDiffusion(make_schedule("cosine", 8), "v"), np.array([1, 5, 8])
    x0, eps = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    there = cupy.asarray(x0), cupy.asarray(eps)
    assert_close(process.q_sample(there[0], t, there[1]).get(), process.q_sample(x0, t, eps), "elementwise")
    for a, e in zip(process.x0_and_eps(*there, t), process.x0_and_eps(x0, eps, t)):
        assert_close(a.get(), e, "elementwise")
    mean, _ = process.posterior(*there, t)
    assert_close(mean.get(), process.posterior(x0, eps, t)[0], "elementwise")
    assert process.q_sample(Tensor(there[0]), t, Tensor(there[1])).device == "cuda"


def three_steps(settings):
    batches, task = prepare(settings)
    metrics = [task.step(batches, index) for index in range(STEPS)]
    return metrics, task


def settings_of(kind, data_dir, **changes):
    """Small settings of one kind of model."""
    images = {"data": "mnist", "data_dir": str(data_dir), "batch_size": 8}
    points = {"data": "ring8", "batch_size": 16, "arch": "mlp", "width": 16, "depth": 2, "latent": 3}
    return {
        "ddpm": lambda **more: config(data_dir, **more),
        "ddpm, classes": lambda **more: config(data_dir, condition="class", **more),
        "ddpm, tokens and image": lambda **more: config(data_dir, condition="hybrid", **more),
        "ddpm, learned variance": lambda **more: config(data_dir, variance="learned", **more),
        "ae, conv": lambda **more: AEConfig(**images, kind="conv", channels=(4, 8), code=3, **more),
        "ae, sparse": lambda **more: AEConfig(**images, kind="sparse", atoms=16, **more),
        "vae, mlp": lambda **more: VAEConfig(**images, hidden=(16,), latent=3, **more),
        "vae, conv": lambda **more: VAEConfig(**images, network="conv", channels=(4, 8), latent=3, k=(3,), **more),
        "gan": lambda **more: GANConfig(**points, **more),
        "gan, wgan-gp": lambda **more: GANConfig(**points, loss="wgan-gp", **more),
        "gan, began": lambda **more: GANConfig(**points, loss="began", **more),
    }[kind](**changes)


KINDS = [
    "ddpm", "ddpm, classes", "ddpm, tokens and image", "ddpm, learned variance", "ae, conv", "ae, sparse",
    "vae, mlp", "vae, conv", "gan", "gan, wgan-gp", "gan, began",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_three_steps_give_the_losses_of_the_cpu(kind, data_dir, cupy):
    expected, _ = three_steps(settings_of(kind, data_dir, steps=STEPS))
    actual, task = three_steps(settings_of(kind, data_dir, steps=STEPS, device="cuda"))
    assert {p.device for network in task.networks.values() for p in network.parameters()} == {"cuda"}
    for mine, theirs in zip(actual, expected):
        for name in ("loss", "grad_norm", "lr"):
            assert_close(np.float32(mine[name]), np.float32(theirs[name]), "norm", 1, what=name)


def test_a_step_of_ddpm_reads_nothing_that_was_not_written_and_races_nowhere(data_dir, checked_cupy):
    batches, task = prepare(config(data_dir, steps=STEPS, device="cuda"))
    assert np.isfinite(task.step(batches, 0)["loss"])


WAITING = ["get", "item", "tolist", "__float__", "__int__", "__bool__", "__index__"]


def test_a_step_waits_for_the_gpu_twice_for_the_loss_and_for_the_norm(data_dir, cupy, monkeypatch):
    batches, task = prepare(config(data_dir, steps=STEPS, device="cuda"))
    waits = []
    for name in WAITING:
        original = getattr(cupy.ndarray, name)
        monkeypatch.setattr(
            cupy.ndarray, name, lambda self, *args, n=name, f=original, **kw: (waits.append(n), f(self, *args, **kw))[1]
        )
    task.step(batches, 0)
    assert waits == ["item", "item"]


def test_a_run_on_the_gpu_goes_into_a_folder_that_the_cpu_can_read(data_dir, tmp_path, cupy):
    run = start(config(data_dir, steps=STEPS, device="cuda"), tmp_path / "run")
    there, here = load(run.path), load(run.path, device="cpu")
    assert {p.device for p in there.network.parameters()} == {"cuda"}
    assert {p.device for p in here.network.parameters()} == {"cpu"}
    for own in ({"sampler": "ddim", "eta": 1.0}, {"sampler": "ddpm"}):
        images = there.sample(2, steps=4, seed=1, **own)
        assert isinstance(images, np.ndarray)
        assert_close(images, here.sample(2, steps=4, seed=1, **own), "norm", 2, what=own["sampler"])


def test_a_run_on_the_gpu_is_resumed_bit_for_bit(data_dir, tmp_path, cupy):
    settings = config(data_dir, steps=STEPS, device="cuda", checkpoint_every=1)
    batches, task = prepare(settings)
    task.step(batches, 0)
    arrays, header = task.state()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    expected = task.step(batches, 1), task.state()

    batches, task = prepare(settings)
    task.load_state(arrays, header)
    assert task.step(batches, 1) == expected[0]
    state, theirs = task.state(), expected[1]
    assert state[1] == theirs[1]
    assert all(np.array_equal(array, theirs[0][name]) for name, array in state[0].items())


def test_a_nan_on_the_gpu_is_traced_to_its_layer(data_dir, cupy):
    from minigen.train.diagnose import first_nonfinite_gradient, first_nonfinite_layer

    batches, task = prepare(config(data_dir, steps=STEPS, device="cuda"))
    task.network.middle.block.conv1.weight.data[...] = np.nan
    found = first_nonfinite_layer(task, batches, 0, task.generator.state())
    assert found == "unet.middle.block.conv1 (Conv2d)"
    assert first_nonfinite_gradient(task) is None


def test_the_command_line_trains_samples_and_profiles_on_the_gpu(minigen, data_dir, tmp_path, monkeypatch, cupy):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minigen.train.task.Task.pictured", 1)
    tiny = {**SETTINGS, "steps": 2, "data_dir": data_dir, "device": "cuda"}
    assert minigen("train", "ddpm", *flags(tiny), "--out", "r")[0] == 0
    assert len(RunFolder("r").read_metrics()) == 2
    for where in ("cpu", "cuda"):
        code, out, err = minigen("sample", "r", "--n", 1, "--steps", 2, "--device", where, "--out", f"{where}.png")
        assert (code, out.strip()) == (0, f"{where}.png"), err
    code, out, _ = minigen("profile", "r", "--steps", 1)
    assert code == 0
    assert "Conv2d" in out


@pytest.mark.parametrize(
    ("name", "few"),
    [
        ("forward", {"shown": 1, "columns": 2}),
        ("backward", {"shown": 1, "steps": 1}),
        ("denoising", {"shown": 1, "steps": 2}),
        ("steps", {"shown": 1, "counts": (1,)}),
        ("interpolate", {"pairs": 1, "columns": 2, "steps": 1, "rounds": 1}),
        ("bound", {"n": 1, "levels": 2}),
    ],
)
def test_pictures_of_a_model_on_the_gpu_are_drawn(name, few, data_dir, cupy):
    settings = config(data_dir, device="cuda")
    data = ImageSet("noise", np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, np.int64), ("none",))
    find_picture("ddpm", name)(DDPM(settings, (8, 8, 1), Generator(0)), data, Generator(1), **few)


# ---------------------------------------------------------------- no GPU


def test_cupy_without_a_gpu_is_one_clear_line(minigen, data_dir, tmp_path, monkeypatch, cupy):
    monkeypatch.chdir(tmp_path)
    tiny = {**SETTINGS, "steps": 1, "data_dir": data_dir, "device": "cuda"}
    start(config(data_dir, steps=1, device="cuda"), tmp_path / "r")
    cupy.cuda.is_available = lambda: False
    message = "Error: device 'cuda' needs an NVIDIA GPU and its driver: CuPy is installed, but finds none\n"
    for args in (
        ["train", "ddpm", *flags(tiny)],
        ["sample", "r"],
        ["profile", "r"],
        ["sample", "r", "--device", "cuda"],
    ):
        code, _, err = minigen(*args)
        assert (code, err) == (1, message)
    assert minigen("sample", "r", "--n", 1, "--steps", 1, "--device", "cpu")[0] == 0
    with pytest.raises(NoGPU):
        Tensor(np.ones(3)).to("cuda")


def test_a_full_gpu_is_one_clear_line(minigen, data_dir, tmp_path, monkeypatch, cupy):
    monkeypatch.chdir(tmp_path)

    def full(*args, **options):
        raise MemoryError("Out of memory allocating 1,024 bytes")  # CuPy's error is one of these, with such a text

    monkeypatch.setattr(cupy, "empty", full)
    code, _, err = minigen("train", "ddpm", *flags({**SETTINGS, "steps": 1, "data_dir": data_dir, "device": "cuda"}))
    assert code == 1
    assert err.splitlines()[-1] == "Error: Out of memory allocating 1,024 bytes"


# ---------------------------------------------------------------- random numbers


def test_a_generator_draws_the_same_numbers_on_both_devices(cupy):
    here, there = Generator(7), Generator(7)
    for draw in (
        lambda g, where: g.uniform((5, 3), device=where),
        lambda g, where: g.uniform(4, np.float64, device=where),
        lambda g, where: g.bernoulli(0.3, (9,), device=where),
        lambda g, where: g.bernoulli(np.full((2, 1), 0.5), (2, 3), device=where),
        lambda g, where: g.uniform((0, 2), device=where),
    ):
        assert np.array_equal(draw(there, "cuda").get(), draw(here, "cpu"))
    assert_close(there.normal((2, 7), device="cuda").get(), here.normal((2, 7)), "elementwise")
    assert there.state() == here.state()


def test_dropout_draws_its_mask_on_the_gpu(cupy):
    x = np.ones((5, 7), np.float32)
    here, there = nn.Dropout(0.5, Generator(3)), nn.Dropout(0.5, Generator(3))
    assert np.array_equal(there(Tensor(cupy.asarray(x))).numpy(), here(Tensor(x)).data)
    assert any(call.kernel.startswith("philox_uniform") for call in cupy.launches)


# ---------------------------------------------------------------- batches


class Queue:
    """A stream as the GPU has it: what is asked for happens later, in order; an event is a place in the queue."""

    def __init__(self, eager):
        self.work, self.done, self.eager = [], 0, eager

    def add(self, work):
        self.work.append(work)
        if self.eager:
            self.run_to(len(self.work))

    def run_to(self, place):
        while self.done < place:
            self.done += 1
            self.work[self.done - 1]()

    def record(self):
        place = len(self.work)
        return SimpleNamespace(synchronize=lambda: self.run_to(place))

    def wait_event(self, event):
        self.add(event.synchronize)


@pytest.fixture(params=["both late", "copies early", "computing early"])
def streams(request, cupy, monkeypatch):
    """What is asked of each stream happens as late as it may, or as early."""
    computing, read, write = Queue(request.param == "computing early"), cupy.ndarray.copy, cupy.ndarray.set

    def copy_later(array):
        result = cupy.empty(array.shape, array.dtype)
        computing.add(lambda: write(result, read(array).get()))
        return result

    monkeypatch.setattr(cupy.cuda, "Stream", lambda non_blocking: Queue(request.param == "copies early"))
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: computing)
    monkeypatch.setattr(cupy.ndarray, "set", lambda a, pinned, stream: stream.add(lambda: write(a, pinned)))
    monkeypatch.setattr(cupy.ndarray, "copy", copy_later)
    return computing


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [3, 3, 4, 0, 1, 9], [5, 4, 3]])
def test_batches_that_are_fetched_ahead_are_those_that_were_asked_for(order, streams):
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)
    here = Batches(images, np.arange(12), batch_size=4, seed=0)
    there = Prefetched(Batches(images, np.arange(12), batch_size=4, seed=0))
    kept = [(there.batch_at(step), here.batch_at(step)) for step in order]
    streams.run_to(len(streams.work))
    for moved, expected in kept:
        for a, e in zip(moved, expected):
            assert np.array_equal(a.get(), e)


def test_every_model_is_trained_on_the_gpu():
    assert set(MODELS) == {kind.split(",")[0] for kind in KINDS}, "add a row of the new model to settings_of"


def test_the_stand_in_is_gone_after_its_block():
    with installed():
        assert device("cuda").name == "cuda"
    with pytest.raises(NoGPU):
        device("cuda")
