"""The classifier behind the scores, and what recognition counts."""

import numpy as np
import pytest

from minigen import Tensor, no_grad
from minigen.data import load, to_model_range
from minigen.metrics import acceptance_of_impostors, recognise
from minigen.models import classifier as module
from minigen.models.classifier import load_classifier
from minigen.random import Generator


class Fixed:
    """A classifier that says what it is told: logits from the first pixels of each image."""

    def preactivations(self, x):
        return Tensor(x.data.reshape(len(x.data), -1)[:, :10])

    def output(self, features):
        return features * 100


def accuracy(images):
    network, right = load_classifier(), 0
    for i in range(0, len(images.labels), 500):
        with no_grad():
            logits = network(Tensor(to_model_range(images.images[i : i + 500]))).data
        right += (logits.argmax(1) == images.labels[i : i + 500]).sum()
    return right / len(images.labels)


def test_the_classifier_knows_the_test_digits_that_ship():
    assert accuracy(load("mnist-mini", split="test")) >= 0.993


def test_the_classifier_knows_the_ten_thousand_test_digits(mnist_dir):
    assert accuracy(load("mnist", mnist_dir, "test")) >= 0.993


def test_the_weights_are_small_and_those_of_the_checksum(monkeypatch, tmp_path):
    assert module.WEIGHTS.stat().st_size <= 1_000_000
    content = bytearray(module.WEIGHTS.read_bytes())
    content[-1] ^= 1
    (tmp_path / "other").write_bytes(content)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "other")
    with pytest.raises(ValueError, match="SHA-256"):
        load_classifier()


def test_the_share_counts_confidence_and_the_classes_count_all():
    """Three sure images of class 2, one of class 7, and one that leaves two classes even."""
    images = np.zeros((5, 28, 28, 1), np.float32)
    images[:3, 0, 2], images[3, 0, 7], images[4, 0, 3], images[4, 0, 4] = 1, 1, 1, 1
    score = recognise(images, Fixed())
    assert score.n == 5
    assert score.share == pytest.approx(4 / 5)
    assert score.classes == pytest.approx([0, 0, 3 / 5, 1 / 5, 0, 0, 0, 1 / 5, 0, 0])


def test_recognition_takes_real_digits_for_digits_and_impostors_rarely():
    digits = load("mnist-mini", split="test")
    accepted = acceptance_of_impostors(to_model_range(digits.images[:500]), digits.labels[:500], Generator(0))
    assert accepted["real"] > 0.95
    assert accepted["noise"] < 0.01
    assert accepted["shuffled"] < 0.05
    assert accepted["averaged"] < 0.15


def test_impostors_are_the_same_of_bytes_and_of_floats():
    """The mean of two bytes is not one byte: 200 and 200 would wrap to 144 in their sum."""
    digits = load("mnist-mini", split="test")
    images, labels = digits.images[:100], digits.labels[:100]
    shares = [acceptance_of_impostors(x, labels, Generator(0)) for x in (images, to_model_range(images))]
    assert shares[0] == shares[1]


@pytest.mark.parametrize("shape", [(0, 28, 28, 1), (3, 32, 32, 1), (28, 28, 1)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="images must be \\(N, 28, 28, 1\\)"):
        recognise(np.zeros(shape, np.float32))
