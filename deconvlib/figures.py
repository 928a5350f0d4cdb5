"""Arrays -> Figure. Every function returns its figure and never shows it; a notebook shows what a cell ends with.

Figures are made without pyplot: panels draw on worker threads, and pyplot's current figure belongs to all threads at once.
Images are (n, height, width, channels), uint8 or floats in [0, 1], of 1 or 3 channels.
"""

import textwrap
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator

STYLE = Path(__file__).with_name("deconv.mplstyle")
WIDTH = 9.0  # inches; the width of a notebook's text


def use_style():
    """Use the project's style for every figure that follows, and show figures as PNG in a notebook."""
    matplotlib.style.use(STYLE)
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # without IPython nothing shows figures by itself
        return
    if get_ipython() is not None:
        set_matplotlib_formats("png")


def image_sheet(images, titles=None, columns=10, caption=None):
    """Images side by side, `columns` in a row, each under its title."""
    images = _pixels(images)
    rows = -(-len(images) // columns)
    fig, axs = _grid(rows, columns, row_height=WIDTH / columns * images.shape[1] / images.shape[2] + (0.2 if titles else 0))
    for ax, image, title in zip(axs.flat, images, titles or [""] * len(images), strict=False):
        _show(ax, image, title)
    return _captioned(fig, caption)


def tiles(images, columns=10, caption=None):
    """Images close together, without titles: quick to draw. Its axes, labelled "tiles", count in tiles."""
    images = _pixels(images)
    rows = max(-(-len(images) // columns), 1)
    sheet = _filled(images, rows, columns, gap=1)
    fig, ((ax,),) = _grid(1, 1, row_height=WIDTH * sheet.shape[0] / sheet.shape[1])
    _show(ax, sheet)
    ax.set_label("tiles")
    _count_tiles(ax, columns, rows, images.shape[1:3])
    return _captioned(fig, caption)


def class_sheet(images, labels, class_names, per_class=10, seed=0):
    """A row of random examples for each class."""
    images, rng = _pixels(images), np.random.default_rng(seed)
    blocks = []
    for label in range(len(class_names)):
        members = rng.permutation(np.flatnonzero(labels == label))[:per_class]
        row = np.ones((per_class, *images.shape[1:]), images.dtype)
        row[: len(members)] = images[members]
        blocks.append(row)
    sheet = np.stack(blocks)
    height, width = images.shape[1:3]
    # smaller than the text: a sheet of photographs at full width is a megabyte
    fig = Figure(figsize=(0.7 * WIDTH, 0.62 * WIDTH * len(class_names) * height / (per_class * width)), layout="constrained")
    ax = fig.subplots()
    ax.imshow(_mosaic(sheet, gap=1))
    ax.set_yticks(np.arange(len(class_names)) * (height + 1) + height / 2, class_names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def class_sizes(sizes, class_names):
    """Bars of class sizes. sizes: {name of the set: counts (classes,)}; one panel a set."""
    fig = _figure(0.22 * len(class_names) + 0.8)
    axs = fig.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for ax, (name, counts) in zip(axs, sizes.items(), strict=True):
        bars = ax.barh(class_names, counts)
        ax.bar_label(bars, padding=2, fontsize=7)
        ax.set(title=f"{name}: {int(np.sum(counts)):,}", xlabel="training images")
        ax.margins(x=0.18)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axs[0].invert_yaxis()
    return fig


def channel_histograms(images):
    """How often each pixel value occurs in each channel. images: uint8."""
    channels = images.shape[-1]
    fig = _figure(2.2)
    axs = fig.subplots(1, channels, sharey=True, squeeze=False)[0]
    names, colours = (("red", "green", "blue"), ("C1", "C2", "C0")) if channels == 3 else (("grey",), ("0.3",))
    for ax, name, colour, channel in zip(axs, names, colours, range(channels), strict=True):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        values, share = np.arange(256) / 255, counts / counts.sum()
        mean = values @ share
        std = np.sqrt((values - mean) ** 2 @ share)
        ax.fill_between(values, 100 * share, color=colour, alpha=0.7, linewidth=0)
        ax.axvline(mean, color="0.2", linewidth=1)
        ax.set(title=f"{name}: mean {mean:.3f}, s.d. {std:.3f}", xlabel="pixel value", xlim=(0, 1))
    axs[0].set_ylabel("share of pixels, %")
    return fig


def image_pairs(left, right, titles, left_name, right_name):
    """Pairs of images, one above the other. Without a pair, a figure that says so."""
    if not len(left):
        fig, ax = _one(0.6)
        ax.text(0.5, 0.5, "no pair found", ha="center", va="center")
        ax.axis("off")
        return fig
    fig, axs = _grid(2, max(len(left), 6), row_height=1.1)
    for column, (one, other, title) in enumerate(zip(_pixels(left), _pixels(right), titles, strict=True)):
        _show(axs[0, column], one, title)
        _show(axs[1, column], other)
    for ax, name in ((axs[0, 0], left_name), (axs[1, 0], right_name)):
        _row_name(ax, name)
    return fig


def image_rows(rows, caption=None):
    """A row of images for each name: {name: images}. The rows may differ in length, the images of all have one size."""
    rows = {name: _pixels(images) for name, images in rows.items()}
    columns = max(map(len, rows.values()))
    blank = {name: np.ones((columns - len(images), *images.shape[1:])) for name, images in rows.items()}
    sheet = _mosaic(np.stack([np.concatenate([images, blank[name]]) for name, images in rows.items()]), gap=1)
    fig, ((ax,),) = _grid(1, 1, row_height=0.5 * WIDTH * sheet.shape[0] / sheet.shape[1] + 0.1)
    _show(ax, sheet)
    for index, name in enumerate(rows):
        place = (index + 0.5) * sheet.shape[0] / len(rows)
        ax.text(-2, place, name, ha="right", va="center", fontsize=8)
    return _captioned(fig, caption)


def by_strength(table, label):
    """Accuracy and PSNR by the strength of a damage, a line a method. table: columns strength, method, accuracy, PSNR.

    A method without a strength, such as none on clean images, is a dashed line.
    """
    fig = _figure(2.8)
    axs = fig.subplots(1, 2)
    for ax, measure, unit in zip(axs, ("accuracy", "PSNR"), ("accuracy", "PSNR, dB"), strict=True):
        for index, (method, rows) in enumerate(table.groupby("method", sort=False)):
            if rows["strength"].isna().all():
                level = rows[measure].iloc[0]
                if np.isfinite(level):
                    ax.axhline(level, linestyle="--", color="0.4", label=method)
            else:
                ax.plot(rows["strength"], rows[measure], "-o", markersize=3, color=f"C{index}", label=method)
        ax.set(xlabel=label, ylabel=unit)
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return fig


def painted(masks, num_classes):
    """Numbers of classes as colours, (n, height, width) -> (n, height, width, 3) in [0, 1]; class 0 is nearly white."""
    colours = matplotlib.colormaps["tab20"](np.arange(num_classes) % 20)[:, :3].astype(np.float32)
    colours[0] = 0.95
    return colours[masks]


KINDS = {
    "Conv2D": "#0072B2",
    "DeconvolvedConv2D": "#0072B2",
    "Conv2DTranspose": "#D55E00",
    "Unpooling2D": "#F0E442",
    "UpSampling2D": "#F0E442",
    "DepthToSpace": "#F0E442",
    "MaxPooling2D": "#56B4E9",
    "AveragePooling2D": "#56B4E9",
    "BatchNormalization": "#CCCCCC",
    "Dense": "#009E73",
    "DeconvolvedDense": "#009E73",
    "Softmax": "#E69F00",
}


def architecture(table):
    """The network as boxes: height is the map's height, width grows with the logarithm of its channels.

    table: one row a layer with columns layer, kind, shape (height, width, channels) or (units,), and parameters.
    """
    # a box each for what changes the map; the rest would hide it
    rows = [row for row in table.to_dict("records") if row["kind"] in KINDS or (len(row["shape"]) == 3 and row["parameters"])]
    tallest = max((row["shape"][0] for row in rows if len(row["shape"]) == 3), default=1)
    fig, ax = _one(3.2)
    left, seen = 0.0, {}
    for row in rows:
        shape = row["shape"]
        height = max(shape[0] / tallest, 0.03) if len(shape) == 3 else 0.15 + 0.06 * np.log2(shape[-1])
        width = 0.12 * np.log2(shape[-1] + 1) if len(shape) == 3 else 0.25
        colour = KINDS.get(row["kind"], "#999999")
        box = ax.add_patch(Rectangle((left, -height / 2), width, height, facecolor=colour, edgecolor="white"))
        seen.setdefault(row["kind"], box)
        size = " × ".join(map(str, shape))
        ax.text(left + width / 2, -0.56, f"{row['layer']}  {size}", rotation=60, ha="right", va="top", fontsize=7)
        left += width + 0.18
    ax.set(xlim=(-0.4, left), ylim=(-0.55, 0.52), aspect="auto")
    ax.axis("off")
    ax.legend(seen.values(), seen, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(seen))
    return fig


def curves(histories, measure="accuracy"):
    """Training (dashed) against test (solid) after each epoch. histories: {name: one row an epoch, as training.fit returns}."""
    fig = _figure(2.8)
    _curves(fig, histories, measure)
    return fig


def training(histories, examined=None):
    """`curves`, over eight places for images with what the network says of them. examined: (images, titles), or None."""
    histories = {textwrap.fill(name, 54): history for name, history in histories.items()}
    lines, half = [name.count("\n") + 1 for name in histories], -(-len(histories) // 2)
    height = 2.6 + 0.16 * max(sum(lines[:half]), sum(lines[half:]))  # with the names in two columns
    fig = _figure(height + 1.3)
    upper, lower = fig.subfigures(2, 1, height_ratios=(height, 1.3))
    _curves(upper, histories, "accuracy")
    axs = lower.subplots(1, 8)
    for ax in axs:
        _bare(ax)
    images, titles = examined or ([], [])
    for ax, image, title in zip(axs, _pixels(images) if len(images) else [], titles, strict=False):
        _show(ax, image, title)
    lower.supxlabel("Test images that it gets wrong now, and what it says" if len(images) else "", fontsize=8, color="0.35")
    return fig


def _curves(fig, histories, measure):
    axs = fig.subplots(1, 2)
    for ax, column in zip(axs, (measure, "loss"), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            ax.plot(history["epoch"], history[column], "--", color=f"C{index}")
            ax.plot(history["epoch"], history[f"val_{column}"], "-o", markersize=3, color=f"C{index}", label=name)
        ax.set(xlabel="epoch", ylabel=column)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axs[0].set_ylim(0, 1)
    kinds = [Line2D([], [], color="0.3", linestyle=style, label=part) for style, part in (("--", "training"), ("-", "test"))]
    axs[1].legend(handles=kinds)
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def gradient_norms(history):
    """Norm of the loss' gradient at each kernel after each epoch, one line a layer, from first (dark) to last."""
    columns = [column for column in history if column.startswith("gradient/")]
    fig, ax = _one(2.8)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(columns)))
    for column, colour in zip(columns, colours, strict=True):
        ax.plot(history["epoch"], history[column], "-o", markersize=3, color=colour, label=column.removeprefix("gradient/"))
    ax.set(xlabel="epoch", ylabel="norm of the gradient at the kernel", yscale="log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def confusion(matrix, class_names):
    """A confusion matrix, truth by row, in percent of the row. matrix: counts (classes, classes)."""
    total = matrix.sum(axis=1, keepdims=True)
    percent = 100 * matrix / np.maximum(total, 1)
    size = min(0.42 * len(class_names) + 1.6, WIDTH)
    fig = Figure(figsize=(size + 0.8, size), layout="constrained")
    ax = fig.subplots()
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    if len(class_names) <= 20:
        for row, column in zip(*np.nonzero(percent >= 0.5), strict=True):
            colour = "white" if percent[row, column] > 50 else "0.2"
            ax.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
        ax.set_xticks(range(len(class_names)), class_names, rotation=60, ha="right")
        ax.set_yticks(range(len(class_names)), class_names)
    ax.set(xlabel="predicted class", ylabel="true class", title=f"{int(total.sum()):,} test images")
    fig.colorbar(image, ax=ax, label="% of the true class", shrink=0.8)
    return fig


def calibration(table, error):
    """Reliability diagram. table: a row a bin with confidence, accuracy and count; error: expected calibration error."""
    fig = _figure(2.8)
    left, right = fig.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.plot(table["confidence"], table["accuracy"], "-o", markersize=4)
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), title=f"calibration error {error:.3f}")
    right.bar(table["confidence"], table["count"], width=0.06)
    right.set(xlabel="confidence", ylabel="test images", xlim=(0, 1.02), title="how sure it is")
    return fig


def mistakes(images, truth, predicted, confidence, class_names):
    """Wrongly classified images under what the network said, how sure it was, and the truth."""
    titles = [
        f"{class_names[p]} {100 * c:.0f} %\nis {class_names[t]}" for t, p, c in zip(truth, predicted, confidence, strict=True)
    ]
    if not titles:
        return image_pairs([], [], [], "", "")
    images = _pixels(images)
    fig, axs = _grid(-(-len(images) // 6), 6, row_height=1.75)
    for ax, image, title in zip(axs.flat, images, titles, strict=False):
        _show(ax, image, title)
    return fig


def matrix_of_operator(matrix):
    """A linear operator's matrix, zero white, with limits that are the same on both sides."""
    limit = np.abs(matrix).max() or 1
    fig, ax = _one(3.0)
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xlabel=f"input pixel, 0 to {matrix.shape[1] - 1}", ylabel=f"output pixel, 0 to {matrix.shape[0] - 1}")
    fig.colorbar(image, ax=ax, label="weight")
    return fig


def arrays(values, titles):
    """Small number grids with their values written in the cells. values: 2-D arrays."""
    fig = _figure(1.9)
    widths = [array.shape[1] for array in values]
    axs = fig.subplots(1, len(values), width_ratios=widths, squeeze=False)[0]
    limit = max(np.abs(array).max() for array in values)
    for ax, array, title in zip(axs, values, titles, strict=True):
        ax.imshow(array, cmap="RdBu_r", vmin=-2 * limit, vmax=2 * limit)
        for row, column in np.ndindex(array.shape):
            ax.text(column, row, f"{array[row, column]:g}", ha="center", va="center")
        ax.set(title=title, xticks=[], yticks=[])
    return fig


SCALING = "Projections: gray is zero, each scaled by its own largest magnitude."


def gallery(patches, projections, titles, columns=2, caption=SCALING):
    """Figure 2 of Zeiler & Fergus: for each channel what excited it most, beside the projections of those activations.

    patches: (channels, k, height, width, 1 or 3), uint8 or in [0, 1]; projections: the same shape, signed.
    """
    if patches.shape != projections.shape or patches.ndim != 5:
        raise ValueError(
            f"patches and projections must have one shape (channels, k, height, width, channels), not {patches.shape} "
            f"and {projections.shape}"
        )
    patches = _pixels(patches.reshape(-1, *patches.shape[2:])).reshape(patches.shape)
    rows = -(-len(patches) // columns)
    # tiles of patches and of projections side by side, with the height of a title
    fig, axs = _grid(rows, columns, row_height=WIDTH / columns / 2 + 0.15)
    for ax, images, maps, title in zip(axs.flat, patches, to_display(projections), titles, strict=False):
        left, right = _square(images), _square(maps)
        divide = np.ones((left.shape[0], max(left.shape[1] // 20, 1), left.shape[2]))
        _show(ax, np.concatenate([left, divide, right], axis=1), title)
    return _captioned(fig, caption)


def switches(images, maps, chosen, names=("image", "map", "maxima")):
    """Images over a map of each, before pooling, over the maxima that pooling keeps, in their places.

    maps: (n, height, width), one channel; chosen: booleans of the same shape, the switches. Each map is scaled by its
    largest value; black is zero or less.
    """
    images = _pixels(images)
    if maps.shape != chosen.shape or maps.ndim != 3:
        raise ValueError(f"maps and chosen must have one shape (n, height, width), not {maps.shape} and {chosen.shape}")
    fig, axs = _grid(3, len(images), row_height=WIDTH / max(len(images), 6))
    for column, image in enumerate(images):
        _show(axs[0, column], image)
        limit = max(maps[column].max(), 1e-12)
        for ax, values in zip(axs[1:, column], (maps[column], maps[column] * chosen[column]), strict=True):
            ax.imshow(values, cmap="gray", vmin=0, vmax=limit, interpolation="nearest")
    for ax, name in zip(axs[:, 0], names, strict=True):
        _row_name(ax, name)
    return fig


def projections(images, named, caption=SCALING):
    """Images over their projections, one row for each name. named: {name: signed array of the shape of `images`}."""
    images = _pixels(images)
    fig, axs = _grid(1 + len(named), len(images), row_height=WIDTH / max(len(images), 6))
    for ax, image in zip(axs[0], images, strict=True):
        _show(ax, image)
    _row_name(axs[0, 0], "image")
    for row, (name, maps) in zip(axs[1:], named.items(), strict=True):
        for ax, image in zip(row, to_display(maps), strict=True):
            _show(ax, image)
        _row_name(row[0], name)
    return _captioned(fig, caption)


def feature(image, projection, box, patches, patch_projections, title):
    """One unit in one image, beside the units that excite its channel most; its axes can be told apart by their labels.

    image, projection: (height, width, 1 or 3). box: (row, column, height, width) of what the unit sees, None for a whole
    map. patches, patch_projections: (k, height, width, 1 or 3). Labels: "image" and "projection", in pixels; "strongest" and
    "strongest, projected", in tiles of a row of `tiles_in_row(k)`.
    """
    fig, axs = _grid(1, 4, row_height=WIDTH / 4 + 0.5)
    shown = {
        "image": _pixels(image[None])[0],
        "projection": to_display(projection),
        "strongest": _square(_pixels(patches)),
        "strongest, projected": _square(to_display(patch_projections)),
    }
    for ax, (name, picture) in zip(axs.flat, shown.items(), strict=True):
        _show(ax, picture, name)
        ax.set_label(name)
    across = tiles_in_row(len(patches))
    for ax in axs.flat[2:]:
        _count_tiles(ax, across, -(-len(patches) // across), patches.shape[1:3])
    if box is not None:
        row, column, height, width = box
        for ax in axs.flat[:2]:
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), width, height, fill=False, edgecolor="#D55E00", linewidth=1.5))
    fig.suptitle(title, fontsize=9)
    return _captioned(fig, SCALING)


def tiles_in_row(number):
    """Tiles in a row of a square sheet of `number` tiles."""
    return int(np.ceil(np.sqrt(number)))


def cascade(table):
    """Similarity of projections against how far down the network is randomized, one panel a measure, bands the intervals.

    table: as faithfulness.cascade returns. Solid: compared with the trained network's projection; dashed: with the edges.
    """
    measures, rules = table["measure"].unique(), table["rule"].unique()
    ticks = table.drop_duplicates("depth")
    fig = _figure(3.0)
    axs = fig.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for ax, measure in zip(axs, measures, strict=True):
        for (rule, reference), rows in table[table["measure"] == measure].groupby(["rule", "reference"], sort=False):
            colour, trained = f"C{list(rules).index(rule)}", reference == "unrandomized"
            ax.plot(rows["depth"], rows["value"], "-o" if trained else "--", markersize=3, color=colour, label=rule)
            if trained:
                ax.fill_between(rows["depth"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
        ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(title=measure, xlabel="randomized down to")
        ax.set_xticks(ticks["depth"], ticks["layer"], rotation=60, ha="right")
    axs[0].set_ylabel("similarity")
    lines = [Line2D([], [], color=f"C{index}", label=rule) for index, rule in enumerate(rules)]
    styles = {"-": "to the trained network's", "--": "to the image's edges"}
    lines += [Line2D([], [], color="0.3", linestyle=style, label=label) for style, label in styles.items()]
    fig.legend(handles=lines, loc="outside upper center", ncols=len(lines))
    return fig


def deletion_and_insertion(deletions, insertions):
    """Mean probability of the class while the most salient pixels go, and while they come back; 95 % bands over the images.

    deletions, insertions: {method: a curve as faithfulness.deletion and insertion return}.
    """
    fig = _figure(3.4)
    axs = fig.subplots(1, 2, sharey=True)
    for ax, named, verb in zip(axs, (deletions, insertions), ("deleted", "inserted"), strict=True):
        for index, (method, curve) in enumerate(named.items()):
            mean = curve.probability.mean(axis=0)
            # of the normal distribution, which for the dozens of images that this asks for is Student's
            half = 1.96 * curve.probability.std(axis=0) / np.sqrt(len(curve.probability))
            ax.plot(100 * curve.share, mean, color=f"C{index}", label=f"{method}, area {curve.auc.mean():.2f}")
            ax.fill_between(100 * curve.share, mean - half, mean + half, color=f"C{index}", alpha=0.15, linewidth=0)
        ax.set(xlabel=f"% of pixels {verb}, most salient first", xlim=(0, 100), ylim=(0, 1))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    axs[0].set_ylabel("probability of the class")
    return fig


def localization(table):
    """How well each method's maps lie on the object, one panel a measure: value and 95 % interval.

    table: as faithfulness.localization returns.
    """
    measures, methods = table["measure"].unique(), table["method"].unique()
    fig = _figure(0.28 * len(methods) + 0.9)
    axs = fig.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for ax, measure in zip(axs, measures, strict=True):
        rows = table[table["measure"] == measure]
        spread = np.clip([rows["value"] - rows["low"], rows["high"] - rows["value"]], 0, None)
        ax.errorbar(rows["value"], rows["method"], xerr=spread, fmt="o", markersize=4, capsize=2)
        ax.set(xlabel=measure, xlim=(0, 1.03), xticks=(0, 0.5, 1))
        ax.margins(y=0.1)
        ax.grid(axis="x", color="0.9")
    axs[0].invert_yaxis()
    return fig


def evolution(epochs, patches, projections, titles, changed):
    """Figure 4 of Zeiler & Fergus: for each channel what excited it most at each epoch, over the projection of that.

    patches: (epochs, channels, height, width, 1 or 3) in [0, 1] or uint8; projections: the same shape, signed. titles: of
    the channels. changed: booleans (epochs, channels); framed where another image than before became the strongest.
    """
    if patches.shape != projections.shape or patches.ndim != 5:
        raise ValueError(
            f"patches and projections must have one shape (epochs, channels, height, width, channels), not {patches.shape} "
            f"and {projections.shape}"
        )
    tiles = np.stack([np.stack([_pixels(part) for part in patches]), to_display(projections)], axis=2)
    zoom = max(1, 32 // tiles.shape[3])
    tiles = tiles.repeat(zoom, axis=3).repeat(zoom, axis=4)
    count, channels, _, height, width, colours = tiles.shape
    rows = tiles.transpose(1, 2, 0, 3, 4, 5).reshape(2 * channels, count, height, width, colours)
    image, gap = _mosaic(rows, gap=2), 2
    fig, ax = _one(2 * channels * min(0.65, (WIDTH - 1) / count) + 0.7)
    _show(ax, image)
    for epoch, channel in np.argwhere(changed):
        corner = epoch * (width + gap) - gap / 2 - 0.5, 2 * channel * (height + gap) - gap / 2 - 0.5
        frame = Rectangle(corner, width + gap, 2 * (height + gap), fill=False, edgecolor="C1", linewidth=2)
        frame.set_clip_on(False)  # the last ones reach beyond the image
        ax.add_patch(frame)
    ax.set_xticks(np.arange(count) * (width + gap) + width / 2, epochs)
    ax.set_yticks((2 * np.arange(channels) + 1) * (height + gap) - gap / 2, titles)
    ax.set_xlabel("epoch")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return _captioned(fig, f"{SCALING} Framed: another image than before is the strongest.")


def settling(correlation, settled):
    """Correlation of each layer's activations with its last ones, from first layer (dark) to last; a ring where it settles.

    correlation: a row a layer, a column an epoch; settled: {layer: epoch}; as evolution.settling returns.
    """
    fig, ax = _one(2.8)
    epochs = list(correlation.columns)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(correlation)))
    for (layer, row), colour in zip(correlation.iterrows(), colours, strict=True):
        ax.plot(range(len(epochs)), row, "-o", markersize=3, color=colour, label=layer)
        ax.plot(epochs.index(settled[layer]), row[settled[layer]], "o", markersize=9, fillstyle="none", color=colour)
    ax.set_xticks(range(len(epochs)), epochs)  # evenly: the epochs of snapshots grow apart
    ax.set(xlabel="epoch of the snapshot", ylabel="correlation with the last")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


AMOUNTS = {"translation": "pixels down", "scale": "factor", "rotation": "degrees"}


def invariance(table, titles):
    """Figure 5 of Zeiler & Fergus: a row a transformation, a column a layer and one for the class, a line an image.

    table: as diagnostics.invariance returns; titles: of the images.
    """
    kinds, layers = table["transformation"].unique(), table["layer"].unique()
    fig = _figure(1.5 * len(kinds) + 0.5)
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
    return _captioned(fig, "Distance from the features of the image itself, over their length.")


def moved(images, titles, table, at):
    """An image before and after, and how the probability of its class goes with each transformation alone.

    images: the two; table: the rows of diagnostics.invariance for this image and one layer; at: {transformation: amount},
    marked on the curves.
    """
    fig = _figure(WIDTH / 5 + 0.3)
    axs = fig.subplots(1, 2 + len(at), width_ratios=[1, 1, *[1.1] * len(at)])
    for ax, image, title in zip(axs, _pixels(images), titles, strict=False):
        _show(ax, image, title)
        _bare(ax)
    for ax, (kind, amount) in zip(axs[2:], at.items(), strict=True):
        rows = table[table["transformation"] == kind]
        ax.plot(rows["amount"], rows["probability"], linewidth=1.2)
        ax.axvline(amount, color="#D55E00", linewidth=1.2)
        ax.set(xlabel=f"{kind}, {AMOUNTS[kind]}", ylim=(0, 1.04))
    axs[2].set_title("probability of the class", fontsize=8)
    return fig


def occlusion(images, occluded, projections, titles, class_names):
    """Figure 7 of Zeiler & Fergus: image, projection of the map, and what a square hidden at each place does.

    images: n; occluded: as diagnostics.occlusion returns for them; projections: of each image's first followed channel,
    signed, of the shape of the images; titles: n, one a row.
    """
    images, count = _pixels(images), len(images)
    whole = occluded.whole_activation[:, :1, None]
    shares = np.divide(occluded.activation[..., 0], whole, out=np.ones(occluded.predicted.shape), where=whole != 0)
    classes = np.unique(occluded.predicted)
    fig = _figure(WIDTH / 5 * count + 0.9)
    axs = fig.subplots(count, 5, squeeze=False)
    limits = {"vmin": shares.min(), "vmax": shares.max()}
    palette = matplotlib.colormaps["tab20" if len(class_names) > 10 else "tab10"]
    rows, columns = (corner + (occluded.size - 1) / 2 for corner in (occluded.row, occluded.column))
    for index, row in enumerate(axs):
        _show(row[0], images[index])
        _show(row[1], to_display(projections[index]))
        row[0].add_patch(Rectangle((-0.5, -0.5), occluded.size, occluded.size, fill=False, edgecolor="C1"))
        maps = [row[2].pcolormesh(columns, rows, shares[index], cmap="viridis", **limits)]
        maps.append(row[3].pcolormesh(columns, rows, occluded.probability[index], cmap="viridis", vmin=0, vmax=1))
        row[4].pcolormesh(columns, rows, palette(occluded.predicted[index] % palette.N))
        for ax in row:
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.set(xlim=(-0.5, images.shape[2] - 0.5), ylim=(images.shape[1] - 0.5, -0.5))
            ax.spines[:].set_visible(False)
        _row_name(row[0], titles[index])
    for ax, title in zip(axs[0], ("image, square", "projection", "map's sum", "true class", "most probable"), strict=True):
        ax.set_title(title, fontsize=8)
    for column, image, label in ((2, maps[0], "times that of the whole image"), (3, maps[1], "probability")):
        fig.colorbar(image, ax=axs[:, column], location="bottom", label=label, shrink=0.9, aspect=12, pad=0.02)
    patches = [Rectangle((0, 0), 1, 1, color=palette(label % palette.N), label=class_names[label]) for label in classes]
    fig.legend(handles=patches, loc="outside upper center", ncols=min(len(patches), 8))
    return _captioned(fig, f"Each place of a map: the square centred there. {SCALING}")


def agreement(table):
    """How the fall of each map follows its projection's energy: a dot an image and channel, a bar the mean, by picture.

    table: as diagnostics.agreement returns.
    """
    names = list(table["picture"].unique())
    fig = _figure(0.35 * len(names) + 0.9)
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


def correspondence(table):
    """Δ of each part (filled, by layer) beside that of the same part moved at random (hollow); bars: s.d. over pairs.

    table: as diagnostics.correspondence returns.
    """
    layers, parts = table["layer"].unique(), table["part"].unique()
    fig, ax = _one(0.3 * len(layers) * max(len(parts), 2) + 0.9)
    for index, part in enumerate(parts):
        rows = table[table["part"] == part]
        place = np.arange(len(layers)) + 0.6 * ((index + 0.5) / len(parts) - 0.5)
        style = {"color": f"C{index}", "markersize": 5, "capsize": 2, "linestyle": "none", "marker": "o", "linewidth": 1}
        ax.errorbar(rows["delta"], place, xerr=rows["deviation"], label=part, **style)
        moved = {"label": f"{part}, at random", "fillstyle": "none", "alpha": 0.6}
        ax.errorbar(rows["random"], place + 0.08, xerr=rows["random_deviation"], **style, **moved)
    ax.set_yticks(range(len(layers)), layers)
    ax.set(xlabel="Δ: share of units whose change has another sign", xlim=(0, None))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def probes(table):
    """Accuracy of a linear classifier on each layer's features: test (with its standard error) over training.

    table: as architecture.probes returns.
    """
    fig, ax = _one(2.6)
    place = np.arange(len(table))
    ax.bar(place - 0.19, table["train"], width=0.36, color="0.8", label="training")
    bars = ax.bar(place + 0.19, table["test"], width=0.36, yerr=table["error"], capsize=2, label="test")
    ax.bar_label(bars, [f"{value:.2f}" for value in table["test"]], padding=2, fontsize=7)
    ax.set_xticks(place, [f"{layer}\n{count}" for layer, count in zip(table["layer"], table["features"], strict=True)])
    ax.set(xlabel="layer, and number of features", ylabel="accuracy of a linear probe", ylim=(0, 1.1))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def sweep(table, by, measures):
    """Each of `measures` by the value of `by`: a faint dot a run, a filled one the mean with its 95 % t interval.

    table: a row a run; by, measures: names of its columns, the measures' numbers, or None in a run that has none.
    """
    from scipy import stats  # half as long to import as all the rest of this module

    columns = min(3, len(measures))
    rows = -(-len(measures) // columns)
    fig = _figure(2.4 * rows + 0.3)
    axs = list(fig.subplots(rows, columns, squeeze=False).flat)
    groups = list(dict.fromkeys(table[by]))
    for ax, measure in zip(axs, measures, strict=False):
        for place, group in enumerate(groups):
            values = table.loc[table[by] == group, measure].dropna().to_numpy(float)
            ax.plot(np.full(len(values), place - 0.12), values, ".", color="C0", alpha=0.5)
            if len(values) > 1:
                half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
                ax.errorbar(place + 0.12, values.mean(), half, fmt="o", color="C1", markersize=4, capsize=2)
        # names from outside: a $ in them is a $
        ax.set_xticks(range(len(groups)), [str(group) for group in groups], parse_math=False)
        ax.set_xlabel(by, parse_math=False)
        ax.set_title(measure, parse_math=False)
        ax.set_xlim(-0.6, len(groups) - 0.4)
    for ax in axs[len(measures) :]:
        ax.axis("off")
    return fig


def forest(table):
    """How much each variant gains over its control, in percentage points with its 95 % interval; one panel a regime.

    Filled: a difference that stands after the correction for their number (p_holm < 0.05). table: as study.compare returns,
    of shares.
    """
    variants = list(dict.fromkeys(zip(table["variant"], table["control"], strict=True)))
    groups = list(dict.fromkeys(table["regime"]))
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    fig = _figure(rows * (0.2 * len(variants) + 0.8) + 0.3)
    axs = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, group in zip(axs.flat, groups, strict=False):
        for row in table[table["regime"] == group].to_dict("records"):
            place, middle = variants.index((row["variant"], row["control"])), 100 * row["difference"]
            spread = np.nan_to_num([[middle - 100 * row["low"]], [100 * row["high"] - middle]])
            filled = "full" if row["p_holm"] < 0.05 else "none"
            ax.errorbar(middle, place, xerr=spread, fmt="o", color="C0", markersize=4, capsize=2, fillstyle=filled)
        ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set_title(textwrap.fill(group, 30), fontsize=8, parse_math=False)
    for ax in axs.flat[len(groups) :]:
        ax.axis("off")
    for ax in axs.flat[len(groups) - columns : len(groups)]:  # the lowest of each column
        ax.tick_params("x", labelbottom=True)
    for ax in axs[:, 0]:
        ax.tick_params("y", labelsize=7)
    axs[0, 0].set_yticks(range(len(variants)), [f"{variant}  (over {control})" for variant, control in variants], fontsize=7)
    axs[0, 0].set_ylim(len(variants) - 0.5, -0.5)
    fig.supxlabel("difference, percentage points", fontsize=8)
    return fig


def covariances(matrices, titles):
    """Square matrices side by side on one scale, zero white: covariances of patches before and after."""
    fig = _figure(2.6)
    axs = fig.subplots(1, len(matrices), squeeze=False)[0]
    limit = max(np.abs(matrix).max() for matrix in matrices) or 1
    for ax, matrix, title in zip(axs, matrices, titles, strict=True):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(title, fontsize=8)
        ax.set(xticks=[], yticks=[])
    fig.colorbar(image, ax=axs, label="covariance")
    return fig


def learning_curves(curves):
    """Mean over the seeds of the test accuracy after each epoch, one line a variant. curves: {variant: (seeds, epochs)}."""
    fig, ax = _one(2.8)
    for index, (name, values) in enumerate(curves.items()):
        mean = np.mean(values, axis=0)
        style = {"color": matplotlib.colormaps["tab20"](index % 20), "markersize": 3}
        ax.plot(range(1, len(mean) + 1), mean, "-o", label=name, **style)
    ax.set(xlabel="epoch", ylabel="test accuracy")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def spectra(named, stride):
    """A map of each name over its power spectrum, where a checkerboard of `stride` pixels is peaks: in the circles.

    named: {name: maps (n, height, width, channels)}. The map is channel 0 of the first; the spectrum is the mean of all of
    them without their means, on a logarithmic scale of four decades below its own largest value.
    """
    columns = max(len(named), 3)
    fig, axs = _grid(2, columns, row_height=WIDTH / columns + 0.15)
    for (upper, lower), (name, maps) in zip(axs.T, named.items(), strict=False):
        first = np.asarray(maps[0, ..., 0], float)
        least = 1e-4 * np.abs(maps).max() + 1e-12  # or the last digits of a map that is even would be seen
        upper.imshow(first, cmap="gray", vmin=first.min() - least, vmax=first.max() + least)
        upper.set_title(name, fontsize=8)
        power = np.abs(np.fft.fft2(maps - maps.mean(axis=(1, 2), keepdims=True), axes=(1, 2))) ** 2
        power = np.fft.fftshift(power.mean(axis=(0, 3)))
        relative = power / max(power.max(), (least * first.size) ** 2)
        lower.imshow(np.log10(np.maximum(relative, 1e-4)), cmap="viridis", vmin=-4, vmax=0)
        peaks = ((np.arange(stride) * side / stride + side // 2) % side for side in power.shape)
        down, across = (part.ravel()[1:] for part in np.meshgrid(*peaks, indexing="ij"))
        lower.scatter(across, down, s=50, facecolor="none", edgecolor="#D55E00", clip_on=False)
    _row_name(axs[0, 0], "map")
    _row_name(axs[1, 0], "spectrum")
    return _captioned(fig, "Maps: black to white is least to greatest value. Spectra: frequency 0 in the middle.")


def operator_costs(table):
    """Each cost of the operators, as a multiple of the bare convolution's, by the side of the map; one panel a cost.

    table: rows of operators.costs with a column side, pixels.
    """
    titles = {"forward, ratio": "time, forward", "both, ratio": "time, forward and backward", "KiB, ratio": "memory kept"}
    fig = _figure(2.9)
    axs = fig.subplots(1, 3, sharey=True)
    for ax, (column, title) in zip(axs, titles.items(), strict=True):
        for index, (name, rows) in enumerate(table.groupby("operator", sort=False)):
            ax.plot(rows["side"], rows[column], "-o", markersize=4, color=f"C{index}", label=name)
        ax.axhline(1, color="0.7", linewidth=0.8, zorder=0)
        ax.set(title=title, xlabel="side of the input map, pixels", xscale="log", yscale="log")
        ax.set_xticks(sorted(set(table["side"])), sorted(set(table["side"])))
        ax.minorticks_off()
        ax.yaxis.set_major_locator(LogLocator(base=2))
        ax.yaxis.set_major_formatter("{x:g}")
    axs[0].set_ylabel("times a bare 3 × 3 convolution")
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=table["operator"].nunique())
    return fig


def gradient_flow(table):
    """Norm of the loss' gradient at each kernel by depth, one panel an activation, one line a network.

    table: a row a kernel with columns network, activation, seed, layer (1 is next to the image) and norm. Lines are
    geometric means over the seeds, bands reach from the least to the greatest.
    """
    activations = list(dict.fromkeys(table["activation"]))
    fig = _figure(2.9)
    axs = fig.subplots(1, len(activations), sharey=True, squeeze=False)[0]
    for ax, activation in zip(axs, activations, strict=True):
        rows = table[table["activation"] == activation]
        for index, (name, lines) in enumerate(rows.groupby("network", sort=False)):
            logs = np.log(lines.pivot(index="layer", columns="seed", values="norm").clip(lower=1e-12))
            ax.plot(logs.index, np.exp(logs.mean(axis=1)), "-o", markersize=3, color=f"C{index}", label=name)
            ends = np.exp(logs.min(axis=1)), np.exp(logs.max(axis=1))
            ax.fill_between(logs.index, *ends, color=f"C{index}", alpha=0.15, linewidth=0)
        ax.set(title=activation, xlabel="layer; 1 is next to the image", yscale="log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axs[0].set_ylabel("norm of the gradient at the kernel")
    fig.legend(*axs[0].get_legend_handles_labels(), loc="outside lower center", ncols=table["network"].nunique())
    return fig


def overfitting(table):
    """Accuracy on training images (hollow) and on test images (filled), a row a setting; the line between is the gap.

    table: columns setting, training and test, shares; the first row, which the others change, is a grey line.
    """
    fig, ax = _one(0.26 * len(table) + 0.8)
    place = np.arange(len(table))
    ax.axvline(table["test"].iloc[0], color="0.8", linewidth=0.8, zorder=0)
    ax.hlines(place, table["test"], table["training"], color="0.75")
    ax.plot(table["training"], place, "o", color="C0", fillstyle="none", label="training")
    ax.plot(table["test"], place, "o", color="C0", label="test")
    ax.set_yticks(place, table["setting"])
    ax.set(xlabel="accuracy", xlim=(0, 1.03))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def to_display(projections):
    """Signed projections as pixels in [0, 1]: 0.5 is zero, each image scaled by its own largest magnitude.

    projections: (..., height, width, channels). An image that is zero everywhere becomes plain gray.
    """
    if not np.isfinite(projections).all():
        raise ValueError("a projection holds NaN or infinity")
    largest = np.abs(projections).max(axis=(-3, -2, -1), keepdims=True)
    return 0.5 + 0.5 * projections / np.where(largest > 0, largest, 1)


def _pixels(images):
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be (n, height, width, 1 or 3), not {images.shape}")
    if images.dtype == np.uint8:
        return images / np.float32(255)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise ValueError(f"pixels must lie in [0, 1] or be uint8; these lie in [{images.min():g}, {images.max():g}]")
    return images


def _square(tiles):
    """(k, height, width, channels) as one image, `tiles_in_row(k)` in a row."""
    zoom = max(1, 32 // tiles.shape[1])  # or the gaps between patches of 3 × 3 pixels would be as wide as a third of them
    across = tiles_in_row(len(tiles))
    return _filled(tiles.repeat(zoom, axis=1).repeat(zoom, axis=2), -(-len(tiles) // across), across, gap=2)


def _filled(tiles, rows, columns, gap):
    blank = np.ones((rows * columns - len(tiles), *tiles.shape[1:]))
    return _mosaic(np.concatenate([tiles, blank]).reshape(rows, columns, *tiles.shape[1:]), gap)


def _count_tiles(ax, columns, rows, tile):
    """Data coordinates in tiles, of size `tile`, for the picture in these axes: a click tells which tile it hit."""
    ax.images[0].set_extent((0, columns, rows, 0))
    ax.set_aspect(tile[0] / tile[1])


def _mosaic(tiles, gap):
    """(rows, columns, height, width, channels) as one image, `gap` white pixels between tiles."""
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1)
    rows, columns, height, width, channels = tiles.shape
    return tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)[:-gap, :-gap]


def _figure(height):
    return Figure(figsize=(WIDTH, height), layout="constrained")


def _one(height):
    fig = _figure(height)
    return fig, fig.subplots()


def _grid(rows, columns, row_height):
    fig = _figure(rows * row_height)
    axs = fig.subplots(rows, columns, squeeze=False)
    for ax in axs.flat:
        _bare(ax)
    return fig, axs


def _bare(ax):
    ax.axis("off")
    ax.set(xticks=[], yticks=[])  # or Matplotlib lays out what nobody sees, which takes half of a figure's time


def _show(ax, image, title=""):
    ax.imshow(image if image.shape[-1] == 3 else image[..., 0], vmin=0, vmax=1)
    ax.set_title(title, fontsize=8)


def _row_name(ax, name):
    ax.text(-0.08, 0.5, name, transform=ax.transAxes, rotation=90, ha="right", va="center", fontsize=8)


def _captioned(fig, caption):
    if caption:
        fig.supxlabel(caption, fontsize=8, color="0.35")
    return fig
