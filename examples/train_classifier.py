"""Train the MNIST classifier that this project's scores rest on, and write its weights.

    python examples/train_classifier.py --data-dir FOLDER_WITH_MNIST
    python examples/train_classifier.py --data-dir FOLDER_WITH_MNIST --refuse-impostors

First: 60,000 training digits, shifted, turned, scaled and sheared a little at every visit; AdamW with warm-up and
cosine; the moving average of the weights is what is kept.

Then: a network that has only seen digits is sure of its answer for anything; it took every image of pure noise for a
digit. So the second command goes on from the first one's weights for two epochs in which half a batch of impostors
(noise, digits with shuffled pixels, averages of two digits) joins each batch, and for these the right answer is "all
ten classes alike" (Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019, section 3).

The test digits are looked at once, at the end of each command.
"""

from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file
from scipy.ndimage import affine_transform
from tqdm import tqdm

from minigen import Tensor, no_grad, ops
from minigen.data import Batches, load, to_model_range
from minigen.models.classifier import WEIGHTS, DigitClassifier, save_classifier
from minigen.optim import EMA, AdamW, warmup_cosine
from minigen.random import Generator


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="folder with the four MNIST files")
@click.option("--refuse-impostors", is_flag=True, help="go on from the weights in --out, see above")
@click.option("--steps", type=int, help="fewer steps than ten epochs (with --refuse-impostors, two)")
@click.option("--batch-size", default=128, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", default=WEIGHTS, type=click.Path(path_type=Path), show_default=True, help="file for the weights")
def main(data_dir, refuse_impostors, steps, batch_size, seed, out):
    train, test = (load("mnist", data_dir, split) for split in ("train", "test"))
    generator = Generator(seed)
    network = DigitClassifier(generator.child("weights"))
    epochs, lr = (2, 1e-3) if refuse_impostors else (10, 2e-3)
    if refuse_impostors:
        network.load_state_dict(load_file(out))
    optimizer = AdamW(network.parameters(), lr=lr, weight_decay=1e-2)
    ema = EMA(optimizer.flat, decay=0.999)
    batches, noise = Batches(train.images, train.labels, batch_size, seed), generator.child("distortion")

    steps = steps or epochs * batches.steps_per_epoch
    with tqdm(range(steps), unit="step") as bar:
        for step in bar:
            images, labels = batches.batch_at(step)
            images = distorted(to_model_range(images), noise)
            loss = ops.cross_entropy(network(Tensor(images)), labels)
            if refuse_impostors:
                strange = impostors(images, labels, noise)
                loss = loss - ops.log_softmax(network(Tensor(strange))).mean() * 0.5
            optimizer.lr = lr * warmup_cosine(step, min(200, steps // 10), steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step(max_norm=1.0, average=ema)
            if step % 50 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")

    network.eval()
    with ema.weights():
        save_classifier(network, out)
        right = sum((predicted(network, x) == y).sum() for x, y in in_parts(test))
    print(f"test accuracy {100 * right / len(test.labels):.2f}% on {len(test.labels)} digits; weights in {out}")


def distorted(images, generator):
    """Each image through its own affine map: shift up to 2 pixels, turn 15 degrees, scale 0.85 to 1.15, shear 0.2."""
    n, h, w, _ = images.shape
    draw = generator.uniform((n, 5)) * 2 - 1
    centre = np.array([h - 1, w - 1]) / 2
    result = np.empty_like(images)
    for image, out, (dy, dx, turn, scale, shear) in zip(images, result, draw):
        angle = turn * np.pi / 12
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = rotation @ np.array([[1, 0.2 * shear], [0, 1]]) * (1 + 0.15 * scale)
        offset = centre - matrix @ centre + 2 * np.array([dy, dx])
        affine_transform(image[..., 0], matrix, offset, order=1, cval=-1.0, output=out[..., 0])
    return result


def impostors(images, labels, generator):
    """Half as many images that are no digits, a third of them of each kind."""
    n = len(images) // 6
    noise = generator.uniform((n, *images.shape[1:])) * 2 - 1
    shuffled = np.stack([x.reshape(-1)[generator.permutation(x.size)].reshape(x.shape) for x in images[:n]])
    other = np.array([np.flatnonzero(labels != label)[0] for label in labels[n : 2 * n]])
    averaged = (images[n : 2 * n] + images[other]) / 2
    return np.concatenate([noise, shuffled, averaged]).astype(np.float32)


def in_parts(images, size=500):
    for i in range(0, len(images.labels), size):
        yield to_model_range(images.images[i : i + size]), images.labels[i : i + size]


def predicted(network, x):
    with no_grad():
        return network(Tensor(x)).data.argmax(1)


if __name__ == "__main__":
    main()
