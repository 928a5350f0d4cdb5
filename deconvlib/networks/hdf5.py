"""Models in HDF5 files (.h5, .hdf5), as Keras 2 and 3 write them: the description as a .keras file has it, and the weights."""

import inspect
import json

import h5py
import numpy as np

from deconvlib.backend import keras

_MODELS = {"Model": "Model", "Functional": "Model", "Sequential": "Sequential"}
_RENAMED = {"ThresholdedReLU": ("ReLU", {"theta": "threshold"}), "LeakyReLU": ("LeakyReLU", {"alpha": "negative_slope"})}
_HOMES = {kind: f"keras.{kind}s" for kind in ("initializer", "regularizer", "constraint")}
# without effect on an answer, where Keras 3 does not know them
_OLD = {"rng_type", "fused", "trainable", "implementation", "kernel_regularizer", "kernel_constraint", "type_spec"}
_OPERATIONS = {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"}  # Keras 2's layers of one function of TensorFlow
_ARITHMETIC = {  # as Keras 2 and Keras 3 call it
    **dict.fromkeys(("math.add", "__operators__.add", "Add"), "Add"),
    **dict.fromkeys(("math.subtract", "Subtract"), "Subtract"),
    **dict.fromkeys(("math.multiply", "Multiply"), "Multiply"),
    **dict.fromkeys(("math.truediv", "math.divide", "TrueDivide", "Divide"), "Divide"),
}
_RECTIFIERS = {"nn.relu": {}, "Relu": {}, "nn.relu6": {"max_value": 6.0}, "Relu6": {"max_value": 6.0}}


@keras.saving.register_keras_serializable(package="deconvlib")
def hard_sigmoid_of_keras_2(x):
    """Of slope 0.2; that of Keras 3 has slope 1 / 6."""
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


def read(path) -> tuple[dict | None, str]:
    """(the description of the model, None where the file holds none; the version of Keras that wrote it).

    The description is in the words of Keras 3's .keras files, so that `keras.saving.deserialize_keras_object` takes it. What
    Keras 3 has no word for keeps its name.
    Raises NotImplementedError for what Keras 1 or Theano wrote; another error for a file that is not whole.
    """
    with h5py.File(path) as held:
        if "model_config" not in held.attrs:
            return None, ""
        config = json.loads(held.attrs["model_config"])
        version = _text(held["model_weights"].attrs.get("keras_version", held.attrs.get("keras_version", "1")))
        engine = _text(held["model_weights"].attrs.get("backend", "tensorflow"))
    if engine == "theano":
        raise NotImplementedError("Theano wrote it, whose convolutions run their filters backwards")
    if version.startswith("1"):
        raise NotImplementedError("Keras 1 wrote it; files of Keras 2 and 3 are")
    return _described(config, version.startswith("2")), version


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _described(layer, old):
    """The description of one layer, or of a model with its layers, in the words of Keras 3. old: whether Keras 2 wrote it."""
    kind, config = layer["class_name"], layer["config"]
    if isinstance(config, list):  # a Sequential, before Keras 2.2.3
        config = {"name": "sequential", "layers": config}
    kind, renamed = _RENAMED.get(kind, (kind, {}))
    config = {renamed.get(key, key): value for key, value in config.items()}
    if isinstance(config.get("name"), str):
        config["name"] = _name(config["name"])
    if kind in _MODELS:
        return _home(_MODELS[kind], layer) | {"config": _model(kind, config, old)}
    shape = config.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape:
        config["batch_shape"] = shape
    own = getattr(keras.layers, kind, None)
    taken = _arguments(own) if own else set(config)
    config = {
        key: _value(key, value, old)
        for key, value in config.items()
        if key in taken or not (key in _OLD or _says_nothing(value))
    }
    if own:  # the weights are the file's
        config = {key: value for key, value in config.items() if not key.endswith("initializer")}
    if own and "Normalization" in kind and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    if kind in _OPERATIONS:
        function = config.get("function") or kind
        return {"module": "tensorflow", "class_name": function, "registered_name": None, "config": config}
    return _home(kind, layer) | {"config": config}


def _says_nothing(value):
    """Whether it is what Keras 2 has where a layer does not do what the argument is for."""
    return value is None or value is False or (value == 1 and value is not True)


def _home(kind, layer):
    """Where Keras finds the class: of its own, in the module that exports it; of others, among those that are registered."""
    if kind in _MODELS or hasattr(keras.layers, kind):
        return {"module": "keras" if kind in _MODELS else "keras.layers", "class_name": kind, "registered_name": None}
    own = {"module": layer.get("module"), "class_name": kind.rpartition(">")[-1]}
    return own | {"registered_name": _registered(layer.get("registered_name"), kind, f"Custom>{kind}") or kind}


def _registered(*names):
    """The first of the names that something is registered by; None: none is."""
    return next((name for name in names if name and keras.saving.get_registered_object(name)), None)


def _name(name):
    return name.replace("/", "_")  # which Keras 3 has for paths


def _arguments(layer):
    """What its constructor takes by name; the classes that it hands the rest on to included."""
    found = set()
    for kind in layer.__mro__:
        given = inspect.signature(kind.__init__).parameters
        found |= set(given)
        if not any(argument.kind is argument.VAR_KEYWORD for argument in given.values()):
            break
    return found | {"dtype"}


def _value(key, value, old):
    """An argument of a layer in the words of Keras 3."""
    if isinstance(value, str) and key.endswith("activation"):
        if old and value == "hard_sigmoid":
            value = "deconvlib>hard_sigmoid_of_keras_2"
        elif hasattr(keras.activations, value):
            return value
        name = _registered(value, f"Custom>{value}") or value
        return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict) or "class_name" not in value:
        return value
    kind = value["class_name"]
    if kind in ("Policy", "PolicyV1"):
        return value["config"]["name"]
    home = next((home for ending, home in _HOMES.items() if key.endswith(ending)), None)
    if home and "module" not in value:
        return {"module": home, "registered_name": None} | value
    layer = value.get("module", "keras.layers") == "keras.layers"  # a layer may hold layers, and be an activation
    return _described(value, old) if layer and not home else value


def _model(kind, config, old):
    """The arguments of a model: its layers and, of a graph, who reads whom."""
    config = {key: config[key] for key in ("name", "trainable", "layers", "input_layers", "output_layers") if key in config}
    nested = {layer["config"]["name"]: layer["class_name"] for layer in config["layers"] if layer["class_name"] in _MODELS}
    if kind == "Sequential":
        layers = config["layers"]
        shape = layers[0]["config"].get("batch_input_shape")
        if shape and layers[0]["class_name"] != "InputLayer":
            entry = {"batch_shape": shape, "name": f"{config['name']}_input"}
            layers = [{"class_name": "InputLayer", "config": entry}, *layers]
        return {"name": config["name"], "layers": [_described(layer, old) for layer in layers]}
    layers = []
    for layer in config["layers"]:
        nodes = [_shifted(node, nested) if isinstance(node, list) else node for node in layer["inbound_nodes"]]
        layer, nodes = _operation(layer, nodes)
        described = _described(layer, old) | {"name": _name(layer["name"])}
        layers.append(described | {"inbound_nodes": nodes})
    config["layers"] = layers
    for end in ("input_layers", "output_layers"):
        ends = config[end] if isinstance(config[end][0], list) else [config[end]]
        # of a nested graph Keras 3 takes 1 off by itself
        ends = [[_name(name), at - (old and nested.get(name) == "Sequential"), number] for name, at, number in ends]
        config[end] = ends if len(ends) > 1 else ends[0]
    return config


def _is_place(value):
    """Whether it is Keras 2's word for a tensor: layer, which of its calls, which of its outputs."""
    return isinstance(value, list) and len(value) > 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _shifted(node, nested):
    """A call as Keras 2 wrote it, with calls of nested models counted from 0: Keras 2 began with one of its own."""
    if _is_place(node):
        name, at, number, *rest = node
        rest = [{key: _shifted(value, nested) for key, value in part.items()} for part in rest if isinstance(part, dict)]
        return [_name(name), at - (name in nested), number, *rest]
    return [_shifted(part, nested) for part in node] if isinstance(node, list) else node


def _operation(layer, nodes):
    """The layer of Keras 3, and its calls, for a function of TensorFlow or keras.ops; as it was, where none does the same."""
    function = layer["config"].get("function") if layer["class_name"] == "TFOpLambda" else layer["class_name"]
    if len(nodes) != 1 or not isinstance(function, str) or function not in {*_ARITHMETIC, *_RECTIFIERS}:
        return layer, nodes
    node = nodes[0]
    if isinstance(node, dict):
        operands = [*node["args"], *(value for value in node["kwargs"].values() if value is not None)]
    elif _is_place(node):
        first = node[2] if node[0] == "_CONSTANT_VALUE" else node[:3]
        operands = [first, *(value for key, value in node[3].items() if key != "name" and value is not None)]
    else:  # Keras 2's own layers Add, Subtract and Multiply
        return layer, nodes
    tensors = [value for value in operands if isinstance(value, dict) or _is_place(value)]
    numbers = [value for value in operands if isinstance(value, int | float)]
    if len(tensors) + len(numbers) != len(operands):
        return layer, nodes
    kind, settings = _layer_of(function, operands, tensors, numbers)
    if not kind:
        return layer, nodes
    if isinstance(node, dict):
        call = {"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": {}}
    else:
        call = [[*tensor[:3], {}] for tensor in tensors]
    return {"class_name": kind, "config": {"name": layer["config"]["name"]} | settings, "name": layer["name"]}, [call]


def _layer_of(function, operands, tensors, numbers):
    """(class, settings) of a layer for one function of tensors and numbers; (None, {}) where none is the same."""
    if function in _RECTIFIERS:
        return ("ReLU", _RECTIFIERS[function]) if len(operands) == 1 else (None, {})
    what = _ARITHMETIC[function]
    if len(tensors) == 2 and not numbers:
        return (None, {}) if what == "Divide" else (what, {})
    if len(tensors) != 1 or len(numbers) != 1:
        return None, {}
    number, leads = numbers[0], operands[0] is tensors[0]
    scale, offset = {
        "Add": (1, number),
        "Subtract": (1, -number) if leads else (-1, number),
        "Multiply": (number, 0),
        "Divide": (1 / number if leads and number else None, 0),
    }[what]
    return (None, {}) if scale is None else ("Rescaling", {"scale": scale, "offset": offset})


def fill(model: keras.Model, path) -> None:
    """Puts the file's weights into `model`, made of the file's description: by the names of layer and weight.

    Where names of layers do not tell, as of a layer that was renamed within a nested model, the file's order decides, which is
    trainable weights first, and the weight's own name must agree.
    Raises KeyError or ValueError for a weight that the file does not hold, or holds in another shape.
    """
    with h5py.File(path) as held:
        groups = {_name(name): held["model_weights"][name] for name in _texts(held["model_weights"], "layer_names")}
        for layer in model.layers:
            wanted = layer.trainable_weights + layer.non_trainable_weights
            if not wanted:
                continue
            if layer.name not in groups:
                raise ValueError(f"it holds no weights of layer {layer.name!r}")
            group = groups[layer.name]
            names = _texts(group, "weight_names")
            for weight, name in zip(wanted, _in_order(layer, wanted, names), strict=True):
                array = group[name]
                if array.external or group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                    raise ValueError(f"weights {name!r} lie in another file")
                if array.shape != tuple(weight.shape):
                    shapes = f"shape {array.shape}, and the layer takes {tuple(weight.shape)}"
                    raise ValueError(f"weights {name!r} of layer {layer.name!r} have {shapes}")
                weight.assign(np.asarray(array))
    for layer in _opened(model):
        if hasattr(layer, "finalize_state"):  # of statistics, Normalization computes constants
            layer.finalize_state()


def _texts(group, name):
    """A list of names, which a large file has in parts."""
    parts = [name] if name in group.attrs else [f"{name}{i}" for i in range(len(group.attrs)) if f"{name}{i}" in group.attrs]
    return [_text(text) for part in parts for text in group.attrs[part]]


def _opened(layer):
    return [one for part in layer.layers for one in _opened(part)] if isinstance(layer, keras.Model) else [layer]


def _in_order(layer, wanted, names):
    """The names in the file, in the order of `wanted`."""
    if len(names) != len(wanted):
        raise ValueError(f"it holds {len(names)} weights of layer {layer.name!r}, which has {len(wanted)}")
    owners = {id(weight): one.name for one in _opened(layer) for weight in one.weights}
    places = {}
    for name in names:
        path, own = _split(name)
        places.setdefault((path.rpartition("/")[-1], own), []).append(name)
        places.setdefault((_name(path), own), []).append(name)
    found = [set(places.get((owners.get(id(weight)), _split(weight.path)[1]), ())) for weight in wanted]
    if all(len(one) == 1 for one in found) and len(set().union(*found)) == len(wanted):
        return [one.pop() for one in found]
    for weight, name in zip(wanted, names, strict=True):
        if _split(weight.path)[1] != _split(name)[1]:
            raise ValueError(f"it holds {name!r} where layer {layer.name!r} has {weight.path!r}")
    return names


def _split(path):
    """(the layer's path, the weight's own name as Keras 3 says it)"""
    before, _, own = path.removesuffix(":0").rpartition("/")
    return before, "kernel" if own == "depthwise_kernel" else own
