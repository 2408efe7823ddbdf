"""Losses: fused kernels (kernels/loss.py has the formulas and gradients), composed twins beside them.

Every loss takes reduction = "mean" (over all elements; over rows for cross_entropy), "sum" or "none".
Log-likelihoods and divergences are in nats. Shapes must agree exactly: (N,) against (N, 1) would
broadcast to (N, N) and train on nonsense, so it is an error.
"""

import math

from ..autograd import Fused, as_tensors
from ..device import device_of
from ..dispatch import dispatch
from .activation import softplus
from .elementwise import absolute, exp
from .embedding import integers_below
from .reduce import count, mean
from .reduce import sum as sum_over
from .shape import index
from .softmax import log_softmax


class Loss(Fused):
    """The elements of a loss, y (*), or one number of them: L = sum y, or mean y.

    Summed here, neither the elements nor their gradients, all alike, pass over the tape. A subclass writes `elements`,
    `elements_grad` and `composed_elements`, which are `forward`, `backward_fast` and `composed` element by element.
    """

    def __init__(self, reduction):
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def forward(self, *inputs):
        y = self.elements(*inputs)
        if self.reduction == "none":
            return y
        self.elements_shape = y.shape
        self.weight = 1.0 / count(y, range(y.ndim), "mean") if self.reduction == "mean" else 1.0  # of every element
        return y.sum() * self.weight

    def backward_fast(self, g, needs, *inputs):
        if self.reduction != "none":
            g = device_of(g).xp.full(self.elements_shape, g * self.weight, g.dtype)
        return self.elements_grad(g, needs, *inputs)

    def composed(self, *inputs):
        y = self.composed_elements(*inputs)
        return y if self.reduction == "none" else mean(y) if self.reduction == "mean" else sum_over(y)


class SquaredError(Loss):
    """y = (x - t)^2"""

    def elements(self, x, t):
        return dispatch("mse", x, t)

    def elements_grad(self, g, needs, x, t):
        dx = dispatch("mse_grad", g, x, t)
        return dx, -dx if needs[1] else None

    def composed_elements(self, x, t):
        return (x - t) * (x - t)


class AbsoluteError(Loss):
    """y = |x - t|, with gradient 0 where x = t"""

    def elements(self, x, t):
        return dispatch("l1", x, t)

    def elements_grad(self, g, needs, x, t):
        dx = dispatch("l1_grad", g, x, t)
        return dx, -dx if needs[1] else None

    def composed_elements(self, x, t):
        return absolute(x - t)


class BinaryCrossEntropy(Loss):
    """y = -t ln s - (1 - t) ln(1 - s) = softplus(x) - t x,  s = sigmoid(x)"""

    def elements(self, x, t):
        return dispatch("bce", x, t)

    def elements_grad(self, g, needs, x, t):
        return dispatch("bce_grad", g, x, t) if needs[0] else None, -g * x if needs[1] else None

    def composed_elements(self, x, t):
        return softplus(x) - t * x


class GaussianNLL(Loss):
    """y = -ln N(x; m, e^w) = (ln 2 pi + w + (x - m)^2 e^-w) / 2"""

    def elements(self, x, m, w):
        return dispatch("gaussian_nll", x, m, w)

    def elements_grad(self, g, needs, x, m, w):
        dx, dw = dispatch("gaussian_nll_grad", g, x, m, w)
        return dx, -dx if needs[1] else None, dw

    def composed_elements(self, x, m, w):
        return (w + (x - m) * (x - m) * exp(-w) + math.log(2 * math.pi)) * 0.5


class KLToStandardNormal(Loss):
    """y = KL(N(m, e^w) || N(0, 1)) = (e^w - 1 - w + m^2) / 2"""

    def elements(self, m, w):
        return dispatch("kl_gaussian", m, w)

    def elements_grad(self, g, needs, m, w):
        return dispatch("kl_gaussian_grad", g, m, w)

    def composed_elements(self, m, w):
        return (exp(w) - 1.0 - w + m * m) * 0.5


class KLOfNormals(Loss):
    """y = KL(N(m1, e^w1) || N(m2, e^w2)) = (e^(w1 - w2) - 1 - (w1 - w2) + (m1 - m2)^2 e^-w2) / 2"""

    def elements(self, m1, w1, m2, w2):
        return dispatch("kl_gaussians", m1, w1, m2, w2)

    def elements_grad(self, g, needs, m1, w1, m2, w2):
        dm1, dw1, dw2 = dispatch("kl_gaussians_grad", g, m1, w1, m2, w2)
        return dm1, dw1, -dm1 if needs[2] else None, dw2

    def composed_elements(self, m1, w1, m2, w2):
        return (exp(w1 - w2) - 1.0 - (w1 - w2) + (m1 - m2) * (m1 - m2) * exp(-w2)) * 0.5


class CrossEntropy(Loss):
    """y_n = -ln softmax(x_n)[label_n]"""

    def __init__(self, labels, reduction):
        super().__init__(reduction)
        self.labels = labels

    def elements(self, x):
        loss, lse = dispatch("cross_entropy", x, self.labels)
        self.save(lse)
        return loss

    def elements_grad(self, g, needs, x):
        return (dispatch("cross_entropy_grad", g, x, self.labels, self.saved[0]),)

    def composed_elements(self, x):
        rows = device_of(x.data).xp.arange(len(x))
        return -index(log_softmax(x), (rows, self.labels))


def mse(pred, target, reduction="mean"):
    """Squared error (pred - target)^2.   pred, target (*) -> a scalar, or (*) with reduction="none"

    Raises ValueError for unequal shapes or an unknown reduction. Source: Ho et al., 2020, eq. 14 (L_simple).
    """
    return SquaredError(reduction)(*alike("mse", pred=pred, target=target))


def l1(pred, target, reduction="mean"):
    """Absolute error |pred - target|; the gradient is 0 where they are equal.   pred, target (*) -> a scalar, or (*)

    Raises ValueError for unequal shapes or an unknown reduction. Source: Isola et al., pix2pix, 2017, eq. 3.
    """
    return AbsoluteError(reduction)(*alike("l1", pred=pred, target=target))


def bce_with_logits(logits, target, reduction="mean"):
    """Binary cross-entropy of probability sigmoid(logits), in nats.   logits, target (*) -> a scalar, or (*)

    -t ln s - (1 - t) ln(1 - s) = softplus(x) - t x for s = sigmoid(x): finite at any logit. target lies in [0, 1];
    only where it is 0 or 1 is this a log-likelihood.
    Raises ValueError for unequal shapes or an unknown reduction. Source: Goodfellow et al., Deep Learning, 6.2.2.2.
    """
    return BinaryCrossEntropy(reduction)(*alike("bce_with_logits", logits=logits, target=target))


def cross_entropy(logits, labels, reduction="mean"):
    """-ln softmax(logits)[label] of each row, in nats.   logits (N, K), labels (N,) -> a scalar, or (N,)

    labels are integers in 0..K-1; "mean" is over rows. Raises ValueError for shapes that do not fit or a label out
    of range, TypeError for labels that are not integers. Source: Goodfellow et al., Deep Learning, section 6.2.2.3.
    """
    (logits,) = alike("cross_entropy", logits=logits)
    if logits.ndim != 2:
        raise ValueError(f"logits must be (N, K), got logits.shape={logits.shape}")
    labels = integers_below(logits.shape[1], "labels", labels, like=logits)
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels must be (N,) for logits (N, K): got labels {labels.shape}, logits {logits.shape}")
    return CrossEntropy(labels, reduction)(logits)


def gaussian_nll(x, mean, logvar, reduction="mean"):
    """-ln N(x; mean, exp(logvar)) element by element, in nats.   x, mean, logvar (*) -> a scalar, or (*)

    With its constant (ln 2 pi) / 2, so that it is a log-likelihood, negative where the density is above 1.
    Raises ValueError for unequal shapes or an unknown reduction. Source: Kingma and Welling, 2014, appendix C.2.
    """
    return GaussianNLL(reduction)(*alike("gaussian_nll", x=x, mean=mean, logvar=logvar))


def kl_gaussian(mu, logvar, reduction="mean"):
    """KL(N(mu, exp(logvar)) || N(0, 1)) element by element, in nats.   mu, logvar (*) -> a scalar, or (*)

    Raises ValueError for unequal shapes or an unknown reduction. Source: Kingma and Welling, 2014, appendix B.
    """
    return KLToStandardNormal(reduction)(*alike("kl_gaussian", mu=mu, logvar=logvar))


def kl_gaussians(mu1, logvar1, mu2, logvar2, reduction="mean"):
    """KL(N(mu1, exp(logvar1)) || N(mu2, exp(logvar2))) element by element, in nats.   all (*) -> a scalar, or (*)

    Raises ValueError for unequal shapes or an unknown reduction. Source: Ho et al., 2020, eq. 5 (the terms L_t).
    """
    return KLOfNormals(reduction)(*alike("kl_gaussians", mu1=mu1, logvar1=logvar1, mu2=mu2, logvar2=logvar2))


def alike(function, **inputs):
    """The inputs as float tensors of one shape and dtype."""
    tensors = as_tensors(function, inputs.values())
    if len({x.shape for x in tensors}) > 1:
        shapes = ", ".join(f"{name}.shape={x.shape}" for name, x in zip(inputs, tensors))
        raise ValueError(f"{function} takes inputs of one shape and does not broadcast: got {shapes}")
    if tensors[0].dtype.kind != "f":
        raise TypeError(f"{function} takes float32 or float64, got {next(iter(inputs))} of {tensors[0].dtype}")
    return tensors
