"""The project's MNIST classifier: a small convolutional network whose opinion our scores rest on.

    28x28 -> conv 3x3, ReLU, twice -> max pool -> conv 3x3, ReLU, twice -> max pool -> 64 features -> 10 logits

It serves three ends: recognition (is a sample a digit, and which?), the features of the Frechet
distance, and guidance. Trained by examples/train_classifier.py, shipped with its checksum.

Shapes   x (N, 28, 28, 1) in [-1, 1] -> logits (N, 10)
"""

from .. import nn, ops
from ..nn import init


class DigitClassifier(nn.Module):
    """`forward` gives logits, `features` the 64 numbers before the last layer."""

    def __init__(self, generator, channels=(24, 48), width=64, dropout=0.3):
        a, b = channels
        conv = {"size": 3, "generator": generator, "padding": 1, "weight_init": init.kaiming_normal}
        self.conv1, self.conv2 = nn.Conv2d(1, a, **conv), nn.Conv2d(a, a, **conv)
        self.conv3, self.conv4 = nn.Conv2d(a, b, **conv), nn.Conv2d(b, b, **conv)
        self.dropout = nn.Dropout(dropout, generator)
        self.hidden = nn.Linear(7 * 7 * b, width, generator)
        self.output = nn.Linear(width, 10, generator)

    def features(self, x):
        if x.shape[1:] != (28, 28, 1):
            raise ValueError(f"x must be (N, 28, 28, 1) in [-1, 1], got {x.shape}")
        x = ops.max_pool2d(ops.relu(self.conv2(ops.relu(self.conv1(x)))), 2)
        x = ops.max_pool2d(ops.relu(self.conv4(ops.relu(self.conv3(x)))), 2)
        x = self.dropout(x.reshape(x.shape[0], -1))
        return ops.relu(self.hidden(x))

    def forward(self, x):
        return self.output(self.dropout(self.features(x)))
