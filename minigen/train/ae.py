"""Autoencoders as something to train: `minigen train ae --kind linear|mlp|conv|sparse|denoising`.

    one step        descend the gradient of the batch mean of  1/2 ||g(f(x~)) - x||^2 + c ||f(x~)||_1
    what for        model.encode(x), model.decode(z), model.reconstruct(x); a denoiser's input may be noisy

The kinds and their mathematics: models/autoencoder.py.

Shapes   images (N, H, W, C), pixels in [-1, 1]; codes (N, K). `mse` among the metrics is a pixel's, in these units
Source   decks 000, 003, 004, see models/autoencoder.py
"""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from .. import nn
from ..autograd import no_grad
from ..data import to_model_range
from ..device import to_device
from ..models.autoencoder import L1, Autoencoder, CodeGaussian, Dictionary, GaussianNoise, MaskingNoise, Shrink
from ..models.coders import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from ..optim import EMA, AdamW, warmup_cosine
from ..random import Generator
from ..tensor import Tensor
from .config import SettingError, TrainConfig, setting
from .task import Task, check_finite

KINDS = {  # kind: the settings that it heeds, of those that not every kind does
    "linear": ("code",),
    "mlp": ("code", "hidden"),
    "conv": ("code", "channels"),
    "sparse": ("atoms", "l1"),
    "denoising": ("code", "channels", "sigma", "masked"),
}


@dataclass(frozen=True)
class AEConfig(TrainConfig):
    """The settings of `minigen train ae`. Raises SettingError for a setting that the kind does not heed."""

    model: ClassVar[str] = "ae"

    steps: int = setting(2000, "steps in all; the learning rate falls to 0 over them", at_least=1, resumable=True)
    batch_size: int = setting(128, "images in a step", at_least=1)
    clip_norm: float = setting(1000.0, "longest gradient; a longer one is scaled down", at_least=1e-12)
    kind: str = setting("conv", "what the autoencoder is made of", choices=tuple(KINDS))
    code: int = setting(32, "numbers in a code (sparse: see atoms)", at_least=1)
    hidden: tuple[int, ...] = setting((512, 256), "mlp: widths of the hidden layers, image to code", at_least=1)
    channels: tuple[int, ...] = setting((16, 32), "conv, denoising: channels after each halving", at_least=1)
    atoms: int = setting(1024, "sparse: atoms, and numbers in a code", at_least=1)
    l1: float = setting(1.0, "sparse: weight c of the codes' L1 norm", at_least=0)
    sigma: float = setting(0.5, "denoising: deviation of Gaussian noise; pixels lie in [-1, 1]", at_least=0)
    masked: float = setting(0.0, "denoising: share of the pixels that are blackened", at_least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        heeded = KINDS[self.kind]
        for name in {name for names in KINDS.values() for name in names} - {*heeded}:
            if getattr(self, name) != self.__dataclass_fields__[name].default:
                raise SettingError(f"{name} is no setting of kind {self.kind!r}, which heeds {', '.join(heeded)}")
        if self.kind == "denoising" and not (self.sigma or self.masked):
            raise SettingError("a denoising autoencoder needs noise: sigma and masked are both 0")


def build(config, image_shape, generator):
    """The Autoencoder of a kind, with new weights."""
    shape, k = image_shape, config.atoms if config.kind == "sparse" else config.code
    if config.kind == "linear":
        return Autoencoder(MLPEncoder(shape, (), k, generator), MLPDecoder(k, (), shape, generator))
    if config.kind == "mlp":
        encoder = MLPEncoder(shape, config.hidden, k, generator)
        return Autoencoder(encoder, MLPDecoder(k, config.hidden[::-1], shape, generator))
    if config.kind == "sparse":
        encoder = nn.Sequential(MLPEncoder(shape, (), k, generator), Shrink(k))
        return Autoencoder(encoder, Dictionary(k, shape, generator), penalty=L1(config.l1))
    encoder = ConvEncoder(shape, config.channels, k, generator)
    decoder = ConvDecoder(k, config.channels, shape, generator)
    noises = (GaussianNoise(config.sigma), MaskingNoise(config.masked)) if config.kind == "denoising" else ()
    return Autoencoder(encoder, decoder, noises)


class AE:
    """An autoencoder: images to codes and back, linear (PCA), MLP, convolutional, sparse or denoising.

    image_shape   (H, W, C) of one image
    generator     of the initial weights

    Images go in as uint8, or as floats in [-1, 1], (N, H, W, C); other sizes than trained raise ValueError,
    other types TypeError.
    """

    @dataclass(frozen=True)
    class Sampling:
        """The settings of `sample`: none."""

    def __init__(self, config, image_shape, generator):
        self.config, self.image_shape = config, tuple(image_shape)
        self.network = build(config, self.image_shape, generator).to(config.device)
        self.code_size = config.atoms if config.kind == "sparse" else config.code
        self.codes = CodeGaussian(self.code_size).to(config.device)
        self.networks = {"ae": self.network, "codes": self.codes}

    def encode(self, images, batch_size=500):
        """The codes of images, without any corruption: (N, H, W, C) -> (N, K) float32."""
        images = np.asarray(images)
        return self._in_parts(lambda part: self.network.encoder(self._tensor(part)), images, batch_size)

    def decode(self, codes, batch_size=500):
        """(N, K) -> images (N, H, W, C) float32, pixels near [-1, 1]. Raises ValueError for codes of another size."""
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.code_size:
            raise ValueError(f"codes must be (N, {self.code_size}), got {codes.shape}")
        return self._in_parts(lambda part: self.network.decoder(self._tensor(part)), codes, batch_size)

    def reconstruct(self, images, batch_size=500):
        """r(x) = decode(encode(x)); for a denoising autoencoder the images may be noisy."""
        return self.decode(self.encode(images, batch_size), batch_size)

    def mse(self, images):
        """Mean squared error of reconstructed pixels, in the units of [-1, 1]."""
        images = np.asarray(images)
        target = to_model_range(images) if images.dtype == np.uint8 else images
        return float(np.mean((self.reconstruct(images) - target) ** 2, dtype=np.float64))

    def sample(self, n, seed=0, progress=False):
        """-> n images (n, H, W, C): decoded draws from a Gaussian with the mean and covariance of training codes.

        An autoencoder has no density: nothing in its objective says where codes lie. Between their clusters are gaps
        that the decoder has never seen, and a Gaussian puts draws there, so many of these images are no digits. What
        an autoencoder does well is `reconstruct`; to sample, make it variational. Only where the decoder is linear
        are these draws what they seem: Gaussian images with the mean and covariance of the reconstructions.

        seed: a whole number, or the Generator to draw from. Raises ValueError for n < 1.
        Source: deck 003 "Take a Deep Look ... Limitation/concern of autoencoder?", 004 "Can we generate new images?"
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return self.decode(self.codes.draw(n, seed if isinstance(seed, Generator) else Generator(seed)))

    def _tensor(self, part):
        if part.dtype != np.uint8 and not np.issubdtype(part.dtype, np.floating):
            raise TypeError(f"images must be uint8, or floats in [-1, 1], got {part.dtype}")
        part = to_model_range(part) if part.dtype == np.uint8 else part.astype(np.float32)
        return Tensor(to_device(part, self.config.device))

    def _in_parts(self, function, inputs, batch_size):
        with no_grad():
            parts = [function(inputs[i : i + batch_size]).data for i in range(0, max(1, len(inputs)), batch_size)]
        return np.concatenate([to_device(part, "cpu") for part in parts])


class AETraining(Task):
    """An AE with an optimiser, the average of its weights and the random numbers of its noise."""

    def __init__(self, config, image_shape):
        self.config, self.generator = config, Generator(config.seed)
        self.model = AE(config, image_shape, self.generator)
        self.network, self.networks = self.model.network, self.model.networks
        self.optimizer = AdamW(self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.average = EMA(self.optimizer.flat, config.ema_decay)
        self.optimizers, self.averages = {"ae": self.optimizer}, {"ae": self.average}

    def step(self, batches, index):
        """One step on one batch -> loss, mse of a pixel, grad_norm, lr; for a sparse code also nnz of an image."""
        config = self.config
        images, _ = batches.batch_at(index)
        self.x = to_model_range(to_device(images, config.device))
        objective = self.network.objective(self.x, self.generator)
        value = objective.loss.item()
        check_finite(loss=value)

        self.optimizer.zero_grad()
        objective.loss.backward()
        warmup = min(config.warmup, config.steps // 10)
        self.optimizer.lr = config.lr * warmup_cosine(index, warmup, config.steps)
        self.model.codes.update(objective.codes.data, self.average.decay_now())
        norm = self.optimizer.step(max_norm=config.clip_norm, average=self.average)
        mse = 2 * objective.error.item() / prod(self.model.image_shape)
        metrics = {"loss": value, "mse": mse, "grad_norm": norm, "lr": self.optimizer.lr}
        if config.kind == "sparse":
            metrics["nnz"] = float((objective.codes.data != 0).sum()) / config.batch_size
        return metrics

    def sample(self, n, generator):
        """Images of the last batch, each followed by its reconstruction: n pictures in pairs."""
        x = self.x[: max(1, n // 2)]
        with self.average.weights():
            seen = self.network.corrupt(x, generator)
            pairs = np.stack([to_device(seen, "cpu"), self.model.reconstruct(to_device(seen, "cpu"))], axis=1)
        return pairs.reshape(-1, *self.model.image_shape)
