"""DDPM: the denoising diffusion model as something to train and to sample from.

    training, one step (Ho et al. 2020, Algorithm 1)
        x0 ~ data,  t ~ U{1, ..., T},  eps ~ N(0, I),  x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps
        descend the gradient of  mean (network(x_t, t) - target)^2        target: eps, x0, v or mean, see process.py
        (how levels are drawn is a setting, see diffusion/levels.py; how they are weighted, see objective.py)
    sampling: diffusion/samplers.py and solvers.py, with the moving average of the weights
    likelihood: diffusion/likelihood.py

Shapes   images (N, H, W, C), float32 in [-1, 1] inside, uint8 in the data
Source   Ho, Jain and Abbeel, DDPM, 2020; decks 002 and 003 "Algorithm 1", 004 "Putting it all together"
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from tqdm import tqdm

from ..data import to_model_range
from ..device import to_device
from ..diffusion import SAMPLERS, GaussianDiffusion, Objective, bound, make_schedule
from ..diffusion.levels import LEVELS
from ..diffusion.likelihood import VARIANCES, bits_per_dim
from ..diffusion.objective import WEIGHTINGS
from ..diffusion.process import TARGETS
from ..diffusion.samplers import SPACINGS
from ..diffusion.schedules import BETAS
from ..optim import EMA, AdamW, warmup_cosine
from ..random import Generator
from .condition import (
    CONDITIONS,
    ConditionSampling,
    check_unconditional,
    condition_of,
    denoiser,
    drop_some,
    examples_to_enlarge,
    make_network,
    wanted_labels,
)
from .config import SettingError, TrainConfig, setting
from .task import Task, check_finite, under

EXAMPLES = 64  # training images that a model of --condition image enlarges for its sample pictures
BOUND_LEVELS = 50  # network calls for an image's likelihood, unless told otherwise


@dataclass(frozen=True)
class DDPMConfig(TrainConfig):
    """The settings of `minigen train ddpm`; the network's are those of models/unet.py."""

    model: ClassVar[str] = "ddpm"

    steps: int = setting(6500, "steps in all; the learning rate falls to 0 over them", at_least=1, resumable=True)
    ema_decay: float = setting(0.999, "decay of the weights' moving average", at_least=0, below=1)
    T: int = setting(1000, "noise levels", at_least=1)
    schedule: str = setting("cosine", "how noise grows with the level", choices=tuple(BETAS))
    target: str = setting("v", "what the network predicts", choices=TARGETS)
    weighting: str = setting("simple", "how losses of different levels are weighted", choices=WEIGHTINGS)
    min_snr_gamma: float = setting(5.0, "signal to noise at which min-snr stops growing", at_least=1e-12)
    levels: str = setting("stratified", "how the levels of a batch are drawn", choices=tuple(LEVELS))
    variance: str = setting("fixed", "variance of the steps back", choices=("fixed", "learned"))
    vlb_weight: float = setting(1e-3, "weight of the bound beside the loss, for a learned variance", at_least=0)
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
    condition: str = setting("none", "what the network is told besides the noise level", choices=CONDITIONS)
    condition_dropout: float = setting(
        0.1, "share of the training images whose condition is left out", at_least=0, below=1
    )

    def __post_init__(self):
        super().__post_init__()
        levels = len(self.multipliers)
        if not levels:
            raise SettingError("multipliers must hold at least one number, one a level, got none")
        if any(level >= levels for level in self.attention_levels):
            raise SettingError(f"attention_levels must be below {levels}, the levels, got {self.attention_levels}")


@dataclass(frozen=True)
class DDPMSampling(ConditionSampling):
    """How a DDPM is sampled, and the flags of `minigen sample` for it."""

    sampler: str = setting("ddim", "how to get from noise to images", choices=tuple(SAMPLERS))
    steps: int = setting(0, "steps; 0: 50, but every noise level for ddpm", at_least=0)
    spacing: str = setting("linear", "of the levels visited; quadratic: denser near the data", choices=SPACINGS)
    eta: float = setting(0.0, "noise of ddim; 0: none, 1: as much as ddpm", at_least=0, at_most=1)
    variance: str = setting(
        "model", "of the steps of ddpm; model: learned where the model has it, else beta", choices=("model", *VARIANCES)
    )


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
        learned = config.variance == "learned"
        self.process = GaussianDiffusion(make_schedule(config.schedule, config.T), config.target, learned)
        self.network = make_network(
            generator,
            config,
            in_channels=self.image_shape[-1],
            out_channels=self.image_shape[-1] * (2 if learned else 1),
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

    def sample(self, n, seed=0, batch_size=128, progress=False, image=None, **settings):
        """-> n images (n, H, W, C), float32, pixels near [-1, 1]; the same ones for the same arguments.

        settings  those of DDPMSampling
        seed      a whole number, or the Generator to draw from
        image     (n, H, W, C), coarse: what a model trained with --condition image or hybrid enlarges; without it such
                  a model draws from p(x)
        Raises ValueError for n < 1, or an image for another model, SettingError for settings that cannot be used.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        how = self.Sampling(**settings)
        if how.steps > self.process.T:
            raise SettingError(f"steps must be at most {self.process.T}, the model's noise levels, got {how.steps}")
        if how.variance == "learned" and not self.process.learned_variance:
            raise SettingError("variance is 'learned', but this model has learned none: it was not trained to")
        for name, sampler in (("eta", "ddim"), ("variance", "ddpm")):
            if name in settings and how.sampler != sampler:
                raise SettingError(f"{name} says nothing about sampler {how.sampler}: leave it out")
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        parts = [range(done, min(n, done + batch_size)) for done in range(0, n, batch_size)]
        with self.at_rest():
            return np.concatenate([self._sample_batch(part, how, generator, progress, image) for part in parts])

    def _sample_batch(self, part, how, generator, progress, image):
        T, image = self.process.T, None if image is None else image[part.start : part.stop]
        start = generator.normal((len(part), *self.image_shape), device=self.config.device)
        steps = how.steps or (T if how.sampler == "ddpm" else min(50, T))
        own = {"ddim": {"eta": how.eta}, "ddpm": {"variance": self.variance(how.variance)}}.get(how.sampler, {})
        images = SAMPLERS[how.sampler](
            self.process, denoiser(self, how, wanted_labels(self, how, part), image), start, generator, steps,
            spacing=how.spacing, clip_x0=True, progress=progress, **own,
        )  # fmt: skip
        return to_device(images, "cpu")

    @contextmanager
    def at_rest(self):
        """Inside the block nothing is dropped out; afterwards the network trains, or does not, as before."""
        training = self.network.training
        self.network.eval()
        try:
            yield
        finally:
            self.network.train(training)

    def variance(self, name="model", fixed="beta"):
        """The variance that is meant by `name`: "model" is what the model learned, or `fixed` where it learned none."""
        return name if name != "model" else "learned" if self.process.learned_variance else fixed

    def nll(self, images, generator, samples=None, batch_size=128, progress=False):
        """The variational bound on -log p of images (N, H, W, C), uint8 -> {name: number}, in bits a dimension.

        samples   network calls for each image, 2 ... T: 50 (at most T) where None. The estimate is unbiased for any;
                  T visits every level. Its noise is part of the standard error, which is over the images
        The steps have the learned variance, or else the posterior's. See diffusion/likelihood.py.
        A conditional model is asked for p(x), by its null condition: SettingError where it has not learned that.
        """
        check_unconditional(self.config)
        if samples is not None and not min(2, self.process.T) <= samples <= self.process.T:
            raise SettingError(f"samples must lie in 2 ... T = {self.process.T}, the network's calls, got {samples}")
        levels, terms = samples or min(BOUND_LEVELS, self.process.T), []
        variance = self.variance(fixed="posterior")
        with self.at_rest():
            for first in tqdm(range(0, len(images), batch_size), disable=not progress):
                x0 = to_model_range(to_device(images[first : first + batch_size], self.config.device))
                terms.append(bound(self.process, self.network, x0, generator, levels, variance, progress=progress))
        parts = {name: np.concatenate([part[name] for part in terms]) for name in terms[0]}
        size = int(np.prod(self.image_shape))
        nats, n = sum(parts.values()), len(images)
        error = nats.std(ddof=1) / np.sqrt(n) if n > 1 else float("nan")
        return {
            "bits/dim": bits_per_dim(nats.mean(), size),
            "standard error": bits_per_dim(error, size),
            **{f"{name} bits/dim": bits_per_dim(part.mean(), size) for name, part in parts.items()},
            "nats": nats.mean(),
            "images": n,
            "levels an image": levels,
        }


class DDPMTraining(Task):
    """A DDPM with what its training needs besides: an optimiser, the average of the weights, random numbers."""

    def __init__(self, config, image_shape):
        self.config, self.generator = config, Generator(config.seed)
        self.model = DDPM(config, image_shape, self.generator)
        self.network, self.networks = self.model.network, self.model.networks
        self.optimizer = AdamW(self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.average = EMA(self.optimizer.flat, config.ema_decay)
        self.optimizers, self.averages = {"unet": self.optimizer}, {"unet": self.average}
        self.objective = Objective(self.model.process, config.weighting, config.min_snr_gamma, config.vlb_weight)
        self.levels = LEVELS[config.levels](config.T)

    def step(self, batches, index):
        """Algorithm 1 on one batch -> loss, grad_norm (before clipping) and lr."""
        config = self.config
        images, labels = batches.batch_at(index)
        self.examples = batches.images[:EXAMPLES], batches.labels[:EXAMPLES]
        x0 = to_model_range(to_device(images, config.device))
        t, weights = self.levels.draw(len(x0), self.generator)
        eps = self.generator.normal(x0.shape, device=config.device)
        told = drop_some(condition_of(config, x0, labels), config.condition_dropout, self.generator)
        losses = self.objective.losses(partial(self.network, **told), x0, t, eps)
        loss = (losses * to_device(weights.astype(np.float32), config.device)).mean()
        value = loss.item()  # here the CPU waits for the GPU; the one other place is the norm of the gradient
        check_finite(loss=value)
        if self.levels.keeps_history:  # and this one
            self.levels.update(t, losses.numpy())

        self.optimizer.zero_grad()
        loss.backward()
        warmup = min(config.warmup, config.steps // 10)
        self.optimizer.lr = config.lr * warmup_cosine(index, warmup, config.steps)
        norm = self.optimizer.step(max_norm=config.clip_norm, average=self.average)
        return {"loss": value, "grad_norm": norm, "lr": self.optimizer.lr}

    def sample(self, n, generator):
        images, labels = self.examples
        told = {"label": tuple(map(int, labels))} if self.config.condition == "hybrid" else {}
        with self.average.weights():
            image = examples_to_enlarge(self.config, images, n)
            return self.model.sample(n, steps=min(50, self.config.T), eta=1.0, seed=generator, image=image, **told)

    def state(self):
        arrays, header = super().state()
        return arrays | {f"levels/{name}": array for name, array in self.levels.state().items()}, header

    def load_state(self, arrays, header):
        super().load_state(arrays, header)
        self.levels.load_state(under("levels/", arrays))
