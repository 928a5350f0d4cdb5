"""Operators that restore resolution: the checkerboards they leave in a map, and their costs."""

import functools
import timeit

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from deconvlib import allowed, backend, figures, progress
from deconvlib.backend import keras
from deconvlib.networks import summary, upsampling


def checkerboard(maps: np.ndarray, stride: int) -> float:
    """Share of the energy of `maps` at the frequencies of a grid of `stride` pixels: 0 without a checkerboard, below 1.

    maps: float (n, height, width, channels), with sides of `stride` or more; rows and columns beyond the last whole cell
    are left out. Each map is averaged at each of the stride² places in the grid: that is the part that repeats with it.
    The variance of these means is the energy at the nonzero multiples of 1 / stride on both axes (Odena et al. 2016 show
    these peaks); it is divided by the mean square of the map.
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

    For resizing and unpooling that is the finer map. Memory that a program needs only for a moment is not counted.
    """
    finer = layer.finer**2 if isinstance(layer, upsampling.ResizeConv2D | upsampling.UnpoolingConv2D) else 1
    return 4 * finer * int(np.prod(layer.input.shape[1:]))


def costs(named: dict, shape: tuple[int, int, int], batch_size: int = 16, repeats: int = 5, seed: int = 0) -> pd.DataFrame:
    """What each layer costs on this machine, and its ratio to a bare convolution of as many FLOPs; one row a layer.

    named: {name: a convolution or operator, not built}. shape: (height, width, channels) of the input map. The bare
    convolution is 3 × 3 from w channels to w at the size of the layer's output; w is chosen so that the FLOPs agree.

    Columns: operator; MFLOPs of an image, forward; forward and both (with the backward pass to map and weights),
    milliseconds for `batch_size` maps of noise; KiB, `bytes_kept` for an image; and each of the last three as a "..., ratio".
    Times are medians of `repeats`. Ratios are medians over neighbouring runs, so other load on the machine falls on both.
    """
    allowed.check(batch_size=batch_size, repeats=repeats, seed=seed)
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
            seconds[repeat, pair, which] = timeit.timeit(functools.partial(run, maps), number=1)
    seconds = seconds[1:]  # the first run also prepares the program
    took = np.median(1000 * seconds[..., 0], axis=0).reshape(-1, 2)
    ratio = np.median(seconds[..., 0] / seconds[..., 1], axis=0).reshape(-1, 2)
    times = pd.DataFrame(np.hstack([took, ratio]), columns=["forward", "both", "forward, ratio", "both, ratio"])
    return pd.DataFrame(rows).join(times)


def _alone(layer, shape):
    images = keras.Input(shape)
    return keras.Model(images, layer(images))


def _passes(model):
    """Programs of the forward pass, and of both; they return one number a map, so no time goes into copying results."""

    def forward(maps):
        return keras.ops.sum(model(maps), axis=(1, 2, 3))

    def both(maps):
        weights = [weight.value for weight in model.trainable_variables]
        result, pull = backend.vjp(lambda parts: model.stateless_call(parts[1:], [], parts[0])[0], [maps, *weights])
        gradient, *others = pull(result)
        return keras.ops.sum(gradient, axis=(1, 2, 3)) + sum(keras.ops.sum(other) for other in others)

    return [backend.compiled(function, model, model.input_shape[1:]) for function in (forward, both)]


def spectra(named, stride):
    """A map of each name over its power spectrum; circles mark where a checkerboard of `stride` pixels has its peaks.

    named: {name: maps (n, height, width, channels)}. The map shown is channel 0 of the first. The spectrum is the mean over
    all maps, each without its mean, on a logarithmic scale of four decades below its largest value.
    """
    columns = max(len(named), 3)
    fig, axs = figures.grid(2, columns, row_height=figures.WIDTH / columns + 0.15)
    for (upper, lower), (name, maps) in zip(axs.T, named.items(), strict=False):
        first = np.asarray(maps[0, ..., 0], float)
        least = 1e-4 * np.abs(maps).max() + 1e-12  # or an even map would show its last digits
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

    table: rows of `costs` with a column side, pixels.
    """
    titles = {"forward, ratio": "time, forward", "both, ratio": "time, forward and backward", "KiB, ratio": "memory kept"}
    fig, axs = figures.panels(3, 2.9)
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
