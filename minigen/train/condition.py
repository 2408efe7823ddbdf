"""The condition of a diffusion model: what its network is told in training, and what it is asked for in sampling.

    class, tokens    the label of the image
    image            the image without its details: the mean of every 4x4 block. What is learned is super-resolution
    hybrid           both

In training a share of the images is shown without its condition, so that one network learns p(x | y) and p(x);
guidance (diffusion/guidance.py) needs both. Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, Algorithm 1.
"""

from dataclasses import dataclass

import numpy as np

from ..data import to_model_range
from ..data.registry import DIGITS, find_data_set
from ..device import device_of, to_device
from ..diffusion.editing import block_means
from ..diffusion.guidance import classifier_guided, guided, label_probability
from ..models.classifier import load_classifier
from ..models.conditional_unet import KINDS, ConditionalUNet
from ..models.unet import UNet
from .config import SettingError, Settings, setting

CONDITIONS = ("none", *KINDS)
DIGIT_SHAPE = (28, 28, 1)  # what the digit classifier knows
FACTOR = 4  # super-resolution: how many times coarser the image is that the network is told


def make_network(generator, config, **settings):
    """The U-Net, or the conditional one, by the settings of a DDPM."""
    if config.condition == "none":
        return UNet(generator, **settings)
    return ConditionalUNet(generator, config.condition, number_of_classes(config), **settings)


def number_of_classes(config):
    return len(find_data_set(config.data).classes)


def condition_of(config, x0, labels):
    """What the network is told of the images x0 (N, H, W, C) with labels (N,) -> {name: array}, {} for "none"."""
    told = {}
    if config.condition in ("class", "tokens", "hybrid"):
        told["labels"] = to_device(labels, device_of(x0))
    if config.condition in ("image", "hybrid"):
        told["image"] = block_means(x0, FACTOR)
    return told


def examples_to_enlarge(config, images, n):
    """n pictures (n, H, W, C) without their details, made of `images` (uint8), for a model that enlarges, else None."""
    if config.condition not in ("image", "hybrid"):
        return None
    return block_means(to_model_range(images[np.arange(n) % len(images)]), FACTOR)


def drop_some(condition, share, generator):
    """The condition with `given` (N,) bool, False with probability `share`; where there is no condition, nothing."""
    if not condition:
        return {}
    first = next(iter(condition.values()))
    return {**condition, "given": generator.bernoulli(1 - share, (len(first),), device_of(first))}


# ---------------------------------------------------------------- sampling


@dataclass(frozen=True)
class ConditionSampling(Settings):
    """What samples of a diffusion model are to show, and how strongly."""

    label: tuple[int, ...] = setting((), "classes to draw in turn  [all]", at_least=0)
    guidance: float = setting(
        1.0, "classifier-free guidance; 0: no condition, 1: the condition as it was learned, above: exaggerated"
    )
    classifier_guidance: float = setting(
        0.0, "guidance by the digit classifier, which works without a conditional model too; 0: none", at_least=0
    )


def denoiser(model, how, labels, image=None):
    """The function (x, t) -> prediction, for the samplers, by the settings `how`.

    labels   (N,) what the samples are to show, None: nothing in particular
    image    (N, H, W, C), the pictures that a network of kind "image" or "hybrid" enlarges, None: none
    A conditional model that is told nothing draws from p(x), by its null condition.
    Raises SettingError for guidance, labels or pictures that the model cannot follow.
    """
    kind, condition = model.config.condition, condition_for(model, how, labels, image)
    if how.guidance != 1 and kind == "none":
        raise SettingError(f"guidance needs a conditional model, and this one was trained with --condition none, "
                           f"got guidance {how.guidance}; classifier_guidance works without one")  # fmt: skip
    if how.guidance not in (0, 1) and not condition:
        raise SettingError(f"guidance exaggerates what the model is told, and it is told nothing, got guidance "
                           f"{how.guidance} and a model of --condition {kind}")  # fmt: skip
    if how.guidance != 1 or not condition:
        check_unconditional(model.config)
    network = model.network
    if kind != "none":
        network = guided(model.process, network, condition, how.guidance if condition else 0)
    if how.classifier_guidance == 0:
        return network
    check_digits(model, labels)
    classifier = load_classifier().to(model.config.device)
    return classifier_guided(model.process, network, label_probability(classifier, labels), how.classifier_guidance)


def wanted_labels(model, how, part):
    """The labels of the samples whose numbers are in the range `part`, (N,) int64: `how.label` in turn, or all classes.

    Raises SettingError for labels that mean nothing to the model.
    """
    told = model.config.condition in ("class", "tokens", "hybrid")
    classes = number_of_classes(model.config)
    if how.label and not (told or how.classifier_guidance):
        raise SettingError(f"label needs a model that is told labels, or classifier_guidance; this one was trained "
                           f"with --condition {model.config.condition}, got label {how.label}")  # fmt: skip
    if any(label >= classes for label in how.label):
        raise SettingError(f"label must be below {classes}, the classes of {model.config.data}, got {how.label}")
    return np.array(how.label or range(classes))[np.array(part) % len(how.label or range(classes))]


def condition_for(model, how, labels, image):
    """What the network is told: {name: array}, {} where it is told nothing."""
    kind, told = model.config.condition, {}
    if kind in ("class", "tokens", "hybrid"):
        told["labels"] = labels
    if kind in ("image", "hybrid"):
        told["image"] = image
    elif image is not None:
        raise ValueError(f"image is for a model of --condition image or hybrid, and this one has --condition {kind}")
    if kind == "hybrid" and image is None and how.label and not how.classifier_guidance:
        raise SettingError(f"label is told to a model of --condition hybrid with a picture to enlarge, and there is "
                           f"none, got label {how.label}")  # fmt: skip
    if kind == "hybrid" and image is not None and labels is None:
        raise SettingError("label must say what the picture shows: a model of --condition hybrid is told both")
    if any(value is None for value in told.values()):
        return {}
    return {name: to_device(value, model.config.device) for name, value in told.items()}


def check_unconditional(config):
    """Raises SettingError where p(x) is asked of a conditional model that never learned its null condition."""
    if config.condition != "none" and config.condition_dropout == 0:
        raise SettingError("the model without its condition was never trained: condition_dropout was 0")


def check_digits(model, labels):
    """Raises SettingError where the digit classifier knows nothing of the model's images, or of what is wanted."""
    if find_data_set(model.config.data).classes != DIGITS or model.image_shape != DIGIT_SHAPE:
        raise SettingError(f"classifier_guidance needs digits of 28 x 28 x 1, and this model draws {model.config.data} "
                           f"of {' x '.join(map(str, model.image_shape))}")  # fmt: skip
    if labels is None:
        raise SettingError("classifier_guidance needs a label to guide to, got none")
