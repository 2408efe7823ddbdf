"""The settings of `minigen train vae`, and those of its samples."""

from dataclasses import dataclass
from typing import ClassVar

from ..data import class_count
from ..models.likelihoods import VARIANCES, Bernoulli, DiscretisedLogistic, Gaussian
from ..models.vae import KINDS
from .config import Settings, TrainConfig, setting

LIKELIHOODS = ("bernoulli", "gaussian", "logistic")
BINARISE = ("auto", "dynamic", "threshold", "none", "grey")
KL = ("formula", "sampled", "path")
BELONGS_TO = {  # setting: the other setting, and the value of it, without which it would mean nothing
    "hidden": ("network", "mlp"),
    "channels": ("network", "conv"),
    "variance": ("likelihood", "gaussian"),
    "sigma": ("likelihood", "gaussian"),
}
OF_THE_ELBO = ("kl", "beta", "reconstruction", "kl_warmup", "free_bits")


@dataclass(frozen=True)
class VAEConfig(TrainConfig):
    """The settings of `minigen train vae`. Raises SettingError for one that another leaves without meaning."""

    model: ClassVar[str] = "vae"

    batch_size: int = setting(100, "images in a step", at_least=1)
    lr: float = setting(1e-3, "learning rate of Adam at its peak", at_least=0)
    adam_eps: float = setting(1e-4, "epsilon of Adam", at_least=1e-12)  # 0: 0 / 0 at pixels that never change
    weight_decay: float = setting(0.0, "L2 penalty: this times the weights joins their gradient", at_least=0)
    clip_norm: float = setting(1000.0, "longest gradient; a longer one is scaled down", at_least=1e-12)
    ema_decay: float = setting(0.999, "decay of the weights' moving average", at_least=0, below=1)
    network: str = setting("mlp", "kind of encoder and decoder", choices=KINDS)
    latent: int = setting(50, "numbers in a code", at_least=1)
    hidden: tuple[int, ...] = setting(
        (200, 200), "mlp: widths of the encoder's hidden layers, mirrored in the decoder", at_least=1
    )
    channels: tuple[int, ...] = setting((32, 64), "conv: channels of the layers, each halving the image", at_least=1)
    classes: int = setting(0, "labels of a conditional model: as many as the data has; 0: unconditional", at_least=0)
    likelihood: str = setting("bernoulli", "distribution of a pixel given the code", choices=LIKELIHOODS)
    variance: str = setting("fixed", "of gaussian: fixed, one learned, or one a pixel", choices=VARIANCES)
    sigma: float = setting(0.1, "deviation of gaussian, at the beginning where learned", at_least=1e-6)
    binarise: str = setting(
        "auto",
        "pixels to 0 and 1: drawn anew at each visit (dynamic), cut at 1/2 (threshold), or left grey (none); auto: "
        "dynamic for bernoulli, none for others; grey: left grey for bernoulli, whose loss is then no likelihood",
        choices=BINARISE,
    )
    k: tuple[int, ...] = setting(
        (1,), "importance samples of the bound; several numbers share the steps equally", at_least=1
    )
    resample: bool = setting(
        False, "k above 1: the gradient through one sample an image, drawn by its weight, which is three times as fast"
    )
    kl: str = setting("formula", "how the KL of the ELBO is found, see models/bounds.py", choices=KL)
    beta: float = setting(1.0, "weight of the KL; 0: reconstruction only", at_least=0)
    reconstruction: float = setting(1.0, "weight of ln p(x|z); 0: KL only", at_least=0)
    kl_warmup: int = setting(0, "steps over which the weight of the KL rises from 0", at_least=0)
    free_bits: float = setting(0.0, "nats that each dimension of the code may cost for nothing", at_least=0)

    def _conflicts(self):
        """(whether, what to say) for settings that do not go together."""
        yield not self.k, "k must hold at least one number, got none"
        changed = [name for name, entry in self.__dataclass_fields__.items() if getattr(self, name) != entry.default]
        for name, (owner, value) in BELONGS_TO.items():
            given = getattr(self, owner)
            yield name in changed and given != value, f"{name} belongs to {owner} {value!r}, got {owner} {given!r}"
        for name in OF_THE_ELBO:
            text = f"{name} belongs to the ELBO, which is k = 1: got k = {self.k}, whose terms are one"
            yield name in changed and max(self.k) > 1, text
        yield self.resample and max(self.k) == 1, f"resample belongs to k above 1, got k = {self.k}"
        yield self.beta == self.reconstruction == 0, "beta and reconstruction must not both be 0: nothing would be left"
        yield (
            self.binarise == "none" and self.likelihood == "bernoulli",
            "binarise must not be 'none' for a bernoulli decoder: on grey pixels its cross-entropy is no "
            "log-likelihood, and the bound bounds nothing; choose dynamic or threshold, or 'grey' to have it anyway",
        )
        yield (
            self.binarise == "grey" and self.likelihood != "bernoulli",
            f"binarise 'grey' belongs to likelihood 'bernoulli', got {self.likelihood!r}, which takes grey pixels as "
            "they are: choose auto or none",
        )
        there = class_count(self.data)
        yield self.classes not in (0, there), f"classes must be 0 or {there}, those of {self.data}, got {self.classes}"

    def k_at(self, step):
        """The importance samples of a step, counted from 0: entry i of n rules the i-th n-th of all steps."""
        return self.k[min(step * len(self.k) // self.steps, len(self.k) - 1)]

    def beta_at(self, step):
        """The weight of the KL at a step, counted from 0."""
        return self.beta * min(1.0, (step + 1) / self.kl_warmup) if self.kl_warmup else self.beta

    def make_likelihood(self):
        """The distribution of a pixel, by these settings."""
        if self.likelihood == "gaussian":
            return Gaussian(self.variance, self.sigma)
        return Bernoulli(grey=self.binarise == "grey") if self.likelihood == "bernoulli" else DiscretisedLogistic()


@dataclass(frozen=True)
class VAESampling(Settings):
    """How a VAE is sampled, and the flags of `minigen sample` for it."""

    pixels: str = setting("mean", "show the mean of p(x|z), or a draw from it", choices=("mean", "drawn"))
    label: int = setting(-1, "class to draw, of a conditional model; -1: each in turn", at_least=-1)
