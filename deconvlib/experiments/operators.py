"""Operators that restore resolution: the checkerboards they leave in a map, what they restore, and their costs."""

import functools
import timeit

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from deconvlib import allowed, backend, figures, progress, training
from deconvlib.backend import keras
from deconvlib.experiments import quality
from deconvlib.networks import summary, upsampling

WEIGHTS = ("random", "all 1")


def build(operator, kernel, stride=2, filters=8, weights="random", seed=0) -> keras.layers.Layer:
    """The layer of that name in `networks.OPERATORS`, not built, its weights all 1 or random (Glorot's uniform).

    A sub-pixel convolution begins by ICNR; "subpixel, no ICNR" has other random weights for each pixel of a square.
    """
    initializer = "ones" if weights == "all 1" else keras.initializers.GlorotUniform(seed)
    initializer = upsampling.ICNR(initializer, stride) if operator == "subpixel" else initializer
    made = upsampling.OPERATORS[operator.partition(",")[0]]
    return made(filters, kernel, strides=stride, padding="same", kernel_initializer=initializer)


def of_constant(operator, kernel, stride=2, weights="random", seed=0) -> np.ndarray:
    """What the layer makes of an image that is 1 everywhere, border left out: float (1, 4 strides, 4 strides, 8)."""
    inner = slice(6 * stride, -6 * stride)
    layer = build(operator, kernel, stride, weights=weights, seed=seed)
    return keras.ops.convert_to_numpy(layer(np.ones((1, 16, 16, 3), np.float32)))[:, inner, inner]


def halving(kernels, image_shape, num_classes) -> dict[str, keras.Model]:
    """Small classifiers that halve the image by convolutions of these kernels, or by pooling; weights by Keras' seed."""
    same = {"padding": "same", "activation": "relu"}
    first = {f"convolution {k}, stride 2": [keras.layers.Conv2D(16, k, strides=2, **same)] for k in kernels}
    first["max pooling"] = [keras.layers.Conv2D(16, 3, **same), keras.layers.MaxPooling2D(2)]
    first["mean pooling"] = [keras.layers.Conv2D(16, 3, **same), keras.layers.AveragePooling2D(2)]
    models = {}
    for name, layers in first.items():
        last = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(num_classes, activation="softmax")]
        parts = [keras.layers.Rescaling(2.0, offset=-1.0), *layers, keras.layers.Conv2D(32, 3, **same), *last]
        models[name] = keras.Sequential([keras.Input(image_shape), *parts])
    return models


def equal_cost(build, names, filters) -> pd.DataFrame:
    """How many channels give each network the FLOPs of the first one with `filters`: a row a name.

    build: build(name, channels) -> a model, whose FLOPs grow about with the square of the channels. Columns: channels,
    parameters, MFLOPs of an image.
    """

    def cost(name, channels):
        model = build(name, channels)
        flops = summary.layer_table(model)["FLOPs"].sum() / 1e6
        return {"channels": channels, "parameters": model.count_params(), "MFLOPs": flops}

    alike = {name: cost(name, filters)["MFLOPs"] for name in names}
    fitting = {name: round(filters * (alike[names[0]] / flops) ** 0.5) for name, flops in alike.items()}
    return pd.DataFrame([cost(*pair) for pair in fitting.items()], index=list(names))


def judge(model, images, truth) -> tuple[np.ndarray, dict[str, float]]:
    """(what the model makes of the images, how good that is): mean PSNR, dB, and energies of the 2-pixel checkerboard.

    images, truth: floats in [0, 1], (n, height, width, channels). "map": in the map of its last operator, of 100 images at
    most. "error": in the difference to the truth.
    """
    last = [layer for layer in model.layers if type(layer) in upsampling.OPERATORS.values()][-1]
    maps = training.predict(keras.Model(model.inputs, last.output), images[:100])
    made = training.predict(model, images)
    found = {"PSNR, dB": float(quality.of_images(made.clip(0, 1), truth)["PSNR"].mean())}
    return made, found | {"map": checkerboard(maps, 2), "error": checkerboard(made - truth, 2)}


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
        lower.imshow(np.log10(_spectrum(maps, (least * first.size) ** 2)), cmap="viridis", vmin=-4, vmax=0)
        lower.scatter(*_peaks(first.shape, stride), s=50, facecolor="none", edgecolor="#D55E00", clip_on=False)
    figures.row_name(axs[0, 0], "map")
    figures.row_name(axs[1, 0], "spectrum")
    return figures.captioned(
        fig,
        "Maps: each from its least value, black, to its greatest, white. Spectra: frequency 0 in the middle, yellow is most "
        "energy;\ncircles mark the frequencies of a checkerboard.",
    )


def _spectrum(maps, least):
    """The mean power spectrum of maps without their means, over its largest value, or `least`; from 1e-4 to 1."""
    power = np.abs(np.fft.fft2(maps - maps.mean(axis=(1, 2), keepdims=True), axes=(1, 2))) ** 2
    power = np.fft.fftshift(power.mean(axis=(0, 3)))
    return np.maximum(power / max(power.max(), least), 1e-4)


def _peaks(shape, stride):
    """Columns and rows, in a shifted spectrum of that shape, of the nonzero multiples of 1 / stride."""
    peaks = ((np.arange(stride) * side / stride + side // 2) % side for side in shape)
    down, across = (part.ravel()[1:] for part in np.meshgrid(*peaks, indexing="ij"))
    return across, down


def restored(truth, made, stride, number=0, side=16):
    """An image as each operator restored it, its error, and the spectrum of all errors; a column an operator.

    truth: float (n, height, width, channels). made: {name: images of that shape}. number: of the image that is shown; of it
    the square of `side` pixels where the first of `made` errs most. Errors are means over the channels, all on one scale.
    Circles: the peaks of a checkerboard of `stride` pixels. Spectra: each over its own largest value, four decades.
    """
    errors = {name: (images - truth).mean(axis=-1) for name, images in made.items()}
    first = np.abs(next(iter(errors.values()))[number])
    side = min(side, *first.shape)
    sums = np.lib.stride_tricks.sliding_window_view(first, (side, side)).sum(axis=(2, 3))
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    part = (number, slice(row, row + side), slice(column, column + side))
    limit = max(np.abs(error[part]).max() for error in errors.values()) or 1
    fig, axs = figures.grid(3, 1 + len(made), row_height=figures.WIDTH / (1 + len(made)) + 0.1)
    figures.show(axs[0, 0], truth[part].clip(0, 1), "truth")
    for (upper, middle, lower), (name, images) in zip(axs.T[1:], made.items(), strict=True):
        figures.show(upper, images[part].clip(0, 1), name)
        middle.imshow(errors[name][part], cmap="RdBu_r", vmin=-limit, vmax=limit)
        lower.imshow(np.log10(_spectrum(images - truth, 1e-12)), cmap="viridis", vmin=-4, vmax=0)
        lower.scatter(*_peaks(images.shape[1:3], stride), s=40, facecolor="none", edgecolor="#D55E00", clip_on=False)
    for ax, name in zip(axs[:, 1], ("image", "error", "spectrum of errors"), strict=True):
        figures.row_name(ax, name)
    return figures.captioned(
        fig,
        f"Errors: blue is too dark, red too bright, on one scale of ±{limit:.2f}. Spectra: frequency 0 in the middle, yellow\n"
        "is most energy, dark blue a ten-thousandth of it. A checkerboard is brighter in the circles than around them.",
    )


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
