"""What a classifier answers while a square hides part of the image: Zeiler & Fergus 2013, section 4.2 and figure 7.

Figures and tables are numbered as in arXiv v3.
"""

from typing import NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.colors import CenteredNorm
from matplotlib.patches import Rectangle
from scipy import ndimage
from scipy.stats import rankdata

from deconvlib import checks, figures, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, graph, inputs, projection
from deconvlib.deconvnet.rules import RULES
from deconvlib.experiments import grad_cam, saliency, statistics, targets

FILLS = ("gray", "mean", "blur")


class Occlusion(NamedTuple):
    """The answers of a classifier, and k channels of `layer`, while a square hides part of n images at R × C places.

    row, column: integers (R,) and (C,), the upper left pixel of each square, `size` pixels a side.
    channel: integers (n, k). activation: float32 (n, R, C, k), the sum of each channel's map, or one unit of it.
    probability: float32 (n, R, C), of the true class. predicted: integers (n, R, C), the most probable class.
    whole_activation (n, k), whole_probability (n,), whole_predicted (n,): the same with nothing hidden.
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
    unit: bool = False,
) -> Occlusion:
    """What `model` answers while a square slides over each image.

    images: uint8, or float as the model takes them, (n, height, width, channels); labels: integers (n,), the true
    classes; the model ends in probabilities. channels: of `layer`, followed on every image; None: for each image the
    channel whose map has the largest sum with nothing hidden (k = 1).
    size: of the square, in pixels. stride: pixels between places; all squares lie within the image, the last one flush
    with its border. fill: "gray", the middle of the range of pixels; "mean", each image's mean colour; "blur", the image
    itself under a Gaussian of s.d. size / 2, which hides the detail and leaves the colours.
    unit: follow the unit of each channel that is strongest with nothing hidden, instead of the sum of its map.
    Raises ValueError for an unknown layer, channel or fill, a square that does not fit, and labels that are not the model's.
    """
    floats, labels = inputs.as_input(model, images), checks.labels(model, labels, len(images))
    checks.known("fill", fill, FILLS)
    rows, columns = (_places(length, size, stride, floats.shape[1:3]) for length in floats.shape[1:3])
    available = graph.find(model, layer).node.outputs[0].shape[-1]
    if channels is not None:
        checks.positive("number of channels", len(channels))
        checks.within("channel", channels, available, f"in layer {layer!r}")
    layers = [layer, graph.steps(model)[-1].name]
    reduce, batch = activations.vectors if unit else _sums, activations.batch_size(model, floats.shape[1:])
    read = activations.reader(model, layers, reduce, floats.shape[1:])
    whole, probabilities = activations.over(model, layers, reduce, floats, "occlusion")
    checks.probabilities(model, probabilities)
    maps = whole.reshape(len(floats), -1, available)  # a sum stands for the one place of its map
    channel = maps.sum(axis=1).argmax(axis=1)[:, None] if channels is None else np.tile(channels, (len(floats), 1))
    followed = np.take_along_axis(maps.argmax(axis=1), channel, axis=1) * available + channel
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
        activation[place] = np.take_along_axis(some, followed[image], axis=1)
        probability[place] = chances[np.arange(len(image)), labels[image]]
        predicted[place] = chances.argmax(axis=1)
    return Occlusion(
        *(layer, size, rows, columns, channel, activation, probability, predicted),
        whole_activation=np.take_along_axis(whole, followed, axis=1),
        whole_probability=probabilities[np.arange(len(floats)), labels],
        whole_predicted=probabilities.argmax(axis=1),
    )


def agreement(model: keras.Model, images: np.ndarray, occluded: Occlusion) -> pd.DataFrame:
    """Does a map fall where its projection has energy? The paper validates its pictures by eye; this is the number.

    One row for each image, followed channel and picture; columns image, channel, picture, linear and rank. The last two
    are correlations (Pearson's, Spearman's), over the places of the square: of the fall of the map's sum with the energy
    of the picture within the square. They are NaN where either is constant, as for a map of zeros.
    picture: the projection of the whole map by each of the rules, and "edges", the gray image under a Sobel filter, a
    picture that knows nothing of the network. images: the ones that `measure` got.
    """
    floats = inputs.as_input(model, images)
    if len(floats) != len(occluded.channel):
        raise ValueError(f"{len(floats)} images, but {len(occluded.channel)} were occluded; give the same images")
    energies = {picture: np.empty(occluded.activation.shape) for picture in (*RULES, "edges")}
    energies["edges"][:] = _within(saliency.edges(floats.mean(axis=3, keepdims=True)) ** 2, occluded)[..., None]
    for channel in np.unique(occluded.channel):
        numbers, k = np.nonzero(occluded.channel == channel)
        for rule in RULES:
            maps = projection.project(model, floats[numbers], occluded.layer, int(channel), rule, whole_map=True)
            energies[rule][numbers, ..., k] = _within((maps.astype(float) ** 2).sum(axis=3), occluded)
    return _correlated(energies, occluded)


def agreement_of(maps: dict[str, np.ndarray], occluded: Occlusion) -> pd.DataFrame:
    """As `agreement`, of maps by any method: their squares are the energy.

    maps: {picture: (n, height, width)}, of the images that `measure` got; each map is compared with every followed channel
    of its image. Raises ValueError for maps of another shape, or with NaN.
    """
    size = (occluded.row[-1] + occluded.size, occluded.column[-1] + occluded.size)  # the last square is flush with the border
    energies = {}
    for picture, values in maps.items():
        within = _within(saliency.check_maps(values, (len(occluded.channel), *map(int, size))).astype(float) ** 2, occluded)
        energies[picture] = np.broadcast_to(within[..., None], occluded.activation.shape)
    return _correlated(energies, occluded)


def _correlated(energies, occluded):
    """The table of `agreement`; energies: {picture: (n, R, C, k)}."""
    drop, found = occluded.whole_activation[:, None, None] - occluded.activation, []
    for picture, energy in energies.items():
        for (image, k), channel in np.ndenumerate(occluded.channel):
            found.append((image, channel, picture, *_correlation(energy[image, ..., k].ravel(), drop[image, ..., k].ravel())))
    return pd.DataFrame(found, columns=["image", "channel", "picture", "linear", "rank"])


def pictures(model: keras.Model, images: np.ndarray, occluded: Occlusion, methods: tuple[str, ...]) -> dict[str, np.ndarray]:
    """{method: maps of each image's first followed channel, (n, height, width, channels)}, for `figure`.

    By a rule the projection of the whole map, of which `measure` takes the sum; by another of `saliency.METHODS` the map of the
    channel's strongest unit. Grad-CAM is left out where the layer has no maps below it. images: those that `measure` got.
    """
    floats, channels, found = inputs.as_input(model, images), occluded.channel[:, 0], {}
    unit = targets.of_channels(model, floats, occluded.layer, channels)
    for method in saliency.known_methods(methods):
        if method in RULES:
            each = zip(floats[:, None], channels.tolist(), strict=True)
            maps = [projection.project(model, one, occluded.layer, channel, method, whole_map=True) for one, channel in each]
            found[method] = np.concatenate(maps)
        elif "Grad-CAM" not in method or grad_cam.last_maps(model, occluded.layer):
            found[method] = saliency.attributions(model, floats, unit, method)
    return found


def projections(model: keras.Model, images: np.ndarray, occluded: Occlusion) -> np.ndarray:
    """The deconvnet's projection of the strongest unit of each image's first followed channel, in the shape of the images.

    images: the ones that `measure` got.
    """
    chosen = zip(range(len(images)), occluded.channel[:, 0], strict=True)
    return np.concatenate([projection.project(model, images[[n]], occluded.layer, int(channel)) for n, channel in chosen])


def importance(occluded: Occlusion, shape: tuple[int, int]) -> np.ndarray:
    """A map of what `measure` found: each pixel's mean fall of the class's probability, over the squares that hide it.

    shape: height and width of the images. Returns (n, height, width); below 0 where hiding raises the probability.
    Zeiler & Fergus 2013 show the probability itself, at each place of the square.
    """
    fall = occluded.whole_probability[:, None, None] - occluded.probability
    total, times = np.zeros((len(fall), *shape)), np.zeros(shape)
    for i, top in enumerate(occluded.row):
        for j, left in enumerate(occluded.column):
            under = np.s_[..., top : top + occluded.size, left : left + occluded.size]
            total[under] += fall[:, i, j, None, None]
            times[under] += 1
    return total / np.maximum(times, 1)


def _places(length, size, stride, image_size):
    """Where squares begin on one axis: every `stride` pixels, and the last one flush with the border."""
    if not 1 <= size <= length:
        raise ValueError(f"a square of {size} pixels does not fit images of {image_size}; its size is 1 to {min(image_size)}")
    if stride < 1:
        raise ValueError(f"stride is 1 pixel or more, not {stride}")
    return np.unique([*range(0, length - size, stride), length - size])


def _sums(outputs):
    maps, prediction = outputs
    return [keras.ops.sum(maps, axis=tuple(range(1, len(maps.shape) - 1))) if len(maps.shape) > 2 else maps, prediction]


def gray(model, floats):
    """The middle between black and white as the model takes them; for wider pixels, the middle of their range."""
    white = inputs.as_input(model, np.full((1, *floats.shape[1:]), 255, np.uint8)).max()
    return (min(0, floats.min()) + max(white, floats.max())) / 2


def _hidden(model, floats, fill, size):
    """What a square shows instead of each image, in the shape of the images."""
    if fill == "blur":
        return ndimage.gaussian_filter(floats, (0, size / 2, size / 2, 0), mode="nearest")
    return np.broadcast_to(gray(model, floats) if fill == "gray" else floats.mean(axis=(1, 2), keepdims=True), floats.shape)


def _within(energy, occluded):
    """Energy (n, height, width) summed within each square, (n, R, C)."""
    total = np.pad(energy.astype(float), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    top, left = np.ix_(occluded.row, occluded.column)
    bottom, right = top + occluded.size, left + occluded.size
    return total[:, bottom, right] - total[:, top, right] - total[:, bottom, left] + total[:, top, left]


def _correlation(one, other):
    """(Pearson's, Spearman's) correlation of two vectors; NaN if one is constant up to rounding."""
    if min(np.ptp(one) / (abs(one).max() or 1), np.ptp(other) / (abs(other).max() or 1)) < 1e-6:
        return np.nan, np.nan
    return tuple(float(np.corrcoef(pair)[0, 1]) for pair in ((one, other), (rankdata(one), rankdata(other))))


def figure(images, occluded, projections, titles, class_names):
    """Figure 7 of Zeiler & Fergus: image, projection of the map, and the effect of a square at each place.

    images: n; occluded: from `measure`, for them; projections: signed, of the shape of the images, from `projections`, or
    several by their names, from `pictures`; titles: n, one a row.
    """
    images, count = figures.pixels(images), len(images)
    named = projections if isinstance(projections, dict) else {"projection": projections}
    columns = ("image, square", *named, "map's sum", "its class", "most probable")
    whole = occluded.whole_activation[:, :1, None]
    shares = np.divide(occluded.activation[..., 0], whole, out=np.ones(occluded.predicted.shape), where=whole != 0)
    around = CenteredNorm(1, max(abs(shares - 1).max(), 0.01))  # white where hiding changes nothing
    classes = np.unique(occluded.predicted)
    fig = figures.figure(figures.WIDTH / len(columns) * count + 0.9)
    axs = fig.subplots(count, len(columns), squeeze=False)
    palette = matplotlib.colormaps["tab20" if len(class_names) > 10 else "tab10"]
    down, across = (corner + (occluded.size - 1) / 2 for corner in (occluded.row, occluded.column))
    for index, row in enumerate(axs):
        figures.show(row[0], images[index])
        for ax, (name, signed) in zip(row[1:-3], named.items(), strict=True):
            if name == "Grad-CAM":
                saliency.lay_over(ax, images[index], signed[index, ..., 0])
            else:
                figures.show(ax, figures.to_display(signed[index]))
        row[0].add_patch(Rectangle((-0.5, -0.5), occluded.size, occluded.size, fill=False, edgecolor="C1"))
        maps = [row[-3].pcolormesh(across, down, shares[index], cmap="RdBu", norm=around)]
        maps.append(row[-2].pcolormesh(across, down, occluded.probability[index], cmap="viridis", vmin=0, vmax=1))
        row[-1].pcolormesh(across, down, palette(occluded.predicted[index] % palette.N))
        for ax in row:
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.set(xlim=(-0.5, images.shape[2] - 0.5), ylim=(images.shape[1] - 0.5, -0.5))
            ax.spines[:].set_visible(False)
        figures.row_name(row[0], titles[index])
    for ax, title in zip(axs[0], columns, strict=True):
        ax.set_title(title, fontsize=8)
    for column, image, label in ((-3, maps[0], "times that of the whole image"), (-2, maps[1], "probability")):
        fig.colorbar(image, ax=axs[:, column], location="bottom", label=label, shrink=0.9, aspect=12, pad=0.02)
    patches = [Rectangle((0, 0), 1, 1, color=palette(label % palette.N), label=class_names[label]) for label in classes]
    fig.legend(handles=patches, loc="outside upper center", ncols=min(len(patches), 8))
    said = "Each place of a map: the square centred there. Red: hiding it lowers the map's sum; blue: it raises it."
    scaled = figures.scaling(what="Projections" if named is not projections else "Maps of the channel")
    scaled += f" {saliency.LAID_OVER}" if "Grad-CAM" in named else ""
    return figures.captioned(fig, f"{said}\n{scaled}")


def agreement_figure(table):
    """The correlations of `agreement`, by picture: a dot an image and channel, a bar the mean, with its 95 % interval."""
    names = list(table["picture"].unique())
    fig, axs = figures.panels(2, 0.35 * len(names) + 0.9)
    for ax, measure in zip(axs, ("linear", "rank"), strict=True):
        for place, name in enumerate(names):
            values = table.loc[table["picture"] == name, measure].dropna().to_numpy()
            # one above the other, so that equal ones are seen
            ax.plot(values, place + np.linspace(-0.28, 0.28, len(values)), ".", markersize=3, color=f"C{place}", alpha=0.5)
            if len(values):
                mean, half = statistics.interval(values)
                ax.vlines(mean, place - 0.4, place + 0.4, color="0.1")
                ax.text(1.06, place, f"{mean:.2f} ± {half:.2f}", fontsize=7, va="center")
        ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(xlabel=f"{measure} correlation", xlim=(-1.03, 1.03))
    axs[0].set_yticks(range(len(names)), names)
    axs[0].invert_yaxis()
    return figures.captioned(fig, "Dot: an image. Bar, and number: the mean with its 95 % interval over the images.")
