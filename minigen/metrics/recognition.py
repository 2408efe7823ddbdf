"""Recognition: what share of the samples does the project's classifier take for digits?

    recognised share = |{i : max_k p(k | x_i) >= 0.9}| / n        p = softmax of the classifier's logits

A classifier was trained on digits alone and may be sure of things that are none. So the share is only worth
something beside that of impostors, which `acceptance_of_impostors` measures on real test digits' own pixels:

    noise      uniform pixels
    shuffled   each digit's pixels in random order: the right histogram, no shape
    averaged   the mean of two digits of different classes: the right strokes, no digit

Shapes   images (N, 28, 28, 1), uint8, or floating point in [-1, 1], which is rounded to bytes first (features.py)
"""

from typing import NamedTuple

import numpy as np

from ..data import to_model_range
from ..models.classifier import load_classifier
from .features import as_bytes, look

CONFIDENCE = 0.9


class Recognition(NamedTuple):
    """n samples; the share recognised; each class's share of all n, counting recognised and unrecognised alike."""

    n: int
    share: float
    classes: list[float]

    def __str__(self):
        classes = " ".join(f"{100 * c:.1f}" for c in self.classes)
        return (
            f"{100 * self.share:.1f}% of {self.n} recognised at confidence {CONFIDENCE}; classes 0 to 9 in %: {classes}"
        )


def recognise(images, classifier=None):
    """How many of the images the classifier recognises. Raises ValueError for images of another shape or none."""
    probabilities = class_probabilities(images, classifier)
    counts = np.bincount(probabilities.argmax(1), minlength=10)
    return Recognition(
        len(images), float((probabilities.max(1) >= CONFIDENCE).mean()), [float(c) for c in counts / len(images)]
    )


def class_probabilities(images, classifier=None):
    """p(k | x): (N, 28, 28, 1) -> (N, 10)"""
    return look(images, classifier).probabilities


def acceptance_of_impostors(images, labels, generator):
    """The recognised share of real digits and of three kinds that are none, as {"real": ..., "noise": ..., ...}."""
    images, n = to_model_range(as_bytes(images)), len(images)
    order = generator.permutation(n)
    different = labels != labels[order]
    shuffled = np.stack([image.reshape(-1)[generator.permutation(784)].reshape(28, 28, 1) for image in images])
    kinds = {
        "real": images,
        "noise": generator.uniform(images.shape) * 2 - 1,
        "shuffled": shuffled,
        "averaged": ((images + images[order]) / 2)[different],
    }
    classifier = load_classifier()
    return {kind: recognise(examples, classifier).share for kind, examples in kinds.items()}
