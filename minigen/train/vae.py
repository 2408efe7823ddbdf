"""VAE: the variational autoencoder as something to train, to sample from and to judge by its likelihood.

    training, one step
        x ~ data,  eps_1, ..., eps_k ~ N(0, I),  z_i = mu(x) + sigma(x) eps_i
        ascend the gradient of a bound of ln p(x): the ELBO for k = 1, IWAE_k above (models/bounds.py derives them)
    sampling      z ~ N(0, I),  then the mean of p(x | z), or a draw from it
    likelihood    ln p(x) = ln E_q [ p(x, z) / q(z | x) ], the expectation by importance sampling

Shapes   images (N, H, W, C), uint8 in the data, [0, 1] inside, [-1, 1] where samples leave
Source   Kingma and Welling, Auto-Encoding Variational Bayes, 2014; Burda et al., Importance Weighted Autoencoders,
         2016; Higgins et al., beta-VAE, 2017; Sohn et al., conditional VAE, 2015; decks 000, 001, 003 and 004, VAE
"""

import numpy as np
from tqdm import tqdm

from .. import ops
from ..autograd import no_grad
from ..device import device_of, to_device
from ..models import bounds
from ..models.vae import VAENetwork
from ..optim import EMA, Adam, warmup_cosine
from ..random import Generator
from ..tensor import Tensor
from .config import SettingError
from .task import Task, check_finite
from .vae_config import VAESampling

ROWS = 5000  # latent samples decoded at once when a likelihood is estimated
TOGETHER = 500  # images encoded or decoded at once


class VAE:
    """A variational autoencoder: its network, and the distribution it stands for.

    image_shape   (H, W, C) of one image
    generator     of the initial weights
    """

    Sampling = VAESampling

    def __init__(self, config, image_shape, generator):
        self.config, self.image_shape = config, tuple(image_shape)
        self.network = VAENetwork(
            self.image_shape,
            config.make_likelihood(),
            generator,
            config.network,
            config.hidden if config.network == "mlp" else config.channels,
            config.latent,
            config.classes,
        ).to(config.device)
        self.networks = {"vae": self.network}

    # ------------------------------------------------------------ images in, images out

    def pixels(self, images, generator):
        """uint8 images -> float32 in [0, 1], binarised by the settings, on the model's device.

        dynamic: each pixel is 1 with its grey value for a probability, drawn from the generator at each call.
        Raises ValueError for images of another size than the model's, TypeError unless they are uint8.
        """
        if images.dtype != np.uint8:
            raise TypeError(f"images must be uint8, got {images.dtype}")
        if images.shape[1:] != self.image_shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, self.image_shape))}), got {images.shape}")
        x = to_device(images, self.config.device).astype(np.float32) / np.float32(255)
        how = self.config.binarise
        if how == "dynamic" or (how == "auto" and self.config.likelihood == "bernoulli"):
            return (generator.uniform(x.shape, device=self.config.device) < x).astype(np.float32)
        return (x >= 0.5).astype(np.float32) if how == "threshold" else x

    def sample(self, n, seed=0, progress=False, **settings):
        """-> n images (n, H, W, C), float32 in [-1, 1]: z ~ N(0, I), decoded.

        settings   those of VAESampling
        seed       a whole number, or the Generator to draw from
        Raises ValueError for n < 1, SettingError for settings that cannot be used.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        how, classes = self.Sampling(**settings), self.config.classes
        if how.label >= classes:
            raise SettingError(f"label must be below {classes}, the model's classes, got {how.label}")
        labels = None if not classes else np.arange(n) % classes if how.label < 0 else np.full(n, how.label)
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        z = generator.normal((n, self.config.latent), device=self.config.device)
        if how.pixels == "mean":
            return self.decode(z, labels).clip(-1, 1)
        with no_grad():
            x = self.network.likelihood.sample(self.network.decode(Tensor(z), labels), generator)
        return (2 * to_device(x.data, "cpu") - 1).clip(-1, 1)

    def encode(self, images, labels=None, seed=0):
        """q(z | x) = N(mean, exp(logvar)) of uint8 images (N, H, W, C) -> mean, logvar (N, D), float32.

        labels   (N,), of a conditional model
        seed     a whole number, or the Generator that binarises the images where the model was trained on such
        Raises as `pixels` does, and ValueError for labels that do not fit.
        """
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        return self._in_parts(lambda x, c: self.network.encode(Tensor(self.pixels(x, generator)), c), images, labels)

    def decode(self, codes, labels=None):
        """The mean of p(x | z) of each code: (N, D) -> images (N, H, W, C) float32, pixels near [-1, 1]."""

        def mean(z, labels):
            z = Tensor(to_device(z.astype(np.float32, copy=False), self.config.device))
            return (self.network.likelihood.mean(self.network.decode(z, labels)) * 2.0 - 1.0,)

        return self._in_parts(mean, codes, labels)[0]

    def reconstruct(self, images, labels=None, seed=0):
        """decode(mean of q(z | x)).   uint8 (N, H, W, C) -> float32 (N, H, W, C). Arguments and errors: encode."""
        return self.decode(self.encode(images, labels, seed)[0], labels)

    @staticmethod
    def _in_parts(function, inputs, labels):
        """The results of function(inputs, labels), a tuple of Tensors, for 500 inputs at once -> arrays on the CPU."""
        parts = [slice(i, i + TOGETHER) for i in range(0, max(1, len(inputs)), TOGETHER)]
        with no_grad():
            found = [function(inputs[part], None if labels is None else labels[part]) for part in parts]
        return tuple(np.concatenate([to_device(part.data, "cpu") for part in parts]) for parts in zip(*found))

    # ------------------------------------------------------------ bounds and likelihoods

    def encode_and_decode(self, x, eps, labels=None, share=None):
        """z_i = mu(x) + sigma(x) eps_i, decoded -> log_px = ln p(x | z_i) (N, K), z (N, K, D), mu, logvar (N, D)

        x array (N, H, W, C), eps Tensor (N, K, D), labels (N,) for a conditional model
        share array (N, K, 1): so much of the gradient goes back through z; all of it by default
        """
        n, k, d = eps.shape
        mu, logvar = self.network.encode(Tensor(x), labels)
        z = bounds.reparametrise(mu, logvar, eps)
        z = z if share is None else bounds.with_share_of_gradient(z, share)
        y = self.network.decode(z.reshape(n * k, d), labels if labels is None else np.repeat(labels, k))
        return self.network.likelihood.log_prob(x, y).reshape(n, k), z, mu, logvar

    def bound(self, x, eps, labels=None):
        """The lower bound of ln p(x) of each image, in nats: the ELBO with its KL by formula for K = 1, else IWAE_K.

        x array (N, H, W, C), eps array (N, K, D), labels (N,) for a conditional model -> Tensor (N,)
        """
        eps = Tensor(eps)
        log_px, z, mu, logvar = self.encode_and_decode(x, eps, labels)
        if eps.shape[1] == 1:
            return bounds.elbo(log_px, bounds.kl_to_prior(mu, logvar))
        return bounds.iwae_bound(bounds.log_weights(log_px, z, eps, logvar))

    def resampled_bound(self, x, eps, generator, labels=None):
        """IWAE_K with the gradient of one sample j an image, drawn with probability v_j = w_j / sum_i w_i.

            d IWAE_K / d decoder  =  sum_i v_i d ln w_i / d decoder                   =  E_j d ln w_j / d decoder
            d IWAE_K / d encoder  =  E_eps sum_i v_i^2 (d ln w_i / dz_i) dz_i / d encoder
                                  =  E_eps E_j v_j (d ln w_j / dz_j) dz_j / d encoder

        The second is the doubly reparametrised gradient: by way of z alone. What it leaves out has mean 0, and for
        large K more noise than the rest has signal. All K are decoded, but only one of them is gone back through: a
        third of the arithmetic. x array (N, H, W, C), eps array (N, K, D), labels (N,) for a conditional model
        -> Tensor (N,)

        Source: Tucker et al., Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, ICLR 2019, eq. 8
        """
        xp = device_of(x).xp
        with no_grad():
            log_px, z, _, logvar = self.encode_and_decode(x, Tensor(eps), labels)
            log_w = bounds.log_weights(log_px, z, Tensor(eps), logvar)
            value, v = bounds.iwae_bound(log_w), ops.softmax(log_w).data
        up_to = v.cumsum(1)
        u = generator.uniform((len(x), 1), x.dtype, self.config.device) * up_to[:, -1:]
        rows, chosen = xp.arange(len(x)), xp.minimum((up_to < u).sum(1), eps.shape[1] - 1)
        eps, share = Tensor(eps[rows, chosen][:, None]), v[rows, chosen][:, None, None]
        log_px, z, mu, logvar = self.encode_and_decode(x, eps, labels, share)
        log_w = (log_px - bounds.path_log_ratio(z, mu, logvar).sum(2))[:, 0]
        return log_w + (value.data - log_w.data)

    def weighted_elbo(self, x, eps, beta, labels=None):
        """The ELBO as the settings weigh its terms, mean over the batch -> Tensors: the whole, ln p(x | z), the KL

            reconstruction * ln p(x | z) - beta * KL          the KL with free bits

        Both terms are sums, over pixels and over dimensions of the code: a mean over either would be another beta.
        """
        eps, config = Tensor(eps), self.config
        log_px, z, mu, logvar = self.encode_and_decode(x, eps, labels)
        if config.kl == "formula":
            kl = bounds.kl_to_prior(mu, logvar)
        else:
            sampled = config.kl == "sampled"
            kl = bounds.sampled_kl_to_prior(z, eps, logvar) if sampled else bounds.path_kl_to_prior(z, mu, logvar)
        fit, cost = log_px.mean(), bounds.free_bits(kl, config.free_bits)
        return fit * config.reconstruction - cost * beta, fit, kl.sum(1).mean()

    def nll(self, images, generator, samples=None, progress=False, labels=None):
        """-ln p(x) in nats, by `samples` (5000) importance samples an image.

            -ln p(x) ~ -ln (1/K) sum_i w_i,   w_i = p(x, z_i) / q(z_i | x),   z_i ~ q(z | x)

        On average over the draws this is above the truth, by what IWAE_K lacks. Grey images are binarised once, as in
        training. A conditional model gives p(x | label) where labels are given, else p(x) = mean of p(x | label).
        images uint8 (N, H, W, C), labels (N,) -> {"nll", "standard_error", "images", "samples"}: the mean over the
        images, its standard error (of one image nan), and how many there were of both. Raises ValueError for samples
        or images fewer than 1, and where the loss is no likelihood.
        """
        samples = 5000 if samples is None else samples
        if samples < 1 or not len(images):
            raise ValueError(f"samples and images must be at least 1, got samples={samples} and {len(images)} images")
        if self.config.binarise == "grey":
            raise ValueError("binarise is 'grey': cross-entropy on grey pixels is no likelihood, so there is no NLL")
        x, draws = self.pixels(images, generator.child("binarise")), generator.child("latents")
        if self.config.classes and labels is None:
            every = [np.full(len(x), label) for label in range(self.config.classes)]
            found = np.stack([self.log_likelihoods(x, draws, samples, given, progress) for given in every], axis=1)
            values = -log_mean_exp(found)
        else:
            values = -self.log_likelihoods(x, draws, samples, labels, progress)
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
        return {"nll": float(values.mean()), "standard_error": float(error), "images": len(x), "samples": samples}

    def log_likelihoods(self, x, generator, samples, labels=None, progress=False):
        """The estimate of ln p(x), or of ln p(x | label), of each image of the array x -> float64 (N,)."""
        together, found = max(1, ROWS // samples), []
        with no_grad():
            for first in tqdm(range(0, len(x), together), desc="likelihood", unit="batch", disable=not progress):
                part = slice(first, first + together)
                given = None if labels is None else labels[part]
                found.append(log_mean_exp(self._log_weights(x[part], generator, samples, given)))
        return np.concatenate(found)

    def _log_weights(self, x, generator, samples, labels):
        """ln w of `samples` draws for each image -> float64 (N, samples), in parts of at most ROWS decoded images."""
        parts = []
        for begin in range(0, samples, ROWS):
            shape = (len(x), min(ROWS, samples - begin), self.config.latent)
            eps = Tensor(generator.normal(shape, x.dtype, self.config.device))
            log_px, z, _, logvar = self.encode_and_decode(x, eps, labels)
            parts.append(to_device(bounds.log_weights(log_px, z, eps, logvar).data, "cpu").astype(np.float64))
        return np.concatenate(parts, axis=1)


def log_mean_exp(a):
    """ln of the mean of exp(a) over the last axis, without overflow.   a (N, K) -> (N,)"""
    top = a.max(1)
    return top + np.log(np.exp(a - top[:, None]).mean(1))


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
        """One step up the bound on one batch -> loss (minus the bound, nats an image), its terms, grad_norm and lr."""
        config, k = self.config, self.config.k_at(index)
        if index == 0 and not self.network.centre.data.any():  # weights that were learned before stay as they are
            self.network.begin_at((batches.images.mean(0) / 255).astype(np.float32))
        images, labels = batches.batch_at(index)
        x = self.model.pixels(images, self.generator)
        eps = self.generator.normal((len(x), k, config.latent), device=config.device)
        labels = to_device(labels, "cpu") if config.classes else None
        terms = {}
        if k == 1:
            bound, fit, kl = self.model.weighted_elbo(x, eps, config.beta_at(index), labels)
            terms = {"reconstruction": -fit.item(), "kl": kl.item()}
        elif config.resample:
            bound = self.model.resampled_bound(x, eps, self.generator, labels).mean()
        else:
            bound = self.model.bound(x, eps, labels).mean()
        loss = -bound
        value = loss.item()
        check_finite(loss=value)

        self.optimizer.zero_grad()
        loss.backward()
        warmup = min(config.warmup, config.steps // 10)
        self.optimizer.lr = config.lr * warmup_cosine(index, warmup, config.steps)
        norm = self.optimizer.step(max_norm=config.clip_norm, average=self.average)
        return {"loss": value, **terms, "grad_norm": norm, "lr": self.optimizer.lr}

    def sample(self, n, generator):
        with self.average.weights():
            return self.model.sample(n, seed=generator)
