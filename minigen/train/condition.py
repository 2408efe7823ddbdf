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
from ..data.registry import find_data_set
from ..device import device_of, to_device
from ..diffusion.editing import block_means
from ..diffusion.guidance import classifier_guided, guided, label_probability
from ..models.classifier import load_classifier
from ..models.conditional_unet import KINDS, ConditionalUNet
from ..models.unet import UNet
from .config import SettingError, Settings, setting

CONDITIONS = ("none", *KINDS)
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


def denoiser(model, how, part, image=None):
    """The function (x, t) -> prediction for the samples whose numbers are in the range `part`, by the settings `how`.

    Sample i shows class label[i % len(label)]. image: what a network of kind "image" or "hybrid" is told.
    Raises SettingError for guidance or labels that the model cannot follow.
    """
    labels = wanted_labels(model, how, part)
    condition = condition_for(model, labels, image)
    if condition:
        network = guided(model.process, model.network, condition, how.guidance)
    elif how.guidance != 1:
        raise SettingError(f"guidance needs a conditional model, and this one was trained with --condition none, "
                           f"got guidance {how.guidance}; classifier_guidance works without one")  # fmt: skip
    else:
        network = model.network
    if how.classifier_guidance == 0:
        return network
    classifier = load_classifier().to(model.config.device)
    return classifier_guided(model.process, network, label_probability(classifier, labels), how.classifier_guidance)


def wanted_labels(model, how, part):
    """The label of each sample of `part`, (N,) int64. Raises SettingError for labels that mean nothing to the model."""
    told = model.config.condition in ("class", "tokens", "hybrid")
    classes = number_of_classes(model.config)
    if how.label and not (told or how.classifier_guidance):
        raise SettingError(f"label needs a model that is told labels, or classifier_guidance; this one was trained "
                           f"with --condition {model.config.condition}, got label {how.label}")  # fmt: skip
    if any(label >= classes for label in how.label):
        raise SettingError(f"label must be below {classes}, the classes of {model.config.data}, got {how.label}")
    return np.array(how.label or range(classes))[np.array(part) % len(how.label or range(classes))]


def condition_for(model, labels, image):
    """What the network is told: {name: array}, where the model is."""
    kind, told = model.config.condition, {}
    if kind in ("class", "tokens", "hybrid"):
        told["labels"] = to_device(labels, model.config.device)
    if kind in ("image", "hybrid"):
        if image is None:
            raise SettingError("a model trained with --condition image or hybrid enlarges a picture, and got none")
        told["image"] = to_device(image, model.config.device)
    return told
