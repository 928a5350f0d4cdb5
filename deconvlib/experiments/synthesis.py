"""The image that a unit wants: gradient ascent on the pixels, from noise, until a channel, a unit or a class answers most.

Activation maximization (Erhan et al. 2009; Simonyan et al. 2013) as in Olah et al. 2017, "Feature Visualization". The plain
gradient leads to noise. Two things lead to pictures. The ascent moves the amplitudes of cosines in decorrelated colours, low
frequencies farther than high ones, as natural images have them. And each step moves the images a little, at random.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.sparse

from deconvlib import backend, checks, figures, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, graph, inputs, rules
from deconvlib.deconvnet.projection import Patches

PLACES = ("mean", "centre")
# how a pixel's red, green and blue go together in ImageNet: a root of their covariance (Olah et al. 2017, in their Lucid)
NATURAL = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
# the moves of one step: each is drawn between plus and minus so much
SHIFT, SCALE, TURN = 1 / 16, 0.05, np.radians(5)  # of the side; of the size; radians


class Synthesized(NamedTuple):
    """Images that excite targets, and how far they came.

    images: float32 (n, height, width, channels) in [0, 1], whatever the model takes. layer, channels: the targets, (n,).
    activation: float32 (n,), what each target answers to its image: the mean of the channel's map, or the unit's; without
    the ceiling of the layer's rectifier, as in `deconvnet.strongest`, and before a softmax. history: (steps, n), the same on
    the way, of the moved images.
    """

    images: np.ndarray
    layer: str
    channels: np.ndarray
    activation: np.ndarray
    history: np.ndarray


def maximize(
    model: keras.Model,
    layer: str,
    channels,
    place: str | tuple[int, int] = "mean",
    *,
    steps: int = 128,
    rate: float = 0.05,
    moves: float = 1.0,
    colours: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
) -> Synthesized:
    """An image for each of `channels` of a layer, which excites it; of a classifier's last layer the channels are classes.

    place: "mean" of a channel's map, its "centre" unit, or the unit at (row, column). What rises is what the layer's rectifier
    or softmax is given: a silent unit has a gradient there. rate: of Adam. moves: how far each step moves the images, as a
    multiple of SHIFT, SCALE and TURN; 0: not at all. colours: a root of the colours' covariance, from `colours`; None: that
    of natural images. size: (height, width) of the images, where the model takes any.
    An image depends on its own target and on `seed`, not on the other targets. The model is not changed.
    Shows progress, for each batch, where it takes longer than two seconds.
    Raises ValueError for an unknown layer, channel or place, no channel, and a model of any size without `size`.
    """
    checks.positive("steps", steps)
    _check_number("rate", rate, rate > 0, "above 0")
    _check_number("moves", moves, moves >= 0, "0 or more")
    shape = _image_shape(model, size)
    channels, where = _targets(model, layer, channels, place, shape)
    mixing = _mixing(colours, shape[2])
    batch = _batch_size(model, layer, shape)
    # one start and one sequence of moves for all, so that no image depends on which others are made beside it
    rng = np.random.default_rng(seed)
    start, drawn = 0.01 * rng.standard_normal(shape), moves * rng.uniform(-1, 1, (steps, 4))
    parts = np.split(channels, range(batch, len(channels), batch))
    found = [_ascend(model, layer, part, where, start, drawn, mixing, rate) for part in parts]
    images, answers = (np.concatenate(each, axis=axis) for each, axis in zip(zip(*found, strict=True), (0, 1), strict=True))
    graph.check_finite(model, [layer], answers)
    return Synthesized(images, layer, channels, answers[-1], answers[:-1])


def _ascend(model, layer, channels, where, start, drawn, mixing, rate):
    """(images in [0, 1], (steps + 1, n) what the targets answered at each step, and at the end to the unmoved images)"""
    program, spectrum = graph.kept(_compiled, model, layer, start.shape), _amplitudes(start.shape[:2])
    low, high = inputs.pixel_range(model) or (0, 1)
    one_hot = np.eye(_output(model, layer, start.shape)[2], dtype=np.float32)[channels]
    places = where[None].repeat(len(channels), axis=0)
    amplitudes = keras.Variable(start[None].repeat(len(channels), axis=0), dtype="float32", name="amplitudes")
    adam, answers = keras.optimizers.Adam(rate), []

    def seen():
        return _pixels(keras.ops.convert_to_numpy(amplitudes), spectrum, mixing)

    def answer(images):
        slopes, answered = program((low + (high - low) * images).astype(np.float32), places, one_hot)
        answers.append(answered)
        return slopes

    for numbers in progress.steps(drawn, f"images for {layer}", unit="step"):
        images = seen()
        move = _moved(start.shape[:2], numbers) if numbers.any() else None
        slopes = answer(images) if move is None else _apply(move.T, answer(_apply(move, images)))
        slopes = (slopes * images * (1 - images)) @ mixing  # of the sigmoid, and of the mixing
        slopes = scipy.fft.dctn(slopes, axes=(1, 2), norm="ortho") * spectrum
        adam.apply([keras.ops.convert_to_tensor(-slopes, "float32")], [amplitudes])
    images = seen()
    answer(images)
    return images, np.stack(answers)


def colours(images: np.ndarray) -> np.ndarray:
    """A root of the covariance of a pixel's colours in `images`, (channels, channels): how they go together in them.

    images: (n, height, width, channels). With it `maximize` takes steps that are as likely in these images.
    """
    pixels = np.asarray(images, float).reshape(-1, np.shape(images)[-1])
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(pixels, rowvar=False)))
    return vectors * np.sqrt(values.clip(0))


def figure(made: Synthesized, patches: Patches, titles=None, percentile: float = figures.PERCENTILE):
    """For each channel the image that it wants, beside what excited it most, and the projections of that.

    patches: from `deconvnet.project_units` of the same channels, units of shape (n, k). titles: one a channel; None: layer and
    channel. percentile: as for `deconvnet.gallery`. As the deep visualization toolbox shows them (Yosinski et al. 2015).
    Raises ValueError where the two are not of the same layer and channels.
    """
    shape = np.shape(patches.units.channel)
    same = len(shape) == 2 and patches.layer == made.layer and np.array_equal(patches.units.channel[:, 0], made.channels)
    if not same:
        raise ValueError(
            f"the images are for channels {made.channels.tolist()} of layer {made.layer!r}, the patches are not: project "
            f"units[{made.channels.tolist()}] of the `strongest` of that layer"
        )
    pixels = figures.pixels(patches.pixels.reshape(-1, *patches.pixels.shape[2:])).reshape(patches.pixels.shape)
    shown = figures.to_display(patches.projections, percentile)
    titles = titles or [f"{made.layer}, channel {channel}" for channel in made.channels]
    # two channels in a row, three pictures each
    fig, axs = figures.grid(-(-len(titles) // 2), 6, row_height=figures.WIDTH / 6 + 0.2)
    for row, image, tiles, maps, title in zip(axs.reshape(-1, 3), made.images, pixels, shown, titles, strict=False):
        pictures = (image, figures.square(tiles), figures.square(maps))
        for ax, picture, name in zip(row, pictures, (title, "strongest", "projected"), strict=True):
            figures.show(ax, picture, name)
    return figures.captioned(fig, figures.scaling(percentile))


def _check_number(what, number, fits, which):
    if not fits or not np.isfinite(number):
        raise ValueError(f"{what} must be a number {which}, not {number!r}")


def _image_shape(model, size):
    inputs.check_model(model)
    known = model.inputs[0].shape[1:]
    if size is not None and not (np.shape(size) == (2,) and all(checks.is_whole(side) and side > 0 for side in size)):
        raise ValueError(f"size must be (height, width), two whole numbers of 1 or more, not {size!r}")
    given = known[:2] if size is None else tuple(size)
    if None in given or any(own not in (None, side) for own, side in zip(known[:2], given, strict=True)):
        takes = "any size: give size=(height, width)" if None in known[:2] else f"{known[0]} × {known[1]} pixels, not {size}"
        raise ValueError(f"model {model.name!r} takes images of {takes}")
    return (*given, known[2])


def _output(model, layer, shape):
    """(rows, columns, channels) of the layer; a vector is one place."""
    graph.find(model, layer)
    output = graph.shapes(model, shape[:2], until=layer)[layer]
    if len(output) not in (1, 3):
        raise ValueError(f"layer {layer!r} has outputs of shape {output}: not feature maps, nor a vector")
    return (1, 1, *output)[-3:]


def _targets(model, layer, channels, place, shape):
    """(channels as an array, float32 (rows, columns)): what is to rise, and what each place of its map weighs."""
    rows, columns, count = _output(model, layer, shape)
    channels, where = np.atleast_1d(channels), np.zeros((rows, columns), np.float32)
    if channels.ndim != 1 or not channels.size:
        raise ValueError(f"channels must be one or more whole numbers from 0 to {count - 1}, not {channels.tolist()}")
    checks.within("channel", channels, count, f"in layer {layer!r}")
    if isinstance(place, str):
        checks.known("place", place, PLACES)
        place = np.s_[:, :] if place == "mean" else (rows // 2, columns // 2)
    elif np.shape(place) != (2,):
        raise ValueError(f"place must be 'mean', 'centre' or (row, column), not {place!r}")
    else:
        for what, number, limit in zip(("row", "column"), place, where.shape, strict=True):
            checks.within(what, number, limit, f"in layer {layer!r}")
    where[place] = 1
    return channels, where / where.sum()


def _compiled(model, layer, shape):
    """program(images, places (n, rows, columns), channels (n, channels)) -> slopes at the images, what the targets answer."""
    graph.check_weights(model, [layer])
    rows, columns, count = _output(model, layer, shape)
    rectifier = rules.nonlinearity(graph.find(model, layer))[1]

    def call(step, *arguments, **keywords):
        if step.name == layer:
            return rules.before(step, *arguments, **keywords)
        return graph.at_inference(step.operation, *arguments, **keywords)

    def climb(images, places, channels):
        given, back = backend.vjp(lambda pixels: graph.run(model, [pixels], call, until=layer), images)
        weights = keras.ops.cast(places[..., None] * channels[:, None, None], given.dtype)
        weights = keras.ops.reshape(weights, keras.ops.shape(given))
        answers = given if rectifier is None else rectifier.rectify(given)
        return back(weights), keras.ops.sum(answers * weights, axis=tuple(range(1, len(given.shape))))

    return backend.compiled(climb, model, shape, (rows, columns), (count,))


def _batch_size(model, layer, shape):
    elements = sum(int(np.prod(each)) for each in graph.shapes(model, shape[:2], until=layer).values())
    return max(1, min(activations.BATCH, activations.MEMORY // (4 * elements)))  # the way back needs all maps


def _mixing(colours, count):
    """The root of the colours' covariance, of which the strongest direction has length 1."""
    if colours is None:
        colours = NATURAL if count == 3 else np.eye(count)
    if np.shape(colours) != (count, count) or not np.isfinite(colours).all() or not np.any(colours):
        raise ValueError(f"colours must be what synthesis.colours(images) gives, ({count}, {count}), not {np.shape(colours)}")
    return colours / np.linalg.norm(colours, axis=0).max()


def _amplitudes(size):
    """How much each cosine weighs, (height, width, 1): 1 / frequency, as in natural images; the slowest is the mean's too."""
    frequency = np.hypot(*np.meshgrid(*(np.arange(side) / (2 * side) for side in size), indexing="ij"))
    return 0.5 / np.maximum(frequency, 1 / (2 * max(size)))[..., None]


def _pixels(amplitudes, spectrum, mixing):
    """Images in [0, 1] of amplitudes of cosines: their colours mixed, and bounded by a sigmoid."""
    # cosines and not complex waves: an orthonormal basis of real numbers, whose transpose is its inverse
    mixed = scipy.fft.idctn(amplitudes * spectrum, axes=(1, 2), norm="ortho") @ mixing.T
    return (1 / (1 + np.exp(-mixed))).astype(np.float32)


def _moved(size, drawn):
    """A matrix (pixels, pixels) that shifts, scales and turns an image: each pixel of 4 neighbours; the border goes on."""
    shift, scale, turn = SHIFT * drawn[:2] * size, 1 + SCALE * drawn[2], TURN * drawn[3]
    centre = (np.array(size) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1) - centre
    turned = scale * grid @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]] + centre + shift
    last = np.array(size) - 1
    at = turned.reshape(-1, 2).clip(0, last)
    first = at.astype(int)
    corners = np.array(list(np.ndindex(2, 2)))[:, None]
    weights = np.where(corners, at - first, 1 - (at - first)).prod(axis=2, dtype=np.float32)
    row, column = np.moveaxis(np.minimum(first + corners, last), 2, 0)  # past the last one the weight is 0
    pixels = np.broadcast_to(np.arange(len(at)), weights.shape)
    return scipy.sparse.csr_array((weights.ravel(), (pixels.ravel(), (row * size[1] + column).ravel())), (len(at), len(at)))


def _apply(move, images):
    """The images moved, or, by the transposed matrix, what is said of the moved ones of each pixel."""
    flat = np.moveaxis(images.reshape(len(images), -1, images.shape[-1]), 1, 0)
    return np.moveaxis((move @ flat.reshape(len(flat), -1)).reshape(flat.shape), 0, 1).reshape(images.shape)
