"""What the project's classifier sees of a set of images. Every score of images begins here, for both sides alike.

    images --- bytes ---> pixels in [-1, 1] --- network ---> 64 features --- ReLU, last layer ---> p(y | x), 10 classes

Generated images are floats, data are bytes. Were one side rounded to bytes and the other not, or one resized by
another method than the other, a score would measure that: on Inception features such details have moved published
FIDs by more than the models that were compared (Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN
Evaluation, CVPR 2022). So both sides are made bytes, here and nowhere else; bytes stay as they are, floats are clipped
to [-1, 1] and rounded. Nothing is ever resized: the classifier takes 28 x 28, other sizes are refused.

The features are the 64 hidden units before their ReLU, not after it. The classifier has learned to answer what is no
digit with silence: after the ReLU nearly all units are 0, so all rubbish becomes one point, which lies near a few
hesitant real digits. There, uniform noise has precision 1.00 and hardly a larger Frechet distance than blurred
strokes; before the ReLU it has precision 0.00 (docs/metrics.md).

Shapes   images (N, 28, 28, 1), uint8, or floating point in [-1, 1]
"""

from typing import NamedTuple

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..data import to_model_range, to_uint8
from ..models.classifier import load_classifier
from ..tensor import Tensor


class Seen(NamedTuple):
    """Of n images: pixels (n, 784) float32 in [-1, 1]; features (n, 64) and probabilities (n, 10), float64."""

    pixels: np.ndarray
    features: np.ndarray
    probabilities: np.ndarray


def look(images, classifier=None, batch_size=250):
    """Pixels, features and class probabilities of images -> Seen. Raises ValueError for another shape or a NaN."""
    classifier = classifier or load_classifier()
    pixels = to_model_range(as_bytes(images))
    parts = []
    with no_grad():
        for i in range(0, len(pixels), batch_size):
            features = classifier.preactivations(Tensor(pixels[i : i + batch_size]))
            probabilities = ops.softmax(classifier.output(ops.relu(features)))
            parts.append((features.numpy(), probabilities.numpy()))
    features, probabilities = (np.concatenate(part).astype(np.float64) for part in zip(*parts))
    return Seen(pixels.reshape(len(pixels), -1), features, probabilities)


def as_bytes(images):
    """The images as uint8: bytes as they are, floats in [-1, 1] rounded. Raises ValueError unless (N, 28, 28, 1)."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != (28, 28, 1) or not len(images):
        raise ValueError(f"images must be (N, 28, 28, 1) with N >= 1, got {images.shape}")
    return images if images.dtype == np.uint8 else to_uint8(images)
