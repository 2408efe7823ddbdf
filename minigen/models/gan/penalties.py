"""Penalties of the discriminator's gradient with respect to its input: their own gradient is of second order.

    name       penalty, added to the discriminator's loss                        at
    wgan-gp    weight E (||grad a(x_hat)|| - 1)^2                                x_hat = alpha x + (1 - alpha) G(z)
    dragan     weight E (||grad a(x_hat)|| - 1)^2                                x_hat = alpha x + (1 - alpha) x_p
    r1         weight / 2 E ||grad a(x)||^2                                      the data

alpha ~ U(0, 1) is one number a sample: x_hat lies on the straight line between its two ends. (One a pixel would fill
the box around them.) The norm is over all axes of a sample. a is the score itself: on sigmoid(a) the penalty would
vanish where the discriminator is sure, which is where it is needed. x_p = x + spread s eps, eps ~ N(0, I), s the
standard deviation of the batch.

A penalty is about the gradient at each sample alone. Batch norm makes the score of a sample depend on the others of
its batch, so the settings refuse it here (train/gan_config.py); layer norm and group norm do not. The one exception is
the minibatch standard deviation s (layers.py), which is there to tie samples together: through s their gradients do
mix, and the penalty is of the sum. Karras et al., ICLR 2018, have it under wgan-gp, too.

Erratum of deck 004: it has (grad D(alpha x - (1 - alpha G(z))) - 1)^2, without the norm and with a mis-signed mix.

Shapes   x (N, *); critic: a Tensor (N, *) -> scores (N,)
Source   Gulrajani et al., NeurIPS 2017, eq. 3; Kodali et al., 2017, section 2.3; Mescheder et al., ICML 2018, eq. 9
"""

from ... import ops
from ...autograd import grad
from ...device import device_of
from ...tensor import Tensor


def wgan_gp(critic, real, fake, generator, weight=10.0):
    """The penalty between pairs of a real and a generated sample, arrays (N, *) of one shape -> a scalar."""
    return weight * unit_slope(critic, between(real, fake, generator))


def dragan(critic, real, fake, generator, weight=10.0, spread=0.5):
    """The penalty around the data; `fake` is not used -> a scalar."""
    device = device_of(real)
    noise = generator.normal(real.shape, real.dtype, device.name)
    return weight * unit_slope(critic, between(real, real + spread * real.std() * noise, generator))


def r1(critic, real, fake, generator, weight=10.0):
    """The zero-centred penalty at the data; neither `fake` nor the generator is used -> a scalar."""
    slope = input_gradient(critic, real)
    return 0.5 * weight * ops.mean(square_norms(slope))


PENALTIES = {"wgan-gp": wgan_gp, "dragan": dragan, "r1": r1}


def between(x, y, generator):
    """alpha x + (1 - alpha) y with one alpha ~ U(0, 1) a sample. Raises ValueError for unequal shapes."""
    if x.shape != y.shape:
        raise ValueError(f"real and fake must be of one shape, got {x.shape} and {y.shape}")
    alpha = generator.uniform((len(x), *[1] * (x.ndim - 1)), x.dtype, device_of(x).name)
    return alpha * x + (1 - alpha) * y


def unit_slope(critic, points):
    """E (||grad critic(points)|| - 1)^2, recorded so that it has a gradient for the critic's weights."""
    distance = norms(input_gradient(critic, points)) - 1.0
    return ops.mean(distance * distance)


def input_gradient(critic, points):
    """d critic(x_n) / d x_n for every sample, recorded.   points: array (N, *) -> Tensor (N, *)

    The gradient of the *sum* of scores: each score depends on its own sample, so their gradients do not mix (but
    for what passes through a minibatch standard deviation, see above).
    """
    x = Tensor(points, requires_grad=True)
    return grad(ops.sum(critic(x)), [x], create_graph=True)[0]


def square_norms(g):
    """||g_n||^2 over all axes but the first.   (N, *) -> (N,)"""
    return ops.sum(g * g, axis=tuple(range(1, g.ndim)))


def norms(g):
    """||g_n||.   (N, *) -> (N,)   At 0, where the norm has no gradient, it gets 0: its root's would be infinite."""
    squares = square_norms(g)
    zero = squares.data <= 0
    return ops.where(zero, 0.0, ops.sqrt(ops.where(zero, 1.0, squares)))
