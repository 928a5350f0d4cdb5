"""Does a projection change when the network forgets what it learned? The cascade of Adebayo et al. 2018, section 3."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy import stats
from skimage.metrics import structural_similarity

from deconvlib import figures
from deconvlib.backend import keras
from deconvlib.deconvnet import choosing, graph, inputs
from deconvlib.deconvnet.rules import RULES
from deconvlib.experiments import saliency, statistics, targets


def initial_weights(layer: keras.layers.Layer, seed: int) -> list[np.ndarray]:
    """New random weights for `layer`, as before any training: arrays of the shapes of `layer.get_weights()`.

    Each comes from its own initializer: Glorot's or He's for kernels; biases become 0, a batch normalization's γ and
    variance 1, its β and mean 0. `seed` replaces the initializers' own seeds, which would give the weights that the
    training began from, and those resemble the trained ones. The layer is unchanged.
    """
    rng = np.random.default_rng(seed)

    def reseeded(config):
        if isinstance(config, dict):
            return {key: int(rng.integers(2**31)) if key == "seed" else reseeded(part) for key, part in config.items()}
        return [reseeded(part) for part in config] if isinstance(config, list) else config

    fresh = type(layer).from_config(reseeded(layer.get_config()))
    fresh.build_from_config(layer.get_build_config())
    return fresh.get_weights()


def without_classes(model: keras.Model, seed: int) -> keras.Model:
    """A copy of a classifier that knows its features and no class: its last layer with a kernel is random.

    The weights are drawn by `initial_weights`. Raises ValueError for a layer that its initializer would not change.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    last = [part for part in graph.layers(copy) if any(len(weight.shape) > 1 for weight in part.weights)][-1]
    _randomize(last, seed, last.name)
    return copy


def cascade(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    channel: int | np.ndarray,
    methods: tuple[str, ...] = RULES,
    depths: int = 12,
    seed: int = 0,
) -> pd.DataFrame:
    """How maps change as the layers below a unit are randomized, from the unit's own layer down, cumulatively.

    layer: hidden, or the last for class scores. channel: one for all images, or one for each, (n,). Each image's unit is
    the channel's strongest in the trained network, and stays the same throughout. What is explained is the unit before its
    own rectifier or softmax, because it may be off in a random network. Maps are cropped to what the unit sees. methods: of
    `saliency.METHODS`; Grad-CAM is of the last maps below the unit's weights.

    One step draws new weights, by `initial_weights`, for one convolution or dense layer and the normalizations that follow
    it. depths: a deeper network is measured after so many of its steps, evenly spread, with the first and the last among
    them. All methods see the same random weights; another `seed` draws others. The model is not changed: a copy is.

    Returns one row for each method, depth (0: nothing randomized), measure and reference:
    - layer: the lowest one randomized so far; "none" at depth 0
    - measure: "SSIM" and "rank correlation" compare saliency maps, "signed rank correlation" the maps as they are
    - reference: the "unrandomized" map, or the image's "edge detector"
    - value, low, high: mean over the images and its 95 % confidence interval (Student's t), for this one draw of weights
    Against "unrandomized" every value at depth 0 is exactly 1. A hidden unit's maps share an envelope, high in the middle of
    what it sees and zero outside, and it alone correlates their absolute values: read the signed correlation there.
    Raises ValueError for a channel that the layer does not have, fewer than 3 × 3 pixels in sight, a layer that its
    initializer would not change, and as `deconvnet.project_units`.
    """
    methods, images = saliency.known_methods(methods), inputs.as_input(model, images)
    if depths < 2:
        raise ValueError(f"depths must be 2 or more, not {depths}: nothing randomized, and everything")
    probe, names = _probe(model, layer)
    last = graph.steps(probe)[-1].name
    units = targets.of_channels(probe, images, last, channel).units

    def explained(method):
        return saliency.patches(probe, images, last, units, method, signal=1.0, seed=seed)

    trained = {method: explained(method) for method in methods}
    patches = trained[methods[0]]
    height, width = patches.pixels.shape[1:3]
    corners = zip(saliency.edges(images), patches.row, patches.column, strict=True)
    outlines = np.stack([whole[row : row + height, column : column + width] for whole, row, column in corners])

    steps = [("none", []), *reversed(_randomizable(probe, names).items())]
    measured = set(np.linspace(0, len(steps) - 1, min(depths, len(steps))).round().astype(int).tolist())
    seeds = np.random.default_rng(seed).integers(2**31, size=(len(steps), max(len(part) for _, part in steps))).tolist()
    rows = []
    for depth, (name, randomized) in enumerate(steps):
        for operation, draw in zip(randomized, seeds[depth], strict=False):
            _randomize(operation, draw, name)
        for method in methods if depth in measured else ():
            was, now = trained[method].projections, explained(method).projections
            maps = saliency.measure(now)
            found = {
                ("SSIM", "unrandomized"): ssim(maps, saliency.measure(was)),
                ("SSIM", "edge detector"): ssim(maps, outlines),
                ("rank correlation", "unrandomized"): rank_correlation(maps, saliency.measure(was)),
                ("rank correlation", "edge detector"): rank_correlation(maps, outlines),
                ("signed rank correlation", "unrandomized"): rank_correlation(now, was),
            }
            for (measure, reference), values in found.items():
                rows.append((method, depth, name, measure, reference, *statistics.mean(values)))
    return pd.DataFrame(rows, columns=["method", "depth", "layer", "measure", "reference", "value", "low", "high"])


def ssim(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair of maps, (n,), in [-1, 1]; each map is first scaled by its own maximum to [0, 1].

    Windows of 7 × 7 pixels, smaller in maps smaller than that. Raises ValueError below 3 × 3 pixels. Wang et al. 2004.
    """
    _check_pair(maps, others)
    side = min(maps.shape[1:])
    if side < 3:
        raise ValueError(f"maps of {maps.shape[1]} × {maps.shape[2]} pixels have no structure to compare; 3 × 3 is the least")
    window = min(7, side - 1 + side % 2)
    # each divided by its maximum; an empty map stays zero
    scaled = [[(one / (max(one.max(), 0) or 1)).astype(np.float64) for one in part] for part in (maps, others)]
    return np.array([structural_similarity(a, b, win_size=window, data_range=1.0) for a, b in zip(*scaled, strict=True)])


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps, (n,), in [-1, 1].

    maps, others: of one shape, (n, ...). A constant map correlates with another constant map by 1, with any other by 0.
    """
    _check_pair(maps, others)
    one, other = (stats.rankdata(part.reshape(len(part), -1), axis=1) for part in (maps, others))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    neither = ~one.any(axis=1) & ~other.any(axis=1)
    return np.divide((one * other).sum(axis=1), norm, out=neither.astype(float), where=norm > 0)


def _probe(model, layer):
    """(a copy of the model up to `layer`, before its own rectifier; {name of a layer in it: the user's name})."""
    known = choosing.coverage(model, layer)
    # the unit's own rectifier would stop a signal at a unit that is off
    bare = bool(known["covered"][known["layer"] == layer].any())
    # float32: random weights may reach beyond what 16 bits hold
    copies, last = {}, {}
    copied = graph.copying(model, copies, dtype="float32")
    name = layer.replace("/", ".").replace(":", ".")
    unrectified = graph.copying(model, last, dtype="float32", activation="linear", name=name)

    def call(step, *arguments, **keywords):
        if not bare or step.name != layer:
            return copied(step, *arguments, **keywords)
        return unrectified(step, *arguments, **keywords) if hasattr(step.operation, "activation") else arguments[0]

    images = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in model.inputs]
    probe = keras.Model(images, graph.run(model, images, call, until=layer))
    # of a layer that is called twice the first name, as Keras has it
    names = {copies[step.operation].name: step.name for step in reversed(graph.steps(model)) if step.operation in copies}
    names |= {copy.name: layer for copy in last.values()}
    return probe, names


def _randomizable(probe, names):
    """{name of a layer with a kernel: [it, and the normalizations after it]}, in the order of computation."""
    groups = {}

    def follow(step, *arguments, **keywords):
        operation = step.operation
        # the name of the last kernel that a tensor went through follows it
        below = next((part for part in keras.tree.flatten((arguments, keywords)) if isinstance(part, str)), "")
        weights = getattr(operation, "weights", None)
        # a Normalization holds statistics of the images; no training changes them
        if weights and not isinstance(operation, keras.layers.Normalization):
            kernel = any(len(weight.shape) > 1 for weight in weights)
            below = names[operation.name] if kernel or not below else below
            if operation not in groups.setdefault(below, []):
                groups[below].append(operation)
        return [below] * len(step.node.outputs)

    graph.run(probe, [""], follow)
    if not groups:
        raise ValueError("there are no weights between the pixels and this layer; nothing to randomize")
    return groups


def _randomize(layer, seed, name):
    before, drawn = layer.get_weights(), initial_weights(layer, seed)
    kernels = [(old, new) for old, new in zip(before, drawn, strict=True) if old.ndim > 1]
    if kernels and all(np.array_equal(old, new) for old, new in kernels):
        raise ValueError(f"layer {name!r} cannot be randomized: its initializer gives the kernel that it has already")
    layer.set_weights(drawn)


def _check_pair(maps, others):
    if maps.shape != others.shape or not len(maps):
        raise ValueError(f"maps of shapes {maps.shape} and {others.shape} cannot be compared; give two of one shape (n, ...)")
    for values in (maps, others):
        saliency.check_finite(values)


def figure(table):
    """Similarity of maps by how far down the network is randomized, one panel a measure, bands the intervals.

    table: from `cascade`. Solid: compared with the trained network's map; dashed: with the edges.
    """
    measures, methods = table["measure"].unique(), table["method"].unique()
    ticks = table.drop_duplicates("depth")
    fig, axs = figures.panels(len(measures), 3.0)
    for ax, measure in zip(axs, measures, strict=True):
        for (method, reference), rows in table[table["measure"] == measure].groupby(["method", "reference"], sort=False):
            colour, trained = f"C{list(methods).index(method)}", reference == "unrandomized"
            ax.plot(rows["depth"], rows["value"], "-o" if trained else "--", markersize=3, color=colour, label=method)
            if trained:
                ax.fill_between(rows["depth"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
        ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        ax.set(title=measure, xlabel="randomized down to")
        ax.set_xticks(ticks["depth"], ticks["layer"], rotation=60, ha="right")
    axs[0].set_ylabel("similarity")
    lines = [Line2D([], [], color=f"C{index}", label=method) for index, method in enumerate(methods)]
    styles = {"-": "to the trained network's", "--": "to the image's edges"}
    lines += [Line2D([], [], color="0.3", linestyle=style, label=label) for style, label in styles.items()]
    fig.legend(handles=lines, loc="outside upper center", ncols=len(lines) if len(lines) < 6 else -(-len(lines) // 2))
    return fig
