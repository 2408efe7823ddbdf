"""VAE: the variational autoencoder as something to train, to sample from and to judge by its likelihood.

    training, one step
        x ~ data,  eps_1, ..., eps_k ~ N(0, I),  z_i = mu(x) + sigma(x) eps_i
        ascend the gradient of the bound of ln p(x): the ELBO for k = 1, IWAE_k above (models/bounds.py)
    sampling      z ~ N(0, I),  the mean of p(x | z)
    likelihood    ln p(x) by importance sampling from q(z | x)

Shapes   images (N, H, W, C), uint8 in the data, [0, 1] inside, [-1, 1] where samples leave
Source   Kingma and Welling, Auto-Encoding Variational Bayes, 2014; Burda et al., Importance Weighted Autoencoders,
         2016; decks 000, 001, 003 and 004, VAE
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from ..autograd import no_grad
from ..device import device_of, to_device
from ..models.bounds import elbo, iwae_bound, log_weights, reparametrise
from ..models.likelihoods import Bernoulli
from ..models.vae import VAENetwork
from ..optim import EMA, Adam, warmup_cosine
from ..random import Generator
from ..tensor import Tensor
from .config import SettingError, TrainConfig, setting
from .task import Task, check_finite

LIKELIHOODS = ("bernoulli",)
BINARISE = ("auto", "dynamic", "threshold", "none", "grey")
ROWS = 5000  # latent samples decoded at once when a likelihood is estimated


@dataclass(frozen=True)
class VAEConfig(TrainConfig):
    """The settings of `minigen train vae`."""

    model: ClassVar[str] = "vae"

    batch_size: int = setting(100, "images in a step", at_least=1)
    lr: float = setting(1e-3, "learning rate of Adam at its peak", at_least=0)
    adam_eps: float = setting(1e-4, "epsilon of Adam", at_least=0)
    clip_norm: float = setting(1000.0, "longest gradient; a longer one is scaled down", at_least=1e-12)
    ema_decay: float = setting(0.999, "decay of the weights' moving average", at_least=0, below=1)
    latent: int = setting(50, "numbers in a code", at_least=1)
    hidden: tuple[int, ...] = setting(
        (200, 200), "widths of the encoder's hidden layers; the decoder mirrors them", at_least=1
    )
    likelihood: str = setting("bernoulli", "distribution of a pixel given the code", choices=LIKELIHOODS)
    binarise: str = setting(
        "auto",
        "pixels to 0 and 1: drawn anew at each visit (dynamic), cut at 1/2 (threshold), left grey (none); "
        "auto: dynamic for bernoulli, none for others; grey: none, though bernoulli then has no likelihood",
        choices=BINARISE,
    )
    k: tuple[int, ...] = setting(
        (1,), "importance samples of the bound; several numbers share the steps equally", at_least=1
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.k:
            raise SettingError("k must hold at least one number, got none")

    def k_at(self, step):
        """The importance samples of a step, counted from 0: entry i of n rules the i-th n-th of all steps."""
        return self.k[min(step * len(self.k) // self.steps, len(self.k) - 1)]


class VAE:
    """A variational autoencoder: its networks, and the distribution they stand for.

    image_shape   (H, W, C) of one image
    generator     of the initial weights
    """

    def __init__(self, config, image_shape, generator):
        self.config, self.image_shape = config, tuple(image_shape)
        self.network = VAENetwork(
            self.image_shape, Bernoulli(grey=config.binarise == "grey"), config.hidden, config.latent, generator
        ).to(config.device)
        self.networks = {"vae": self.network}

    # ------------------------------------------------------------ images in, images out

    def pixels(self, images, generator):
        """uint8 images -> float32 in [0, 1], binarised by the settings, where the model computes.

        dynamic: each pixel is 1 with its grey value for a probability, drawn from the generator at each call.
        Raises ValueError for images of another size than the model's, TypeError unless they are uint8.
        """
        if images.dtype != np.uint8:
            raise TypeError(f"images must be uint8, got {images.dtype}")
        if images.shape[1:] != self.image_shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, self.image_shape))}), got {images.shape}")
        images = to_device(images, self.config.device)
        x = images.astype(np.float32) / np.float32(255)
        if self.config.binarise in ("auto", "dynamic"):
            return (generator.uniform(x.shape, device=self.config.device) < x).astype(np.float32)
        return (x >= 0.5).astype(np.float32) if self.config.binarise == "threshold" else x

    def sample(self, n, seed=0):
        """-> n images (n, H, W, C), float32 in [-1, 1]: the means of p(x | z) for z ~ N(0, I).

        seed: a whole number, or the Generator to draw from. Raises ValueError for n < 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        z = generator.normal((n, self.config.latent), device=self.config.device)
        with no_grad():
            mean = self.network.likelihood.mean(self.network.decode(Tensor(z)))
        return 2 * to_device(mean.data, "cpu") - 1

    # ------------------------------------------------------------ bounds and likelihoods

    def sampled(self, x, eps):
        """z_i = mu(x) + sigma(x) eps_i, decoded -> log_px = ln p(x | z_i) (N, K), z (N, K, D), mu, logvar (N, D)

        x array (N, H, W, C), eps Tensor (N, K, D)
        """
        n, k, d = eps.shape
        mu, logvar = self.network.encode(Tensor(x))
        z = reparametrise(mu, logvar, eps)
        y = self.network.decode(z.reshape(n * k, d))
        repeated = x if k == 1 else device_of(x).xp.repeat(x, k, axis=0)
        return self.network.likelihood.log_prob(repeated, y).reshape(n, k), z, mu, logvar

    def bound(self, x, eps):
        """The lower bound of ln p(x) of each image, in nats: the ELBO with its KL by formula for K = 1, else IWAE_K.

        x array (N, H, W, C), eps array (N, K, D) -> Tensor (N,)
        """
        eps = Tensor(eps)
        log_px, z, mu, logvar = self.sampled(x, eps)
        if eps.shape[1] == 1:
            return elbo(log_px, mu, logvar)
        return iwae_bound(log_weights(log_px, z, eps, logvar))

    def nll(self, images, generator, samples=None, progress=False):
        """-ln p(x) in nats, by `samples` (5000) importance samples an image.

            -ln p(x) ~ -ln (1/K) sum_i w_i        z_i ~ q(z | x)

        On average over the draws this is above the truth by what IWAE_K lacks. Grey images are binarised once.
        images uint8 (N, H, W, C) -> {"nll", "standard_error", "images", "samples"}: the mean over the images, its
        standard error, and how many there were of both. Raises ValueError for samples < 1.
        """
        samples = 5000 if samples is None else samples
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        x = self.pixels(images, generator.child("binarise"))
        values = -self.log_likelihoods(x, generator.child("latents"), samples, progress)
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        return {"nll": values.mean(), "standard_error": error, "images": len(values), "samples": samples}

    def log_likelihoods(self, x, generator, samples, progress=False):
        """The estimate of ln p(x) of each image of the array x (N, H, W, C) -> float64 (N,)."""
        together = max(1, ROWS // samples)
        parts = []
        with no_grad():
            for first in tqdm(range(0, len(x), together), desc="likelihood", unit="batch", disable=not progress):
                part = x[first : first + together]
                log_w = []
                for begin in range(0, samples, ROWS):
                    shape = (len(part), min(ROWS, samples - begin), self.config.latent)
                    eps = Tensor(generator.normal(shape, device=self.config.device))
                    log_px, z, _, logvar = self.sampled(part, eps)
                    log_w.append(to_device(log_weights(log_px, z, eps, logvar).data, "cpu").astype(np.float64))
                log_w = np.concatenate(log_w, axis=1)
                top = log_w.max(1)
                parts.append(top + np.log(np.exp(log_w - top[:, None]).mean(1)))
        return np.concatenate(parts)


class VAETraining(Task):
    """A VAE with what its training needs besides: an optimiser, the average of the weights, random numbers."""

    def __init__(self, config, image_shape):
        self.config, self.generator = config, Generator(config.seed)
        self.model = VAE(config, image_shape, self.generator)
        self.network, self.networks = self.model.network, self.model.networks
        self.optimizer = Adam(
            self.network.parameters(), lr=config.lr, eps=config.adam_eps, weight_decay=config.weight_decay
        )
        self.average = EMA(self.optimizer.flat, config.ema_decay)
        self.optimizers, self.averages = {"vae": self.optimizer}, {"vae": self.average}

    def step(self, batches, index):
        """One step up the bound on one batch -> loss (minus the bound, nats an image), grad_norm and lr."""
        config = self.config
        images, _ = batches.batch_at(index)
        x = self.model.pixels(images, self.generator)
        eps = self.generator.normal((len(x), config.k_at(index), config.latent), device=config.device)
        loss = -self.model.bound(x, eps).mean()
        value = loss.item()
        check_finite(loss=value)

        self.optimizer.zero_grad()
        loss.backward()
        warmup = min(config.warmup, config.steps // 10)
        self.optimizer.lr = config.lr * warmup_cosine(index, warmup, config.steps)
        norm = self.optimizer.step(max_norm=config.clip_norm, average=self.average)
        return {"loss": value, "grad_norm": norm, "lr": self.optimizer.lr}

    def sample(self, n, generator):
        with self.average.weights():
            return self.model.sample(n, seed=generator)
