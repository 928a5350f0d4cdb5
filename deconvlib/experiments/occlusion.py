"""Experiments on a trained classifier: Zeiler & Fergus 2013, occlusion (figure 7), invariance (5), correspondence (8).

What each changes is the image, and what it measures is what that does to a layer and to the answer. Figures and tables
are numbered as in arXiv v3.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from deconvlib import progress
from deconvlib.backend import keras
from deconvlib.deconvnet import features, graph
from deconvlib.deconvnet import projection as deconvnet
from deconvlib.networks import classifier as models

FILLS = ("gray", "mean", "blur")
SCALES = np.linspace(1.0, 1.8, 17)  # the paper's range
ROTATIONS = np.arange(0.0, 351.0, 10.0)  # degrees; the paper's range


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


def occlusion(
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
    floats, labels = models.as_input(model, images), _labels(model, labels, len(images))
    models.known("fill", fill, FILLS)
    rows, columns = (_places(length, size, stride, floats.shape[1:3]) for length in floats.shape[1:3])
    available = graph.find(model, layer).node.outputs[0].shape[-1]
    if channels is not None and (not len(channels) or not set(channels) <= set(range(available))):
        raise ValueError(f"channels {list(channels)} are not all in layer {layer!r}; its channels are 0 to {available - 1}")
    read = features.reader(model, [layer], _sums, floats.shape[1:])
    batch = features.batch_size(model, floats.shape[1:])

    whole = [read(floats[start : start + batch]) for start in range(0, len(floats), batch)]
    sums, probabilities = (np.concatenate(parts) for parts in zip(*whole, strict=True))
    _check_probabilities(model, probabilities)
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
    rules: tuple[str, ...] = deconvnet.RULES,
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
    floats = models.as_input(model, images)
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
            maps = deconvnet.project(model, floats[numbers], occluded.layer, int(channel), rule, whole_map=whole_map)
            pictures[rule] = _within((maps.astype(float) ** 2).sum(axis=3), occluded)
        for picture, energies in pictures.items():
            for image, energy, fall in zip(numbers, energies, drop[numbers, ..., k], strict=True):
                linear, rank = _correlation(energy.ravel(), fall.ravel())
                found.append({"image": image, "channel": channel, "picture": picture, "linear": linear, "rank": rank})
    order = pd.CategoricalDtype([*rules, "edges"])
    table = pd.DataFrame(found).astype({"picture": order}).sort_values(["picture", "image", "channel"], ignore_index=True)
    return table.astype({"picture": str})


def invariance(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    layers: list[str],
    translation: np.ndarray | None = None,
    scale: np.ndarray = SCALES,
    rotation: np.ndarray = ROTATIONS,
) -> pd.DataFrame:
    """How far each layer moves as an image is moved, enlarged or turned. Zeiler & Fergus 2013, figure 5.

    One row for each transformation ("translation", "scale", "rotation"), amount, image and layer: columns
    transformation, amount, image, layer; distance, the Euclidean distance of the layer's whole output from that of the
    untransformed image; relative, that over the length of the latter (NaN where it is zero); probability, of the true
    class.

    translation: pixels downwards; None: 17 steps within a quarter of the height, up and down, about the paper's 60 of 224.
    scale: factors above 0; above 1 enlarges about the centre. rotation: degrees, counterclockwise about the centre.
    Each may be empty. Interpolation is bilinear; what comes into view from outside is the image mirrored at its border,
    because a plain border would be an edge that the network answers to.

    images, labels: as for `occlusion`. Raises ValueError for an unknown layer, a scale of 0 or less, and as `occlusion`.
    """
    floats, labels = models.as_input(model, images), _labels(model, labels, len(images))
    height = floats.shape[1]
    if translation is None:
        translation = np.unique(np.round(np.linspace(-height / 4, height / 4, 17)))
    if np.size(scale) and not np.min(scale) > 0:
        raise ValueError(f"scale {np.min(scale):g} leaves no image; scales are above 0, and 1 is the image itself")
    amounts = [("translation", a) for a in translation] + [("scale", a) for a in scale] + [("rotation", a) for a in rotation]
    if not np.isfinite([amount for _, amount in amounts]).all():
        raise ValueError("an amount of translation, scale or rotation is NaN or infinite")
    read = features.reader(model, layers, _distances, floats.shape[1:])
    step = max(features.batch_size(model, floats.shape[1:]) - 1, 1)
    found = []
    for image in progress.steps(range(len(floats)), "invariance", "image"):
        for start in range(0, len(amounts), step):
            some = amounts[start : start + step]
            moved = np.stack([floats[image], *(transformed(floats[image], *change) for change in some)])
            *measured, probabilities = (array[1:] for array in read(moved))
            _check_probabilities(model, probabilities)
            for layer, distance, length in zip(layers, measured[::2], measured[1::2], strict=True):
                relative = np.divide(distance, length, out=np.full(len(some), np.nan), where=length > 0)
                for index, (kind, amount) in enumerate(some):
                    chance = probabilities[index, labels[image]]
                    found.append((kind, float(amount), image, layer, distance[index], relative[index], chance))
    columns = ["transformation", "amount", "image", "layer", "distance", "relative", "probability"]
    return pd.DataFrame(found, columns=columns)


def transformed(image: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """An image (height, width, channels) changed as `invariance` does it: kind "translation", "scale" or "rotation"."""
    if kind == "translation":
        back, shift = np.eye(2), np.array([-amount, 0])
    else:
        turn = np.radians(amount) if kind == "rotation" else 0
        # from each place of the result to where it comes from; rows count downwards
        back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / (amount if kind == "scale" else 1)
        centre = (np.array(image.shape[:2]) - 1) / 2
        shift = centre - back @ centre
    planes = [ndimage.affine_transform(plane, back, shift, order=1, mode="reflect") for plane in np.moveaxis(image, 2, 0)]
    return np.stack(planes, axis=2)


def correspondence(
    model: keras.Model,
    images: np.ndarray,
    parts: dict[str, np.ndarray],
    layers: list[str],
    draws: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether hiding the same part changes a layer alike in different images. Zeiler & Fergus 2013, figure 8, table 1.

    With ε the change of a layer's output as a part is hidden under gray, Δ is the share of the layer's units in which the
    signs of ε, one of -1, 0 and 1, differ between two images (Hamming distance), meant over the pairs of images. The
    paper leaves its sum over pairs without a divisor and prints 0.07 for parts against 0.11 for random ones.

    images: n ≥ 2, uint8, or float as the model takes them, aligned: a part lies at about the same place in all, since
    units are compared place by place. parts: {name: booleans (n, height, width), True on the part; or integers (n, 4),
    boxes of top, left, bottom, right with the last two excluded}. A random part is the part itself, moved in each image to
    a place drawn by `seed` with its bounding box within the image, `draws` times.

    One row for each part and layer: columns part, layer, delta, deviation, random, random_deviation; a deviation is the
    s.d. over pairs of images. Raises ValueError for an unknown layer, a part that is empty in an image, or does not fit.
    """
    floats, rng = models.as_input(model, images), np.random.default_rng(seed)
    if len(floats) < 2:
        raise ValueError(f"correspondence compares pairs of images; {len(floats)} image has none")
    gray = _gray(model, floats)
    read = features.reader(model, layers, features.vectors, floats.shape[1:])
    size = features.batch_size(model, floats.shape[1:])

    def outputs(pixels):
        some = [read(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        return [np.concatenate(arrays) for arrays in zip(*some, strict=True)]

    whole = outputs(floats)

    def distances(masks):
        """[Hamming distances of every pair] for each layer."""
        without = outputs(np.where(masks[..., None], gray, floats))
        return [pdist(_signs(x, y), "hamming") for x, y in zip(whole, without, strict=True)]

    masks = {name: _masks(name, part, floats.shape[:3]) for name, part in parts.items()}
    found = []
    for name, part in progress.steps(masks.items(), "correspondence", "part"):
        same = distances(part)
        drawn = zip(*(distances(_moved(part, rng)) for _ in range(draws)), strict=True)
        for layer, delta, other in zip(layers, same, map(np.concatenate, drawn), strict=True):
            found.append((name, layer, delta.mean(), delta.std(), other.mean(), other.std()))
    return pd.DataFrame(found, columns=["part", "layer", "delta", "deviation", "random", "random_deviation"])


def _labels(model, labels, count):
    labels, shape = np.asarray(labels), model.output_shape
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            f"model {model.name!r} ends in {shape[1:]}; a classifier, with a probability for each class, is needed"
        )
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {count} integers, one an image, not {labels.dtype} of shape {labels.shape}")
    wrong = labels[(labels < 0) | (labels >= shape[1])]
    if len(wrong):
        raise ValueError(f"label {wrong[0]} is not a class of this model; its classes are 0 to {shape[1] - 1}")
    return labels


def _check_probabilities(model, probabilities):
    if probabilities.min() < 0 or abs(probabilities.sum(axis=1) - 1).max() > 0.01:
        raise ValueError(f"what model {model.name!r} ends in are not probabilities; end it in a softmax")


def _places(length, size, stride, image_size):
    """Where squares begin on one axis: every `stride` pixels, and flush with the border at the end."""
    if not 1 <= size <= length:
        raise ValueError(f"a square of {size} pixels does not fit images of {image_size}; its size is 1 to {min(image_size)}")
    if stride < 1:
        raise ValueError(f"stride is 1 pixel or more, not {stride}")
    return np.unique([*range(0, length - size, stride), length - size])


def _sums(outputs, prediction):
    (maps,) = outputs
    return [keras.ops.sum(maps, axis=tuple(range(1, len(maps.shape) - 1))) if len(maps.shape) > 2 else maps, prediction]


def _distances(outputs, prediction):
    """Of each output its distance from the first of the batch, and the first's length; both (n,)."""
    found = []
    for vectors in features.vectors(outputs, prediction):
        found.append(keras.ops.norm(vectors - vectors[:1], axis=1))
        found.append(keras.ops.norm(vectors[:1] + keras.ops.zeros_like(vectors), axis=1))
    return [*found, prediction]


def _gray(model, floats):
    """The middle between black and white as the model takes them; of wider pixels, the middle of their range."""
    white = models.as_input(model, np.full((1, *floats.shape[1:]), 255, np.uint8)).max()
    return (min(0, floats.min()) + max(white, floats.max())) / 2


def _hidden(model, floats, fill, size):
    """What shows in place of each image where it is hidden, in the shape of the images."""
    if fill == "gray":
        return np.broadcast_to(_gray(model, floats), floats.shape)
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


def _signs(one, other):
    """The signs of one - other; 0 also where the two differ by no more than rounding."""
    change = one - other
    return np.where(abs(change) > 1e-6 * max(abs(one).max(), abs(other).max()), np.sign(change), 0)


def _masks(name, part, shape):
    """A part of each image as booleans of `shape`, from the same or from boxes."""
    part = np.asarray(part)
    if part.shape == (shape[0], 4) and np.issubdtype(part.dtype, np.integer):
        row, column = np.arange(shape[1])[None, :, None], np.arange(shape[2])[None, None]
        top, left, bottom, right = part.T[:, :, None, None]
        inside = (part[:, :2] >= 0).all(axis=1) & (part[:, 2] <= shape[1]) & (part[:, 3] <= shape[2])
        if not inside.all():
            number = int(np.flatnonzero(~inside)[0])
            box = part[number].tolist()
            raise ValueError(f"part {name!r} of image {number}, {box}, reaches out of images of {shape[1:]}")
        part = (top <= row) & (row < bottom) & (left <= column) & (column < right)
    if part.shape != shape or part.dtype != bool:
        raise ValueError(
            f"part {name!r} must be booleans {shape} or integers {(shape[0], 4)}, not {part.dtype} of shape {part.shape}"
        )
    empty = np.flatnonzero(~part.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"part {name!r} is empty in image {empty[0]}; leave that image out")
    return part


def _moved(masks, rng):
    """Each mask at a random place, whole within the image."""
    moved = np.zeros_like(masks)
    for mask, new in zip(masks, moved, strict=True):
        box = ndimage.find_objects(mask.astype(int))[0]
        size = [side.stop - side.start for side in box]
        top, left = (rng.integers(length - extent + 1) for length, extent in zip(mask.shape, size, strict=True))
        new[top : top + size[0], left : left + size[1]] = mask[box]
    return moved
