"""Panels over the channels of a network: what excites each, the projections of that, and the image that it wants."""

import functools
from dataclasses import replace

import numpy as np

from deconvlib import deconvnet, figures
from deconvlib.experiments import saliency, synthesis
from deconvlib.lab.background import Grower, grow
from deconvlib.lab.explorer import Explorer, explore

UNITS = ("the strongest", "above the point", "the whole map")


def features(model, images, strongest, names, **start) -> Explorer:
    """One unit of an image, projected, beside the images that excite its channel most. Clicks choose the unit and the image.

    images: (n, height, width, channels), those that were searched. strongest: {layer: Units of shape (channels, k)} of
    `deconvnet.strongest`, the deepest layer last. names: a text for each image, such as its class. start: controls' values
    at first; else the loudest channel of the deepest layer, its best image, and the rule to prefer there.
    """
    height, width = images.shape[1:3]
    counts, layers = {layer: len(units.channel) for layer, units in strongest.items()}, list(strongest)[::-1]
    top = next(iter(strongest.values())).channel.shape[1]

    @functools.cache
    def sheet(layer, channel, rule, switches):
        units = strongest[layer][channel]
        return deconvnet.project_units(model, images, layer, units, rule, switches=switches).cropped()

    def draw(layer, channel, image, unit, row, column, rule, switches):
        channel, how = min(channel, counts[layer] - 1), {"rule": rule, "switches": switches}
        if unit == "the whole map":
            one, box = deconvnet.project(model, images[[image]], layer, channel, whole_map=True, **how)[0], None
        else:
            point = (row, column) if unit == "above the point" else None
            one, box = one_unit(model, images[image], layer, channel, point, **how)
        best = sheet(layer, channel, rule, switches)
        title = f"{layer}, channel {channel}, {unit}; image {image}: {names[image]}"
        title += "" if one.any() else "; silent, nothing to project"
        return deconvnet.figures.feature(images[image], one, box, best.pixels, best.projections, title)

    def clicked(axes, x, y, values):
        if axes in ("image", "projection"):
            return {"unit": "above the point", "row": round(y), "column": round(x)}
        number = int(y) * figures.tiles_in_row(top) + int(x)
        units = strongest[values["layer"]][min(values["channel"], counts[values["layer"]] - 1)]
        return {"image": int(units.image[number]), "unit": "the strongest"} if number < top else {}

    channel = start.get("channel", int(np.argmax(strongest[layers[0]].activation[:, 0])))
    return explore(
        draw, layer=layers, channel=(0, max(counts.values()) - 1), image=(0, len(images) - 1), unit=list(UNITS),
        row=(0, height - 1), column=(0, width - 1), rule=["deconvnet", "guided", "gradient"], switches=True, clicked=clicked,
        start={
            "channel": channel,
            "image": int(strongest[layers[0]].image[channel, 0]),
            "rule": deconvnet.preferred_rule(model, layers[0]),
        } | start,
        about={
            "layer": "layer: a convolution with its rectifier",
            "channel": "channel: beyond a layer's last channel, its last",
            "image": "image: number of a picture that was searched",
            "unit": "unit: which unit of the channel is projected",
            "row": "row, pixels: of the point in the image, from above",
            "column": "column, pixels: of the point in the image, from the left",
            "rule": "rule: what a rectifier does to the signal on its way back",
            "switches": "switches: unpool to where the maxima were; without them, spread evenly",
        },
    )  # fmt: skip


def one_unit(model, image, layer, channel, point=None, **how):
    """The strongest unit of a channel in the image, or the one above a point (row, column): (projection, box).

    projection: of the shape of the image, zero outside the box, which is (row, column, height, width) of what the unit sees.
    how: `rule` and `switches` of `deconvnet.project_units`.
    """
    unit = deconvnet.strongest(model, image[None], [layer], k=1)[layer][channel, :1]
    if point:
        units = deconvnet.graph.shapes(model, image.shape[:2])[layer][-3:-1] or (1, 1)
        row, column = deconvnet.receptive_field.of(model, layer).unit_above(point, units)
        unit = replace(unit, row=np.array([row]), column=np.array([column]))
    patch = deconvnet.project_units(model, image[None], layer, unit, **how)
    box = (int(patch.row[0]), int(patch.column[0]), *patch.pixels.shape[1:3])
    projection = np.zeros(image.shape, np.float32)
    projection[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = patch.projections[0]
    return projection, box


def channels(model, images, strongest, method="deconvnet") -> Explorer:
    """The channels of some layers to leaf through: what excites each most, and the maps of that by one of `saliency.METHODS`.

    images: those that were searched. strongest: {layer: Units of shape (channels, k)}, the deepest layer last.
    """
    counts = {layer: len(units.channel) for layer, units in strongest.items()}

    def draw(layer, channel):
        units = strongest[layer][[min(channel, counts[layer] - 1)]]
        return deconvnet.gallery(saliency.patches(model, images, layer, units, method), columns=1)

    return explore(
        draw, layer=list(strongest)[::-1], channel=(0, max(counts.values()) - 1),
        about={"channel": "channel: beyond a layer's last channel, its last"},
    )  # fmt: skip


def synthesize(model, images, strongest, **start) -> Grower:
    """The images that some channels want, as they grow, beside what excites each most and the projections of that.

    images: those that were searched. strongest: {layer: Units of shape (channels, k)}, the deepest layer last. start: controls'
    values at first; else two channels of the deepest layer, from its loudest on.
    """
    counts, layers = {layer: len(units.channel) for layer, units in strongest.items()}, list(strongest)[::-1]
    colours = synthesis.colours(images)

    @functools.cache
    def beside(layer, channels):
        rule = deconvnet.preferred_rule(model, layer)
        return deconvnet.project_units(model, images, layer, strongest[layer][list(channels)], rule)

    def make(watch, layer, channel, several, place, steps, moves, seed):
        first = min(channel, counts[layer] - 1)
        channels = tuple(range(first, min(first + several, counts[layer])))
        patches = beside(layer, channels)
        made = synthesis.maximize(
            model, layer, channels, place, steps=steps, moves=moves, colours=colours, seed=seed,
            watch=lambda made: watch((made, patches), len(made.history), steps),
        )  # fmt: skip
        return made, patches

    return grow(
        make, lambda made: synthesis.figure(*made), layer=layers, channel=(0, max(counts.values()) - 1), several=(1, 6),
        place=list(synthesis.PLACES), steps=(16, 4096, 16), moves=(0.0, 3.0, 0.25), seed=(0, 99),
        start={
            "channel": int(np.argmax(strongest[layers[0]].activation[:, 0])),
            "several": 2,
            "place": "centre",
            "steps": 128,
            "moves": 1.0,
        } | start,
        about={
            "layer": "layer: a convolution with its rectifier",
            "channel": "channel: the first one; beyond a layer's last channel, its last",
            "several": "channels: how many, from that one on",
            "place": "place: what is to rise, one unit in the middle of the map or the mean of the map",
            "steps": "steps: of the ascent",
            "moves": "moves, times: how far each step moves the image at random; 0: not at all",
            "seed": "seed: of the noise at the start and of the moves",
        },
    )  # fmt: skip
