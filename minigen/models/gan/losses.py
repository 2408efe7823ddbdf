"""The losses of the GAN family: what the discriminator minimises, and what the generator does, one class a name.

A discriminator is asked about a batch and answers with a `Verdict` (verdict.py), whose `score` is, by loss,

    a logit     a = ln D / (1 - D), any real number         minimax, non-saturating and what rests on it
    a value     of a critic, any real number                lsgan, hinge, wgan, wgan-gp
    an energy   the error of an autoencoder, at least 0     ebgan, began

Every loss takes the score itself, never a probability: ln D and ln(1 - D) are softplus(-a) and softplus(a) with
their sign turned, and neither can meet ln 0. All are minimised, and all are means over the batch.

Errata of deck 004, "Alternative loss functions". Its rows GAN, WGAN, CGAN and ACGAN are to be maximised by both
players, LSGAN, EBGAN and BEGAN minimised. WGAN_GP, DRAGAN and infoGAN add to a loss that is maximised a term that
is to be minimised. ACGAN lacks the logarithm. Each class below says what stands there instead.

Gradient penalties are in penalties.py.
"""

import numpy as np

from ... import nn, ops
from ...device import device_of
from .verdict import accuracy, bce, guess_loss, information, pull_away, squared_error


class AdversarialLoss(nn.Module):
    """Base. A module, since a loss may have state (BEGAN's k) that belongs into checkpoints."""

    critic_steps = 1  # steps of the discriminator for one of the generator
    penalty = "none"  # of the discriminator's gradient, see penalties.py
    has_targets = False  # trains the discriminator towards 1 and 0: these can be smoothed and flipped
    saturates = False  # where the discriminator is sure, the generator's gradient vanishes
    is_logit = False  # the score is a logit, and sigmoid(score) the probability of "real"
    is_energy = False  # the discriminator is an autoencoder
    given_labels = False  # both networks are told the class
    guesses = False  # the discriminator has a second head, for the class or code that the generator was given

    def discriminator(self, real, fake):
        """What the discriminator minimises, from its Verdicts on real and on generated samples -> a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has no loss of the discriminator")

    def generator(self, fake):
        """What the generator minimises, from the Verdict on its samples -> a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has no loss of the generator")

    def after_discriminator_step(self, real, fake, weights):
        """What follows a step of the discriminator, whose FlatParameters are `weights`."""

    def measures(self, real, fake):
        """Further numbers for the metrics, {name: number}."""
        return {}


# ---------------------------------------------------------------- the game on logits


class Minimax(AdversarialLoss):
    """min_G max_D  E ln D(x) + E ln(1 - D(G(z))),  D = sigmoid(a)

        L_D = E softplus(-a(x)) + E softplus(a(G(z)))         L_G = -E softplus(a(G(z)))

    dL_G/da = -sigmoid(a): nothing is left where the discriminator is sure (a -> -inf). That is the vanishing gradient.
    At the best D for given distributions, L_D = 2 ln 2 - 2 JSD(real, generated).
    Source   Goodfellow et al., 2014, eq. 1 and theorem 1; deck 000 "GAN cost function"; deck 004 "Two-player game"
    """

    has_targets = is_logit = saturates = True

    def discriminator(self, real, fake):
        return bce(real, usual=1.0) + bce(fake, usual=0.0)

    def generator(self, fake):
        return -ops.mean(ops.softplus(fake.score))


class NonSaturating(Minimax):
    """The same discriminator; the generator maximises E ln D(G(z)) in place of minimising E ln(1 - D(G(z))).

        L_G = E softplus(-a(G(z)))

    dL_G/da = -(1 - sigmoid(a)): largest where the discriminator is sure that the sample is a fake.
    Source   Goodfellow et al., 2014, section 3; deck 004 "Two-player game" ("instead") and table, row GAN
    """

    saturates = False

    def generator(self, fake):
        return ops.mean(ops.softplus(-fake.score))


class DRAGAN(NonSaturating):
    """Non-saturating, with the slope of the logit held at 1 around the data: penalties.py.

    Source   Kodali et al., 2017, section 2.3; deck 004, table (there without the norm and with a mis-signed mix)
    """

    penalty = "dragan"


class R1(NonSaturating):
    """Non-saturating, with a zero-centred penalty of the logit's slope at the data: penalties.py.

    Source   Mescheder et al., Which training methods for GANs do actually converge?, ICML 2018, eq. 9
    """

    penalty = "r1"


class CGAN(NonSaturating):
    """Non-saturating, with both networks told the class c:  D(x, c),  G(z, c).

    Source   Mirza and Osindero, 2014, eq. 2; deck 000 "Conditional GAN models"; deck 004, table, row CGAN
    """

    given_labels = True


class ACGAN(NonSaturating):
    """The generator is told the class; the discriminator is not, and guesses it with a second head P(c | x).

        L_D = L_D^GAN - E ln P(c | x) - E ln P(c | G(z, c))         L_G = L_G^GAN - E ln P(c | G(z, c))

    The deck has P in place of ln P. The gradient with respect to the head's logits is softmax - onehot.
    Source   Odena et al., ICML 2017, section 3; deck 000 "Conditional GAN models"; deck 004, table, row ACGAN
    """

    guesses = True

    def discriminator(self, real, fake):
        return super().discriminator(real, fake) + guess_loss(real) + guess_loss(fake)

    def generator(self, fake):
        return super().generator(fake) + guess_loss(fake)

    def measures(self, real, fake):
        return {"class_accuracy": accuracy(real)}


class InfoGAN(NonSaturating):
    """The generator is given a code c, drawn uniformly from K, which a second head Q has to find again in the sample.

        L_D = L_D^GAN - L_I         L_G = L_G^GAN - L_I         L_I = ln K + E ln Q(c | G(z, c))  <=  I(c; G(z, c))

    L_I bounds the mutual information from below, and is itself at most H(c) = ln K nats: -ln Q is never negative.
    No label of the data is used. (Here c is one categorical code; the paper also has uniform ones.) The deck subtracts
    L_I from a discriminator's loss that is to be maximised.
    Source   Chen et al., NeurIPS 2016, eq. 5 and 6; deck 004, table, row infoGAN
    """

    guesses = True

    def discriminator(self, real, fake):
        return super().discriminator(real, fake) - information(fake)

    def generator(self, fake):
        return super().generator(fake) - information(fake)

    def measures(self, real, fake):
        return {"information": information(fake).item()}


# ---------------------------------------------------------------- other distances


class LSGAN(AdversarialLoss):
    """Least squares in place of cross-entropy; D is the score itself, with no sigmoid.

        L_D = E (D(x) - 1)^2 + E D(G(z))^2         L_G = E (D(G(z)) - 1)^2

    The best D is p_real / (p_real + p_generated), as for the cross-entropy.
    Source   Mao et al., ICCV 2017, eq. 9 (with a factor 1/2); deck 004, table, row LSGAN
    """

    has_targets = True

    def discriminator(self, real, fake):
        return squared_error(real, usual=1.0) + squared_error(fake, usual=0.0)

    def generator(self, fake):
        return squared_error(fake, usual=1.0)


class Hinge(AdversarialLoss):
    """L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))         L_G = -E D(G(z))

    A sample that is on its side of the margin has no say any more.
    Source   Lim and Ye, Geometric GAN, 2017; Miyato et al., ICLR 2018, eq. 16 and 17
    """

    def discriminator(self, real, fake):
        return ops.mean(ops.relu(1.0 - real.score)) + ops.mean(ops.relu(1.0 + fake.score))

    def generator(self, fake):
        return -ops.mean(fake.score)


class Wasserstein(AdversarialLoss):
    """The critic's gap, E D(x) - E D(G(z)), over all D of bounded slope is a multiple of the distance W1.

        L_D = E D(G(z)) - E D(x)         L_G = -E D(G(z))

    What bounds the slope is left to the two below. (The deck's rows are to be maximised by both players.)
    Source   Arjovsky et al., ICML 2017, eq. 2 and 3
    """

    critic_steps = 5

    def discriminator(self, real, fake):
        return ops.mean(fake.score) - ops.mean(real.score)

    def generator(self, fake):
        return -ops.mean(fake.score)


class WGAN(Wasserstein):
    """Every weight is clipped to [-clip, clip] after each step of the critic: its slope is at most an unknown constant.

    Source   Arjovsky et al., ICML 2017, algorithm 1; deck 004, table, row WGAN
    """

    def __init__(self, clip=0.01):
        self.clip = clip

    def after_discriminator_step(self, real, fake, weights):
        device_of(weights.data).xp.clip(weights.data, -self.clip, self.clip, out=weights.data)
        weights.changed()


class WGANGP(Wasserstein):
    """The slope is held at 1 between real and generated samples: penalties.py.

    Source   Gulrajani et al., NeurIPS 2017, eq. 3 and algorithm 1; deck 004, table (errata: penalties.py)
    """

    penalty = "wgan-gp"


# ---------------------------------------------------------------- autoencoders as discriminators


class EBGAN(AdversarialLoss):
    """The discriminator is an autoencoder and its score the error, an energy: low for data, at least m elsewhere.

        L_D = E D(x) + E max(0, m - D(G(z)))         L_G = E D(G(z)) + pull_away_weight * PT

    Source   Zhao et al., ICLR 2017, eq. 1 and 2; deck 004, table, row EBGAN
    """

    is_energy = True

    def __init__(self, margin=1.0, pull_away_weight=0.1):
        self.margin, self.pull_away_weight = margin, pull_away_weight

    def discriminator(self, real, fake):
        return ops.mean(real.score) + ops.mean(ops.relu(self.margin - fake.score))

    def generator(self, fake):
        return ops.mean(fake.score) + self.pull_away_weight * pull_away(fake.code)


class BEGAN(AdversarialLoss):
    """The energies of real and generated samples are kept in the proportion gamma by a weight k that adapts.

        L_D = E D(x) - k E D(G(z))         L_G = E D(G(z))
        k <- min(1, max(0, k + lambda (gamma E D(x) - E D(G(z)))))         after each step of the discriminator
        M = E D(x) + |gamma E D(x) - E D(G(z))|                            falls as training converges

    gamma in (0, 1]: how diverse samples are to be. k begins at 0: first the autoencoder learns. The paper's lambda is
    0.001; energies differ by some 0.1, so that k would take ten thousand steps to 1. Ours, 0.02, takes five hundred.
    Source   Berthelot et al., 2017, section 3.3 and 3.4; deck 004, table, row BEGAN
    """

    is_energy = True

    def __init__(self, gamma=0.5, rate=0.02):
        self.gamma, self.rate, self.k = gamma, rate, nn.Buffer(np.zeros(1))

    def discriminator(self, real, fake):
        return ops.mean(real.score) - float(self.k.data[0]) * ops.mean(fake.score)

    def generator(self, fake):
        return ops.mean(fake.score)

    def after_discriminator_step(self, real, fake, weights):
        self.k.data[0] = np.clip(self.k.data[0] + self.rate * self._balance(real, fake)[1], 0.0, 1.0)

    def measures(self, real, fake):
        energy, balance = self._balance(real, fake)
        return {"k": float(self.k.data[0]), "convergence": energy + abs(balance)}

    def _balance(self, real, fake):
        """E D(x), and gamma E D(x) - E D(G(z))."""
        energy = float(real.score.data.mean())
        return energy, self.gamma * energy - float(fake.score.data.mean())


LOSSES = {
    "minimax": Minimax, "non-saturating": NonSaturating, "lsgan": LSGAN, "hinge": Hinge, "wgan": WGAN,
    "wgan-gp": WGANGP, "dragan": DRAGAN, "r1": R1, "cgan": CGAN, "infogan": InfoGAN, "acgan": ACGAN, "ebgan": EBGAN,
    "began": BEGAN,
}  # fmt: skip
