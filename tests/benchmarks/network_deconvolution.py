"""A training step with network deconvolution beside one with batch normalization; and its patches beside the authors' own.

`python tests/benchmarks/network_deconvolution.py [--authors deconv.py]`, with the models/deconv.py of the authors' repository
(Ye et al. 2020) and PyTorch for the second part. The two networks take turns, so that what else the machine does falls on both.
"""

import argparse
import importlib.util
import time

import numpy as np

from deconvlib import networks
from deconvlib.backend import keras
from deconvlib.lab import record

ROUNDS, STEPS, BATCH = 7, 10, 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--authors", metavar="FILE", help="models/deconv.py of the authors' repository")
    authors = parser.parse_args().authors
    print(record.hardware(), record.versions())
    for convolutions in (1, 2):
        ratios = step_ratios(convolutions)
        print(
            f"step of {3 * convolutions} convolutions, batch {BATCH}: {np.median(ratios):.2f} times batch normalization's "
            f"({min(ratios):.2f} to {max(ratios):.2f} over {ROUNDS} rounds)"
        )
    if authors:
        print(f"largest difference of a decorrelated patch from the authors': {difference(authors):.1e}")


def step_ratios(convolutions):
    """Seconds of steps with network deconvolution over seconds of steps with batch normalization, one number a round."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((BATCH, 32, 32, 3), np.float32), rng.integers(10, size=BATCH)
    nets = []
    for normalization in ("deconvolution", "batch"):
        model = networks.classifier((32, 32, 3), 10, convolutions=convolutions, normalization=normalization)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.train_on_batch(images, labels)  # compiles
        nets.append(model)
    return [np.divide(*(seconds(model, images, labels) for model in nets)) for _ in range(ROUNDS)]


def seconds(model, images, labels):
    begun = time.perf_counter()
    for _ in range(STEPS):
        model.train_on_batch(images, labels)
    return time.perf_counter() - begun


def difference(path):
    """Of the decorrelated 3 × 3 patches of a batch of blurred noise, which filters that copy one entry each show."""
    import torch

    spec = importlib.util.spec_from_file_location("authors", path)
    spec.loader.exec_module(theirs := importlib.util.module_from_spec(spec))
    images = np.random.default_rng(0).random((16, 18, 18, 3), np.float32)
    images = images + np.roll(images, 1, axis=1) + np.roll(images, 1, axis=2)
    fast = theirs.FastDeconv(3, 27, 3, block=64)
    with torch.no_grad():
        fast.weight.copy_(torch.eye(27).reshape(27, 3, 3, 3))  # channel, row, column
        fast.bias.zero_()
        expected = fast(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy().transpose(0, 2, 3, 1)
    own = networks.DeconvolvedConv2D(27, 3, block=64, max_patches=None)
    own.build(images.shape)
    own.kernel.assign(np.eye(27).reshape(3, 3, 3, 27))  # row, column, channel
    found = keras.ops.convert_to_numpy(own(images, training=True))
    found = found.reshape(*found.shape[:3], 9, 3).swapaxes(3, 4).reshape(found.shape)
    return np.abs(found - expected).max()


if __name__ == "__main__":
    main()
