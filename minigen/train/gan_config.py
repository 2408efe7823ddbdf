"""The settings of `minigen train gan`, what they imply where they are left open, and the networks they ask for."""

from dataclasses import dataclass
from typing import ClassVar

from ..data import class_count
from ..data.registry import DATA_SETS
from ..data.toy import TOY_SETS
from ..models.gan.dcgan import DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from ..models.gan.layers import GROUPS, NORMS
from ..models.gan.losses import BEGAN, EBGAN, LOSSES, WGAN
from ..models.gan.mlp import (
    AutoencoderDiscriminator,
    LinearDiscriminator,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ShiftGenerator,
)
from ..models.gan.penalties import PENALTIES
from ..models.gan.upsampling import UpsamplingEncoder, UpsamplingGenerator
from .config import Settings, TrainConfig, setting

ARCHITECTURES = ("dcgan", "upsampling", "mlp", "shift")


def all_data_sets():
    return (*DATA_SETS, *TOY_SETS)


@dataclass(frozen=True)
class GANConfig(TrainConfig):
    """The settings of `minigen train gan`."""

    model: ClassVar[str] = "gan"

    data: str = setting("mnist-mini", "data set, of images or (ring8, grid25 ...) of points", choices=all_data_sets)
    batch_size: int = setting(64, "samples in a batch", at_least=1)
    lr: float = setting(1e-3, "learning rate of the generator at its peak", at_least=0)
    d_lr: float = setting(1e-3, "learning rate of the discriminator at its peak", at_least=0)
    warmup: int = setting(0, "steps of linear warm-up (at most a tenth of all)", at_least=0)
    beta1: float = setting(0.5, "decay of Adam's mean gradient", at_least=0, below=1)
    beta2: float = setting(0.999, "decay of Adam's mean square", at_least=0, below=1)
    clip_norm: float = setting(1000.0, "longest gradient of a network; a longer one is scaled down", at_least=1e-12)

    loss: str = setting("non-saturating", "the game that is played", choices=tuple(LOSSES))
    critic_steps: int = setting(0, "steps of the discriminator for one of the generator; 0: the loss's own", at_least=0)
    penalty: str = setting(
        "own", "gradient penalty; own: the loss's, where it has one", choices=("own", "none", *PENALTIES)
    )
    penalty_weight: float = setting(10.0, "weight of the gradient penalty", at_least=0)
    clip: float = setting(0.01, "wgan: largest weight of the critic", at_least=1e-12)
    codes: int = setting(10, "infogan: values of the latent code", at_least=2)
    margin: float = setting(0.2, "ebgan: energy that generated samples are lifted to", at_least=0)
    pull_away: float = setting(0.1, "ebgan: weight of the pull-away term", at_least=0)
    gamma: float = setting(0.5, "began: energy of generated samples over that of data", at_least=1e-12, at_most=1)

    arch: str = setting(
        "auto",
        "networks; auto: mlp for points, upsampling for began, else dcgan; shift: deck 000's toy x* = z + theta",
        choices=("auto", *ARCHITECTURES),
    )
    latent: int = setting(64, "numbers in z", at_least=1)
    channels: int = setting(32, "dcgan, upsampling: channels at the highest resolution", at_least=1)
    width: int = setting(128, "mlp: width of a layer", at_least=1)
    depth: int = setting(3, "mlp: hidden layers", at_least=1)
    bottleneck: int = setting(32, "ebgan, began: numbers in the autoencoder's code", at_least=1)
    g_norm: str = setting("auto", "the generator's norm; auto: batch for dcgan, else none", choices=("auto", *NORMS))
    d_norm: str = setting(
        "auto",
        "the discriminator's norm; auto: for dcgan batch, under a penalty layer, else none",
        choices=("auto", *NORMS, "spectral"),
    )

    label_smoothing: float = setting(0.0, "target 1 - this for real samples", at_least=0, below=0.5)
    label_flips: float = setting(0.0, "share of targets exchanged in the discriminator's step", at_least=0, below=0.5)
    instance_noise: float = setting(
        0.0, "deviation of noise on all that the discriminator sees; falls to 0", at_least=0
    )
    minibatch_std: bool = setting(False, "show the discriminator how much the samples of a batch differ")
    separate_batches: bool = setting(True, "real and generated samples pass the discriminator as batches of their own")
    stop_when_lost: bool = setting(False, "end the run where the log names a divergence")

    def _conflicts(self):
        """(whether, what to say) for settings that do not go together."""
        loss, arch, points = LOSSES[self.loss], self.architecture, self.data in TOY_SETS
        shift, images = arch == "shift", arch in ("dcgan", "upsampling")
        plain = not (loss.is_energy or loss.guesses or loss.given_labels)
        yield points and images, f"arch {arch} makes images, but {self.data} has points: use arch mlp"
        yield not points and shift, f"arch shift makes points, but {self.data} has images: use arch mlp"
        yield (
            arch == "upsampling" and not loss.is_energy,
            f"arch upsampling is for energies, ebgan and began, but loss is {self.loss}: use arch dcgan",
        )
        yield shift and not plain, f"arch shift has neither classes nor an autoencoder, but {self.loss} needs them"
        for name in ("label_smoothing", "label_flips"):
            wrong = getattr(self, name) > 0 and not loss.has_targets
            yield wrong, f"{name} must be 0 for {self.loss}, which has no targets 1 and 0, got {getattr(self, name)}"
        yield (
            self.uses_penalty != "none" and self.discriminator_norm == "batch",
            f"d_norm must not be batch under the penalty {self.uses_penalty}, which is about single samples: "
            "use layer, group, spectral or none",
        )
        yield (
            loss.is_energy and self.d_norm == "spectral",
            f"d_norm must not be spectral for the energies of {self.loss}",
        )
        yield loss.is_energy and self.minibatch_std, f"minibatch_std must be false for the energies of {self.loss}"
        yield (
            self.loss == "wgan-gp" and self.penalty == "none" and self.d_norm != "spectral",
            "penalty must not be none for wgan-gp, whose critic then has no bound: use loss wgan, or d_norm spectral",
        )
        yield (
            self.loss == "ebgan" and self.batch_size == 1,
            "batch_size must be at least 2 for ebgan, which compares codes with each other, got 1",
        )
        yield shift and self.minibatch_std, "minibatch_std must be false for arch shift, which has no layer for it"
        size = "channels" if images else "width"
        for name, norm in (("g_norm", self.generator_norm), ("d_norm", self.discriminator_norm)):
            yield (
                arch in ("shift", "upsampling") and norm != "none",
                f"{name} must be none for arch {arch}, which has no layer for it, got {norm}",
            )
            yield (
                norm == "batch" and arch == "mlp" and self.batch_size == 1,
                f"batch_size must be at least 2 for {name} batch, got 1",
            )
            yield (
                norm == "group" and getattr(self, size) % GROUPS != 0,
                f"{size} must be a multiple of {GROUPS} for {name} group, got {getattr(self, size)}",
            )

    # ---------------------------------------------------------------- what open settings come to

    @property
    def uses_penalty(self):
        return LOSSES[self.loss].penalty if self.penalty == "own" else self.penalty

    @property
    def architecture(self):
        if self.arch != "auto":
            return self.arch
        return "mlp" if self.data in TOY_SETS else "upsampling" if self.loss == "began" else "dcgan"

    @property
    def generator_norm(self):
        return self.g_norm if self.g_norm != "auto" else "batch" if self.architecture == "dcgan" else "none"

    @property
    def discriminator_norm(self):
        if self.d_norm != "auto" or self.architecture != "dcgan":
            return "none" if self.d_norm == "auto" else self.d_norm
        return "batch" if self.uses_penalty == "none" else "layer"

    @property
    def given_classes(self):
        """Classes or codes that the generator is given, 0 for none."""
        loss = LOSSES[self.loss]
        if self.loss == "infogan":
            return self.codes
        return class_count(self.data) if loss.given_labels or loss.guesses else 0


@dataclass(frozen=True)
class GANSampling(Settings):
    """How a GAN is sampled, and the flags of `minigen sample` for it."""

    truncation: float = setting(0.0, "z_i within +-this, fewer kinds of better samples; 0: no limit", at_least=0)
    classes: tuple[int, ...] = setting((), "classes (infogan: codes) to make, in turn; none named: all", at_least=0)


def make_loss(config):
    """The loss with its own settings."""
    kind = LOSSES[config.loss]
    if kind is WGAN:
        return WGAN(config.clip)
    if kind is EBGAN:
        return EBGAN(config.margin, config.pull_away)
    return BEGAN(config.gamma) if kind is BEGAN else kind()


def make_networks(config, shape, generator):
    """-> generator and discriminator for samples of that shape, and the length of z.

    Raises ValueError for images of a size that the architecture cannot make.
    """
    arch, loss, given = config.architecture, LOSSES[config.loss], config.given_classes
    if arch == "shift":
        return ShiftGenerator(shape), LinearDiscriminator(shape, generator), shape[0]
    if arch == "upsampling":
        g = UpsamplingGenerator(config.latent, shape, generator, config.channels)
        decoder = UpsamplingGenerator(config.bottleneck, shape, generator, config.channels, bounded=False)
        encoder = UpsamplingEncoder(shape, config.bottleneck, generator, config.channels)
        return g, AutoencoderDiscriminator(encoder, decoder, power_of(config)), config.latent
    dcgan = arch == "dcgan"
    size = {"channels": config.channels} if dcgan else {"width": config.width, "depth": config.depth}
    make_g = DCGANGenerator if dcgan else MLPGenerator
    g = make_g(config.latent, shape, generator, **size, norm=config.generator_norm, classes=given)
    norm = config.discriminator_norm
    if loss.is_energy:
        encoder = (DCGANEncoder if dcgan else MLPEncoder)(shape, config.bottleneck, generator, **size, norm=norm)
        decoder = make_g(config.bottleneck, shape, generator, **size, norm=norm)
        return g, AutoencoderDiscriminator(encoder, decoder, power_of(config)), config.latent
    told, guessed = given if loss.given_labels else 0, given if loss.guesses else 0
    make_d = DCGANDiscriminator if dcgan else MLPDiscriminator
    d = make_d(shape, generator, **size, norm=norm, minibatch_std=config.minibatch_std, classes=told, guesses=guessed)
    return g, d, config.latent


def power_of(config):
    """Of the error that is the energy: 1, the mean absolute error, for began, and 2, the mean square, for ebgan."""
    return 1 if config.loss == "began" else 2
