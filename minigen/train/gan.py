"""GANs as something to train and to sample from: one loop for every loss of models/gan/losses.py.

    training, one step (Goodfellow et al. 2014, Algorithm 1)
        k times:  x ~ data,  z ~ N(0, I),  descend the gradient of  L_D + penalty  in the discriminator's weights
        once:     fresh z ~ N(0, I),       descend the gradient of  L_G            in the generator's weights
    sampling: z ~ N(0, I), truncated on request, through the moving average of the generator's weights

Shapes   images (N, H, W, C), float32 in [-1, 1] inside, uint8 in the data; or points (N, D), float32 in both
Source   Goodfellow et al., NeurIPS 2014; deck 000 "GAN cost function"; deck 004 "GAN training algorithm"
"""

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..data import MODES, to_model_range
from ..device import device_of, to_device
from ..metrics import count_modes
from ..models.gan.penalties import PENALTIES
from ..models.gan.verdict import Verdict
from ..models.latent import truncated_normal
from ..nn import BatchNorm
from ..optim import EMA, AdamW, warmup_cosine
from ..random import Generator
from ..tensor import Tensor
from .config import SettingError
from .gan_config import GANSampling, make_loss, make_networks
from .gan_watch import NAN_CAUSE, Watch
from .task import NonFinite, Task, check_finite


class GAN:
    """A generative adversarial network, by the loss of your choice: G makes samples, D judges them.

    image_shape   (H, W, C) of an image, or (D,) of a point
    generator     of the initial weights
    Raises ValueError for images that the architecture cannot make.
    """

    Sampling = GANSampling
    STANDING = 10, 100  # batches, and samples in each, for the statistics of batch norm

    def __init__(self, config, image_shape, generator):
        self.config, self.image_shape = config, tuple(image_shape)
        self.G, self.D, self.latent = make_networks(config, self.image_shape, generator)
        self.networks = {"generator": self.G.to(config.device), "discriminator": self.D.to(config.device)}
        self.classes = config.given_classes

    def sample(self, n, seed=0, batch_size=256, progress=False, **settings):
        """-> n images (n, H, W, C) in [-1, 1], or points (n, D), float32; the same ones for the same arguments.

        settings  those of GANSampling; `classes` are made in turn, all of them where none is named
        seed      a whole number, or the Generator to draw from
        progress  of no use here, since a sample takes one pass
        Raises ValueError for n < 1, SettingError for classes that the model does not have.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        how = self.Sampling(**settings)
        if how.classes and not self.classes:
            raise SettingError(f"classes must be left out, since this model has none, got {how.classes}")
        if how.classes and max(how.classes) >= self.classes:
            raise SettingError(f"classes must be below {self.classes}, those of this model, got {how.classes}")
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        wanted = how.classes or range(self.classes)
        labels = np.resize(np.array(wanted, np.int64), n) if self.classes else None
        return self.generate(truncated_normal((n, self.latent), how.truncation, generator), labels, batch_size)

    def generate(self, z, labels=None, batch_size=256):
        """G(z, labels) in evaluation mode.   z (n, latent) float32, labels (n,) or None -> (n, *image_shape) float32"""
        with no_grad(), standing_statistics(self):
            parts = [
                self.G(self.at_home(z[i : i + batch_size]), None if labels is None else labels[i : i + batch_size])
                for i in range(0, len(z), batch_size)
            ]
        return np.concatenate([part.numpy() for part in parts])

    def at_home(self, array):
        """An array as a Tensor where the networks are."""
        return Tensor(to_device(array, self.config.device))


class standing_statistics:
    """Inside the block G is in evaluation mode, and its batch norms hold the mean statistics of ten batches.

    What training leaves in them belongs to the last weights; samples come from the weights' moving average. Afterwards
    all is as before. Source: Brock et al., ICLR 2019, section 4.1 (standing statistics)
    """

    def __init__(self, model):
        self.model = model
        self.norms = [m for _, m in model.G.named_modules() if isinstance(m, BatchNorm)]

    def __enter__(self):
        G, (batches, size), generator = self.model.G, self.model.STANDING, Generator(0).child("standing statistics")
        self.training = G.training
        self.before = [(m.momentum, m.running_mean.data.copy(), m.running_var.data.copy()) for m in self.norms]
        G.train()
        for i in range(batches if self.norms else 0):
            for norm in self.norms:
                norm.momentum = 1 / (i + 1)  # a running mean with weights 1, 1/2, 1/3 ... is the mean
            z = self.model.at_home(generator.normal((size, self.model.latent)))
            G(z, np.arange(size) % self.model.classes if self.model.classes else None)
        G.eval()

    def __exit__(self, *error):
        for norm, (momentum, mean, var) in zip(self.norms, self.before):
            norm.momentum, norm.running_mean.data[...], norm.running_var.data[...] = momentum, mean, var
        self.model.G.train(self.training)


class GANTraining(Task):
    """A GAN with what its training needs besides: a loss, two optimisers, the average of G's weights, random numbers.

    Both steps take their samples from `draw` and their Verdicts from `judge`; a model with several generators, or
    with pairs for data, would replace these two.
    """

    MODES_EVERY = 100  # steps between counts of the modes

    def __init__(self, config, image_shape):
        self.config, self.generator = config, Generator(config.seed)
        self.model = GAN(config, image_shape, self.generator)
        self.G, self.D, self.loss, self.watch = self.model.G, self.model.D, make_loss(config), Watch()
        self.networks = {**self.model.networks, "loss": self.loss, "watch": self.watch}
        self.critic_steps = config.critic_steps or self.loss.critic_steps
        self.penalty = PENALTIES.get(config.uses_penalty)
        self.pictured = 64 if len(image_shape) == 3 else 2000
        self.make_optimizers()

    def make_optimizers(self):
        """Optimisers and the average, for the weights as they are now."""
        how = {"betas": (self.config.beta1, self.config.beta2), "weight_decay": self.config.weight_decay}
        rates = {"generator": self.config.lr, "discriminator": self.config.d_lr}
        self.optimizers = {name: AdamW(self.networks[name].parameters(), lr, **how) for name, lr in rates.items()}
        self.averages = {"generator": EMA(self.optimizers["generator"].flat, self.config.ema_decay)}

    # ---------------------------------------------------------------- a step

    def step(self, batches, index):
        """k steps of D on batches index k, ..., index k + k - 1, one of G -> losses, gradient norms, what D says.

        `loss` is D's. Where D's loss is fine and G's is not, D has taken its steps before NonFinite is raised.
        Where the watch finds the game lost, `remark` says so, and `lost` whether the settings end the run then.
        """
        rate = self._learning_rate(index)
        self.noise = self.config.instance_noise * (1 - index / self.config.steps)
        try:
            for j in range(self.critic_steps):
                real, labels = self.real_batch(batches, index * self.critic_steps + j)
                seen, metrics = self.discriminator_step(real, labels)
            metrics |= self.generator_step(len(real), labels)
        except NonFinite as error:
            raise NonFinite(f"{error} (likely cause: {NAN_CAUSE})") from error
        self.remark = self.watch.look(self.loss, *seen)
        self.lost = self.config.stop_when_lost and self.remark is not None
        return {**metrics, **self.modes_found(index + 1), "lr": rate}

    def modes_found(self, step):
        """Every so many steps, where the data's modes are known: how many samples cover, and the share near one."""
        if self.config.data not in MODES or step % self.MODES_EVERY:
            return {}
        found = count_modes(self.sample(1000, Generator(self.config.seed).child("modes")), MODES[self.config.data])
        return {"modes": found.covered, "near": found.near}

    def _learning_rate(self, index):
        warmup = min(self.config.warmup, self.config.steps // 10)
        factor = warmup_cosine(index, warmup, self.config.steps)
        self.optimizers["generator"].lr = self.config.lr * factor
        self.optimizers["discriminator"].lr = self.config.d_lr * factor
        return self.optimizers["generator"].lr

    def discriminator_step(self, real, labels):
        """Descend L_D + penalty -> (L_D, real and generated samples without noise, mean Verdicts), metrics."""
        with no_grad():
            fake, fake_labels = self.draw(len(real), labels)
        samples = real, fake.data
        real, fake = real + self.noise_like(real), fake.data + self.noise_like(real)
        on_real, on_fake = self.judge_both(real, labels, fake, fake_labels)
        game = loss = self.loss.discriminator(on_real, on_fake)
        if self.penalty is not None:
            loss = game + self.penalty(self._scorer(labels), real, fake, self.generator, self.config.penalty_weight)
        value, norm = self._descend("discriminator", loss)
        self.loss.after_discriminator_step(on_real, on_fake, self.optimizers["discriminator"].flat)
        shown = {"d_real": self.mean_verdict(on_real), "d_fake": self.mean_verdict(on_fake)}
        measures = self.loss.measures(on_real, on_fake)
        return (game.item(), *samples, shown), {"loss": value, "d_grad_norm": norm, **shown, **measures}

    def generator_step(self, n, labels):
        """Descend L_G, with the discriminator's weights as constants -> metrics."""
        self.D.requires_grad(False)
        try:
            fake, fake_labels = self.draw(n, labels)
            loss = self.loss.generator(self.judge(fake + self.noise_like(fake.data), fake_labels))
            value, norm = self._descend("generator", loss, self.averages["generator"])
        finally:
            self.D.requires_grad(True)
        return {"g_loss": value, "grad_norm": norm}

    def _descend(self, name, loss, average=None):
        """One step of a network's optimiser -> the loss and the gradient's norm before clipping."""
        value = loss.item()
        check_finite(**{f"the loss of the {name}": value})
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        return value, optimizer.step(max_norm=self.config.clip_norm, average=average)

    # ---------------------------------------------------------------- samples and Verdicts

    @property
    def dtype(self):
        """That of the weights: float32, unless a test has made them float64."""
        return self.optimizers["discriminator"].flat.data.dtype

    def real_batch(self, batches, index):
        """A batch of the data, in the models' range -> arrays x (N, *), labels (N,) on the CPU."""
        x, labels = batches.batch_at(index)
        x = to_device(x, self.config.device)
        x = to_model_range(x) if x.dtype == np.uint8 else x
        return x.astype(self.dtype, copy=False), to_device(labels, "cpu")

    def draw(self, n, labels):
        """n generated samples, and the classes or codes they were made for: the given ones, or for infogan new ones."""
        if self.config.loss == "infogan":
            labels = self.generator.integers(0, self.config.codes, (n,))
        z = self.generator.normal((n, self.model.latent), self.dtype, self.config.device)
        return self.G(Tensor(z), labels if self.model.classes else None), labels

    def noise_like(self, like):
        """Instance noise; 0 where there is none, so that nothing is drawn."""
        if not self.noise:
            return 0
        return like.dtype.type(self.noise) * self.generator.normal(like.shape, like.dtype, self.config.device)

    def judge(self, x, labels):
        verdict = self.D(x, labels if self.loss.given_labels else None)
        return verdict._replace(labels=labels)

    def _scorer(self, labels):
        """What a penalty asks: x -> scores, the classes being those of the real batch."""
        return lambda x: self.judge(x, labels).score

    def judge_both(self, real, labels, fake, fake_labels):
        """Verdicts on real and on generated samples, with their targets.

        Passed as two batches, each has its own statistics in batch norm (Chintala et al., How to train a GAN, 2016);
        passed as one, they share theirs, and D cannot tell the batches apart by them.
        """
        if self.config.separate_batches:
            on_real, on_fake = self.judge(Tensor(real), labels), self.judge(Tensor(fake), fake_labels)
        else:
            xp, n = device_of(real).xp, len(real)
            both = self.judge(Tensor(xp.concatenate([real, fake])), np.concatenate([labels, fake_labels]))
            parts = [[None if part is None else part[half] for part in both] for half in (slice(n), slice(n, 2 * n))]
            on_real, on_fake = (Verdict(*part) for part in parts)
        smoothing, flips = self.config.label_smoothing, self.config.label_flips
        if not smoothing and not flips:
            return on_real, on_fake
        yes, no = self._targets(len(real), 1 - smoothing, 0.0), self._targets(len(real), 0.0, 1 - smoothing)
        return on_real._replace(target=yes), on_fake._replace(target=no)

    def _targets(self, n, usual, flipped):
        if not self.config.label_flips:
            return usual
        return np.where(self.generator.bernoulli(self.config.label_flips, (n,)), flipped, usual)

    def mean_verdict(self, verdict):
        """Mean D(x) for the log: a probability for losses on logits, else the score itself."""
        return float((ops.sigmoid(verdict.score.detach()) if self.loss.is_logit else verdict.score).data.mean())

    def sample(self, n, generator):
        with self.averages["generator"].weights():
            return self.model.sample(n, seed=generator)
