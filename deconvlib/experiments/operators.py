"""What the operators that restore resolution leave in a map, and what they cost."""

import time

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from deconvlib import backend, figures, progress
from deconvlib.backend import keras
from deconvlib.networks import summary, upsampling

ops = keras.ops


def checkerboard(maps: np.ndarray, stride: int) -> float:
    """Share of the energy of `maps` at the frequencies of a grid of `stride` pixels: 0 without a checkerboard, below 1.

    maps: float (n, height, width, channels), of sides of `stride` or more; what the stride doesn't divide is left out. The
    mean of each map and each of the stride² places in the grid is what repeats with the grid; its variance is the energy at
    the nonzero multiples of 1 / stride in both axes (Odena et al. 2016 show these peaks), over the mean square of the map.

    Raises ValueError for maps of another form, or smaller than the grid.
    """
    maps = np.asarray(maps, np.float64)
    if maps.ndim != 4 or min(maps.shape[1:3]) < stride or stride < 1:
        raise ValueError(f"maps of shape {maps.shape} have no grid of {stride}; they must be (n, height, width, channels)")
    rows, columns = (side // stride for side in maps.shape[1:3])
    maps = maps[:, : rows * stride, : columns * stride]
    places = maps.reshape(len(maps), rows, stride, columns, stride, -1).mean(axis=(1, 3))
    energy = np.square(maps).mean()
    return float(places.var(axis=(1, 2)).mean() / energy) if energy else 0.0


def bytes_kept(layer: keras.layers.Layer) -> int:
    """Bytes for one image that a built convolution must keep for its backward pass: its kernel's input, as float32.

    Of resizing and unpooling that is the map after it is made finer. What a program needs for a moment only is not in it.
    """
    finer = layer.finer**2 if isinstance(layer, upsampling.ResizeConv2D | upsampling.UnpoolingConv2D) else 1
    return 4 * finer * int(np.prod(layer.input.shape[1:]))


def costs(named: dict, shape: tuple[int, int, int], batch_size: int = 16, repeats: int = 5, seed: int = 0) -> pd.DataFrame:
    """What each layer costs here, and how many times what a bare convolution of as many FLOPs costs; one row a layer.

    named: {name: a convolution or operator, not built}. shape: (height, width, channels) of the map that each gets. The
    bare convolution is 3 × 3 from w channels to w at the size of the layer's output, with w so that the FLOPs agree.

    Columns: operator; MFLOPs of an image, forward; forward and both (with the backward pass to map and weights),
    milliseconds for `batch_size` maps of noise; KiB, `bytes_kept` for an image; and each of the last three as a "..., ratio".
    Times are medians of `repeats`, and their ratios medians of those of neighbouring runs, so that what else the machine
    does meanwhile falls on both.
    """
    rows, timed, rng = [], [], np.random.default_rng(seed)
    for name, layer in named.items():
        own = _alone(layer, shape)
        flops = int(summary.layer_table(own)["FLOPs"].sum())
        height, width = own.output_shape[1:3]
        channels = max(1, round((flops / (18 * height * width)) ** 0.5))
        bare = _alone(keras.layers.Conv2D(channels, 3, padding="same"), (height, width, channels))
        memory = [bytes_kept(model.layers[-1]) / 1024 for model in (own, bare)]
        rows.append({"operator": name, "MFLOPs": flops / 1e6, "KiB": memory[0], "KiB, ratio": memory[0] / memory[1]})
        maps = [rng.normal(size=(batch_size, *model.input_shape[1:])).astype(np.float32) for model in (own, bare)]
        timed += [list(zip(pair, maps, strict=True)) for pair in zip(_passes(own), _passes(bare), strict=True)]
    seconds = np.zeros((repeats + 1, len(timed), 2))
    for repeat, pair in progress.steps(list(np.ndindex(*seconds.shape[:2])), "timing", unit="run"):
        for which, (run, maps) in enumerate(timed[pair]):
            begun = time.perf_counter()
            run(maps)
            seconds[repeat, pair, which] = time.perf_counter() - begun
    seconds = seconds[1:]  # the first run of a program also prepares it
    took = np.median(1000 * seconds[..., 0], axis=0).reshape(-1, 2)
    ratio = np.median(seconds[..., 0] / seconds[..., 1], axis=0).reshape(-1, 2)
    for row, milliseconds, times in zip(rows, took, ratio, strict=True):
        row |= dict(zip(("forward", "both", "forward, ratio", "both, ratio"), (*milliseconds, *times), strict=True))
    return pd.DataFrame(rows)


def _alone(layer, shape):
    images = keras.Input(shape)
    return keras.Model(images, layer(images))


def _passes(model):
    """Programs of the forward pass, and of both, from maps to one number a map: no time goes into copying results."""

    def forward(maps):
        return keras.ops.sum(model(maps), axis=(1, 2, 3))

    def both(maps):
        weights = [weight.value for weight in model.trainable_variables]
        result, pull = backend.vjp(lambda parts: model.stateless_call(parts[1:], [], parts[0])[0], [maps, *weights])
        gradient, *others = pull(result)
        return keras.ops.sum(gradient, axis=(1, 2, 3)) + sum(keras.ops.sum(other) for other in others)

    return [backend.compiled(function, model, model.input_shape[1:]) for function in (forward, both)]


def spectra(named, stride):
    """A map of each name over its power spectrum, where a checkerboard of `stride` pixels is peaks: in the circles.

    named: {name: maps (n, height, width, channels)}. The map is channel 0 of the first; the spectrum is the mean of all of
    them without their means, on a logarithmic scale of four decades below its own largest value.
    """
    columns = max(len(named), 3)
    fig, axs = figures.grid(2, columns, row_height=figures.WIDTH / columns + 0.15)
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
    figures.row_name(axs[0, 0], "map")
    figures.row_name(axs[1, 0], "spectrum")
    return figures.captioned(fig, "Maps: black to white is least to greatest value. Spectra: frequency 0 in the middle.")


def costs_figure(table):
    """Each cost of the operators, as a multiple of the bare convolution's, by the side of the map; one panel a cost.

    table: rows of operators.costs with a column side, pixels.
    """
    titles = {"forward, ratio": "time, forward", "both, ratio": "time, forward and backward", "KiB, ratio": "memory kept"}
    fig = figures.figure(2.9)
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
