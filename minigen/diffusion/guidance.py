"""Guidance: samples that fit a condition y better than the plain conditional model's do.

    classifier-free    eps_hat = (1 - w) eps(x_t) + w eps(x_t, y)             Ho and Salimans eq. 6, with w for 1 + w
        w = 0 the unconditional model, 1 the conditional one, above 1 more of y than there is in the data
    by a classifier    eps_hat = eps(x_t) - w sqrt(1 - alpha_bar_t) grad_x log p(y | x_t)        Dhariwal Algorithm 2

Both come from Bayes' rule for scores (score = -eps / sqrt(1 - alpha_bar_t)):

    grad log p(x_t | y) = grad log p(x_t) + grad log p(y | x_t)

The second term is a classifier's gradient, or the difference of two predictions; w times it aims at
p(x_t) p(y | x_t)^w. (That is the law of x_t at each level; noising p(x0) p(y | x0)^w would give another, so for w > 1
the end is near to, not exactly, the sharpened law of the data.)

Any target will do: given x_t, the three are affine functions of each other, so a mixture whose weights sum to 1 is the
same mixture in all of them, and a shift of eps by -b s, with s = w grad log p(y | x_t), is a shift

    of x0 by (b^2 / a) s        of v by -(b / a) s        a = sqrt(alpha_bar_t), b = sqrt(1 - alpha_bar_t)
    and of the posterior's mean by its coefficient of x0 times that of x0

A learned variance is not guided: it stays the conditional model's.

Shapes   x (N, ...), t (N,); a model is a function (x, t) -> prediction (N, ...), as in samplers.py
Source   Ho and Salimans, Classifier-Free Diffusion Guidance, 2022; Dhariwal and Nichol, Diffusion Models Beat GANs on
         Image Synthesis, NeurIPS 2021, section 4. Deck 003 "Recall Bayes' Rule", 004 table "c.f.g."
"""

import numpy as np

from ..autograd import grad, grad_mode
from ..device import device_of
from ..ops import concatenate, index, log_softmax
from ..tensor import Tensor
from .process import at

# ---------------------------------------------------------------- classifier-free


def guided(process, network, condition, scale):
    """The model (1 - scale) network(x, t, nothing) + scale network(x, t, condition), for the samplers.

    condition {name: (N, ...)} goes to the network by name, beside `given`, (N,) bool: whether it is told
    (models/conditional_unet.py). Scales 0 and 1 ask only the model that they stand for, and return its very bits; any
    other asks both in one batch of 2 N.
    """

    def model(x, t):
        xp, n = device_of(x.data if isinstance(x, Tensor) else x).xp, len(x)
        if scale in (0, 1):
            return network(x, t, **condition, given=xp.full(n, scale == 1))
        doubled = {name: joined([value, value]) for name, value in condition.items()}
        both = network(joined([x, x]), joined([t, t]), **doubled, given=xp.arange(2 * n) >= n)
        plain, told = both[:n], both[n:]
        mixed = plain * (1 - scale) + told * scale
        return with_prediction(process, told, process.split(mixed)[0])

    return model


def joined(parts, axis=0):
    """Arrays, or Tensors on their tape, end to end."""
    return concatenate(parts, axis) if isinstance(parts[0], Tensor) else device_of(parts[0]).xp.concatenate(parts, axis)


def with_prediction(process, output, prediction):
    """The network's output with another prediction in it; what it says of a learned variance stays."""
    if not process.learned_variance:
        return prediction
    return joined([prediction, output[..., prediction.shape[-1] :]], axis=-1)


# ---------------------------------------------------------------- by a classifier


def classifier_guided(process, model, log_probability, scale):
    """The model whose eps is moved by -scale sqrt(1 - alpha_bar_t) grad log p(y | x_t), for the samplers.

    log_probability(xt, x0_hat, t) -> log p(y | x_t), a Tensor (N,), made of the Tensors xt and x0_hat, the model's
    guess of x0 at xt. Its gradient flows through both, so through the model where x0_hat is used.
    """

    def steered(x, t):
        with grad_mode(True):
            xt = Tensor(x, requires_grad=True)
            output = model(xt, t)
            x0_hat, _ = process.x0_and_eps(process.split(output)[0], xt, t)
            (gradient,) = grad(log_probability(xt, x0_hat, t).sum(), [xt])
        a, b = at(process.signal, t, x), at(process.noise, t, x)
        mean = at(process.posterior_x0, t, x) * b * b / a
        moved = {"eps": -b, "x0": b * b / a, "v": -b / a, "mean": mean}[process.target]
        prediction = process.split(output.data)[0] + moved * (gradient.data * scale)
        return with_prediction(process, output.data, prediction)

    return steered


def label_probability(classifier, labels):
    """log_probability for classifier_guided: log p(y | x_t) taken as the classifier's log p(y | x0_hat).

    A classifier of clean images knows nothing of noisy ones, and x_t is noisy; x0_hat, the mean of p(x0 | x_t), is
    blurred at worst. So no second classifier, trained on noise, is needed: the price is one backward pass through the
    model a step, and that log of a mean is not the mean of the log (exact at low noise, where x0_hat is x0).
    Source: Chung et al., Diffusion Posterior Sampling, ICLR 2023, theorem 1; Bansal et al., Universal Guidance, 2023
    """

    def log_probability(xt, x0_hat, t):
        return index(log_softmax(classifier(x0_hat)), (np.arange(len(labels)), labels))

    return log_probability
