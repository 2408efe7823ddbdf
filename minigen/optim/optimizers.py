"""Optimisers: how a gradient becomes a step. The arithmetic is in kernels/optimizer.py, beside its equations.

One use is always the same:

    optimizer.zero_grad();  loss.backward();  optimizer.step()

Each holds its parameters as one vector (flat.py) and its state as vectors of the same length. Clipping and the moving
average belong to the step: one pass over the vectors does it all.
"""

import numpy as np

from ..device import overwrite
from ..dispatch import dispatch
from .flat import FlatParameters


class Optimizer:
    """Base: a learning rate, a step count, and named state vectors."""

    def __init__(self, parameters, lr, weight_decay, *, state=()):
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        self.flat = FlatParameters(parameters)
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.state = {name: self.flat.zeros() for name in state}

    def zero_grad(self):
        """Start a new sum of gradients."""
        for p in self.flat.parameters:
            p.grad = None

    def step(self, max_norm=None, average=None):
        """Change the parameters by one step along `.grad`; return the norm of the whole gradient before clipping.

        max_norm   the gradient is scaled down to this norm if it is longer (Pascanu et al., ICML 2013, algorithm 1).
                   Without it nothing asks for the norm, and None is returned: finding it reads the gradient once more
        average    an EMA of these parameters, updated with the new weights while they are at hand
        """
        gradients, norm, scale = self.flat.gradients(), None, 1.0
        if max_norm is not None:
            norm = float(dispatch("square_norm", *gradients)) ** 0.5
            scale = max_norm / norm if norm > max_norm else 1.0
        self.steps += 1
        self.update(gradients, scale, average)
        self.flat.changed()
        return norm

    def update(self, gradients, scale, average):
        """Change the parameters, given the gradient as `flat.gradients()` and the factor that clips it."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def with_penalty(self, gradients, scale):
        """The clipped gradient of loss + weight_decay / 2 |p|^2, and 1, the factor that is left to apply."""
        parts = zip(gradients, self.flat.parameters)
        return [scale * g + self.weight_decay * p.data.reshape(-1) for g, p in parts], 1.0

    def state_dict(self):
        """The state by name: vectors, and `steps` as an array of one integer."""
        return {
            "steps": np.array([self.steps], np.int64),
            **{name: vector.copy() for name, vector in self.state.items()},
        }

    def load_state_dict(self, state):
        """Raises ValueError for names or lengths that differ."""
        if state.keys() != {"steps", *self.state}:
            raise ValueError(
                f"{type(self).__name__} holds {sorted(self.state)} and steps, but the given state has {sorted(state)}"
            )
        for name, vector in self.state.items():
            if state[name].shape != vector.shape:
                raise ValueError(
                    f"state[{name!r}] has shape {state[name].shape}, but the optimiser's is {vector.shape}"
                )
            overwrite(vector, state[name])
        self.steps = int(state["steps"][0])


class SGD(Optimizer):
    """p <- p - lr b,   b <- momentum b + g.   Sutskever et al., ICML 2013 (in PyTorch's form)"""

    def __init__(self, parameters, lr=1e-2, momentum=0.0, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay, state=["momentum"])
        self.momentum = momentum

    def update(self, gradients, scale, average):
        scalars = scale, self.lr, self.momentum, self.weight_decay
        dispatch("sgd_step", self.flat.data, gradients, self.state["momentum"], *scalars)
        if average is not None:
            average.update()


class Adam(Optimizer):
    """p <- p - lr mhat / (sqrt(vhat) + eps), with running means m of g and v of g^2.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.

    weight_decay is added to the gradient here (an L2 penalty); AdamW shrinks the weights instead.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay, state=["m", "v"])
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        self.betas, self.eps = betas, eps

    def update(self, gradients, scale, average):
        if self.weight_decay:
            gradients, scale = self.with_penalty(gradients, scale)
        self.adaptive_step(gradients, scale, average, decay=0.0)

    def adaptive_step(self, gradients, scale, average, decay):
        vectors = self.flat.data, gradients, self.state["m"], self.state["v"]
        averaged = () if average is None else (average.average, average.next_decay())
        dispatch("adamw_step", *vectors, scale, self.lr, *self.betas, self.eps, decay, self.steps, *averaged)


class AdamW(Adam):
    """Adam with p <- p (1 - lr weight_decay) beside the step, so that the decay is not divided by sqrt(vhat).

    Source: Loshchilov and Hutter, ICLR 2019, algorithm 2
    """

    def update(self, gradients, scale, average):
        self.adaptive_step(gradients, scale, average, decay=self.weight_decay)


class RMSprop(Optimizer):
    """p <- p - lr g / (sqrt(v) + eps),   v <- alpha v + (1 - alpha) g^2.   Tieleman and Hinton, 2012"""

    def __init__(self, parameters, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay, state=["v"])
        self.alpha, self.eps = alpha, eps

    def update(self, gradients, scale, average):
        if self.weight_decay:
            gradients, scale = self.with_penalty(gradients, scale)
        dispatch("rmsprop_step", self.flat.data, gradients, self.state["v"], scale, self.lr, self.alpha, self.eps)
        if average is not None:
            average.update()
