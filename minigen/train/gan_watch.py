"""What goes wrong in a GAN without a NaN to show it: the game is over, or the samples are all one.

    won         the discriminator's loss is 0 and teaches it no more: D(real) >= 0.99 and D(generated) <= 0.01 where
                targets are 1 and 0, every sample on its side of the margin under hinge
    collapsed   the samples of a batch, without instance noise, differ by less than 5% of what the data's do

Either is remarked upon once it has lasted 200 steps, and again if it comes back. The two counts are buffers, so that
a resumed run says what an uninterrupted one would have said.

Source   deck 000, "Mode collapse", "GAN training instability"; deck 004, "GAN training is challenging"
"""

import numpy as np

from .. import nn
from ..device import device_of

PATIENCE = 200  # steps in a row
NEVER_WRONG = 0.99, 0.01  # D(real) and D(generated) of a discriminator that makes no mistake
NARROW = 0.05  # of the data's spread

NAN_CAUSE = "a learning rate too high, or a critic whose slope nothing bounds; try a lower --d-lr, or --penalty r1"
WON = (
    "the discriminator has made no mistake for {steps} steps (D(real) {real:.3f}, D(generated) {fake:.3f}), so its "
    "loss vanishes{more}. Likely cause: it learns faster than the generator; try a lower --d-lr, --instance-noise 0.1, "
    "--penalty r1 or --loss wgan-gp"
)
COLLAPSED = (
    "generated samples have been nearly alike for {steps} steps (their spread is {ratio:.1%} of the data's): mode "
    "collapse. Likely cause: the generator follows the one place where the discriminator errs; try --minibatch-std "
    "true, --penalty r1, a higher --d-lr, or labels (--loss cgan)"
)


class Watch(nn.Module):
    """Counts of steps in a row."""

    def __init__(self):
        self.won, self.collapsed = nn.Buffer(np.zeros(1, np.int64)), nn.Buffer(np.zeros(1, np.int64))

    def look(self, loss, value, real, fake, shown):
        """What there is to say after a step, as text, or None.

        value: the discriminator's loss, without its penalty. real, fake: arrays (N, *) of samples; one alone has no
        spread, and nothing is said of it. shown: {"d_real", "d_fake"}, mean D of each.
        """
        d_real, d_fake = shown["d_real"], shown["d_fake"]
        certain = value == 0 or (loss.has_targets and d_real >= NEVER_WRONG[0] and d_fake <= NEVER_WRONG[1])
        more = ", and the generator's gradient with it" if loss.saturates else ""
        ratio = spread(fake) / max(spread(real), 1e-12)
        alike = len(fake) > 1 and ratio < NARROW
        remarks = [
            (self.won, certain, WON.format(steps=PATIENCE, real=d_real, fake=d_fake, more=more)),
            (self.collapsed, alike, COLLAPSED.format(steps=PATIENCE, ratio=ratio)),
        ]
        said = [text for count, present, text in remarks if self._lasted(count, present)]
        return "; ".join(said) or None

    def _lasted(self, count, present):
        count.data[0] = count.data[0] + 1 if present else 0
        return count.data[0] == PATIENCE


def spread(x):
    """Mean over the numbers of a sample of their standard deviation over the batch.   (N, *) -> a number"""
    return float(device_of(x).xp.std(x, axis=0).mean())
