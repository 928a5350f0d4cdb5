"""Models of other origin, loaded safely: .keras and .h5 files, keras.applications, and EfficientNet-Lite0."""

import json
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

from deconvlib import allowed, checks
from deconvlib.backend import keras
from deconvlib.deconvnet import graph, inputs, rules
from deconvlib.networks import efficientnet_lite, hdf5, imagenet

APPLICATIONS = tuple(name for name in dir(keras.applications) if name[0].isupper())
MODELS = (*APPLICATIONS, efficientnet_lite.NAME)
PIXELS = object()  # what stands for a tensor on which no weight has acted
_FUNCTIONS = {"activations", "constraints", "initializers", "ops", "regularizers"}  # Keras' modules of what a layer may call
_FOREIGN_CODE = {"Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"}  # Keras' layers that hold a program


def load(
    model: str | Path,
    weights: str | None = None,
    preprocessing: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    pixels: tuple[float, float] | None = None,
) -> keras.Model:
    """The model of a .keras, .h5 or .hdf5 file, or the application of that name, as the rest of this library takes it.

    Applications are keras.applications', and "EfficientNetLite0": a network of ReLU6 whose weights need no download.
    weights: of an application; None: not trained, "imagenet": downloaded, but EfficientNetLite0's are those of the extra
        `pretrained`, or the path of a .weights.h5 file.
    preprocessing: the application whose `preprocess_input` the file's model was trained behind, such as "ResNet50"; None:
        what its own first layer says, else [0, 1]. An application comes with its own. It becomes the model's first layers,
        so that the model takes uint8, or floats in [0, 1], in RGB; BGR is swapped in the first convolutions' filters.
    image_size: side, or (height, width), of the images, for a model that takes any, and for an application whose layers do, as
        one that ends in a global pooling; None: its own.
    pixels: (lowest, highest) value that the file's model takes, in place of `preprocessing`; None: what its own first
        layers say (`deconvnet.inputs.pixel_range`), else [0, 1].

    Nested models are opened into one graph. Logits get a softmax; one logit, or one sigmoid, becomes the probabilities of
    two classes, 0 and 1. Keras builds its own layers, and those registered here, from the file's description; no code of the
    file runs. Files of HDF5 may be of Keras 2 or 3, .keras files of Keras 3.
    Raises FileNotFoundError; ValueError for a file that is not whole, or needs code that is not here, which is named and not
    run; for weights that are not numbers; for an unknown application; for images of any size without `image_size`;
    ImportError without the extra `pretrained`, where it is needed.
    """
    if preprocessing and pixels:
        raise ValueError(f"preprocessing {preprocessing!r} says what pixels the model takes; leave pixels={pixels} out")
    allowed.check(pixels=pixels, image_size=image_size)
    if str(model) not in MODELS:
        network = _read(Path(model).expanduser())
    else:
        network, own = _application(str(model), weights)
        preprocessing = preprocessing or own
    inputs.check_model(network)
    if len(network.outputs) != 1:
        raise ValueError(f"model {network.name!r} has {len(network.outputs)} outputs; a model of one is needed")
    shape = list(network.inputs[0].shape[1:])
    sides = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if None in shape:
        if not image_size or shape[2] is None:
            raise ValueError(f"model {network.name!r} takes images of any size {tuple(shape)}; give image_size")
        shape[:2] = [own or side for own, side in zip(shape, sides, strict=False)]
    elif image_size and str(model) in MODELS:
        shape[:2] = sides
    ending, nested = _ending(network), any(isinstance(layer, keras.Model) for layer in network.layers)
    if not preprocessing and not pixels and not ending and not nested and list(network.inputs[0].shape[1:]) == shape:
        return network
    try:
        return _rebuilt(network, tuple(shape), preprocessing, pixels, ending)
    except ValueError as error:
        if shape == list(network.inputs[0].shape[1:]) or str(model) not in MODELS:
            raise
        raise ValueError(
            f"{model} does not take images of {shape[0]} × {shape[1]}: {_line(error)}; leave image_size out"
        ) from error


def class_names(model: str | Path) -> tuple[str, ...]:
    """The classes of `load(model, weights="imagenet")`, in its order; () where they are not known.

    A file does not hold them; of an application they come with the extra `pretrained`.
    """
    try:
        return imagenet.classes() if str(model) in MODELS else ()
    except ImportError:
        return ()


def _ending(network):
    """What stands in place of probabilities: "logits", one "logit", one "sigmoid"; or None."""
    last = graph.steps(network)[-1]
    function, one = rules.nonlinearity(last)[0], tuple(network.outputs[0].shape[1:]) == (1,)
    if one and function == "sigmoid":
        return "sigmoid"
    logits = type(last.operation).__name__ in ("Dense", "Activation") and function is None
    return ("logit" if one else "logits") if logits else None


def _application(name, weights):
    """(the network, the application whose preprocessing it needs before it)"""
    try:
        if name == efficientnet_lite.NAME:
            return efficientnet_lite.efficientnet_lite0(weights), None
        return getattr(keras.applications, name)(weights=weights), name
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"{name} with weights={weights!r} is not to be had: {error}. weights=None needs no file") from error


def _read(path):
    if not path.exists() and path.suffix != ".keras" and len(path.parts) == 1:
        checks.known("model", str(path), MODELS)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; looked for it from {Path.cwd()}")
    older = path.is_file() and h5py.is_hdf5(path)
    if not older and (path.suffix != ".keras" or not zipfile.is_zipfile(path)):
        raise ValueError(_no_model(path))
    try:
        config, version = hdf5.read(path) if older else _description(path)
        needed = _needed({key: value for key, value in (config or {}).items() if key != "compile_config"})  # no losses
    except NotImplementedError as error:
        raise ValueError(f"{path} is not read: {error}. {_MAKE}") from error
    except Exception as error:
        kind = ".h5" if older else ".keras"
        raise ValueError(
            f"{path} is not a whole {kind} file: {_line(error)}. Save it anew with model.save('model{kind}')"
        ) from error
    if config is None:
        way = f"Of an application: networks.load('MobileNetV2', weights={path.name!r})"
        raise ValueError(f"{path} holds weights without layers. {way}; of another model: {_ANEW.format(path.name)}")
    if version.startswith("2.") and not older:
        way = f"In Keras 2: tf_keras.models.load_model({path.name!r}).save('model.h5'), which is read"
        raise ValueError(f"{path} was saved by Keras {version}, and its .keras files are not read. {way}")
    if any(name.startswith("TensorFlow") for name in needed):
        way = _ANEW[0].upper() + _ANEW[1:].format(path.name)
        raise ValueError(f"{path} needs {' and '.join(needed)}, for which Keras 3 has no layer. {way}")
    if needed:
        raise ValueError(
            f"{path} needs {' and '.join(needed)}, which the file cannot be trusted to bring: nothing of it was run. Import "
            "the module that defines it, with @keras.saving.register_keras_serializable() above it, before this; or make a "
            "layer of each Lambda; or save the part with feature maps alone, keras.Model(inputs, outputs) of Keras' layers"
        )
    try:
        if older:
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            hdf5.fill(model, path)
        else:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {_line(error)}") from error
    for variable in model.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise ValueError(f"{path}: the weights {variable.path} hold NaN or infinity; the training that made them diverged")
    return model


def _description(path):
    """(what a .keras file says of its model, the version of Keras that wrote it)"""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        return config, json.loads(archive.read("metadata.json"))["keras_version"]


_ANEW = "make it in Keras 3 by its own code, then model.load_weights({!r}) and model.save('model.keras')"
_MAKE = "Make a model of Keras' layers, put the weights in with layer.set_weights(...), and save it as a .keras file"
_OTHERS = {
    ".tflite": "of TensorFlow Lite, which keeps no layers of Keras. Give the Keras model that it was converted from",
    ".onnx": f"of ONNX, which keeps no layers of Keras. {_MAKE}",
    **dict.fromkeys((".pt", ".pth", ".pkl"), f"a pickle, which runs code as it is read. {_MAKE}"),
}


def _no_model(path):
    """What a file, or a folder, is that is neither a .keras nor an HDF5 file, and the way on."""
    if (path / "saved_model.pb").exists():
        way = f"If Keras 2 saved it: tf_keras.models.load_model({path.name!r}).save('model.h5'), which is read"
        return f"{path} is a SavedModel, a program of TensorFlow. {way}; if model.export made it, give the model itself"
    if path.is_dir():
        return f"{path} is a folder; give a .keras or .h5 file, as model.save('model.keras') writes it"
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return f"{path} is not a {path.suffix} file, or it is cut short: save it anew with model.save('model{path.suffix}')"
    return f"{path} is {_OTHERS.get(path.suffix, f'not a .keras or .h5 file. {_MAKE}')}"


def _line(error):
    """The end of Keras' message, which has the reason behind the whole description of the model."""
    return " ".join(str(error).split("Exception encountered:")[-1].split())[:300]


def _needed(config):
    """What a model's description names that is neither Keras' nor registered here, or brings a program; each once."""
    found = []
    if isinstance(config, dict) and "class_name" in config and "config" in config:
        kind, module = config["class_name"], config.get("module")
        name = config["config"] if kind == "function" else config.get("registered_name") or kind
        parts = str(module).split(".")
        own = parts[0] == "keras" if kind != "function" else hasattr(keras.activations, str(name))
        if kind == "function" and parts[0] == "keras":  # others change the state of Keras
            own = bool(_FUNCTIONS & set(parts))
        if kind in _FOREIGN_CODE:
            found.append(f"the {kind} layer {config['config'].get('name')!r}")
        elif kind == "__lambda__":
            found.append("a lambda function")
        elif parts[0] == "tensorflow":
            found.append(f"TensorFlow's {name!r}")
        elif not (kind.startswith("__") or own or keras.saving.get_registered_object(str(name))):
            found.append(f"the {'function' if kind == 'function' else 'class'} {name!r}")
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return list(dict.fromkeys([*found, *(name for part in parts for name in _needed(part))]))


def _rebuilt(network, shape, preprocessing, pixels, ending):
    """The same layers with the same weights as one graph, behind the preprocessing, and before a softmax for logits."""
    last, copies = graph.steps(network)[-1], {}
    taken = {step.operation.name for step in graph.steps(network)}
    names = (name + "_" * (name in taken) for name in ("images", "rescale", "classes", "softmax"))
    entry, front, classes, softmax = names
    images = x = keras.Input(shape, name=entry)
    swapped = False
    if preprocessing:
        x, swapped = _preprocessed(images, preprocessing, front)
    elif pixels:
        x = keras.layers.Rescaling(float(pixels[1] - pixels[0]), offset=float(pixels[0]), name=front)(images)
    copied, bare = graph.copying(network, copies), graph.copying(network, {}, activation=None)

    def call(step, *arguments, **keywords):
        if step.name != last.name or ending != "sigmoid":
            return copied(step, *arguments, **keywords)
        return bare(step, *arguments, **keywords) if graph.kind(step.operation) == "Dense" else arguments[0]

    (output,) = keras.tree.flatten(graph.run(network, [x], call))
    for layer in _readers(network) if swapped else ():
        if type(layer).__name__ != "Conv2D" or layer.groups > 1:  # network deconvolution's statistics would swap too
            raise ValueError(f"preprocessing {preprocessing!r} swaps red and blue; layer {layer.name!r} cannot follow")
        kernel, *others = layer.get_weights()
        copies[layer].set_weights([kernel[:, :, ::-1], *others])
    if ending in ("logit", "sigmoid"):
        two = keras.layers.Dense(2, use_bias=False, dtype="float32", name=classes)
        output = two(output)
        two.set_weights([np.array([[-0.5, 0.5]])])  # their difference is the logit, so that the softmax gives its sigmoid
    output = keras.layers.Softmax(dtype="float32", name=softmax)(output) if ending else output
    return keras.Model(images, output, name=network.name)


def _readers(network):
    """The layers with weights that read pixels: what no weight comes before."""
    found = []

    def follow(step, *arguments, **keywords):
        reads = any(part is PIXELS for part in keras.tree.flatten((arguments, keywords)))
        if reads and getattr(step.operation, "weights", None):
            found.append(step.operation)
            reads = False
        return [PIXELS if reads else ""] * len(step.node.outputs)

    graph.run(network, [PIXELS], follow)
    return list(dict.fromkeys(found))


def _preprocessed(images, application, name):
    """(images in [0, 1] as the application's network takes them, but in RGB; whether it takes BGR)."""
    module = getattr(keras.applications, checks.known("preprocessing", application, APPLICATIONS)).__module__
    # what it does to black, red, green and blue says what it does to every colour: all of them are linear
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    black, *primaries = sys.modules[module].preprocess_input(colours[:, None, None])[:, 0, 0]
    matrix = np.array(primaries) - black  # row: what comes in; column: what comes out
    swapped = not matrix[0, 0]
    if swapped:
        matrix, black = matrix[:, ::-1], black[::-1]
    scale = matrix.diagonal()
    if np.ptp(scale) < 1e-6 and np.ptp(black) < 1e-6:
        return keras.layers.Rescaling(float(scale[0]), offset=float(black[0]), name=name)(images), swapped
    x = keras.layers.Rescaling(255.0, name=name)(images)
    mean, deviation = -255 * black / scale, 255 / scale
    return keras.layers.Normalization(mean=mean.tolist(), variance=(deviation**2).tolist(), name="centre")(x), swapped
