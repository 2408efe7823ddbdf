"""Shuffled batches whose position is one integer, the step.

    batches = Batches(digits.images, digits.labels, batch_size=128, seed=0)
    images, labels = batches.batch_at(step)      # any step >= 0, in any order, as often as wanted

Epoch e visits the samples in the order Generator(seed).child(e).permutation(N), cut into N // batch_size
batches. The batch of a step depends on nothing but (seed, step): a checkpoint saves the step alone, and
2 N steps equal N steps, a kill and N more.

What does not fill a batch at the end of an epoch is dropped for that epoch; as the order is drawn anew,
other samples are dropped in the next.
"""

import operator

import numpy as np

from ..random import Generator


class Batches:
    """Random access to an endless sequence of shuffled batches of images (N, ...) and labels (N, ...).

    Raises ValueError where images and labels differ in number, or are fewer than one batch.
    """

    def __init__(self, images, labels, batch_size, seed):
        if len(images) != len(labels):
            raise ValueError(f"images and labels must be as many: got {len(images)} images and {len(labels)} labels")
        if batch_size < 1 or batch_size > len(images):
            raise ValueError(f"batch_size must lie in 1..{len(images)}, the size of the data set: got {batch_size}")
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.generator = Generator(seed)
        self._epoch, self._order = None, None

    @property
    def steps_per_epoch(self):
        """Batches in one epoch, N // batch_size."""
        return len(self.images) // self.batch_size

    def batch_at(self, step):
        """The batch of a step 0, 1, 2, ... -> images (batch_size, ...), labels (batch_size, ...), both copies."""
        if operator.index(step) < 0:
            raise ValueError(f"step must be 0 or more, got {step}")
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        index = self._order_of(epoch)[first : first + self.batch_size]
        return np.take(self.images, index, axis=0), np.take(self.labels, index, axis=0)

    def _order_of(self, epoch):
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.generator.child(epoch).permutation(len(self.images))
        return self._order
