"""Activation -> pixels: the deconvnet of Zeiler & Fergus 2013 and its two relatives, on any Keras model with a graph.

From one unit back to the image, layer by layer: unpool by the switches of this image's maxima, rectify the signal,
apply the transposed filter. Unpooling and transposed filtering are what the chain rule does at a max pooling and at a
convolution; only what happens at a rectifier tells the three rules apart (Springenberg et al. 2014, figure 1):

    gradient    g · [x > 0]            the forward mask: plain back-propagation
    deconvnet   max(g, 0)              the backward signal rectified, whatever the forward pass did
    guided      max(g, 0) · [x > 0]    both

So a projection is one vector–Jacobian product of the model with another rule at its rectifiers. A nonlinearity for which
no rule is defined is refused: the plain gradient in its place would look like an answer.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from deconvlib import backend, graph, models, receptive_field
from deconvlib.backend import keras

RULES = ("deconvnet", "guided", "gradient")
BATCH = 64  # images projected at once; bounds memory

# Linear for a given image, so that the chain rule is the transposed operation; pooling by its switches among them.
_LINEAR = {
    *("Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D"),
    *("ZeroPadding2D", "Cropping2D", "Flatten", "Reshape", "Permute", "Add", "Subtract", "Average", "Concatenate"),
    *("Rescaling", "Normalization", "Identity", "Dropout", "SpatialDropout2D", "GaussianNoise", "Activation"),
}


class Rectifier(NamedTuple):
    """f(x) = x where 0 < x < ceiling, slope · x below 0, constant above the ceiling."""

    slope: float = 0.0
    ceiling: float = float("inf")

    def rectify(self, signal):
        """The signal with its negative part scaled by the slope: ReLU where that is 0."""
        # no ceiling: the backward signal has another scale than the activations
        return keras.ops.where(signal > 0, signal, self.slope * signal)

    def mask(self, x):
        """The derivative of the forward pass at x."""
        gate = keras.ops.where(x > 0, keras.ops.ones_like(x), self.slope * keras.ops.ones_like(x))
        return gate * keras.ops.cast(x < self.ceiling, gate.dtype)


def deconvnet_rule(rectifier, x, signal):
    return rectifier.rectify(signal)


def guided_rule(rectifier, x, signal):
    return rectifier.rectify(signal) * rectifier.mask(x)


def project(model: keras.Model, images: np.ndarray, layer: str, channel: int, rule: str = "deconvnet") -> np.ndarray:
    """Each image's strongest unit of one channel, projected back to the pixels: float32 of the shape of `images`.

    images: uint8, or float as the model takes them, (n, height, width, channels). The unit is seeded with its
    activation, all others of the layer with zero (section 2.1 of the paper). Where `layer` is a softmax, the projection
    starts from before it. The model is not changed.

    Raises ValueError for an unknown layer, channel or rule, for images that do not fit, and for a nonlinearity that the
    rule does not cover.
    """
    images = models.as_input(model, images)
    units, channels = _output_shape(model, layer)
    if not 0 <= channel < channels:
        raise ValueError(f"channel {channel} is not in layer {layer!r}; its channels are 0 to {channels - 1}")

    def strongest(activations, _):
        flat = activations.reshape(len(activations), units, channels)
        unit = np.arange(len(flat)), flat[..., channel].argmax(axis=1), channel
        seed = np.zeros_like(flat)
        seed[unit] = flat[unit]
        return seed

    return _project(model, images, layer, rule, strongest)


def project_units(
    model: keras.Model, images: np.ndarray, layer: str, units, rule: str = "deconvnet"
) -> tuple[np.ndarray, np.ndarray]:
    """(patches, projections): what each unit sees, and its projection, cropped to the unit's receptive field.

    images: all the images that `units` names by number; units: `exemplars.Units` of any shape s. Both results are
    float32 of shape s + (height, width, channels), the receptive field's size but at most the image's; at a border the
    window is shifted into the image.
    """
    shape = units.image.shape
    flat = type(units)(*(part.reshape(-1) for part in units))
    chosen = models.as_input(model, images[flat.image])
    positions, channels = _output_shape(model, layer)
    maps = graph.find(model, layer).node.outputs[0].shape

    def seed(activations, start):
        here = slice(start, start + len(activations))
        place = np.ravel_multi_index((flat.row[here], flat.column[here]), maps[1:3]) if len(maps) == 4 else 0
        seeds = np.zeros((len(activations), positions, channels), activations.dtype)
        one = np.arange(len(activations)), place, flat.channel[here]
        seeds[one] = activations.reshape(seeds.shape)[one]
        return seeds

    projections = _project(model, chosen, layer, rule, seed)
    rows, columns = _windows(model, layer, flat, chosen.shape[1:3])
    index = np.arange(len(chosen))[:, None, None], rows[:, :, None], columns[:, None, :]
    return tuple(array[index].reshape(*shape, *array[index].shape[1:]) for array in (chosen, projections))


def coverage(model: keras.Model, layer: str) -> pd.DataFrame:
    """One row for each nonlinearity between the pixels and `layer`: its layer, its function, and whether rules cover it."""
    graph.find(model, layer)
    found = []

    def note(step, *arguments, **keywords):
        kind, covered = _nonlinearity(step)
        if kind is not None:
            found.append({"layer": step.name, "function": kind, "covered": isinstance(covered, Rectifier)})
        return step.operation.compute_output_spec(*arguments, **keywords)

    graph.run(model, model.inputs, note, until=layer)
    return pd.DataFrame(found, columns=["layer", "function", "covered"])


def rectified_convolutions(model: keras.Model) -> list[str]:
    """The layers in which the feature maps of a convolution appear rectified: itself, or the first rectifier after it."""
    found, waiting = [], False
    for step in graph.steps(model):
        _, rectifier = _nonlinearity(step)
        waiting = waiting or "Conv" in type(step.operation).__name__
        if waiting and isinstance(rectifier, Rectifier):
            found.append(step.name)
            waiting = False
    return found


def _project(model, images, layer, rule, seed):
    forward = _forward(model, layer, rule)
    projections = np.empty(images.shape, np.float32)
    for start in range(0, len(images), BATCH):
        batch = keras.ops.convert_to_tensor(images[start : start + BATCH])
        activations, pull = backend.vjp(forward, batch)
        values = keras.ops.convert_to_numpy(activations)
        signal = keras.ops.convert_to_tensor(seed(values, start).reshape(values.shape))
        projections[start : start + BATCH] = keras.ops.convert_to_numpy(pull(signal))
    return projections


def _forward(model, layer, rule):
    """images -> the layer's output, in which each rectifier carries the rule for the way back."""
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is not one of {', '.join(map(repr, RULES))}")
    policy = {"deconvnet": deconvnet_rule, "guided": guided_rule, "gradient": None}[rule]

    def call(step, *arguments, **keywords):
        operation = step.operation
        kind, function = _nonlinearity(step)
        if step.name == layer and kind == "softmax":
            return _bare(operation)(*arguments, **keywords)
        if kind is None or policy is None:
            return operation(*arguments, **keywords)
        if not isinstance(function, Rectifier):
            raise ValueError(
                f"layer {step.name!r} applies {kind}, for which rule {rule!r} is not defined: it is defined for ReLU, ReLU6 "
                "and leaky ReLU. Use rule='gradient', or a layer before it"
            )
        return _rectified(_bare(operation)(*arguments, **keywords), _activation_of(operation), function, policy)

    return lambda images: graph.run(model, [images], call, until=layer)


def _rectified(x, activation, rectifier, policy):
    @keras.ops.custom_gradient
    def apply(x):
        def gradient(*arguments, upstream=None):
            # TensorFlow and JAX pass the signal by position, Torch by name
            signal = arguments[0] if upstream is None else upstream
            return policy(rectifier, x, signal)

        return activation(x), gradient

    return apply(x)


def _nonlinearity(step):
    """(name, Rectifier) of the rectifier in this step; (name, None) of another nonlinearity; (None, None) of neither."""
    operation = step.operation
    kind = type(operation).__name__
    if kind == "ReLU":
        known = not operation.threshold
        ceiling = float("inf") if operation.max_value is None else float(operation.max_value)
        return "relu", Rectifier(float(operation.negative_slope or 0), ceiling) if known else None
    if kind in ("LeakyReLU", "LeakyRelu"):
        return "leaky_relu", Rectifier(float(operation.negative_slope))
    if kind in ("Relu", "Relu6"):
        return kind.lower(), Rectifier(ceiling=6.0 if kind == "Relu6" else float("inf"))
    if kind == "Softmax":
        return "softmax", None
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", type(activation).__name__)
    if kind in _LINEAR and activation in (None, keras.activations.linear):
        return None, None
    if kind in _LINEAR and isinstance(activation, keras.layers.Layer):
        return _nonlinearity(graph.Step(step.name, activation, step.node))
    if kind in _LINEAR:
        rectifiers = {
            keras.activations.relu: Rectifier(),
            keras.activations.relu6: Rectifier(ceiling=6.0),
            keras.activations.leaky_relu: Rectifier(0.2),  # Keras' default slope, which a name cannot change
        }
        return name, rectifiers.get(activation)
    return kind, None


def _activation_of(operation):
    return operation.activation if hasattr(operation, "activation") else operation


def _bare(operation):
    """The operation without its activation: a second face of the same layer, with the same weights."""
    if not hasattr(operation, "activation") or type(operation).__name__ == "Activation":
        return lambda x, **_: x  # Keras passes a softmax its mask
    # not copy.copy, which Keras answers with a saved and reloaded layer; not __setattr__, which would track the change
    bare = object.__new__(type(operation))
    bare.__dict__.update(operation.__dict__)
    bare.__dict__["activation"] = None
    return bare


def _output_shape(model, layer):
    """(units in one map, channels) of a layer; dense layers have one unit a channel."""
    shape = graph.find(model, layer).node.outputs[0].shape
    if len(shape) not in (2, 4):
        raise ValueError(f"layer {layer!r} has outputs of shape {shape[1:]}: not feature maps, nor a vector")
    return int(np.prod(shape[1:-1])), shape[-1]


def _windows(model, layer, units, image_size):
    """Pixel rows and columns of each unit's receptive field, (n, height) and (n, width), shifted into the image."""
    field = receptive_field.of(model, layer)
    axes = []
    for axis, position in enumerate((units.row, units.column)):
        size = min(field.size[axis], image_size[axis])
        first = np.array([int(field.stride[axis] * int(p)) + field.offset[axis] for p in position])
        axes.append(np.clip(first, 0, image_size[axis] - size)[:, None] + np.arange(size))
    return axes
