"""keras.Model -> its operations in the order they run, nested models opened: what every analysis walks over."""

import collections
import difflib
from typing import NamedTuple

import numpy as np

from deconvlib.backend import keras


class Step(NamedTuple):
    """One call of one operation: a layer, or a function of keras.ops."""

    name: str  # as the user sees it: inside a nested model "outer/inner", the second call of one layer "layer:2"
    operation: keras.Operation
    node: object  # Keras' record of the call: its input tensors, arguments and outputs


def steps(model: keras.Model) -> list[Step]:
    """Every operation of `model` in the order of computation, those of nested models in their place.

    A layer called several times appears once for each call. Raises TypeError for a model without a graph.
    """
    found = []
    run(model, functional(model).inputs, lambda step, *_, **__: found.append(step) or step.node.outputs)
    return found


def run(model: keras.Model, inputs, call, until: str | None = None):
    """The output of layer `until` (of the model where None), each operation on the way to it evaluated by `call`.

    call(step, *arguments, **keywords) returns the operation's output; the arguments are tensors, or whatever `inputs` and
    `call` deal in: shapes, intervals, receptive fields. As in Keras' `predict`, no operation is told that it is trained.
    """
    if until is None:
        return _evaluate(model, inputs, call, "")
    way, found = ancestors(model, [until]), []

    def on_the_way(step, *arguments, **keywords):
        output = call(step, *arguments, **keywords) if step.name in way else [None] * len(step.node.outputs)
        if step.name == until:
            found.append(output)
        return output

    _evaluate(model, inputs, on_the_way, "")
    return found[0]


def ancestors(model: keras.Model, layers: list[str]) -> set[str]:
    """The names of `layers` and of every step that one of them depends on."""
    read = {}

    def note(step, *arguments, **keywords):
        read[step.name] = {part for part in keras.tree.flatten((arguments, keywords)) if isinstance(part, _From)}
        return [_From(step.name)] * len(step.node.outputs)

    _evaluate(model, [_From(None)] * len(functional(model).inputs), note, "")
    found, waiting = set(), list(layers)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [part.step for part in read[name] if part.step]
    return found


class _From:
    """What stands for a tensor: the name of the step that made it; None: the model's input."""

    def __init__(self, step):
        self.step = step


def _evaluate(model, inputs, call, prefix):
    """The model's output."""
    inner = functional(model)
    values = {id(tensor): value for tensor, value in zip(inner.inputs, keras.tree.flatten(inputs), strict=True)}
    times = collections.Counter()
    for depth in sorted(inner._nodes_by_depth, reverse=True):
        for node in inner._nodes_by_depth[depth]:
            if node.is_input:
                continue
            arguments, keywords = node.arguments.fill_in(values)
            if keywords.get("training"):  # the default of augmentation; `predict` overrides it, and one that was given
                keywords["training"] = False
            times[node.operation] += 1
            again = f":{times[node.operation]}" if times[node.operation] > 1 else ""
            name = f"{prefix}{node.operation.name}{again}"
            if isinstance(node.operation, keras.Model):
                output = _evaluate(node.operation, arguments[0] if arguments else keywords["inputs"], call, name + "/")
            else:
                output = call(Step(name, node.operation, node), *arguments, **keywords)
            for tensor, value in zip(node.outputs, keras.tree.flatten(output), strict=True):
                values[id(tensor)] = value
    outputs = [values[id(tensor)] for tensor in inner.outputs]
    return keras.tree.pack_sequence_as(inner._outputs_struct, outputs)


def find(model: keras.Model, layer: str) -> Step:
    """The step whose name is `layer`. Raises ValueError that names layers with feature maps, the nearest first."""
    every = steps(model)
    for step in every:
        if step.name == layer:
            return step
    names = [step.name for step in every if len(step.node.outputs[0].shape) == 4]
    near = difflib.get_close_matches(layer, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? Its" if near else "its"
    listed = ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise ValueError(f"layer {layer!r} is not in this model; {hint} layers with feature maps are {listed}")


def at_inference(operation: keras.Operation, *arguments, **keywords):
    """What the operation gives as in Keras' `predict`, in which no layer is in training, and none within it."""
    if isinstance(operation, keras.layers.Layer):
        keywords["training"] = False
    return operation(*arguments, **keywords)


def functional(model: keras.Model) -> keras.Model:
    """The model that holds the graph: `model` itself, or what a Sequential is inside. Raises TypeError where there is none."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"a keras.Model is needed, not a {type(model).__name__}; networks.load reads one from a file")
    if isinstance(model, keras.Sequential):
        if not model.built or model._functional is None:
            raise TypeError(f"model {model.name!r} is not built; begin it with keras.Input(shape)")
        return model._functional
    if not hasattr(model, "_nodes_by_depth"):
        raise TypeError(
            f"model {model.name!r} is a {type(model).__name__} without a graph of layers; rebuild it with the functional "
            "API, keras.Model(inputs, outputs), or pass the part of it that is functional"
        )
    return model


def traced(step: Step, arguments, keywords):
    """(output, carriers, constants): what the step gives, as KerasTensors, for arguments that carry one as their `tensor`.

    carriers: these arguments; constants: the others.
    """
    parts = keras.tree.flatten((arguments, keywords))
    tensors = keras.tree.map_structure(lambda part: getattr(part, "tensor", part), (arguments, keywords))
    output = step.operation.compute_output_spec(*tensors[0], **tensors[1])
    carriers = [part for part in parts if hasattr(part, "tensor")]
    return output, carriers, [part for part in parts if not hasattr(part, "tensor")]


def shapes(model: keras.Model, image_size: tuple[int, int], until: str | None = None) -> dict[str, tuple[int, ...]]:
    """{step's name: shape of its output for one image, as the tuple (height, width, channels) or (units,)}.

    image_size: (height, width) of the images, which a model that takes any does not tell. until: the last step.
    """
    found = {}

    def note(step, *arguments, **keywords):
        output = step.operation.compute_output_spec(*arguments, **keywords)
        found[step.name] = tuple(keras.tree.flatten(output)[0].shape[1:])
        return output

    run(model, [keras.KerasTensor((1, *image_size, model.inputs[0].shape[-1]))], note, until)
    return found


def check_finite(model: keras.Model, layers: list[str], found: np.ndarray):
    """Raises ValueError where `found`, which came of `layers`, holds NaN or infinity, and names the weights that do."""
    if not np.isfinite(found.sum()):  # a NaN makes the sum one
        check_weights(model, layers)
        raise ValueError(f"model {model.name!r} gives NaN or infinity for these images")


def check_weights(model: keras.Model, layers: list[str]):
    """Raises ValueError for a weight on the way to `layers` that is NaN or infinite: a rectifier may make 0 of it."""
    way = ancestors(model, layers)
    for step in steps(model):
        for weight in getattr(step.operation, "weights", ()) if step.name in way else ():
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                raise ValueError(f"layer {step.name!r} has weights that are NaN or infinite; was its training broken off?")


def kind(operation: keras.Operation) -> str:
    """The name of the operation's class; of one that is neither Keras' nor this project's, with its module before it."""
    # a class of the user's may have the name of a layer that is known, and do something else
    name, module = type(operation).__name__, type(operation).__module__
    return name if module.startswith(("keras.", "deconvlib.")) else f"{module}.{name}"


def is_augmentation(kind: str) -> bool:
    """Whether layers of this kind leave an image at inference as it is."""
    return kind.startswith("Random") and kind != "RandomCrop"  # of which Keras declares another shape than it gives


def face(layer: keras.Operation, **attributes) -> keras.Operation:
    """A second face of the same layer, with the same weights and other attributes; the layer stays as it is."""
    # not copy.copy, which Keras answers with a saved and reloaded layer; not __setattr__, which would track the change
    second = object.__new__(type(layer))
    second.__dict__.update(layer.__dict__, **attributes)
    return second


def copying(model: keras.Model, copies: dict, **changes):
    """A `call` for `run`: run(model, inputs, copying(model, {})) is what a copy of `model` gives for the tensors `inputs`.

    Each layer is copied once, with its weights, and the copy called wherever `model` calls the layer, those of nested models
    among them. `copies`, an empty dictionary, becomes {layer: its copy}. changes: settings that every copy has in place of the
    layer's own, dtype="float32" for one. A copy has the layer's name; where two layers share one, its step's, with "." for
    "/" and ":". Raises ValueError for a layer that cannot be made from its configuration.
    """
    names = collections.Counter(step.operation.name for step in steps(model) if ":" not in step.name)

    def call(step, *arguments, **keywords):
        layer = step.operation
        if not isinstance(layer, keras.layers.Layer) or layer in copies:
            return copies.get(layer, layer)(*arguments, **keywords)
        name = layer.name if names[layer.name] == 1 else step.name.replace("/", ".").replace(":", ".")
        try:
            copy = copies[layer] = type(layer).from_config(layer.get_config() | {"name": name} | changes)
        except Exception as error:
            raise ValueError(f"layer {step.name!r}, a {type(layer).__name__}, cannot be copied: {error}") from error
        output = copy(*arguments, **keywords)  # which builds it
        copy.set_weights(layer.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()  # it computes with constants made of its weights
        return output

    return call


def layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Every layer of `model`, itself first, and those within nested models and within layers."""
    return model._flatten_layers()  # a layer's own layers stand in no public list


def generators(model: keras.Model) -> list[keras.Variable]:
    """What dropout and augmentation in `model` draw from: variables (seed, number of draws), uint32."""
    # told by the name that Keras gives them, for a layer may keep its generator under any
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


KEPT = 64  # of what was made last for one model; a compiled program takes megabytes


def kept(make, model: keras.Model, *arguments):
    """make(model, *arguments), made once for the same arguments; kept with the model, and gone with it.

    Made anew where the model has other layers by now, or a layer another activation or precision: only weights may change.
    """
    # not by __setattr__, which Keras would track as a part of the model
    made = model.__dict__.setdefault("_deconvlib", {})
    key = (make, arguments, _state(model))
    made[key] = made.pop(key) if key in made else make(model, *arguments)  # at the end of the dictionary: used last
    while len(made) > KEPT:
        del made[next(iter(made))]
    return made[key]


def _state(model):
    parts = functional(model).operations
    nested = [_state(part) for part in parts if isinstance(part, keras.Model)]
    return (
        functional(model),
        *nested,
        *((getattr(part, "activation", None), getattr(part, "compute_dtype", None)) for part in parts),
    )
