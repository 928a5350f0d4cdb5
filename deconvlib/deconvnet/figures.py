"""Figures of projections: patches beside what they project to, projections by rule, switches."""

import numpy as np
from matplotlib.patches import Rectangle

from deconvlib import figures
from deconvlib.deconvnet.choosing import draw_channels
from deconvlib.deconvnet.projection import Patches, project_units
from deconvlib.deconvnet.rules import RULES

LARGEST = 2.25  # inches; the side of an image where there are few


def gallery(patches: Patches, titles=None, columns=2, caption="", percentile=figures.PERCENTILE, share=0.95):
    """Figure 2 of Zeiler & Fergus: for each channel what excited it most, beside the projections of those activations.

    patches: of units of shape (channels, k), with pixels uint8 or in [0, 1]. titles: one a channel; None: layer and channel.
    caption: what stands before how the projections are scaled, by `percentile` of each one's magnitudes. share: all patches are
    cropped to the window that holds so much of the projections' energy, where it has less than half their area.
    Where all projections of a channel are one picture, as in a first layer, it is shown once, enlarged.
    """
    if patches.pixels.ndim != 5:
        raise ValueError(f"a gallery shows patches of units of shape (channels, k), not {patches.pixels.shape[:-3]}")
    if not len(patches.pixels):
        return figures.message(f"{patches.layer}: no channel to show")
    small = patches.cropped(share)
    size, whole = small.pixels.shape[2:4], patches.pixels.shape[2:4]
    if 2 * np.prod(size) < np.prod(whole):
        patches, held = small, f"{100 * share:g} % of the energy of a projection"
        caption += f" Shown are {size[0]} × {size[1]} of {whole[0]} × {whole[1]} pixels, with {held}."
    titles = titles or [f"{patches.layer}, channel {channel}" for channel in patches.units.channel[:, 0]]
    pixels = figures.pixels(patches.pixels.reshape(-1, *patches.pixels.shape[2:])).reshape(patches.pixels.shape)
    rows = -(-len(pixels) // columns)
    shown = figures.to_display(patches.projections, percentile)
    # tiles of patches and of projections side by side, with the height of a title
    fig, axs = figures.grid(rows, columns, row_height=figures.WIDTH / columns / 2 + 0.15)
    for ax, images, maps, title in zip(axs.flat, pixels, shown, titles, strict=False):
        left = figures.square(images)
        right = _enlarged(maps[0], left.shape[:2]) if _alike(maps) else figures.square(maps)
        divide = np.ones((left.shape[0], max(left.shape[1] // 20, 1), left.shape[2]))
        figures.show(ax, np.concatenate([left, divide, right], axis=1), title)
    return figures.captioned(fig, f"{caption} {figures.scaling(percentile)}".strip())


def _alike(maps):
    centred = (maps - 0.5).reshape(len(maps), -1)
    lengths = np.linalg.norm(centred, axis=1)
    return bool(lengths.all() and (centred @ centred[0] > 0.999 * lengths * lengths[0]).all())


def _enlarged(image, size):
    rows, columns = (np.arange(side) * own // side for side, own in zip(size, image.shape[:2], strict=True))
    return image[rows][:, columns]


def layer_gallery(
    model, images, layer, units, channels=6, rule="deconvnet", seed=0, percentile=figures.PERCENTILE, share=0.95, project=None
):
    """`gallery` of so many channels of a layer that fire, those of `draw_channels`, projected by `rule`.

    units: of shape (all channels, k), from `strongest` of these images. percentile, share: as for `gallery`.
    project: what takes the arguments of `project_units` and makes Patches, by a `rule` of its own; None: `project_units`.
    """
    if not (units.activation > 0).any():
        return figures.message(f"{layer}: no channel fires on any of these images")
    drawn = draw_channels(units, channels, seed)
    patches = (project or project_units)(model, images, layer, units[drawn], rule)
    titles = [f"channel {channel}" for channel in drawn]
    caption = f"{layer}, rule {rule}." if rule in RULES else f"{layer}, {rule}."
    return gallery(patches, titles, caption=caption, percentile=percentile, share=share)


def switches(images, maps, chosen):
    """Images over a map of each, before pooling, over the maxima that pooling keeps, in their places.

    maps: (n, height, width), one channel; chosen: booleans of the same shape, the switches. Each map is scaled by its
    largest value; black is zero or less.
    """
    images = figures.pixels(images)
    if maps.shape != chosen.shape or maps.ndim != 3:
        raise ValueError(f"maps and chosen must have one shape (n, height, width), not {maps.shape} and {chosen.shape}")
    side = min(figures.WIDTH / len(images), LARGEST)
    fig, axs = figures.grid(3, len(images), row_height=side, width=side * len(images))
    for column, image in enumerate(images):
        figures.show(axs[0, column], image)
        limit = max(maps[column].max(), 1e-12)
        for ax, values in zip(axs[1:, column], (maps[column], maps[column] * chosen[column]), strict=True):
            ax.imshow(values, cmap="gray", vmin=0, vmax=limit, interpolation="nearest")
    for ax, name in zip(axs[:, 0], ("image", "map", "maxima"), strict=True):
        figures.row_name(ax, name)
    return figures.captioned(fig, "Maps and maxima: black is zero or less, each map scaled by its largest value.")


def projections(images, named, percentile=figures.PERCENTILE):
    """Images over their projections, one row for each name; where there are fewer images than names, a row for each image.

    named: {name: signed array of the shape of `images`}. percentile: as for `gallery`.
    """
    rows = {"image": figures.pixels(images)} | {name: figures.to_display(maps, percentile) for name, maps in named.items()}
    beside = len(images) < len(rows)  # or a few images would leave most of the width white, or be huge
    shape = (len(images), len(rows)) if beside else (len(rows), len(images))
    side = min(figures.WIDTH / shape[1], LARGEST)
    height = side * images.shape[1] / images.shape[2] + 0.5 / shape[0] * beside  # titles and the caption
    fig, axs = figures.grid(*shape, row_height=height, width=side * shape[1])
    for line, (name, pictures) in zip(axs.T if beside else axs, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            figures.show(ax, picture)
        if beside:
            line[0].set_title(name, fontsize=8)
        else:
            figures.row_name(line[0], name)
    return figures.captioned(fig, figures.scaling(percentile))


def feature(image, projection, box, patches, patch_projections, title, percentile=figures.PERCENTILE):
    """One unit in one image, beside the units that excite its channel most; its axes can be told apart by their labels.

    image, projection: (height, width, 1 or 3). box: (row, column, height, width) of what the unit sees, None for a whole
    map. patches, patch_projections: (k, height, width, 1 or 3). percentile: as for `gallery`. Labels: "image" and
    "projection", in pixels; "strongest" and "strongest, projected", in tiles of a row of `tiles_in_row(k)`.
    """
    fig, axs = figures.grid(1, 4, row_height=figures.WIDTH / 4 + 0.5)
    shown = {
        "image": figures.pixels(image[None])[0],
        "projection": figures.to_display(projection, percentile),
        "strongest": figures.square(figures.pixels(patches)),
        "strongest, projected": figures.square(figures.to_display(patch_projections, percentile)),
    }
    for ax, (name, picture) in zip(axs.flat, shown.items(), strict=True):
        figures.show(ax, picture, name)
        ax.set_label(name)
    across = figures.tiles_in_row(len(patches))
    for ax in axs.flat[2:]:
        figures.count_tiles(ax, across, -(-len(patches) // across), patches.shape[1:3])
    if box is not None:
        row, column, height, width = box
        for ax in axs.flat[:2]:
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), width, height, fill=False, edgecolor="#D55E00", linewidth=1.5))
    fig.suptitle(title, fontsize=9)
    return figures.captioned(fig, figures.scaling(percentile))
