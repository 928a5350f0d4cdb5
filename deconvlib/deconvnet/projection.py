"""Activation -> pixels: the deconvnet of Zeiler & Fergus 2013 and its two relatives, on any Keras model with a graph.

From one unit back to the image, layer by layer: unpool by the switches of this image's maxima, rectify the signal,
apply the transposed filter. Unpooling and transposed filtering are what the chain rule does at a max pooling and at a
convolution, so a projection is one vector–Jacobian product of the model with another rule at its rectifiers: `rules` has
the three, and refuses a nonlinearity for which none is defined, since the plain gradient in its place would look like an
answer. Of a batch normalization, on which the paper is silent, the signal is multiplied by γ / σ, sign included.

Several units are projected together, through the `windows` that they see instead of whole images. Where units of one image
see nearly all of it, its maps are computed once, and only the way back is in windows.
"""

import functools
import warnings
from typing import NamedTuple

import numpy as np

from deconvlib import backend, checks, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, inputs, receptive_field, rules, windows
from deconvlib.deconvnet.activations import Units

MEMORY = 2**28  # bytes of activations and signals that one batch may hold


class Patches(NamedTuple):
    """What units see of their images and what it projects to, for units of any shape s.

    pixels: s + (height, width, channels), cut from the images as they were given; projections: float32 of the same
    shape. row, column: of each patch's upper left pixel in its image, integers of shape s. layer, units: whose they are.
    """

    pixels: np.ndarray
    projections: np.ndarray
    row: np.ndarray
    column: np.ndarray
    layer: str
    units: Units

    def cropped(self, share: float = 0.95) -> "Patches":
        """The same patches, each cropped to the window that holds `share` of the energy of their projections on average."""
        size, corner = receptive_field.holding(self.projections.reshape(-1, *self.projections.shape[-3:]), share)

        def cut(array):
            flat = array.reshape(-1, *array.shape[-3:])
            return windows.gather(flat, np.arange(len(flat)), corner, size).reshape(*array.shape[:-3], *size, array.shape[-1])

        row, column = (np.add(at, moved.reshape(np.shape(at))) for at, moved in zip(self[2:4], corner.T, strict=True))
        return self._replace(pixels=cut(self.pixels), projections=cut(self.projections), row=row, column=column)


def project(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    channel: int,
    rule: str = "deconvnet",
    *,
    whole_map: bool = False,
    signal: float | None = None,
    switches: bool = True,
    chain_rule: tuple[str, ...] = (),
) -> np.ndarray:
    """Each image's strongest unit of one channel, projected back to the pixels: float32 of the shape of `images`.

    images: uint8, or float as the model takes them, (n, height, width, channels). The unit is seeded with its
    activation, all others of the layer with zero (section 2.1 of the paper). Where `layer` is a softmax or a sigmoid, the
    projection starts before it, with the score: one below 0 gives another map by the rules that rectify than signal=1, with
    which a gradient starts. The model is not changed.

    whole_map: seed every unit of the channel, instead of the strongest alone. signal: what each unit starts with; None: its
    own activation. switches: False
    unpools without them, each value spread evenly over its region. chain_rule: functions or layers, by their names in
    `coverage`, at which the plain chain rule may stand in for a rule that is not defined there.
    Raises ValueError for an unknown layer, channel or rule, for images that do not fit, and for a nonlinearity that the
    rule does not cover.
    """
    images, chain_rule = inputs.as_input(model, images), checks.names("chain_rule", chain_rule, 0)
    engine = graph.kept(_Engine, model, layer, rule, switches, chain_rule, signal is None, images.shape[1:3])
    checks.within("channel", channel, engine.channels, f"in layer {layer!r}")
    program, size = engine.whole
    projections, started = np.empty_like(images), np.empty(len(images))
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        places = np.full((len(batch), engine.rows * engine.columns), whole_map, np.float32)
        channels = np.float32(1 if signal is None else signal) * _one_hot([channel] * len(batch), engine.channels)
        projections[start : start + size], started[start : start + size] = program(batch, places, channels)
    graph.check_finite(model, [layer], projections)
    _warn_of_stopped(layer, rule, projections, started)
    return projections


def project_units(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    units: Units,
    rule: str = "deconvnet",
    *,
    signal: float | None = None,
    switches: bool = True,
) -> Patches:
    """What each unit sees, and its projection, cropped to the unit's receptive field; each unit on its own.

    images: all the images that `units` names by number; of a memory-mapped array only what they see is read. units: of any
    shape. A patch has the size of the receptive field, at most the image's; at a border it is shifted into the image.
    The rest as for `project`, which gives the same values.
    Shows progress where it takes longer than two seconds.
    Raises ValueError also for a unit outside the images or the layer, or none.
    """
    inputs.check_images(model, images)
    image_size, flat = images.shape[1:3], units.ravel()
    if not len(flat.image):
        raise ValueError("there are no units to project: give one or more")
    engine = graph.kept(_Engine, model, layer, rule, switches, (), signal is None, image_size)
    checks.within("image", flat.image, len(images), "given")
    for what in ("row", "column", "channel"):
        checks.within(what, getattr(flat, what), getattr(engine, f"{what}s"), f"in layer {layer!r}")
    where = np.stack([flat.row, flat.column], axis=1).astype(int)
    first, (patch, corner) = engine.field.first(where), engine.field.patch(where, image_size)
    pixels = windows.gather(images, flat.image, corner, patch)
    projections, started = np.empty(pixels.shape, np.float32), np.empty(len(pixels))
    together = engine.together(flat.image)
    if together:
        program, alike = engine.shared(together), (np.flatnonzero(flat.image == number) for number in np.unique(flat.image))
        batches = [units[start : start + together] for units in alike for start in range(0, len(units), together)]
    else:
        program, size = engine.windowed if engine.plan else engine.whole
        batches = np.split(np.arange(len(where)), range(size, len(where), size))
    if not engine.plan:
        first = np.zeros_like(first)  # of the whole image, that comes back

    def arguments(chosen):
        numbers, filled = flat.image[chosen], chosen
        if together:  # one image, and units that fill up the batch
            numbers, filled = numbers[:1], np.resize(chosen, together)
        windowed = engine.plan and not together
        seen = windows.gather(images, numbers, first[chosen], engine.field.size) if windowed else images[numbers]
        channels = np.float32(1 if signal is None else signal) * _one_hot(flat.channel[filled], engine.channels)
        return inputs.as_floats(model, seen, numbers), engine.places(where[filled]), channels

    begun = ((chosen, program.begin(*arguments(chosen))) for chosen in progress.steps(batches, f"projections of {layer}"))
    for chosen, (found, begins) in backend.fetched(begun):
        shift = corner[chosen] - first[chosen]
        projections[chosen] = windows.gather(found, np.arange(len(chosen)), shift, patch)
        started[chosen] = begins[: len(chosen)]
    graph.check_finite(model, [layer], projections)
    _warn_of_stopped(layer, rule, projections, started)
    return _patches(pixels, projections, corner, layer, units)


def cut(model: keras.Model, images: np.ndarray, layer: str, units: Units, maps: np.ndarray) -> Patches:
    """What each unit sees, beside its part of a map of the whole image: what `project_units` gives, of any other method.

    maps: float32, units' shape + (height, width, channels), one a unit. images, layer, units: as for `project_units`.
    Raises ValueError for an unknown layer, and maps of another shape.
    """
    flat, wanted = units.ravel(), (*np.shape(units.image), *images.shape[1:3])
    if maps.ndim != len(wanted) + 1 or maps.shape[:-1] != wanted:
        raise ValueError(f"maps must be {wanted} and channels, a map of the whole image for each unit, not {maps.shape}")
    field = receptive_field.of(model, layer, images.shape[1:3])
    size, corner = field.patch(np.stack([flat.row, flat.column], axis=1).astype(int), images.shape[1:3])
    pixels = windows.gather(images, flat.image, corner, size)
    maps = windows.gather(maps.reshape(-1, *maps.shape[-3:]), np.arange(len(corner)), corner, size)
    return _patches(pixels, maps, corner, layer, units)


def _patches(pixels, projections, corner, layer, units):
    shape = np.shape(units.image)
    parts = (array.reshape(*shape, *array.shape[1:]) for array in (pixels, projections))
    return Patches(*parts, *(part.reshape(shape) for part in corner.T), layer, units)


_STOPS = {
    "deconvnet": "on each way back some rectifier finds no positive signal",
    "guided": "on each way back some rectifier finds no positive signal, or was silent",
    "gradient": "on each way back some rectifier was silent, or at its ceiling",
}


def _warn_of_stopped(layer, rule, projections, started):
    """Says it of projections that are zero everywhere though their unit started with something."""
    stopped = (started != 0) & ~projections.any(axis=(1, 2, 3))
    if stopped.any():
        said = f"rule {rule!r} brings nothing to the pixels from {stopped.sum()} of {len(stopped)} units of layer {layer!r}"
        warnings.warn(f"{said}: {_STOPS[rule]}", stacklevel=3)


def switches(model: keras.Model, images: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """(maps, chosen): what max pooling `layer` pools, and where in it lies the maximum of each region.

    maps: float32 (n, height, width, channels); chosen: booleans of the same shape. Section 2.1 of the paper.
    Raises ValueError for a layer that is not a max pooling.
    """
    step = graph.find(model, layer)
    if type(step.operation).__name__ != "MaxPooling2D":
        raise ValueError(f"layer {layer!r} is a {type(step.operation).__name__}; only a MaxPooling2D has switches")
    images = keras.ops.convert_to_tensor(inputs.as_input(model, images))
    maps = None

    def keep(step, *arguments, **keywords):
        nonlocal maps
        maps = arguments[0]
        return graph.at_inference(step.operation, *arguments, **keywords)

    graph.run(model, [images], keep, until=layer)
    pooled, pull = backend.vjp(step.operation, maps)
    chosen = keras.ops.convert_to_numpy(pull(keras.ops.ones_like(pooled))) > 0
    return keras.ops.convert_to_numpy(maps), chosen


class _Engine:
    """How units of one layer are projected, planned and compiled once for a rule and a size of images (height, width).

    own: each unit starts with its own activation; else with the signal that is given with its channel. The weights are read
    anew at each call.
    """

    def __init__(self, model, layer, rule, switches, chain_rule, own, image_size):
        self.model, self.layer, self.rule, self.own = model, layer, rule, own
        self.switches, self.treated = switches, rules.treatment(model, layer, rule, chain_rule)
        graph.check_weights(model, [layer])
        shapes = graph.shapes(model, image_size, until=layer)
        shape = shapes[layer]
        if len(shape) not in (1, 3):
            raise ValueError(f"layer {layer!r} has outputs of shape {shape}: not feature maps, nor a vector")
        self.rows, self.columns, self.channels = (1, 1, *shape)[-3:]  # a vector is one place
        self.elements = sum(int(np.prod(shape)) for shape in shapes.values())  # of all maps on the way
        self.pixels = (*image_size, model.inputs[0].shape[-1])
        self.field = receptive_field.of(model, layer, image_size)
        self.plan = windows.plan(model, layer, image_size) if switches else None
        self._shared = {}

    def places(self, where):
        """Rows and columns as the programs take them: as they are by `windowed` and `shared`, one-hot by `whole`."""
        if self.plan:
            return where.astype(np.float32)
        return _one_hot(where[:, 0] * self.columns + where[:, 1], self.rows * self.columns)

    @functools.cached_property
    def whole(self):
        """(program, images in a batch): program(images, places, channels) projects units from whole images.

        places: (n, rows · columns), 1 where a unit starts; all 0 for the strongest. channels: (n, channels), 0 but for the
        unit's own.
        """
        call = rules.caller(self.layer, self.rule, self.treated, self.switches)

        def evaluate(step, *arguments, **keywords):
            return call(step, step.operation, *arguments, **keywords)

        def pull(images, places, channels):
            maps, back = backend.vjp(lambda pixels: graph.run(self.model, [pixels], evaluate, until=self.layer), images)
            flat = keras.ops.reshape(maps, (-1, self.rows * self.columns, self.channels))
            channels, places = keras.ops.cast(channels, maps.dtype), keras.ops.cast(places, maps.dtype)
            chosen = keras.ops.cast(channels != 0, flat.dtype)  # whatever a unit starts with, a negative signal too
            strongest = keras.ops.argmax(keras.ops.sum(flat * chosen[:, None], axis=2), axis=1)
            strongest = keras.ops.one_hot(strongest, self.rows * self.columns, dtype=flat.dtype)
            asked = keras.ops.max(places, axis=1, keepdims=True)
            units = (places + (1 - asked) * strongest)[:, :, None] * channels[:, None]
            return self._signal(back, keras.ops.reshape(units, keras.ops.shape(maps)), maps)

        shapes = (self.pixels, (self.rows * self.columns,), (self.channels,))
        return backend.compiled(pull, self.model, *shapes), batch_size(self.elements)

    @functools.cached_property
    def windowed(self):
        """(program, windows in a batch): program(windows, places, channels) projects units from what they see.

        places: rows and columns, (n, 2); channels: as for `whole`.
        """
        call = rules.caller(self.layer, self.rule, self.treated)

        def pull(images, places, channels):
            units = keras.ops.cast(places, "int32")
            values, back = windows.run(self.model, self.layer, self.plan, images, units, call)
            return self._signal(back, channels[:, None, None], values)

        pixels = (*(part.size for part in self.plan.pixels), self.pixels[2])
        return backend.compiled(pull, self.model, pixels, (2,), (self.channels,)), batch_size(self.plan.elements)

    def shared(self, together):
        """program(image, places, channels) projects `together` units of one image, (1, height, width, channels).

        As `windowed`, but the image's maps are computed once, whole, for all these units; only the way back is in windows.
        """
        plan, forward = self.plan, rules.caller(self.layer, self.rule, self.treated)

        def pull(image, places, channels):
            # of known length: where only a shape is asked for, nothing is computed
            units, maps = keras.ops.reshape(keras.ops.cast(places, "int32"), (together, 2)), {}

            def make(step, *arguments, **keywords):
                maps[step.name] = forward(step, step.operation, *arguments, **keywords)
                return maps[step.name]

            def known(step):
                return windows.cut(maps[step.name], plan.holds[step.name], units)

            graph.run(self.model, [image], make, until=self.layer)
            call = rules.caller(self.layer, self.rule, self.treated, known=known)
            pixels = windows.cut(image, plan.pixels, units)
            values, back = windows.run(self.model, self.layer, plan, pixels, units, call, known)
            return self._signal(back, channels[:, None, None], values)

        if together not in self._shared:
            self._shared[together] = backend.compiled(pull, self.model, self.pixels, (2,), (self.channels,))
        return self._shared[together]

    def together(self, numbers):
        """How many units of one image, named by its number, best share its whole maps; 0 where each does best alone."""
        if not self.plan or self.rule == "gradient":
            return 0
        each, counts = self.plan.elements, np.unique(numbers, return_counts=True)[1]
        # as many elements as are computed: the maps of a batch once, and its units' signals, those that fill it up among them
        costs, size = {0: 2 * each * len(numbers)}, 1
        while size <= min(batch_size(each / 4), 2 * counts.max()):  # on the way back, few signals are held at a time
            costs[size] = np.ceil(counts / size).sum() * (self.elements + size * each)
            size *= 2  # few sizes, as each is compiled
        return min(costs, key=costs.get)

    def _signal(self, back, units, values):
        """(what reaches the pixels, what it started with at most) of units, each with its value or with what stands for it.

        units: 0 but at the unit, and for a batch of them.
        """
        units = keras.ops.cast(units, values.dtype)
        start = values * units if self.own else units + keras.ops.zeros_like(values)
        most = keras.ops.max(keras.ops.abs(start), axis=tuple(range(1, len(start.shape))))
        return keras.ops.cast(back(start), "float32"), keras.ops.cast(most, "float32")


def batch_size(elements: float) -> int:
    """How many images to project at once, each with so many elements in all its maps: they fit in MEMORY, 256 at most."""
    # activations on the way up and signals on the way down, of 4 bytes
    return max(1, min(256, int(MEMORY // (2 * 4 * elements))))


def _one_hot(index, length):
    encoded = np.zeros((len(index), length), np.float32)
    encoded[np.arange(len(index)), index] = 1
    return encoded
