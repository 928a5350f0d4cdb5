"""Whether to believe a projection: three questions with known answers, put to a saliency map.

    cascade                 does the picture change when the network forgets what it learned?   Adebayo et al. 2018
    deletion, insertion     do the pixels that it marks drive the class?                        Petsiuk et al. 2018
    localization            does it lie on the object?                                          Zhang et al. 2016

Deconvnet and guided back-propagation are known to recover the image in part, whatever the network decides (Nie et al.
2018): they show what drives a unit, not why a class. An edge detector, which knows no network, stands beside each answer.

Maps are (n, height, width), of any method; larger is more important. `saliency` makes them of projections.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.ndimage
import scipy.stats
from skimage.filters import sobel
from skimage.metrics import structural_similarity

from deconvlib.backend import keras
from deconvlib.deconvnet import graph
from deconvlib.deconvnet import projection as deconvnet
from deconvlib.deconvnet.activations import Units
from deconvlib.deconvnet.rules import known_rule
from deconvlib.networks import classifier as models

BATCH = 256  # images
CONFIDENCE = 0.95
LIFT = 2.0**30  # added to every unit's sum; more than any sum, and far from float32's largest number, 2^128


def saliency(projections: np.ndarray) -> np.ndarray:
    """How much a projection says at each pixel: the sum over its channels of the absolute values.

    projections: signed, (..., height, width, channels). Returns (..., height, width). The sign goes, as in Simonyan et al.
    2014: of a channel below zero, less of that colour would excite the unit. Raises ValueError for NaN or infinity.
    """
    projections = np.asarray(projections)
    if not np.isfinite(projections).all():
        raise ValueError("a projection holds NaN or infinity")
    return np.abs(projections).sum(axis=-1)


def edges(images: np.ndarray) -> np.ndarray:
    """The baseline that knows no network: float32 (n, height, width), Sobel's magnitude summed over the channels.

    images: (n, height, width, channels), uint8 or float. The scale of the maps is that of the pixels.
    """
    images = np.asarray(images, np.float32)
    return np.stack([sum(sobel(image[..., channel]) for channel in range(image.shape[-1])) for image in images])


def baselines(images: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """{"edge detector": `edges`, "random": a number in [0, 1) for each pixel}: what a map must beat to say anything."""
    return {"edge detector": edges(images), "random": np.random.default_rng(seed).random(images.shape[:3], np.float32)}


def class_projections(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, rules: tuple[str, ...] = deconvnet.RULES
) -> dict[str, np.ndarray]:
    """{rule: float32 of the shape of `images`}: each image's class score, projected back to the pixels.

    classes: integers (n,), of which class for each image. The score is taken before the softmax. It is seeded with 1, not
    with its value as in `deconvnet.project`: the score of a class may be negative, and a rectified negative signal shows
    another map.

    Raises ValueError for a class that the model does not have, and where `deconvnet.project` does.
    """
    images = models.as_input(model, images)
    layer, classes = graph.steps(model)[-1].name, _check_classes(model, classes, len(images))
    probe, nothing = _probe(model, layer), np.zeros(len(images), int)
    units = Units(np.arange(len(images)), nothing, nothing, classes, nothing)
    return {rule: _project(probe, images, units, rule).projections for rule in _known_rules(rules)}


# Cascading randomization


def initial_weights(layer: keras.layers.Layer, seed: int) -> list[np.ndarray]:
    """Weights for `layer` as before any training, drawn anew: arrays of the shapes of `layer.get_weights()`.

    Each comes from its own initializer: kernels from theirs (Glorot's, He's), biases become 0, a batch normalization's γ
    and variance 1, its β and mean 0. `seed` takes the place of the seeds that the initializers were built with, which
    would give the very weights that the training began from, and those resemble the trained ones. The layer is unchanged.
    """
    rng = np.random.default_rng(seed)

    def reseeded(config):
        if isinstance(config, dict):
            return {key: int(rng.integers(2**31)) if key == "seed" else reseeded(part) for key, part in config.items()}
        return [reseeded(part) for part in config] if isinstance(config, list) else config

    fresh = type(layer).from_config(reseeded(layer.get_config()))
    fresh.build_from_config(layer.get_build_config())
    return fresh.get_weights()


def cascade(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    channel: int | np.ndarray,
    rules: tuple[str, ...] = deconvnet.RULES,
    depths: int = 12,
    seed: int = 0,
) -> pd.DataFrame:
    """How projections change as the layers below a unit are randomized, from the unit's own layer down, cumulatively.

    layer: hidden, or the last for class scores. channel: one for all images, or one for each, (n,). Of each image the unit
    is the channel's strongest in the trained network, and stays the same one throughout: its sum before its own rectifier
    or softmax, seeded with 1, since in a random network the unit may be off. Maps are cropped to what the unit sees.

    One step re-draws the weights of one convolution or dense layer by `initial_weights`, together with the normalizations
    that follow it. depths: with more steps than that, as in deep networks, similarity is measured after so many of them,
    evenly spread, the first and the last among them. All rules see the same random weights; another `seed` draws others.
    The model is not changed: a copy is.

    Returns one row for each rule, depth (0: nothing randomized), measure and reference:
    - layer: the lowest one randomized so far; "none" at depth 0
    - measure: "SSIM" and "rank correlation" compare saliency maps, "signed rank correlation" the projections themselves
    - reference: what a projection is compared with, the "unrandomized" projection or the image's "edge detector"
    - value, low, high: mean over the images and its 95 % confidence interval (Student's t), for the one draw of weights
    Against "unrandomized" every value at depth 0 is exactly 1. A hidden unit's maps share an envelope, high in the middle of
    what it sees and zero outside, which alone correlates their absolute values: read the signed correlation there.
    Adebayo et al. 2018, section 3.

    Raises ValueError for a channel that the layer does not have, fewer than 3 × 3 pixels in sight, a layer that its
    initializer would leave as it is, and where `deconvnet.project_units` does.
    """
    rules, images = _known_rules(rules), models.as_input(model, images)
    if depths < 2:
        raise ValueError(f"depths must be 2 or more, not {depths}: nothing randomized, and everything")
    probe = _probe(model, layer)
    units = _strongest(probe, images, layer, channel)
    trained = {rule: _project(probe, images, units, rule) for rule in rules}
    patches = trained[rules[0]]
    height, width = patches.pixels.shape[1:3]
    corners = zip(edges(images), patches.row, patches.column, strict=True)
    outlines = np.stack([whole[row : row + height, column : column + width] for whole, row, column in corners])

    steps = [("none", []), *reversed(_randomizable(probe).items())]
    measured = set(np.linspace(0, len(steps) - 1, min(depths, len(steps))).round().astype(int).tolist())
    seeds = np.random.default_rng(seed).integers(2**31, size=(len(steps), max(len(part) for _, part in steps))).tolist()
    rows = []
    for depth, (name, randomized) in enumerate(steps):
        for operation, draw in zip(randomized, seeds[depth], strict=False):
            _randomize(operation, draw, name)
        for rule in rules if depth in measured else ():
            was, now = trained[rule].projections, _project(probe, images, units, rule).projections
            maps = saliency(now)
            found = {
                ("SSIM", "unrandomized"): ssim(maps, saliency(was)),
                ("SSIM", "edge detector"): ssim(maps, outlines),
                ("rank correlation", "unrandomized"): rank_correlation(maps, saliency(was)),
                ("rank correlation", "edge detector"): rank_correlation(maps, outlines),
                ("signed rank correlation", "unrandomized"): rank_correlation(now, was),
            }
            for (measure, reference), values in found.items():
                rows.append((rule, depth, name, measure, reference, *_mean(values)))
    return pd.DataFrame(rows, columns=["rule", "depth", "layer", "measure", "reference", "value", "low", "high"])


def ssim(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Structural similarity of each two maps, (n,), in [-1, 1]; each map is first scaled by its own maximum to [0, 1].

    Windows of 7 × 7 pixels, smaller in maps smaller than that. Raises ValueError below 3 × 3 pixels. Wang et al. 2004.
    """
    _check_pair(maps, others)
    side = min(maps.shape[1:])
    if side < 3:
        raise ValueError(f"maps of {maps.shape[1]} × {maps.shape[2]} pixels have no structure to compare; 3 × 3 is the least")
    window = min(7, side - 1 + side % 2)
    pairs = zip(_scaled(maps), _scaled(others), strict=True)
    return np.array([structural_similarity(a, b, win_size=window, data_range=1.0) for a, b in pairs])


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each two maps, (n,), in [-1, 1].

    maps, others: of one shape, (n, ...). A map of one value everywhere puts no pixel before another: its correlation with
    another such map is 1, with any other map 0.
    """
    _check_pair(maps, others)
    one, other = (scipy.stats.rankdata(part.reshape(len(part), -1), axis=1) for part in (maps, others))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    neither = ~one.any(axis=1) & ~other.any(axis=1)
    return np.divide((one * other).sum(axis=1), norm, out=neither.astype(float), where=norm > 0)


class _Probe(NamedTuple):
    """A copy of a model up to one layer, weights included, nested models opened."""

    sums: keras.Model  # images -> the layer before its own rectifier or softmax
    units: keras.Model  # the same + LIFT, in the layer "units"
    names: dict  # of each layer of the copy: as the user sees it


def _probe(model, layer):
    known = deconvnet.coverage(model, layer)
    # a unit's own rectifier lets its seed through where the unit is on, and nothing where it is off
    strip = bool(known["covered"][known["layer"] == layer].any())
    copies, names = {}, {}

    def call(step, *arguments, **keywords):
        operation = step.operation
        bare = strip and step.name == layer
        if bare and not hasattr(operation, "activation"):
            return arguments[0]
        if not isinstance(operation, keras.layers.Layer):
            return operation(*arguments, **keywords)
        fresh = (operation, bare) not in copies
        copy = copies.setdefault((operation, bare), _copy(step, bare) if fresh else None)
        output = copy(*arguments, **keywords)
        if fresh:
            names[copy.name] = step.name
            copy.set_weights(operation.get_weights())
            if isinstance(copy, keras.layers.Normalization):
                copy.finalize_state()
        return output

    inputs = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in model.inputs]
    output = graph.run(model, inputs, call, until=layer)
    lifted = keras.layers.Rescaling(1.0, offset=LIFT, dtype="float32", name="units")(output)
    return _Probe(keras.Model(inputs, output), keras.Model(inputs, lifted), names)


def _copy(step, bare):
    layer = step.operation
    try:
        # float32, since LIFT is infinite in 16 bits
        changed = {"name": step.name.replace("/", ".").replace(":", "."), "dtype": "float32"}
        return type(layer).from_config(layer.get_config() | changed | ({"activation": "linear"} if bare else {}))
    except Exception as error:
        raise ValueError(f"layer {step.name!r}, a {type(layer).__name__}, cannot be copied: {error}") from error


def _project(probe, images, units, rule):
    """deconvnet.Patches of the units, as seeded with 1."""
    # a unit is seeded with its activation; LIFT makes that one positive number for all, which is then divided out
    patches = deconvnet.project_units(probe.units, images, "units", units, rule)
    return patches._replace(projections=patches.projections / np.float32(LIFT))


def _strongest(probe, images, layer, channel):
    """Units of shape (n,): each image's strongest of its channel, by the sum before the rectifier."""
    channels = probe.sums.output_shape[-1]
    wanted = np.asarray(channel)
    if wanted.shape not in ((), (len(images),)) or not np.issubdtype(wanted.dtype, np.integer):
        raise ValueError(f"channel must be a whole number, or one for each of the {len(images)} images, not {channel!r}")
    wrong = wanted[(wanted < 0) | (wanted >= channels)]
    if wrong.size:
        raise ValueError(f"channel {wrong.flat[0]} is not in layer {layer!r}; its channels are 0 to {channels - 1}")
    wanted, places, shape = np.broadcast_to(wanted, len(images)), [], (1, 1)
    for start in range(0, len(images), BATCH):
        # called, not predict: that compiles, and TensorFlow warns of many models compiled one after the other
        maps = keras.ops.convert_to_numpy(probe.sums([images[start : start + BATCH]], training=False))
        shape = maps.shape[1:3] if maps.ndim == 4 else shape
        flat = maps.reshape(len(maps), -1, channels)
        places.append(np.take_along_axis(flat, wanted[start : start + BATCH, None, None], axis=2)[..., 0].argmax(axis=1))
    row, column = np.unravel_index(np.concatenate(places), shape)
    return Units(np.arange(len(images)), row, column, wanted, np.zeros(len(images), np.float32))


def _randomizable(probe):
    """{name of a layer with a kernel: it and the normalizations after it}, in the order of computation."""
    groups = {}

    def follow(step, *arguments, **keywords):
        operation = step.operation
        # a tensor is followed by the name of the last kernel that it went through
        below = next((part for part in keras.tree.flatten((arguments, keywords)) if isinstance(part, str)), "")
        weights = getattr(operation, "weights", None)
        # a Normalization holds the statistics of the images, which no training changes
        if weights and not isinstance(operation, keras.layers.Normalization):
            kernel = any(len(weight.shape) > 1 for weight in weights)
            below = probe.names[operation.name] if kernel or not below else below
            if operation not in groups.setdefault(below, []):
                groups[below].append(operation)
        return [below] * len(step.node.outputs)

    graph.run(probe.units, [""], follow)
    if not groups:
        raise ValueError("there are no weights between the pixels and this layer; nothing to randomize")
    return groups


def _randomize(layer, seed, name):
    before, drawn = layer.get_weights(), initial_weights(layer, seed)
    kernels = [(old, new) for old, new in zip(before, drawn, strict=True) if old.ndim > 1]
    if kernels and all(np.array_equal(old, new) for old, new in kernels):
        raise ValueError(f"layer {name!r} cannot be randomized: its initializer gives the kernel that it has already")
    layer.set_weights(drawn)


# Deletion and insertion


class Curve(NamedTuple):
    """A class' probability while pixels change, most salient first. n images.

    share: (steps + 1,), of the pixels changed, 0 to 1; probability: (n, steps + 1); auc: (n,), the area under each
    image's curve, in [0, 1].
    """

    share: np.ndarray
    probability: np.ndarray
    auc: np.ndarray


def deletion(
    model: keras.Model, images: np.ndarray, maps: np.ndarray, classes: np.ndarray, steps: int = 32, seed: int = 0
) -> Curve:
    """The probability of each image's class as its most salient pixels turn to the image's mean colour.

    The earlier it falls, the smaller the area under the curve, the better the map. maps: (n, height, width); classes:
    integers (n,). Pixels of equal saliency go in random order, by `seed`: maps of one unit are zero over much of the image.
    n · (steps + 1) predictions, in batches. Petsiuk et al. 2018, section 4.1.

    Raises ValueError for maps that do not fit the images or hold NaN, a class that the model does not have, and outputs
    that are not probabilities.
    """
    images = models.as_input(model, images)
    mean = np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape)
    return _curve(model, images, mean, maps, classes, steps, seed)


def insertion(
    model: keras.Model, images: np.ndarray, maps: np.ndarray, classes: np.ndarray, steps: int = 32, seed: int = 0
) -> Curve:
    """The probability of each image's class as its most salient pixels come back into a blurred image.

    The earlier it rises, the larger the area under the curve, the better the map. The blur is Gaussian, its standard
    deviation an eighth of the image's smaller side. The rest as for `deletion`.
    """
    images = models.as_input(model, images)
    sigma = min(images.shape[1:3]) / 8
    return _curve(model, scipy.ndimage.gaussian_filter(images, (0, sigma, sigma, 0)), images, maps, classes, steps, seed)


def _curve(model, begin, end, maps, classes, steps, seed):
    """Curve from the images `begin` to the images `end`, pixel by pixel in the order of the maps."""
    maps, classes = _check_maps(maps, begin.shape[:3]), _check_classes(model, classes, len(begin))
    pixels = maps[0].size
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must be from 1 to {pixels}, the number of pixels, not {steps}")
    changed = np.linspace(0, pixels, steps + 1).round()
    probability = np.empty((len(maps), steps + 1), np.float32)
    batch = max(1, min(BATCH, 2**24 // begin[0].size))  # large images in smaller batches
    for start in range(0, probability.size, batch):
        image, step = np.divmod(np.arange(start, min(start + batch, probability.size)), steps + 1)
        ranks = np.stack([_rank(maps[i], [seed, i]) for i in range(image[0], image[-1] + 1)])
        done = ranks[image - image[0]] < changed[step, None, None]
        found = model.predict_on_batch(np.where(done[..., None], end[image], begin[image]))
        if found.min() < -1e-3 or found.max() > 1.001:
            raise ValueError(f"the model's outputs reach {found.min():g} to {found.max():g}; end it with a softmax")
        probability[image, step] = found[np.arange(len(found)), classes[image]]
    share = changed / pixels
    return Curve(share, probability, np.trapezoid(probability, share, axis=1))


def _rank(values, seed):
    """Each pixel's place in the order of saliency, 0 first."""
    # not the order of the pixels among equals: that would begin at the top of the image, where the object is not
    order = np.lexsort((np.random.default_rng(seed).random(values.size), -values.ravel()))
    return order.argsort().reshape(values.shape)


# Localization against the object's mask


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether each map's maximum lies in the object: bool (n,). Zhang et al. 2016, without their tolerance of 15 pixels.

    masks: bool (n, height, width). Where several pixels are the maximum, all must lie in the object, so that a map of one
    value everywhere does not hit. Raises ValueError for maps that do not fit the masks or hold NaN, and for an empty mask.
    """
    maps, masks = _check_masks(maps, masks)
    outside = np.where(masks, -np.inf, maps).max(axis=(1, 2))
    return np.where(masks, maps, -np.inf).max(axis=(1, 2)) > outside


def energy_in_mask(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The share of each map's energy, the sum of its values, that lies in the object: (n,), in [0, 1].

    The energy-based pointing game of Wang et al. 2020 (Score-CAM), with the object's mask in place of its box. Values below
    0 count as 0; the share of a map without energy is 0. Raises ValueError as `pointing_game`.
    """
    maps, masks = _check_masks(maps, masks)
    energy = np.maximum(maps, 0).astype(float)
    inside, whole = (energy * masks).sum(axis=(1, 2)), energy.sum(axis=(1, 2))
    return np.divide(inside, whole, out=np.zeros(len(whole)), where=whole > 0)


def boxes(maps: np.ndarray, threshold: float = 0.4) -> np.ndarray:
    """A box for each map's object: integers (n, 4), first row, first column, and the row and column after the last.

    It holds the pixels of at least `threshold` times the map's maximum (Zhou et al. 2016), of these the connected component
    with most energy. Pixels with a gap of up to a quarter of the smaller side between them count as connected: projections
    are fine-grained, and one of their specks is no object. On `shapes` 0.4 was the best threshold, of five from 0.15 to
    0.5, for each of the three rules. A map of one value everywhere gives the whole image.

    Raises ValueError for NaN, and for a threshold outside (0, 1].
    """
    maps = np.maximum(_check_maps(maps, np.shape(maps)), 0)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is a share of the map's maximum in (0, 1], not {threshold}")
    return np.array([_box(_component(values, values >= threshold * values.max())) for values in maps])


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of each two boxes, (n,), in [0, 1]. one, other: (n, 4) as `boxes` gives them."""
    first, last = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.maximum(last - first, 0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def localization(maps: dict[str, np.ndarray], masks: np.ndarray, threshold: float = 0.4) -> pd.DataFrame:
    """Whether the maps of each method lie on the object: one row for each method and measure, with value, low, high.

    maps: {method: (n, height, width)}; masks: bool of the same shape. measure, a mean over the images with its 95 %
    confidence interval (Wilson's for a share of images, Student's t else):
    - "pointing game": share of images in which the map's maximum lies in the object
    - "energy in mask": share of the map's energy that does
    - "box IoU": of `boxes` with the box around the whole mask
    - "box IoU ≥ 0.5": share of images, known as GT-known localization accuracy (Choe et al. 2020)
    By chance the first two give the mask's share of the image. Raises ValueError as the functions it is made of.
    """
    rows = []
    for method, values in maps.items():
        try:
            hits, energy = pointing_game(values, masks), energy_in_mask(values, masks)
        except ValueError as error:
            raise ValueError(f"{method}: {error}") from error
        overlap = box_iou(boxes(values, threshold), np.array([_box(mask) for mask in masks]))
        rows.append((method, "pointing game", *_share(hits)))
        rows.append((method, "energy in mask", *_mean(energy)))
        rows.append((method, "box IoU", *_mean(overlap)))
        rows.append((method, "box IoU ≥ 0.5", *_share(overlap >= 0.5)))
    return pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high"])


def _component(values, chosen):
    """Of the pixels chosen, the component with the largest sum of values."""
    reach = min(values.shape) // 8
    labels, count = scipy.ndimage.label(scipy.ndimage.maximum_filter(chosen, 2 * reach + 1), np.ones((3, 3)))
    energy = scipy.ndimage.sum(values * chosen, labels, np.arange(1, count + 1))
    return chosen & (labels == 1 + np.argmax(energy))


def _box(region):
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def _mean(values):
    """(mean, low, high); without an interval for a single image."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, np.nan, np.nan
    half = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count)
    return mean, mean - half, mean + half


def _share(hits):
    interval = scipy.stats.binomtest(int(np.sum(hits)), len(hits)).proportion_ci(CONFIDENCE, method="wilson")
    return float(np.mean(hits)), interval.low, interval.high


def _scaled(maps):
    """Each map divided by its maximum; one that is zero everywhere stays so."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(largest > 0, largest, 1)).astype(np.float64)


def _known_rules(rules):
    if isinstance(rules, str) or not rules:
        raise ValueError(f"rules must be several names of {', '.join(map(repr, deconvnet.RULES))}, not {rules!r}")
    return [known_rule(rule) for rule in rules]


def _check_pair(maps, others):
    if maps.shape != others.shape or not len(maps):
        raise ValueError(f"maps of shapes {maps.shape} and {others.shape} cannot be compared; give two of one shape (n, ...)")
    for values in (maps, others):
        _check_finite(values)


def _check_maps(maps, shape):
    """The maps as an array; ValueError where they have another shape than (n, height, width) of the images, or hold NaN."""
    maps = np.asarray(maps)
    if maps.shape != tuple(shape) or maps.ndim != 3 or not maps.size:
        wanted = tuple(shape) if len(shape) == 3 else "(n, height, width)"
        channels = "; make them of projections with saliency()" if maps.ndim == 4 else ""
        raise ValueError(f"maps must be {wanted}, one an image, not {maps.shape}{channels}")
    _check_finite(maps)
    return maps


def _check_finite(maps):
    bad = np.flatnonzero(~np.isfinite(maps).reshape(len(maps), -1).all(axis=1))
    if len(bad):
        raise ValueError(f"map {bad[0]} holds NaN or infinity")


def _check_masks(maps, masks):
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype != bool:
        raise ValueError(f"masks must be bool (n, height, width), not {masks.dtype} {masks.shape}")
    maps, empty = _check_maps(maps, masks.shape), np.flatnonzero(~masks.any(axis=(1, 2)))
    if len(empty):
        raise ValueError(f"mask {empty[0]} is empty; leave out images without an object")
    return maps, masks


def _check_classes(model, classes, count):
    classes = np.asarray(classes)
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"the model's output is {shape}; a classifier's is (n, classes)")
    if classes.shape != (count,) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"classes must be {count} integers, one an image, not {classes.dtype} {classes.shape}")
    wrong = np.flatnonzero((classes < 0) | (classes >= shape[-1]))
    if len(wrong):
        raise ValueError(
            f"class {classes[wrong[0]]} of image {wrong[0]} is not in the model; its classes are 0 to {shape[-1] - 1}"
        )
    return classes
