"""A network's faults, read off its channels: Zeiler & Fergus 2013, figure 6 and section 4.1."""

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from deconvlib import backend, checks, figures
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, choosing, graph

ALIKE = 0.95  # correlation or cosine of duplicates
LOUD = 3  # times the median RMS of its layer's filters
SMALLEST = 8  # pixels a side; a smaller map has no spectrum worth the name

_CHANNEL_BY_CHANNEL = {
    *("BatchNormalization", "Activation", "ReLU", "LeakyReLU", "Relu", "Relu6", "LeakyRelu", "Dropout", "Identity"),
    *("MaxPooling2D", "AveragePooling2D"),
}
_SAMPLING = ("Conv2D", "DeconvolvedConv2D", "DepthwiseConv2D", "SeparableConv2D", "MaxPooling2D", "AveragePooling2D")


def measure(model: keras.Model, images: np.ndarray, layers: list[str] | None = None) -> pd.DataFrame:
    """What each channel does on `images`, and what is wrong with it; one row a channel.

    layers: with feature maps, or of dense units; None: every rectified convolution. images: uint8, or float as the model
        takes them, enough of them to excite every channel that can be. Columns:

    layer, channel; peak, the largest activation; firing, the share of units above 0;
    dead: no unit fires on any image;
    rms: root mean square of the filter; loud: rms is above 3 times the median of its layer. The paper clips filters at
        0.1, for pixels from -128 to 127, because one loud filter of layer 1 drowned the others (figure 6a). NaN and False
        unless a single convolution feeds the layer; a batch normalization removes a filter's scale and makes it mean little;
    duplicate_of: the first live channel before it with a correlation of activations, or a cosine of filters, of 0.95 or
        more; else <NA>. Only the second of a pair is a duplicate;
    correlation, cosine: the largest with an earlier live channel, else NaN.
    Raises ValueError for an unknown layer, one of neither maps nor units, or a model without rectified convolutions.
    """
    layers = choosing.rectified_convolutions(model) if layers is None else checks.names("layers", layers)
    if not layers:
        raise ValueError(f"model {model.name!r} has no rectified convolution; name its layers with maps")
    for layer in layers:
        shape = graph.find(model, layer).node.outputs[0].shape
        if len(shape) not in (2, 4):
            raise ValueError(f"layer {layer!r} has outputs of shape {tuple(shape[1:])}: not feature maps, nor a vector")
    read = activations.reader(model, layers, activations.maps, images.shape[1:])
    peaks, sums = dict.fromkeys(layers, -np.inf), dict.fromkeys(layers, (0, 0, 0.0, 0.0))
    for _, batch in activations.batches(model, images, "channels"):
        for layer, maps in zip(layers, read(batch), strict=True):
            units = maps.reshape(-1, maps.shape[-1])
            some = len(units), (units > 0).sum(axis=0), units.sum(axis=0, dtype=float), (units.T @ units).astype(float)
            peaks[layer] = np.maximum(peaks[layer], units.max(axis=0))
            sums[layer] = [one + other for one, other in zip(sums[layer], some, strict=True)]
    kernels = zip(layers, _kernels(model, layers), strict=True)
    return pd.concat([_table(layer, kernel, peaks[layer], *sums[layer]) for layer, kernel in kernels], ignore_index=True)


def _table(layer, kernel, peak, count, above, total, products):
    """The rows of `measure` for one layer, from sums over `count` units of each channel."""
    dead, mean = peak <= 0, total / count
    covariance = products / count - np.outer(mean, mean)
    varied = np.diag(covariance) > 1e-5 * np.diag(products) / count  # below lies the rounding of float32
    correlation = _earlier(covariance, ~dead & varied)
    cosine, rms = np.full_like(correlation, np.nan), np.full(len(dead), np.nan)
    if kernel is not None:
        cosine, rms = _earlier(kernel.T @ kernel, ~dead), np.sqrt((kernel**2).mean(axis=0))
    alike = (correlation >= ALIKE) | (cosine >= ALIKE)
    table = pd.DataFrame({"layer": layer, "channel": np.arange(len(dead)), "peak": peak})
    table["firing"], table["dead"] = above / count, dead
    table["rms"], table["loud"] = rms, rms > LOUD * np.median(rms)
    table["duplicate_of"] = pd.arrays.IntegerArray(alike.argmax(axis=1), ~alike.any(axis=1))
    table["correlation"], table["cosine"] = np.fmax.reduce(correlation, axis=1), np.fmax.reduce(cosine, axis=1)
    return table


def faults(table: pd.DataFrame) -> pd.DataFrame:
    """Counts for each layer: channels, dead, duplicates, loud. table: from `measure`."""
    counted = table.assign(channels=1, duplicates=table["duplicate_of"].notna())
    return counted.groupby("layer", sort=False, as_index=False)[["channels", "dead", "duplicates", "loud"]].sum()


def aliasing(model: keras.Model, images: np.ndarray) -> pd.DataFrame:
    """How much energy the stride of each layer folds into wrong frequencies: one row for each layer with a stride.

    A layer with stride s is the same layer with stride 1, then sampling: it keeps each s-th place (Zhang 2019). Sampling
    keeps frequencies below 1 / (2 s) cycles a place, the Nyquist frequency, and shows higher ones as lower ones: the
    grid-like artefacts of figure 6(d). aliased: the share of energy above the Nyquist frequency, on either axis, in the
    layer's output at stride 1; over all channels and images, without each map's mean, under a Hann window, and before the
    activation, which adds frequencies of its own. White noise would give 1 - 1 / s².

    images: uint8, or float as the model takes them; some dozens are enough. Columns layer, kind, stride, aliased. Left out:
    layers whose output at stride 1 has less than 8 places a side, and all but convolutions and poolings.
    """
    samplers = [step for step in graph.steps(model) if graph.kind(step.operation) in _SAMPLING]
    samplers = {step.name: step for step in samplers if max(step.operation.strides) > 1}
    every = {name: _at_each_place(model, step) for name, step in samplers.items()}

    def forward(images):
        found = {}

        def call(step, *arguments, **keywords):
            if step.name in every:
                found[step.name] = every[step.name](*arguments)
            return graph.at_inference(step.operation, *arguments, **keywords)

        graph.run(model, [images], call)
        return [found[name] for name in every]

    read = backend.compiled(forward, model, images.shape[1:])
    sums = {}
    for _, batch in activations.batches(model, images, "aliasing") if every else ():
        for name, maps in zip(every, read(batch), strict=True):
            if min(maps.shape[1:3]) >= SMALLEST:
                energy, share = _spectrum(maps, samplers[name].operation.strides)
                sums[name] = sums.get(name, 0) + np.array([(energy * share[..., None]).sum(), energy.sum()])
    found = []
    for name, (folded, whole) in sums.items():
        operation = samplers[name].operation
        found.append((name, type(operation).__name__, tuple(operation.strides), folded / (whole or 1)))
    return pd.DataFrame(found, columns=["layer", "kind", "stride", "aliased"])


def coarse(model: keras.Model, layer: str, kernel_size: int, strides: int) -> keras.Model:
    """An untrained copy of the model whose convolution `layer` has other filters and another stride.

    Poolings get padding "same", so that a map of one pixel stays. Its weights are drawn by the layers' initializers.
    """

    def copied(part):
        config = part.get_config()
        config |= {"kernel_size": kernel_size, "strides": strides} if part.name == layer else {}
        config |= {"padding": "same"} if "Pooling2D" in type(part).__name__ and "padding" in config else {}
        return type(part).from_config(config)

    return keras.models.clone_model(model, clone_function=copied)


def _kernels(model, layers):
    """For each layer the filters (weights, channels) of the single convolution that feeds it, or None."""
    fed = {}

    def call(step, *arguments, **_):
        kind = type(step.operation).__name__
        if kind in ("Conv2D", "Conv2DTranspose", "DeconvolvedConv2D", "Dense"):
            kernel = step.operation.transformed()[0] if kind == "DeconvolvedConv2D" else step.operation.kernel
            kernel = keras.ops.convert_to_numpy(kernel).astype(float)
            kernel = np.moveaxis(kernel, 2, 3) if kind == "Conv2DTranspose" else kernel  # its outputs come third
            source = kernel.reshape(-1, kernel.shape[-1])
        else:
            source = arguments[0] if kind in _CHANNEL_BY_CHANNEL else None
        fed[step.name] = source
        return [source] * len(step.node.outputs)

    graph.run(model, [None], call)
    return [fed[layer] for layer in layers]


def _earlier(products, live):
    """Cosines of each channel with the ones before it, (channels, channels); NaN elsewhere, and if either is dead."""
    length = np.sqrt(np.where(live & (np.diag(products) > 0), np.diag(products), np.nan))
    return np.where(np.tri(len(live), k=-1, dtype=bool), products / np.outer(length, length), np.nan)


def _at_each_place(model, step):
    """The same layer with stride 1 and no activation."""
    copies, linear = {}, {"activation": None} if hasattr(step.operation, "activation") else {}
    copied = graph.copying(model, copies, strides=1, **linear)
    copied(step, keras.Input(batch_shape=step.node.input_tensors[0].shape))
    return copies[step.operation]


def _spectrum(maps, strides):
    """(energy of maps (n, height, width, channels) by frequency, the share of it that the strides fold)."""
    height, width = maps.shape[1:3]
    # padded so that the Nyquist frequency is one of the spectrum's
    size = [-(-length // (2 * stride)) * 2 * stride for length, stride in zip((height, width), strides, strict=True)]
    window = (np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]).astype(np.float32)[..., None]
    energy = np.zeros((*size, maps.shape[-1]))
    for one in maps:
        centred = one - (window * one).sum(axis=(0, 1)) / window.sum()
        energy += abs(np.fft.fft2(window * centred, size, axes=(0, 1))) ** 2
    down, across = (
        # half of the energy on the Nyquist frequency itself; without a stride nothing is folded
        (1 + np.sign(0.5 / stride - abs(np.fft.fftfreq(length)))) / 2 if stride > 1 else np.ones(length)
        for length, stride in zip(size, strides, strict=True)
    )
    return energy, 1 - np.outer(down, across)


def filters(models: dict[str, keras.Model], images: np.ndarray, layer: str, count: int = 16):
    """Figure 6 of Zeiler & Fergus: the first filters of a convolution of each model, {name: model}, a row each.

    The layer sees the pixels. A filter that is dead or repeats another by `measure` has a red frame; a row says how many of
    all its filters do, and what share of its energy its stride folds. images: as for `measure`.
    """
    fig, axs = figures.grid(len(models), 1, row_height=figures.WIDTH / count + 0.3)
    for ax, (name, model) in zip(axs[:, 0], models.items(), strict=True):
        state = measure(model, images, [layer])
        kernels = np.moveaxis(keras.ops.convert_to_numpy(model.get_layer(layer).kernel), 3, 0)[:count]
        kernels = figures.to_display(kernels, percentile=100)
        zoom, gap = max(1, 32 // kernels.shape[1]), 4
        row = kernels.repeat(zoom, axis=1).repeat(zoom, axis=2)[None]
        height, width = row.shape[2:4]
        figures.show(ax, figures.mosaic(row, gap))
        for place in np.flatnonzero((state["dead"] | state["duplicate_of"].notna())[:count]):
            ax.add_patch(
                Rectangle((place * (width + gap) - 0.5, -0.5), width, height, fill=False, edgecolor="red", linewidth=2)
            )
        folded = aliasing(model, images).set_index("layer")["aliased"].get(layer, 0.0)
        counted = faults(state).iloc[0]
        said = f"of {counted['channels']} filters {counted['dead']} dead, {counted['duplicates']} repeated"
        ax.set_title(f"{name}: {said}; {100 * folded:.0f} % of the energy aliased", fontsize=8)
    return figures.captioned(fig, "Gray is zero, each filter scaled by its own largest weight. A red frame: dead or repeated.")
