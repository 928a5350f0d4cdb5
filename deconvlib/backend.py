"""The only file that knows TensorFlow, JAX and Torch: a quiet import, derivatives, compiled functions.

Import it before Keras: TensorFlow writes two lines of log to the process' standard error before its own log level is in
force, and a notebook would keep them.
"""

import contextlib
import itertools
import os
import sys

import numpy

from deconvlib import disk

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextlib.contextmanager
def _silent_stderr():
    """File descriptor 2 closed to what is not Python's; a Python error still comes through as an exception."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _NoJax:
    """A finder that hides JAX from TensorFlow, which imports it, where it is there, for a converter: half a second."""

    def find_spec(self, name, path=None, target=None):
        if name == "jax" and "tensorflow" in sys.modules:
            raise ModuleNotFoundError("hidden from TensorFlow", name=name)


@contextlib.contextmanager
def _without_jax():
    sys.meta_path.insert(0, hiding := _NoJax())
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)


try:
    with _silent_stderr(), _without_jax():
        import keras
except ModuleNotFoundError as missing:
    raise ImportError(
        f"{missing.name.partition('.')[0]} is not installed: pip install 'deconvlib[cpu]', or [gpu] for TensorFlow on a GPU; "
        "with [jax], [jax-gpu] or [torch], set KERAS_BACKEND to jax or torch"
    ) from None

NAME = keras.backend.backend()
if NAME != "tensorflow":
    # saving a model, Keras imports TensorFlow to see whether it is there: seconds, and a GPU's memory
    from keras.src.utils import module_utils

    module_utils.tensorflow._available = False
if NAME == "tensorflow":
    import tensorflow

    relu = tensorflow.nn.relu
elif NAME == "jax":
    import jax

    relu = jax.nn.relu
    if not jax.config.jax_compilation_cache_dir:  # which the user may have set
        with contextlib.suppress(OSError):  # JAX would warn at each program that it cannot write there
            (disk.cache() / "jax").mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(disk.cache() / "jax"))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # a hundred small programs take seconds too
elif NAME == "torch":
    import torch

    relu = torch.relu


def vjp(function, x):
    """(function(x), pull): `pull(v)` is v · ∂function/∂x, of the shape of x.

    x: one tensor or a list of tensors, as keras.ops makes them; `function` takes it and returns one tensor.
    """
    if NAME == "tensorflow":
        tape = tensorflow.GradientTape(watch_accessed_variables=False)
        with tape:
            tape.watch(x)
            y = function(x)
        return y, lambda v: tape.gradient(y, x, output_gradients=v, unconnected_gradients="zero")
    if NAME == "jax":
        y, pull = jax.vjp(function, x)
        return y, lambda v: pull(v)[0]
    if NAME == "torch":
        leaves = [t.detach().requires_grad_() for t in (x if isinstance(x, list) else [x])]
        with torch.enable_grad():
            y = function(leaves if isinstance(x, list) else leaves[0])

        def pull(v):
            gradients = torch.autograd.grad(y, leaves, grad_outputs=v, allow_unused=True, materialize_grads=True)
            return list(gradients) if isinstance(x, list) else gradients[0]

        return y, pull
    raise RuntimeError(f"Keras backend {NAME!r} has no gradients; use tensorflow, jax or torch")


class compiled:
    """`function` of float32 arrays as one compiled program; called with NumPy arrays, it returns a list of them.

    shapes: of each argument without the first axis, the batch, which may have any length. function: tensors -> a tensor
    or several of the length of the last argument, in operations of keras.ops and of `model`, whose weights are read anew
    at each call.
    """

    def __init__(self, function, model, *shapes):
        if NAME == "tensorflow":
            specs = [tensorflow.TensorSpec((None, *shape), "float32") for shape in shapes]
            # traced here and once: TensorFlow warns of a function that is made again for each layer as it is of retracing
            program = tensorflow.function(function, input_signature=specs).get_concrete_function()
            self.begin = lambda *arguments: program(*(tensorflow.constant(array, "float32") for array in arguments))
        elif NAME == "jax":

            def with_weights(weights, *arguments):  # captured by a compiled function, they would stay what they were
                with keras.StatelessScope(state_mapping=list(zip(model.variables, weights, strict=True))):
                    return function(*arguments)

            program = jax.jit(with_weights)

            def begin(*arguments):
                outputs = program([variable.value for variable in model.variables], *map(_lengthened, arguments))
                return jax.tree.map(lambda output: output[: len(arguments[-1])], outputs)

            self.begin = begin
        else:
            self.begin = lambda *arguments: function(*(keras.ops.convert_to_tensor(array) for array in arguments))

    def __call__(self, *arguments):
        return _arrays(self.begin(*arguments))


def fetched(begun):
    """(key, arrays) for each (key, what `compiled.begin` gave): a GPU begins the next one before the last one is fetched."""
    for (key, outputs), _ in itertools.pairwise(itertools.chain(begun, [None])):
        yield key, _arrays(outputs)


def _arrays(outputs):
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]


def _lengthened(array):
    """To a power of two, as a program is compiled for each length."""
    padding = (1 << (len(array) - 1).bit_length()) - len(array)
    return numpy.concatenate([array, array[-1:].repeat(padding, axis=0)])


def with_way_back(function, back):
    """`function` of one tensor, whose derivative is `back` instead: back(x, signal) -> the signal at x."""

    @keras.ops.custom_gradient
    def apply(x):
        # TensorFlow and JAX pass the signal by position, Torch by name
        return function(x), lambda *signal, upstream=None: back(x, signal[0] if upstream is None else upstream)

    return apply


def full_precision():
    """Within, products of float32 matrices are float32: JAX would compute them in TF32 on a GPU, with 10 bits of mantissa."""
    return jax.default_matmul_precision("highest") if NAME == "jax" else contextlib.nullcontext()


def gradients(model, images, labels):
    """d(mean cross-entropy)/d(weights) of every trainable weight of a classifier, as a list of arrays.

    images: float32 (n, h, w, c) in [0, 1]; labels: integers (n,). Dropout and augmentation are off.
    """
    weights = [weight.value for weight in model.trainable_variables]
    others = [weight.value for weight in model.non_trainable_variables]

    def loss(weights):
        probabilities, _ = model.stateless_call(weights, others, images, training=False)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, probabilities))

    value, pull = vjp(loss, weights)
    return [keras.ops.convert_to_numpy(gradient) for gradient in pull(keras.ops.ones_like(value))]


def accelerator():
    """The name of the GPU or TPU that the backend computes on; None where it computes on the processor."""
    if NAME == "tensorflow":
        devices = tensorflow.config.list_physical_devices("GPU")
        return tensorflow.config.experimental.get_device_details(devices[0]).get("device_name") if devices else None
    if NAME == "jax":
        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    return torch.cuda.get_device_name() if NAME == "torch" and torch.cuda.is_available() else None
