"""Gradients by depth: networks of equal depth, with plain and transposed convolutions, and with what is said to help."""

import numpy as np
import pandas as pd

from deconvlib import progress, training
from deconvlib.allowed import KINDS
from deconvlib.backend import keras
from deconvlib.networks import DeconvolvedConv2D, seeds_of

UNCORRECTED = KINDS[2]


def initializer(strides=1, seed=None) -> keras.initializers.Initializer:
    """Glorot and Bengio's uniform initializer, with the inputs of a transposed convolution of these strides counted right.

    Each of its outputs sums kernel² / strides² weights a channel. Keras counts kernel², so its variance is strides² too small.
    """
    return keras.initializers.VarianceScaling(strides**2, mode="fan_avg", distribution="uniform", seed=seed)


def network(kind, activation, image_shape, num_classes, depth=6, width=16, seed=0) -> keras.Model:
    """`depth` layers of `width` channels, "layer1" and so on, on a quarter of the images' resolution, and one that classifies.

    kind: one of KINDS. "transposed": each second layer is a transposed convolution of stride 2, after a convolution of stride
    2; its initial weights are those of `initializer`, or, with Keras' count, of Glorot's rule as Keras applies it.
    """
    seeds = seeds_of(seed)
    images = keras.Input(image_shape)
    x = keras.layers.Rescaling(2.0, offset=-1.0)(images)
    first = {"padding": "same", "activation": activation, "kernel_initializer": initializer(seed=next(seeds))}
    x = keras.layers.Conv2D(width, 4, strides=4, **first)(x)
    for number in range(1, depth + 1):
        own = {"padding": "same", "activation": activation, "name": f"layer{number}"}
        finer = kind.startswith("transposed") and number % 2 == 0
        own["kernel_initializer"] = initializer(2 if finer and kind != UNCORRECTED else 1, next(seeds))
        if kind.startswith("transposed"):
            x = (keras.layers.Conv2DTranspose if finer else keras.layers.Conv2D)(width, 4, strides=2, **own)(x)
        else:
            y = (DeconvolvedConv2D if kind == "network deconvolution" else keras.layers.Conv2D)(width, 3, **own)(x)
            x = keras.layers.Add()([x, y]) if kind == "residual" else y
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(num_classes, kernel_initializer=initializer(seed=next(seeds)))(x)
    return keras.Model(images, keras.layers.Softmax(name="softmax", dtype="float32")(x))


def measure(build, images, labels, activations, seeds) -> pd.DataFrame:
    """Norms of the loss' gradient at each layer's kernel: columns network, activation, seed, layer (from 1), norm.

    build: build(kind, activation, seed) -> a `network`. images: uint8 (n, height, width, channels); labels: integers (n,).
    """
    rows = []
    cases = [(kind, activation, seed) for activation in activations for kind in KINDS for seed in seeds]
    for case in progress.steps(cases, "gradients", unit="network"):
        _, at = training.loss_gradients(build(*case), images, labels)
        norms = {path.partition("/")[0]: np.linalg.norm(of) for path, of in at.items() if path.endswith("kernel")}
        layers = [(int(name.removeprefix("layer")), float(norm)) for name, norm in norms.items() if name.startswith("layer")]
        rows += [(*case, *each) for each in layers]
    return pd.DataFrame(rows, columns=["network", "activation", "seed", "layer", "norm"])
