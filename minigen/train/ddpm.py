"""DDPM: the denoising diffusion model as something to train and to sample from.

    training, one step (Ho et al. 2020, Algorithm 1)
        x0 ~ data,  t ~ U{1, ..., T},  eps ~ N(0, I),  x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps
        descend the gradient of  mean (network(x_t, t) - target)^2        target: eps, x0 or v, see diffusion/process.py
        (the levels of one batch are spread evenly, see stratified_levels)
    sampling: diffusion/samplers.py, with the moving average of the weights

Shapes   images (N, H, W, C), float32 in [-1, 1] inside, uint8 in the data
Source   Ho, Jain and Abbeel, DDPM, 2020; decks 002 and 003 "Algorithm 1", 004 "Putting it all together"
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..data import to_model_range
from ..device import to_device
from ..diffusion import GaussianDiffusion, ddim_sample, ddpm_sample, make_schedule
from ..diffusion.process import TARGETS
from ..diffusion.schedules import BETAS
from ..models.unet import UNet
from ..optim import EMA, AdamW, warmup_cosine
from ..random import Generator
from .config import SettingError, Settings, TrainConfig, setting
from .task import Task, check_finite

SAMPLERS = ("ddim", "ddpm")


@dataclass(frozen=True)
class DDPMConfig(TrainConfig):
    """The settings of `minigen train ddpm`; the network's are those of models/unet.py."""

    model: ClassVar[str] = "ddpm"

    T: int = setting(1000, "noise levels", at_least=1)
    schedule: str = setting("cosine", "how noise grows with the level", choices=tuple(BETAS))
    target: str = setting("v", "what the network predicts", choices=TARGETS)
    channels: int = setting(32, "width of the network at its first level", at_least=1)
    multipliers: tuple[int, ...] = setting((1, 2), "width of each level, as multiples of channels", at_least=1)
    blocks: int = setting(1, "residual blocks a level", at_least=1)
    attention_levels: tuple[int, ...] = setting(
        (), "levels with attention, counted from 0; the middle always has it", at_least=0
    )
    heads: int = setting(4, "heads of the attention", at_least=1)
    groups: int = setting(8, "groups of the group norms", at_least=1)
    dropout: float = setting(0.0, "share of activations dropped in training", at_least=0, below=1)
    patch: int = setting(2, "side of the pixel patches that the network works on", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        levels = len(self.multipliers)
        if not levels:
            raise SettingError("multipliers must hold at least one number, one a level, got none")
        if any(level >= levels for level in self.attention_levels):
            raise SettingError(f"attention_levels must be below {levels}, the levels, got {self.attention_levels}")


@dataclass(frozen=True)
class DDPMSampling(Settings):
    """How a DDPM is sampled, and the flags of `minigen sample` for it."""

    sampler: str = setting("ddim", "ddpm visits every noise level", choices=SAMPLERS)
    steps: int = setting(50, "steps of ddim", at_least=1)
    eta: float = setting(0.0, "noise of ddim; 0: none, 1: as much as ddpm", at_least=0, at_most=1)


class DDPM:
    """Denoising diffusion: a U-Net, and the process that gives its predictions their meaning.

    image_shape   (H, W, C) of one image
    generator     of the initial weights, and of dropout in training
    """

    Sampling = DDPMSampling

    def __init__(self, config, image_shape, generator):
        self.config, self.image_shape = config, tuple(image_shape)
        if any(side % config.patch for side in self.image_shape[:2]):
            raise ValueError(f"patch must divide the image's sides, got {config.patch} and {self.image_shape}")
        self.process = GaussianDiffusion(make_schedule(config.schedule, config.T), config.target)
        self.network = UNet(
            generator,
            in_channels=self.image_shape[-1],
            channels=config.channels,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention_levels=config.attention_levels,
            heads=config.heads,
            groups=config.groups,
            dropout=config.dropout,
            patch=config.patch,
        ).to(config.device)
        self.networks = {"unet": self.network}

    def sample(self, n, seed=0, batch_size=128, progress=False, **settings):
        """-> n images (n, H, W, C), float32, pixels near [-1, 1]; the same ones for the same arguments.

        settings  those of DDPMSampling: "ddim" takes `steps` steps (at most T) with noise `eta`; "ddpm" visits all T
                  levels and uses neither
        seed      a whole number, or the Generator to draw from
        Raises ValueError for n < 1, SettingError for settings that cannot be used.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        how = self.Sampling(**settings)
        if how.sampler == "ddim" and how.steps > self.process.T:
            raise SettingError(f"steps must be at most {self.process.T}, the model's noise levels, got {how.steps}")
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        sizes = [min(batch_size, n - done) for done in range(0, n, batch_size)]
        training = self.network.training
        self.network.eval()
        try:
            parts = [self._sample_batch(size, how, generator, progress) for size in sizes]
        finally:
            self.network.train(training)
        return np.concatenate(parts)

    def _sample_batch(self, size, how, generator, progress):
        start = generator.normal((size, *self.image_shape), device=self.config.device)
        if how.sampler == "ddpm":
            images = ddpm_sample(self.process, self.network, start, generator, clip_x0=True, progress=progress)
        else:
            images = ddim_sample(
                self.process, self.network, start, generator, how.steps, how.eta, clip_x0=True, progress=progress
            )
        return to_device(images, "cpu")


def stratified_levels(n, T, generator):
    """n levels, each uniform on 1, ..., T, and one in every n-th part of that range: -> int64 (n,).

        t_i = 1 + floor(T ((u + i / n) mod 1))        u ~ U(0, 1), one for the whole batch

    The loss depends on the level more than on the image, so a batch that covers all levels evenly has a far less
    noisy gradient than one that draws them independently. Source: Kingma et al., Variational Diffusion Models,
    NeurIPS 2021, appendix I.1
    """
    u = generator.uniform((1,), np.float64)
    return 1 + np.minimum(T * ((u + np.arange(n) / n) % 1), T - 1).astype(np.int64)


class DDPMTraining(Task):
    """A DDPM with what its training needs besides: an optimiser, the average of the weights, random numbers."""

    def __init__(self, config, image_shape):
        self.config, self.generator = config, Generator(config.seed)
        self.model = DDPM(config, image_shape, self.generator)
        self.network, self.networks = self.model.network, self.model.networks
        self.optimizer = AdamW(self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.average = EMA(self.optimizer.flat, config.ema_decay)
        self.optimizers, self.averages = {"unet": self.optimizer}, {"unet": self.average}

    def step(self, batches, index):
        """Algorithm 1 on one batch -> loss, grad_norm (before clipping) and lr."""
        config = self.config
        images, _ = batches.batch_at(index)
        x0 = to_model_range(to_device(images, config.device))
        t = stratified_levels(len(x0), config.T, self.generator)
        eps = self.generator.normal(x0.shape, device=config.device)
        loss = self.model.process.loss(self.network, x0, t, eps)
        value = loss.item()  # here the CPU waits for the GPU; the one other place is the norm of the gradient
        check_finite(loss=value)

        self.optimizer.zero_grad()
        loss.backward()
        warmup = min(config.warmup, config.steps // 10)
        self.optimizer.lr = config.lr * warmup_cosine(index, warmup, config.steps)
        norm = self.optimizer.step(max_norm=config.clip_norm, average=self.average)
        return {"loss": value, "grad_norm": norm, "lr": self.optimizer.lr}

    def sample(self, n, generator):
        with self.average.weights():
            return self.model.sample(n, steps=min(50, self.config.T), eta=1.0, seed=generator)
