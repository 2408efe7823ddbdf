"""Exponential moving average of the weights: the smoother copy that diffusion models sample from.

    ema <- d ema + (1 - d) p        d = min(decay, (1 + n) / (10 + n)) at update n

Without the warm-up, 0.9999^10,000 = 37% of an average after 10,000 steps is still the random
initialisation. With it, d starts at 1/10 and the initial weights are forgotten at once.

Source: Polyak and Juditsky 1992; Ho et al. 2020, appendix B. The warm-up is that of TensorFlow's
ExponentialMovingAverage(num_updates).
"""

from contextlib import contextmanager

import numpy as np

from ..device import overwrite
from ..dispatch import dispatch
from .flat import FlatParameters


class EMA:
    """The moving average of a module's parameters. Made after the optimiser, it shares the optimiser's flat vector.

    decay   in [0, 1): the weight of the past, once warmed up
    """

    def __init__(self, flat: FlatParameters, decay=0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.flat, self.decay, self.updates = flat, decay, 0
        self.average = flat.data.copy()

    def decay_now(self):
        """d at the next update."""
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    def next_decay(self):
        """The same, for an update that is made now, which it counts: an optimiser's step may make it in one go."""
        d = self.decay_now()
        self.updates += 1
        return d

    def update(self):
        """Take the present weights into the average."""
        dispatch("ema_step", self.average, self.flat.data, self.next_decay())

    @contextmanager
    def weights(self):
        """Inside the block the parameters hold the average; afterwards, what they held before."""
        trained = self.flat.data.copy()
        self._show(self.average)
        try:
            yield
        finally:
            self._show(trained)

    def _show(self, vector):
        self.flat.data[...] = vector
        self.flat.changed()

    def state_dict(self):
        return {"average": self.average.copy(), "updates": np.array([self.updates], np.int64)}

    def load_state_dict(self, state):
        """Raises ValueError for a vector of another length."""
        if state["average"].shape != self.average.shape:
            raise ValueError(
                f"average has shape {state['average'].shape}, but the model has {self.average.shape} weights"
            )
        overwrite(self.average, state["average"])
        self.updates = int(state["updates"][0])
