"""The project's MNIST classifier: a small convolutional network whose opinion our scores rest on.

    28x28 -> conv 3x3, ReLU, twice -> max pool -> conv 3x3, ReLU, twice -> max pool -> 64 features -> 10 logits

It serves three ends: recognition (is a sample a digit, and which?), the features of the scores
(metrics/features.py), and guidance. examples/train_classifier.py made the weights that are shipped, and their
checksum is below: scores of two versions of the weights must not be compared.

Shapes   x (N, 28, 28, 1) in [-1, 1] -> logits (N, 10)
"""

import hashlib
from pathlib import Path

from .. import nn, ops
from ..nn import init
from ..random import Generator

WEIGHTS = Path(__file__).parent / "weights" / "digit_classifier.safetensors"
SHA256 = "a7d97c2bf72a13f72926719836715726043fa2df20797fe919ad112fdc96cdf3"


class DigitClassifier(nn.Module):
    """`forward` gives logits (N, 10), `features` the 64 numbers before the last layer, `preactivations` these before
    their ReLU (N, 64)."""

    def __init__(self, generator, channels=(16, 32), width=64, dropout=0.3):
        a, b = channels
        conv = {"size": 3, "generator": generator, "padding": 1, "weight_init": init.kaiming_normal}
        self.conv1, self.conv2 = nn.Conv2d(1, a, **conv), nn.Conv2d(a, a, **conv)
        self.conv3, self.conv4 = nn.Conv2d(a, b, **conv), nn.Conv2d(b, b, **conv)
        self.dropout = nn.Dropout(dropout, generator)
        self.hidden = nn.Linear(7 * 7 * b, width, generator)
        self.output = nn.Linear(width, 10, generator)

    def preactivations(self, x):
        if x.shape[1:] != (28, 28, 1):
            raise ValueError(f"x must be (N, 28, 28, 1) in [-1, 1], got {x.shape}")
        x = ops.max_pool2d(ops.relu(self.conv2(ops.relu(self.conv1(x)))), 2)
        x = ops.max_pool2d(ops.relu(self.conv4(ops.relu(self.conv3(x)))), 2)
        x = self.dropout(x.reshape(x.shape[0], 7 * 7 * x.shape[3]))
        return self.hidden(x)

    def features(self, x):
        return ops.relu(self.preactivations(x))

    def forward(self, x):
        return self.output(self.dropout(self.features(x)))


def load_classifier():
    """The shipped classifier, in evaluation mode. Raises ValueError where the file is not that of the checksum."""
    from safetensors.numpy import load

    content = WEIGHTS.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{WEIGHTS} has SHA-256 {digest}, expected {SHA256}: scores made with it could not be compared"
        )
    network = DigitClassifier(Generator(0))
    network.load_state_dict(load(content))
    return network.eval()


def save_classifier(network, path):
    """Write the weights of a DigitClassifier."""
    from safetensors.numpy import save_file

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path)
