"""What a discriminator says of a batch, and the terms that the losses of losses.py are made of."""

import math
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...device import device_of
from ...tensor import Tensor


class Verdict(NamedTuple):
    """What a discriminator says of a batch, and what it was asked.

    score     (N,), a logit, a critic's value or an energy: see losses.py
    classes   (N, K) logits of a second head, which guesses the class or code (acgan, infogan)
    code      (N, D) of an autoencoder's bottleneck (ebgan)
    labels    (N,) the classes or codes that the batch was made or chosen for
    target    (N,) what the discriminator shall answer; None: 1 for real samples, 0 for generated ones
    """

    score: Tensor
    classes: Tensor | None = None
    code: Tensor | None = None
    labels: Any = None
    target: Any = None


def target_of(verdict, usual):
    """The targets (N,) of a Verdict as a Tensor like its score; the usual one where it names none."""
    xp = device_of(verdict.score.data).xp
    target = usual if verdict.target is None else verdict.target
    return Tensor(xp.broadcast_to(xp.asarray(target, verdict.score.dtype), verdict.score.shape).copy())


def bce(verdict, usual):
    """Mean cross-entropy of a logit with its target."""
    return ops.bce_with_logits(verdict.score, target_of(verdict, usual))


def squared_error(verdict, usual):
    """Mean squared difference of a score and its target."""
    return ops.mse(verdict.score, target_of(verdict, usual))


def guess_loss(verdict):
    """-E ln P(label | sample), nats."""
    return ops.cross_entropy(verdict.classes, verdict.labels)


def information(verdict):
    """L_I = ln K - E[-ln Q(code | sample)], nats: at most ln K."""
    return math.log(verdict.classes.shape[1]) - guess_loss(verdict)


def accuracy(verdict):
    """Share of the batch whose label the second head finds."""
    return float((np.asarray(verdict.classes).argmax(1) == np.asarray(verdict.labels)).mean())


def pull_away(code):
    """PT = 1 / (N (N - 1)) sum over i != j of cos(s_i, s_j)^2.   s (N, D), N >= 2 -> a scalar in [0, 1]

    Samples of one mode have codes of one direction: PT is 1 for those, and 1 / D for independent random directions.
    Source   Zhao et al., ICLR 2017, eq. 4. Raises ValueError for a single code.
    """
    n = code.shape[0]
    if n < 2:
        raise ValueError(f"pull_away compares codes with each other and needs at least 2, got {n}")
    unit = code / ops.sqrt(ops.sum(code * code, axis=1, keepdims=True) + 1e-12)
    cosines = unit @ unit.transpose()
    others = 1.0 - np.eye(n, dtype=code.dtype)
    return ops.sum(cosines * cosines * Tensor(device_of(code.data).xp.asarray(others))) * (1 / (n * (n - 1)))
