"""Models of other origin, loaded safely: .keras files, and keras.applications."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np

from deconvlib import checks
from deconvlib.backend import keras
from deconvlib.deconvnet import graph

APPLICATIONS = tuple(name for name in dir(keras.applications) if name[0].isupper())
PIXELS = object()  # what stands for a tensor on which no weight has acted
_FOREIGN_CODE = {"Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"}  # Keras' layers that hold a program


def load(
    model: str | Path,
    weights: str | None = None,
    preprocessing: str | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> keras.Model:
    """The model of a .keras file, or keras.applications' of that name, as the rest of this library takes it.

    weights: of an application; None: not trained, "imagenet": downloaded, or the path of a .weights.h5 file.
    preprocessing: the application whose `preprocess_input` the file's model was trained behind, such as "ResNet50"; None:
        what its own first layer says, else [0, 1]. An application comes with its own. It becomes the model's first layers,
        so that the model takes uint8, or floats in [0, 1], in RGB; BGR is swapped in the first convolutions' filters.
    image_size: side, or (height, width), of the images, for a model that takes any.

    Nested models are opened into one graph, and logits get a softmax. Keras builds its own layers, and those registered
    here, from the file's description; no code of the file runs.
    Raises FileNotFoundError; ValueError for a file that is not whole, or needs code that is not here, which is named and not
    run; for an unknown application; for images of any size without `image_size`.
    """
    if str(model) not in APPLICATIONS:
        network = _read(Path(model).expanduser())
    else:
        network, preprocessing = _application(str(model), weights), preprocessing or str(model)
    if len(network.inputs) != 1 or len(network.outputs) != 1 or len(network.inputs[0].shape) != 4:
        raise ValueError(f"model {network.name!r} must take one image, (height, width, channels), and have one output")
    shape = list(network.inputs[0].shape[1:])
    if None in shape:
        if image_size is None or shape[2] is None:
            raise ValueError(f"model {network.name!r} takes images of any size {tuple(shape)}; give image_size")
        sides = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
        shape[:2] = [own or side for own, side in zip(shape, sides, strict=False)]
    last = graph.steps(network)[-1].operation
    logits = type(last).__name__ in ("Dense", "Activation") and last.activation is keras.activations.linear
    nested = any(isinstance(layer, keras.Model) for layer in network.layers)
    if not preprocessing and not logits and not nested and list(network.inputs[0].shape[1:]) == shape:
        return network
    return _rebuilt(network, tuple(shape), preprocessing, logits)


def _application(name, weights):
    try:
        return getattr(keras.applications, name)(weights=weights)
    except Exception as error:
        raise ValueError(f"{name} with weights={weights!r} is not to be had: {error}. weights=None needs no file") from error


def _read(path):
    if not path.exists() and path.suffix != ".keras" and len(path.parts) == 1:
        checks.known("model", str(path), APPLICATIONS)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; looked for it from {Path.cwd()}")
    resave = "load it where you trust it, and save it with model.save('model.keras')"
    if path.is_dir() or path.suffix in (".h5", ".hdf5", ".pb"):
        raise ValueError(f"{path} is of an older format, which can run code as it is loaded: {resave}")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .keras file, or it is cut short: save it anew with model.save('model.keras')")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        needed = _needed({key: value for key, value in config.items() if key != "compile_config"})  # losses are not loaded
    except Exception as error:
        raise ValueError(f"{path} is not a whole .keras file: {error}. Save it anew with model.save('model.keras')") from error
    if needed:
        raise ValueError(
            f"{path} needs {' and '.join(needed)}, which the file cannot be trusted to bring: nothing of it was run. Import "
            "the module that defines it, with @keras.saving.register_keras_serializable() above it, before this; or make a "
            "layer of each Lambda; or save the part with feature maps alone, keras.Model(inputs, outputs) of Keras' layers"
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error


def _needed(config):
    """What a model's description names that is neither Keras' nor registered here, or brings a program; each once."""
    found = []
    if isinstance(config, dict) and "class_name" in config and "config" in config:
        kind, module = config["class_name"], config.get("module")
        name = config["config"] if kind == "function" else config.get("registered_name") or kind
        own = str(module).partition(".")[0] == "keras" or (kind == "function" and hasattr(keras.activations, str(name)))
        if kind in _FOREIGN_CODE:
            found.append(f"the {kind} layer {config['config'].get('name')!r}")
        elif kind == "__lambda__":
            found.append("a lambda function")
        elif not (kind.startswith("__") or own or keras.saving.get_registered_object(str(name))):
            found.append(f"the {'function' if kind == 'function' else 'class'} {name!r}")
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return list(dict.fromkeys([*found, *(name for part in parts for name in _needed(part))]))


def _rebuilt(network, shape, preprocessing, logits):
    """The same layers with the same weights as one graph, behind the preprocessing, and before a softmax for logits."""
    images = keras.Input(shape, name="images")
    x, swapped = _preprocessed(images, preprocessing) if preprocessing else (images, False)
    copies = {}
    (output,) = keras.tree.flatten(graph.run(network, [x], graph.copying(network, copies)))
    for layer in _readers(network) if swapped else ():
        if type(layer).__name__ != "Conv2D" or layer.groups > 1:  # network deconvolution's statistics would swap too
            raise ValueError(f"preprocessing {preprocessing!r} swaps red and blue; layer {layer.name!r} cannot follow")
        kernel, *others = layer.get_weights()
        copies[layer].set_weights([kernel[:, :, ::-1], *others])
    output = keras.layers.Softmax(dtype="float32", name="softmax")(output) if logits else output
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


def _preprocessed(images, application):
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
        return keras.layers.Rescaling(float(scale[0]), offset=float(black[0]), name="rescale")(images), swapped
    x = keras.layers.Rescaling(255.0, name="rescale")(images)
    mean, deviation = -255 * black / scale, 255 / scale
    return keras.layers.Normalization(mean=mean.tolist(), variance=(deviation**2).tolist(), name="centre")(x), swapped
