"""Experiments on a trained classifier: Zeiler & Fergus 2013, occlusion (figure 7), invariance (5), correspondence (8).

What each changes is the image, and what it measures is what that does to a layer and to the answer. Figures and tables
are numbered as in arXiv v3.
"""

from typing import NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from scipy import ndimage
from scipy.stats import rankdata

from deconvlib import checks, figures, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, graph, inputs, projection
from deconvlib.deconvnet.rules import RULES

FILLS = ("gray", "mean", "blur")


class Occlusion(NamedTuple):
    """What a classifier answers where a square hides part of n images, at R × C places, and of how k channels it falls.

    row, column: integers (R,) and (C,), the upper left pixel of each square, `size` pixels a side.
    channel: integers (n, k). activation: float32 (n, R, C, k), the sum of each channel's map.
    probability: float32 (n, R, C), of the true class. predicted: integers (n, R, C), the most probable class.
    whole_activation (n, k), whole_probability (n,), whole_predicted (n,): the same where nothing is hidden.
    """

    layer: str
    size: int
    row: np.ndarray
    column: np.ndarray
    channel: np.ndarray
    activation: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    whole_activation: np.ndarray
    whole_probability: np.ndarray
    whole_predicted: np.ndarray


def measure(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    layer: str,
    channels: list[int] | None = None,
    size: int = 8,
    stride: int = 2,
    fill: str = "gray",
) -> Occlusion:
    """What `model` answers while a square slides over each image. Zeiler & Fergus 2013, section 4.2 and figure 7.

    images: uint8, or float as the model takes them, (n, height, width, channels); labels: integers (n,), the true
    classes; the model ends in probabilities. channels: of `layer`, followed on every image; None: on each image the one
    whose map has the largest sum where nothing is hidden (k = 1).
    size: of the square, in pixels. stride: pixels between places; all squares lie within the image, the last one flush
    with its border. fill: "gray", the middle of the range of pixels; "mean", each image's mean colour; "blur", the image
    itself under a Gaussian of s.d. size / 2, which hides the detail and leaves the colours.

    Memory: one batch of images, and the answers. Shows progress where it takes longer than two seconds. Raises
    ValueError for an unknown layer, channel or fill, a square that does not fit, and labels that are not the model's.
    """
    floats, labels = inputs.as_input(model, images), checks.labels(model, labels, len(images))
    checks.known("fill", fill, FILLS)
    rows, columns = (_places(length, size, stride, floats.shape[1:3]) for length in floats.shape[1:3])
    available = graph.find(model, layer).node.outputs[0].shape[-1]
    if channels is not None and (not len(channels) or not set(channels) <= set(range(available))):
        raise ValueError(f"channels {list(channels)} are not all in layer {layer!r}; its channels are 0 to {available - 1}")
    read = activations.reader(model, [layer, graph.steps(model)[-1].name], _sums, floats.shape[1:])
    batch = activations.batch_size(model, floats.shape[1:])

    whole = [read(floats[start : start + batch]) for start in range(0, len(floats), batch)]
    sums, probabilities = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    check_probabilities(model, probabilities)
    channel = sums.argmax(axis=1)[:, None] if channels is None else np.tile(channels, (len(floats), 1))
    shape = (len(floats), len(rows), len(columns))
    activation = np.empty((*shape, channel.shape[1]), np.float32)
    probability, predicted = np.empty(shape, np.float32), np.empty(shape, int)
    hidden = _hidden(model, floats, fill, size)
    for start in progress.steps(range(0, np.prod(shape), batch), "occlusion"):
        image, row, column = place = np.unravel_index(np.arange(start, min(start + batch, np.prod(shape))), shape)
        occluded = floats[image]
        for pixels, number, top, left in zip(occluded, image, rows[row], columns[column], strict=True):
            square = slice(top, top + size), slice(left, left + size)
            pixels[square] = hidden[number][square]
        some, chances = read(occluded)
        activation[place] = np.take_along_axis(some, channel[image], axis=1)
        probability[place] = chances[np.arange(len(image)), labels[image]]
        predicted[place] = chances.argmax(axis=1)
    return Occlusion(
        *(layer, size, rows, columns, channel, activation, probability, predicted),
        whole_activation=np.take_along_axis(sums, channel, axis=1),
        whole_probability=probabilities[np.arange(len(floats)), labels],
        whole_predicted=probabilities.argmax(axis=1),
    )


def agreement(
    model: keras.Model,
    images: np.ndarray,
    occluded: Occlusion,
    rules: tuple[str, ...] = RULES,
    whole_map: bool = True,
) -> pd.DataFrame:
    """Whether a map falls where its projection has energy: the paper's validation of its own pictures, as a number.

    One row for each image, followed channel and picture; columns image, channel, picture, linear and rank: the
    correlation (Pearson's, Spearman's), over the places of the square, of the fall of the map's sum with the energy that
    the picture has within the square. NaN where one of the two is the same at all places, as for a map of zeros.
    picture: the projection by each of `rules`, and "edges", the image under a Sobel filter: what a picture reaches that
    knows nothing of the network.

    images: those that `occlusion` was given. whole_map: project every unit of the map, as the occlusion sums them all;
    False: its strongest unit alone, as figure 7(c) shows.
    """
    floats = inputs.as_input(model, images)
    if len(floats) != len(occluded.channel):
        raise ValueError(f"{len(floats)} images, but {len(occluded.channel)} were occluded; give the same images")
    drop = occluded.whole_activation[:, None, None] - occluded.activation
    gray = floats.mean(axis=3)
    edges = _within((ndimage.sobel(gray, axis=1) ** 2 + ndimage.sobel(gray, axis=2) ** 2), occluded)
    found = []
    for channel in np.unique(occluded.channel):
        numbers, k = np.nonzero(occluded.channel == channel)
        pictures = {"edges": edges[numbers]}
        for rule in rules:
            maps = projection.project(model, floats[numbers], occluded.layer, int(channel), rule, whole_map=whole_map)
            pictures[rule] = _within((maps.astype(float) ** 2).sum(axis=3), occluded)
        for picture, energies in pictures.items():
            for image, energy, fall in zip(numbers, energies, drop[numbers, ..., k], strict=True):
                linear, rank = _correlation(energy.ravel(), fall.ravel())
                found.append({"image": image, "channel": channel, "picture": picture, "linear": linear, "rank": rank})
    order = pd.CategoricalDtype([*rules, "edges"])
    table = pd.DataFrame(found).astype({"picture": order}).sort_values(["picture", "image", "channel"], ignore_index=True)
    return table.astype({"picture": str})


def check_probabilities(model, probabilities):
    if probabilities.min() < 0 or abs(probabilities.sum(axis=1) - 1).max() > 0.01:
        raise ValueError(f"what model {model.name!r} ends in are not probabilities; end it in a softmax")


def _places(length, size, stride, image_size):
    """Where squares begin on one axis: every `stride` pixels, and flush with the border at the end."""
    if not 1 <= size <= length:
        raise ValueError(f"a square of {size} pixels does not fit images of {image_size}; its size is 1 to {min(image_size)}")
    if stride < 1:
        raise ValueError(f"stride is 1 pixel or more, not {stride}")
    return np.unique([*range(0, length - size, stride), length - size])


def _sums(outputs):
    maps, prediction = outputs
    return [keras.ops.sum(maps, axis=tuple(range(1, len(maps.shape) - 1))) if len(maps.shape) > 2 else maps, prediction]


def gray(model, floats):
    """The middle between black and white as the model takes them; of wider pixels, the middle of their range."""
    white = inputs.as_input(model, np.full((1, *floats.shape[1:]), 255, np.uint8)).max()
    return (min(0, floats.min()) + max(white, floats.max())) / 2


def _hidden(model, floats, fill, size):
    """What shows in place of each image where it is hidden, in the shape of the images."""
    if fill == "gray":
        return np.broadcast_to(gray(model, floats), floats.shape)
    if fill == "mean":
        return np.broadcast_to(floats.mean(axis=(1, 2), keepdims=True), floats.shape)
    return ndimage.gaussian_filter(floats, (0, size / 2, size / 2, 0), mode="nearest")


def _within(energy, occluded):
    """Energy (n, height, width) summed within each square, (n, R, C)."""
    total = np.pad(energy.astype(float), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    top, left = np.ix_(occluded.row, occluded.column)
    bottom, right = top + occluded.size, left + occluded.size
    return total[:, bottom, right] - total[:, top, right] - total[:, bottom, left] + total[:, top, left]


def _correlation(one, other):
    """(Pearson's, Spearman's) correlation of two vectors; NaN where one is constant up to rounding."""
    if min(np.ptp(one) / (abs(one).max() or 1), np.ptp(other) / (abs(other).max() or 1)) < 1e-6:
        return np.nan, np.nan
    return tuple(float(np.corrcoef(pair)[0, 1]) for pair in ((one, other), (rankdata(one), rankdata(other))))


def figure(images, occluded, projections, titles, class_names):
    """Figure 7 of Zeiler & Fergus: image, projection of the map, and what a square hidden at each place does.

    images: n; occluded: as diagnostics.occlusion returns for them; projections: of each image's first followed channel,
    signed, of the shape of the images; titles: n, one a row.
    """
    images, count = figures.pixels(images), len(images)
    whole = occluded.whole_activation[:, :1, None]
    shares = np.divide(occluded.activation[..., 0], whole, out=np.ones(occluded.predicted.shape), where=whole != 0)
    classes = np.unique(occluded.predicted)
    fig = figures.figure(figures.WIDTH / 5 * count + 0.9)
    axs = fig.subplots(count, 5, squeeze=False)
    limits = {"vmin": shares.min(), "vmax": shares.max()}
    palette = matplotlib.colormaps["tab20" if len(class_names) > 10 else "tab10"]
    rows, columns = (corner + (occluded.size - 1) / 2 for corner in (occluded.row, occluded.column))
    for index, row in enumerate(axs):
        figures.show(row[0], images[index])
        figures.show(row[1], figures.to_display(projections[index]))
        row[0].add_patch(Rectangle((-0.5, -0.5), occluded.size, occluded.size, fill=False, edgecolor="C1"))
        maps = [row[2].pcolormesh(columns, rows, shares[index], cmap="viridis", **limits)]
        maps.append(row[3].pcolormesh(columns, rows, occluded.probability[index], cmap="viridis", vmin=0, vmax=1))
        row[4].pcolormesh(columns, rows, palette(occluded.predicted[index] % palette.N))
        for ax in row:
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.set(xlim=(-0.5, images.shape[2] - 0.5), ylim=(images.shape[1] - 0.5, -0.5))
            ax.spines[:].set_visible(False)
        figures.row_name(row[0], titles[index])
    for ax, title in zip(axs[0], ("image, square", "projection", "map's sum", "true class", "most probable"), strict=True):
        ax.set_title(title, fontsize=8)
    for column, image, label in ((2, maps[0], "times that of the whole image"), (3, maps[1], "probability")):
        fig.colorbar(image, ax=axs[:, column], location="bottom", label=label, shrink=0.9, aspect=12, pad=0.02)
    patches = [Rectangle((0, 0), 1, 1, color=palette(label % palette.N), label=class_names[label]) for label in classes]
    fig.legend(handles=patches, loc="outside upper center", ncols=min(len(patches), 8))
    return figures.captioned(fig, f"Each place of a map: the square centred there. {figures.SCALING}")


def agreement_figure(table):
    """How the fall of each map follows its projection's energy: a dot an image and channel, a bar the mean, by picture.

    table: as diagnostics.agreement returns.
    """
    names = list(table["picture"].unique())
    fig = figures.figure(0.35 * len(names) + 0.9)
    axs = fig.subplots(1, 2, sharey=True)
    for ax, measure in zip(axs, ("linear", "rank"), strict=True):
        for place, name in enumerate(names):
            values = table.loc[table["picture"] == name, measure].dropna().to_numpy()
            # one over the other, so that equal ones are seen
            ax.plot(values, place + np.linspace(-0.28, 0.28, len(values)), ".", markersize=3, color=f"C{place}", alpha=0.5)
            if len(values):
                ax.vlines(values.mean(), place - 0.4, place + 0.4, color="0.1")
        ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel=f"{measure} correlation", xlim=(-1.03, 1.03))
    axs[0].set_yticks(range(len(names)), names)
    axs[0].invert_yaxis()
    return fig
