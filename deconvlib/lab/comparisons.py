"""Panels over what was compared: operators, gradients by depth, and the study of accuracy."""

import numpy as np

from deconvlib import experiments, training
from deconvlib.backend import keras
from deconvlib.lab.explorer import Explorer, explore


def operators(images, names, seed=0) -> Explorer:
    """The panel of notebook 11: the maps that a layer of new weights makes of a constant image and of a test image.

    images: uint8 (n, height, width, channels). names: as `experiments.operators.build` takes them.
    """

    def draw(operator, kernel, stride, weights, image):
        picture = images[image : image + 1] / np.float32(255)
        layer = experiments.operators.build(operator, kernel, stride, weights=weights, seed=seed)
        border = slice(2 * stride, -2 * stride)
        given = {"constant": np.ones_like(picture), "image": picture}
        maps = {of: keras.ops.convert_to_numpy(layer(x))[:, border, border] for of, x in given.items()}
        shown = {"the image": picture.mean(axis=-1, keepdims=True)} | {f"of the {of}": made for of, made in maps.items()}
        shares = (
            f"{100 * experiments.operators.checkerboard(made, stride):.1f} % in the map of the {of}"
            for of, made in maps.items()
        )
        said = f"Checkerboard: {' and '.join(shares)}, of the energy of all 8 channels, border left out."
        return experiments.operators.spectra(shown, stride), said

    return explore(
        draw,
        operator=list(names),
        kernel=(1, 8),
        stride=(2, 4),
        weights=list(experiments.operators.WEIGHTS),
        image=(0, len(images) - 1),
        start={"kernel": 3},
        about={
            "operator": "operator: no ICNR: the pixels of a square begin with different kernels",
            "kernel": "kernel, px: even overlap where the stride divides it",
            "stride": "stride, px: how many times finer",
            "weights": "weights: all 1 shows how many weights reach a pixel",
            "image": "test image: number of the one at the left",
        },
    )


def study(results) -> Explorer:
    """The panel of notebook 07: the learning curves of all variants in one regime.

    results: rows with regime, variant and curve, as `experiments.statistics.read` returns them.
    """

    def draw(regime):
        rows = results[results["regime"] == regime].groupby("variant", sort=False)
        return training.learning_curves({name: np.stack(own["curve"]) for name, own in rows})

    return explore(draw, regime=list(dict.fromkeys(results["regime"])))


def gradients(images, labels, width=16, seed=0) -> Explorer:
    """The panel of notebook 12: norms of gradients by depth, of one draw of weights, in new networks of each kind.

    images: uint8 (n, height, width, channels); labels: integers (n,).
    """

    def draw(activation, depth):
        def build(kind, activation, seed):
            return experiments.vanishing.network(kind, activation, images.shape[1:], int(labels.max()) + 1, depth, width, seed)

        return training.gradient_flow(experiments.vanishing.measure(build, images, labels, [activation], [seed]))

    names = ["sigmoid", "tanh", "relu", "elu", "gelu", "linear"]
    return explore(draw, activation=names, depth=(2, 16), start={"depth": 6}, about={"depth": "depth, layers"})
