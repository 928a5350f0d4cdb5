"""What each operation does to the signal on its way back: the three rules at rectifiers, and what is refused.

Only what happens at a rectifier with input x tells the rules apart (Springenberg et al. 2014, figure 1). For a signal g:

    gradient    g · [x > 0]            the forward mask: plain back-propagation
    deconvnet   max(g, 0)              the backward signal rectified, whatever the forward pass did
    guided      max(g, 0) · [x > 0]    both

Everything else on the way must be linear for a given image, so that the chain rule is the transposed operation.

A rectifier with a ceiling, as ReLU6, is flat from the ceiling on. There gradient passes nothing, which is the derivative.
guided passes what is positive, for its mask says that the unit was active, and a unit at its ceiling is. Of the layer that is
projected the ceiling is left out: its units start with what they would answer without it, and are ranked by that. Otherwise
many would share the first place, and the gradient of each would be zero.
"""

from typing import NamedTuple

import numpy as np

from deconvlib import backend, checks
from deconvlib.backend import keras
from deconvlib.deconvnet import graph

RULES = ("deconvnet", "guided", "gradient")


CHAIN_RULE = "g · f'(x)"


POOLS = ("MaxPooling2D", "GlobalMaxPooling2D")  # which have switches


OUTPUTS = ("softmax", "sigmoid")  # what a classifier ends in; monotone, so that what drives it drives what it is given


# Linear for a given image; pooling by its switches among them.
_LINEAR = {
    *("Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D"),
    *("ZeroPadding2D", "Cropping2D", "Flatten", "Reshape", "Permute", "Add", "Subtract", "Average", "Concatenate"),
    *("Rescaling", "Normalization", "Identity", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
    *("AlphaDropout", "ActivityRegularization", "Activation", "Transpose", "Negative", "Mean"),
    *("GetItem", "Stack", "Split", "Flip", "Take", "Unstack", "ExpandDims", "Squeeze", "CenterCrop", "Resizing"),
    *("Cast", "Resize", "Repeat", "Tile", "RGBToGrayscale"),
    # network deconvolution by its running statistics; unpooling by its switches, which pass no signal themselves
    *("DeconvolvedConv2D", "DeconvolvedDense", "Unpooling2D", "DepthToSpace", "ReconstructionLoss"),
}


_SCALING = {"Multiply", "TrueDivide", "Divide"}  # linear as long as only one factor depends on the image


class Rectifier(NamedTuple):
    """f(x) = x where 0 < x < ceiling, slope · x below 0, constant above the ceiling."""

    slope: float = 0.0
    ceiling: float = float("inf")

    def rectify(self, signal):
        """The signal with its negative part scaled by the slope: ReLU where that is 0."""
        # no ceiling: the backward signal has another scale than the activations
        return keras.ops.relu(signal) if not self.slope else keras.ops.leaky_relu(signal, self.slope)

    def mask(self, x):
        """1 where the unit was active, at its ceiling too; the slope elsewhere."""
        return keras.ops.where(x > 0, keras.ops.ones_like(x), self.slope * keras.ops.ones_like(x))

    def uncapped(self):
        """The same without a ceiling."""
        return self._replace(ceiling=float("inf"))

    def describe(self, rule):
        """What `rule` makes of the signal g, as a formula."""
        rectified = f"max(g, {self.slope:g} · g)" if self.slope else "max(g, 0)"
        mask = f"[0 < x < {self.ceiling:g}]" if np.isfinite(self.ceiling) and rule == "gradient" else "[x > 0]"
        mask = f"({mask} + {self.slope:g} · [x ≤ 0])" if self.slope else mask
        return {"deconvnet": rectified, "guided": f"{rectified} · {mask}", "gradient": f"g · {mask}"}[rule]


def deconvnet(rectifier, x, signal):
    return rectifier.rectify(signal)


def guided(rectifier, x, signal):
    return rectifier.rectify(signal) * rectifier.mask(x)


# the gradient needs no policy of its own: it is what the backend does, at a ceiling and at zero too
_POLICIES = {"deconvnet": deconvnet, "guided": guided}


class Nonlinearity(NamedTuple):
    """One on the way from the pixels to a layer.

    step: whose it is; name: of the function; rectifier: what a rule needs to know of it, None where it is no rectifier.
    """

    step: graph.Step
    name: str
    rectifier: Rectifier | None


def nonlinearities(model: keras.Model, layer: str) -> list[Nonlinearity]:
    """Every nonlinearity between the pixels and the output of `layer`, in the order of computation."""
    graph.find(model, layer)
    found = []

    def note(step, *arguments, **keywords):
        if getattr(step.operation, "data_format", None) == "channels_first":
            raise ValueError(f"layer {step.name!r} has its channels first; build the model with data_format='channels_last'")
        name, rectifier = nonlinearity(step)
        if name is not None:
            found.append(Nonlinearity(step, name, rectifier))
        return step.node.outputs

    graph.run(model, model.inputs, note, until=layer)
    return found


def treatment(model: keras.Model, layer: str, rule: str, chain_rule: tuple[str, ...] = ()) -> dict[str, Rectifier | None]:
    """{step's name: its rectifier, or None for the plain chain rule} of each nonlinearity on the way to `layer`.

    chain_rule: functions, or layers, at which the plain chain rule may stand in. Raises ValueError for a nonlinearity for
    which the rule is not defined, and that is not among them.
    """
    checks.known("rule", rule, RULES)
    every = nonlinearities(model, layer)
    for name in chain_rule:
        checks.known("nonlinearity", name, sorted({name for step, name, _ in every} | {step.name for step, *_ in every}))
    treated = {}
    for step, name, rectifier in every:
        passed = rule == "gradient" or {step.name, name} & set(chain_rule)
        if rectifier is None and not passed and not _is_output(step, name, layer):
            raise ValueError(
                f"layer {step.name!r} applies {name}, for which rule {rule!r} is not defined: it is defined for ReLU, ReLU6 "
                f"and leaky ReLU. Use rule='gradient', a layer before it, or chain_rule=({name!r},) to let the plain "
                "chain rule stand in"
            )
        treated[step.name] = None if passed else rectifier
    return treated


def backward(found: Nonlinearity, layer: str, rule: str, chain_rule: tuple[str, ...] = ()) -> str:
    """What becomes of the signal g at this nonlinearity on the way back from `layer`, in words or as a formula."""
    if _is_output(found.step, found.name, layer):
        return "the projection starts before it"
    if {found.name, found.step.name} & set(chain_rule) or (rule == "gradient" and found.rectifier is None):
        return CHAIN_RULE
    if found.rectifier is None:
        return "refused"
    if found.step.name == layer and np.isfinite(found.rectifier.ceiling):
        return f"{found.rectifier.uncapped().describe(rule)}, without the ceiling of {found.rectifier.ceiling:g}"
    return found.rectifier.describe(rule)


def uncapped(step: graph.Step, *arguments, **keywords):
    """(what the step gives, what it would give if its rectifier had no ceiling)"""
    rectifier = nonlinearity(step)[1]
    if rectifier is None or np.isinf(rectifier.ceiling):
        output = graph.at_inference(step.operation, *arguments, **keywords)
        return output, output
    x = _bare(step.operation)(*arguments, **keywords)
    return _activation(step.operation)(x), rectifier.rectify(x)


def before(step: graph.Step, *arguments, **keywords):
    """What the step's rectifier, softmax or sigmoid is given; what the step gives, where it has none of them."""
    name, rectifier = nonlinearity(step)
    if rectifier is None and name not in OUTPUTS:
        return graph.at_inference(step.operation, *arguments, **keywords)
    return _bare(step.operation)(*arguments, **keywords)


def caller(layer: str, rule: str, treated: dict[str, Rectifier | None], switches: bool = True, known=lambda step: None):
    """call(step, operation, *arguments, **keywords), whose result carries the rule for the way back from `layer`.

    operation: the step's own, or another face of it. treated: from `treatment`. switches: False lets max pooling spread
    the signal evenly. known(step): the output of a rectifier's step, where it is known beforehand, so that the way back
    needs nothing of the way up. Of `layer` itself a softmax or sigmoid is left out, and a rectifier's ceiling.
    """

    def call(step, operation, *arguments, **keywords):
        if not switches and graph.kind(operation) in POOLS:
            return _pooled_evenly(operation, *arguments)
        if step.name not in treated:
            return graph.at_inference(operation, *arguments, **keywords)
        if _is_output(step, nonlinearity(step)[0], layer):
            return _bare(operation)(*arguments, **keywords)
        rectifier, evaluated = treated[step.name], graph.Step(step.name, operation, step.node)
        own = step.name == layer
        if rectifier is None or rule == "gradient":
            return uncapped(evaluated, *arguments, **keywords)[own]
        policy, seen = _POLICIES[rule], known(step)
        activation = rectifier.rectify if own and np.isfinite(rectifier.ceiling) else _activation(operation)
        # a rectifier's output lies above 0 just where its input does
        rectify = backend.with_way_back(activation, lambda x, g: policy(rectifier, x if seen is None else seen, g))
        return rectify(_bare(operation)(*arguments, **keywords))

    return call


def nonlinearity(step: graph.Step) -> tuple[str | None, Rectifier | None]:
    """(name, rectifier) of the rectifier in this step; (name, None) of another nonlinearity; (None, None) of neither."""
    operation = step.operation
    kind = graph.kind(operation)
    if kind in ("ReLU", "Relu", "Relu6"):
        ceiling = 6.0 if kind == "Relu6" else getattr(operation, "max_value", None)
        slope, threshold = getattr(operation, "negative_slope", None), getattr(operation, "threshold", None)
        if threshold:
            return f"{kind.lower()}(threshold={threshold:g})", None
        return kind.lower(), Rectifier(float(slope or 0), float("inf") if ceiling is None else ceiling)
    if kind in ("LeakyReLU", "LeakyRelu"):
        return "leaky_relu", Rectifier(float(operation.negative_slope))
    if kind in ("Softmax", "Sigmoid"):
        return kind.lower(), None
    if kind in _SCALING and len(step.node.input_tensors) == 1 and not _divides_by_image(step):
        return None, None
    if kind not in _LINEAR and not graph.is_augmentation(kind):
        return kind, None
    activation = getattr(operation, "activation", None)
    if activation in (None, keras.activations.linear):
        return None, None
    if isinstance(activation, keras.layers.Layer):
        return nonlinearity(graph.Step(step.name, activation, step.node))
    rectifiers = {
        **dict.fromkeys((keras.activations.relu, keras.ops.relu, backend.relu), Rectifier()),
        **dict.fromkeys((keras.activations.relu6, keras.ops.relu6), Rectifier(ceiling=6.0)),
        # Keras' default slope, which a name cannot change
        **dict.fromkeys((keras.activations.leaky_relu, keras.ops.leaky_relu), Rectifier(0.2)),
    }
    return getattr(activation, "__name__", type(activation).__name__), rectifiers.get(activation)


def _is_output(step, name, layer):
    return step.name == layer and name in OUTPUTS


def _divides_by_image(step):
    """Whether the image stands under the fraction: constant / x, or x · x written with one tensor."""
    tensors = [isinstance(part, keras.KerasTensor) for part in step.node.arguments.args]
    return sum(tensors) != 1 or (type(step.operation).__name__ != "Multiply" and not tensors[0])


def _activation(operation):
    return getattr(operation, "activation", operation)


def _bare(operation):
    """The operation without its activation."""
    if not hasattr(operation, "activation") or graph.kind(operation) == "Activation":
        return lambda x, **_: x  # Keras passes a softmax its mask
    return graph.face(operation, activation=None)


def _pooled_evenly(operation, x):
    """Max pooling on the way up; on the way down each value is spread evenly over its region."""

    def mean(x):
        if graph.kind(operation) == "GlobalMaxPooling2D":
            return keras.ops.mean(x, axis=(1, 2), keepdims=operation.keepdims)
        return keras.ops.average_pool(x, operation.pool_size, operation.strides, operation.padding)

    return backend.with_way_back(operation, lambda x, signal: backend.vjp(mean, x)[1](signal))(x)
