"""How much features change when the image is moved, enlarged or turned: Zeiler & Fergus 2013, figure 5."""

import numpy as np
import pandas as pd
from scipy import ndimage

from deconvlib import checks, figures, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, graph, inputs

SCALES = np.linspace(1.0, 1.8, 17)  # the paper's range
ROTATIONS = np.arange(0.0, 351.0, 10.0)  # degrees; the paper's range
AMOUNTS = {"translation": "pixels down", "scale": "factor", "rotation": "degrees"}


def measure(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    layers: list[str],
    translation: np.ndarray | None = None,
    scale: np.ndarray = SCALES,
    rotation: np.ndarray = ROTATIONS,
) -> pd.DataFrame:
    """How much each layer changes when an image is moved, enlarged or turned.

    One row for each transformation ("translation", "scale", "rotation"), amount, image and layer. Columns: transformation,
    amount, image, layer; distance, the Euclidean distance between the layer's whole outputs for the transformed and the
    original image; relative, distance over the length of the original's output (NaN where that is zero); probability, of
    the true class.

    translation: pixels downwards; None: 17 steps within a quarter of the height, up and down, about the paper's 60 of 224.
    scale: factors above 0; above 1 enlarges about the centre. rotation: degrees, counterclockwise about the centre.
    Each may be empty. Interpolation is bilinear. Outside its border the image is mirrored, because a plain border would be
    an edge that the network answers to.

    images, labels: as for `occlusion.measure`. Raises ValueError for a scale of 0 or less, and as that does.
    """
    floats, labels = inputs.as_input(model, images), checks.labels(model, labels, len(images))
    height = floats.shape[1]
    if translation is None:
        translation = np.unique(np.round(np.linspace(-height / 4, height / 4, 17)))
    if np.size(scale) and not np.min(scale) > 0:
        raise ValueError(f"scale {np.min(scale):g} leaves no image; scales are above 0, and 1 is the image itself")
    amounts = [("translation", a) for a in translation] + [("scale", a) for a in scale] + [("rotation", a) for a in rotation]
    if not np.isfinite([amount for _, amount in amounts]).all():
        raise ValueError("an amount of translation, scale or rotation is NaN or infinite")
    read = activations.reader(
        model, [*checks.names("layers", layers), graph.steps(model)[-1].name], _distances, floats.shape[1:]
    )
    step = max(activations.batch_size(model, floats.shape[1:]) - 1, 1)
    found = []
    for image in progress.steps(range(len(floats)), "invariance", "image"):
        for start in range(0, len(amounts), step):
            some = amounts[start : start + step]
            moved = np.stack([floats[image], *(transformed(floats[image], *change) for change in some)])
            *measured, probabilities = (array[1:] for array in read(moved))
            checks.probabilities(model, probabilities)
            for layer, distance, length in zip(layers, measured[::2], measured[1::2], strict=True):
                relative = np.divide(distance, length, out=np.full(len(some), np.nan), where=length > 0)
                numbers = zip(some, distance, relative, probabilities[:, labels[image]], strict=True)
                found += [(kind, float(amount), image, layer, *others) for (kind, amount), *others in numbers]
    columns = ["transformation", "amount", "image", "layer", "distance", "relative", "probability"]
    return pd.DataFrame(found, columns=columns)


def transformed(image: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """An image (height, width, channels), transformed as in `measure`: kind is "translation", "scale" or "rotation"."""
    if kind == "translation":
        back, shift = np.eye(2), np.array([-amount, 0])
    else:
        turn = np.radians(amount) if kind == "rotation" else 0
        # from each place in the result back to its source; rows count downwards
        back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / (amount if kind == "scale" else 1)
        centre = (np.array(image.shape[:2]) - 1) / 2
        shift = centre - back @ centre
    planes = [ndimage.affine_transform(plane, back, shift, order=1, mode="reflect") for plane in np.moveaxis(image, 2, 0)]
    return np.stack(planes, axis=2)


def _distances(outputs):
    """For each output but the last: distances from the first of the batch, and the first's length, both (n,); the last."""
    *outputs, prediction = outputs
    found = []
    for vectors in activations.vectors(outputs):
        changes = vectors - vectors[:1], vectors[:1] + keras.ops.zeros_like(vectors)
        found += [keras.ops.norm(change, axis=1) for change in changes]
    return [*found, prediction]


def figure(table, titles):
    """Figure 5 of Zeiler & Fergus: a row a transformation, a column a layer and one for the class, a line an image.

    table: from `measure`; titles: of the images.
    """
    kinds, layers = table["transformation"].unique(), table["layer"].unique()
    fig = figures.figure(1.5 * len(kinds) + 0.5)
    axs = fig.subplots(len(kinds), len(layers) + 1, sharex="row", squeeze=False)
    for row, kind in zip(axs, kinds, strict=True):
        some = table[table["transformation"] == kind]
        panels = [(f"{layer}: distance", "relative", some[some["layer"] == layer]) for layer in layers]
        panels.append(("probability of the true class", "probability", some[some["layer"] == layers[0]]))
        for ax, (title, column, rows) in zip(row, panels, strict=True):
            for image, line in rows.groupby("image"):
                ax.plot(line["amount"], line[column], color=f"C{image}", linewidth=1.2, label=titles[image])
            top = 1 if column == "probability" else table["relative"].max()
            ax.set(xlabel=f"{kind}, {AMOUNTS[kind]}", ylim=(0, 1.04 * (top if top > 0 else 1)))
            if ax in axs[0]:
                ax.set_title(title)
    fig.legend(*axs[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(titles), 8))
    return figures.captioned(fig, "Distance from the features of the image itself, over their length.")


def moved(images, titles, table, at):
    """An image before and after, and the probability of its class under each transformation alone.

    images: the two; table: the rows of `measure` for this image and one layer; at: {transformation: amount}, marked on
    the curves.
    """
    fig = figures.figure(figures.WIDTH / 5 + 0.3)
    axs = fig.subplots(1, 2 + len(at), width_ratios=[1, 1, *[1.1] * len(at)])
    for ax, image, title in zip(axs, figures.pixels(images), titles, strict=False):
        figures.show(ax, image, title)
        figures.bare(ax)
    for ax, (kind, amount) in zip(axs[2:], at.items(), strict=True):
        rows = table[table["transformation"] == kind]
        ax.plot(rows["amount"], rows["probability"], linewidth=1.2)
        ax.axvline(amount, color="#D55E00", linewidth=1.2)
        ax.set(xlabel=f"{kind}, {AMOUNTS[kind]}", ylim=(0, 1.04))
    axs[2].set_title("probability of the class", fontsize=8)
    return fig
