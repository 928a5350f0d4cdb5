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
from deconvlib.deconvnet import Units, activations, graph, inputs, rules
from deconvlib.deconvnet.projection import Patches

PLACES = ("mean", "centre")
SAMPLED = 10**6  # pixels that are enough for the covariance of their colours
# how a pixel's red, green and blue go together in ImageNet: a root of their covariance (Olah et al. 2017, in their Lucid)
NATURAL = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
# the moves of one step: each is drawn between plus and minus so much
SHIFT, SCALE, TURN = 1 / 16, 0.05, np.radians(5)  # of the side; of the size; radians


class Synthesized(NamedTuple):
    """Images that excite targets, and how far they came.

    images: float32 (n, height, width, channels) in [0, 1], whatever the model takes. layer, channels (n,), place: the targets.
    activation: float32 (n,), what each target answers to its image: the mean of the channel's map, or the unit's; without
    the ceiling of the layer's rectifier, as in `deconvnet.strongest`, and before a softmax. history: (steps, n), the same on
    the way, of the moved images.
    """

    images: np.ndarray
    layer: str
    channels: np.ndarray
    place: str | tuple[int, int]
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
    watch=None,
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
    ascents, history = [_Ascent(model, layer, part, where, start, mixing, rate) for part in parts], []

    def made(answers):
        images = np.concatenate([ascent.images for ascent in ascents])
        return Synthesized(images, layer, channels, place, answers, np.stack(history))

    for numbers in progress.steps(drawn, f"images for {layer}", unit="step"):
        move = _moved(shape[:2], numbers) if numbers.any() else None
        history.append(np.concatenate([ascent.step(move) for ascent in ascents]))
        if watch and watch(made(history[-1])):
            break
    answers = np.concatenate([ascent.answers(ascent.images)[1] for ascent in ascents])
    graph.check_finite(model, [layer], np.stack([*history, answers]))
    return made(answers)


class _Ascent:
    """A batch on its way: `images`, in [0, 1], of the amplitudes that Adam moves."""

    def __init__(self, model, layer, channels, where, start, mixing, rate):
        self.program = graph.kept(_compiled, model, layer, start.shape)
        self.spectrum, self.mixing = _amplitudes(start.shape[:2]), mixing
        self.low, self.high = inputs.pixel_range(model) or (0, 1)
        one_hot = np.eye(_output(model, layer, start.shape)[2], dtype=np.float32)[channels]
        self.targets = where[None].repeat(len(channels), axis=0), one_hot
        amplitudes = start[None].repeat(len(channels), axis=0).astype(np.float32)
        self.amplitudes = keras.Variable(amplitudes, dtype="float32", name="amplitudes")
        self.adam, self.images = keras.optimizers.Adam(rate), _pixels(amplitudes, self.spectrum, mixing)

    def answers(self, images):
        """(slopes at the images, in [0, 1] as these, what the targets answer to them)"""
        width = self.high - self.low
        slopes, answered = self.program((self.low + width * images).astype(np.float32), *self.targets)
        return width * slopes, answered

    def step(self, move):
        """Moves the images by the matrix, asks the targets, and climbs; returns what they answered, (n,)."""
        slopes, answered = self.answers(self.images if move is None else _apply(move, self.images))
        slopes = slopes if move is None else _apply(move.T, slopes)
        slopes = (slopes * self.images * (1 - self.images)) @ self.mixing  # of the sigmoid, and of the mixing
        slopes = scipy.fft.dctn(slopes, axes=(1, 2), norm="ortho") * self.spectrum
        self.adam.apply([keras.ops.convert_to_tensor(-slopes, "float32")], [self.amplitudes])
        self.images = _pixels(keras.ops.convert_to_numpy(self.amplitudes), self.spectrum, self.mixing)
        return answered


def colours(images: np.ndarray) -> np.ndarray:
    """A root of the covariance of a pixel's colours in `images`, (channels, channels): how they go together in them.

    images: (n, height, width, channels), of which SAMPLED pixels are read. With it `maximize` takes steps that are as likely
    in these images.
    """
    pixels = np.asarray(images).reshape(-1, np.shape(images)[-1])
    pixels = pixels[:: -(-len(pixels) // SAMPLED) | 1].astype(float)  # an odd step visits the columns of an even width in turn
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(pixels, rowvar=False)))
    return vectors * np.sqrt(values.clip(0))


def figure(made: Synthesized, patches: Patches, titles=None, percentile: float = figures.PERCENTILE):
    """For each channel the image that it wants, beside what excited it most, and the projections of that.

    patches: from `deconvnet.project_units` of the same channels, units of shape (n, k). titles: one a channel; None: its
    number. percentile: as for `deconvnet.gallery`. As the deep visualization toolbox shows them (Yosinski et al. 2015).
    Raises ValueError where the two are not of the same layer and channels.
    """
    _check_same(made, patches.units, patches.layer)
    pixels = figures.pixels(patches.pixels.reshape(-1, *patches.pixels.shape[2:])).reshape(patches.pixels.shape)
    shown = figures.to_display(patches.projections, percentile)
    titles = titles or [f"channel {channel}" for channel in made.channels]
    # two channels in a row, three pictures each
    across = min(len(titles), 2)
    height = figures.WIDTH / 6 + 0.2
    fig, axs = figures.grid(-(-len(titles) // across), 3 * across, row_height=height, width=figures.WIDTH / 2 * across)
    rows, strongest = axs.reshape(-1, 3)[: len(titles)], patches.units.activation[:, 0]
    named = zip(rows, titles, made.activation, strongest, strict=True)
    for (row, title, answer, best), image, tiles, maps in zip(named, made.images, pixels, shown, strict=True):
        figures.show(row[0], image, f"{title}: {answer:.3g}")
        figures.show(row[1], figures.square(tiles), f"strongest: {best:.3g}")
        figures.show(row[2], figures.square(maps), "projected")
    numbers = "the mean of the channel's map, and the strongest unit of the patches" if made.place == "mean" else "of one unit"
    return figures.captioned(fig, f"{made.layer}. Numbers: activations, {numbers}. {figures.scaling(percentile)}")


def answers_figure(made: Synthesized, strongest: Units, among: Units):
    """Each image over what its channel answers: to it, to the strongest images of a data set, and to the other images made.

    made: for one unit each, place "centre". strongest: units of shape (n, k) of the same channels. among: likewise, of
    `deconvnet.strongest` of made.images. Raises ValueError where they are not of the same channels.
    """
    for units in (strongest, among):
        _check_same(made, units, made.layer)
    side = min(figures.WIDTH / len(made.images), 1.5)
    fig = figures.figure(side + 2.2)
    axs = fig.subplots(2, len(made.images), squeeze=False, sharey="row", height_ratios=(side, 1.7))
    for ax, image, channel in zip(axs[0], made.images, made.channels, strict=True):
        figures.bare(ax)
        figures.show(ax, image, f"channel {channel}")
    for index, (ax, answer) in enumerate(zip(axs[1], made.activation, strict=True)):
        others = among[index].activation[among[index].image != index]
        ax.plot(np.full(others.shape, -0.5), others, "x", color="C1", label="the images made for the others")
        ax.plot(0, answer, "o", color="C0", label="the image made for it")
        nearest = strongest[index].activation
        ax.plot(np.full(nearest.shape, 0.5), nearest, "o", color="0.3", fillstyle="none", label="strongest of the data set")
        ax.set(xlim=(-1, 1), xticks=[])
    axs[1, 0].set_ylabel("activation")
    fig.legend(*axs[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def _check_same(made, units, layer):
    channel = np.asarray(units.channel)
    if channel.ndim != 2 or layer != made.layer or not np.array_equal(channel[:, 0], made.channels):
        raise ValueError(
            f"the images are for channels {made.channels.tolist()} of layer {made.layer!r}, the units are not: take "
            f"units[{made.channels.tolist()}] of the `strongest` of that layer"
        )


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
        weights = keras.ops.reshape(places[..., None] * channels[:, None, None], keras.ops.shape(given))
        answers = keras.ops.cast(given if rectifier is None else rectifier.rectify(given), "float32")
        slopes = keras.ops.cast(back(keras.ops.cast(weights, given.dtype)), "float32")
        return slopes, keras.ops.sum(answers * weights, axis=tuple(range(1, len(given.shape))))

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
