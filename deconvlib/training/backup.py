"""The state of a training, on disk after each epoch: one that was killed goes on, and ends as if it had not been."""

import contextlib
import hashlib
import inspect
import json
import re
import zipfile
from pathlib import Path

import numpy as np

from deconvlib import backend, disk
from deconvlib.backend import keras

LIBRARY = Path(__file__).parents[1]
# what a training's numbers depend on
CODE = [file for part in ("backend.py", "deconvnet/inputs.py", "networks/*.py", "training/*.py") for file in LIBRARY.glob(part)]


class Backup(keras.callbacks.Callback):
    """Writes what the next epoch depends on. It is the last of the callbacks, since it also keeps what they remember.

    folder: may hold backups of other trainings. key: of this training, from `fingerprint`. log, callbacks: whose state is kept.
    """

    def __init__(self, folder, key, log, callbacks):
        super().__init__()
        # written in turn: the one before stays until the new one is whole
        self.files = [Path(folder) / f"{key}.{number}.npz" for number in (0, 1)]
        self.log, self.others, self.states = log, callbacks, []

    def resume(self, trainer, epochs):
        """The number of epochs that are done: those of the newest backup, whose state `trainer` and the log then have.

        `trainer` is compiled and its optimizer built. Where a callback had stopped the training, `epochs`.
        """
        found = [state for file in self.files if file.exists() and (state := _read(file))]
        if not found:
            return 0
        state = max(found, key=lambda state: state["epoch"])
        trainer.set_weights(state["weights"])
        for variable, value in zip(trainer.optimizer.variables, state["optimizer"], strict=True):
            variable.assign(value)
        self.log.resume(state["rows"], epochs)
        self.states = state["callbacks"]
        return epochs if state["stopped"] else state["epoch"]

    def on_train_begin(self, logs=None):
        # not in `resume`: callbacks forget here what they remember of another training
        for callback, state in zip(self.others, self.states, strict=False):
            vars(callback).update(state)

    def on_epoch_end(self, epoch, logs=None):
        state = {
            "epoch": epoch + 1,
            "stopped": self.model.stop_training,
            "rows": self.log.rows,
            "weights": self.model.get_weights(),
            "optimizer": [keras.ops.convert_to_numpy(variable) for variable in self.model.optimizer.variables],
            "callbacks": [_memory(callback) for callback in self.others],
        }
        try:
            _write(self.files[epoch % 2], state)
        except OSError as error:
            print(f"no backup of epoch {epoch + 1}: {error}. The training goes on", flush=True)


def fingerprint(model, settings, arrays, callbacks=()):
    """A text that names a training: it changes with settings, network, initial weights, data, callbacks, backend and code.

    Of a callback count its class and those arguments that are kept under their own names, as Keras' are; a function among
    them by its name.
    """
    kept = [
        [type(callback), {name: vars(callback).get(name) for name in inspect.signature(type(callback)).parameters}]
        for callback in callbacks
    ]
    versions = [backend.NAME, keras.__version__]
    told = json.dumps([settings, kept, versions, json.loads(model.to_json())], sort_keys=True, default=_told)
    told = re.sub(r'_\d+"', '"', told)  # Keras numbers the layers of a process, which says nothing about the training
    digest = hashlib.blake2b(told.encode(), digest_size=8)
    for file in sorted(CODE):  # a training that one code began and another ended would be neither's
        digest.update(file.read_bytes())
    for array in [*model.get_weights(), *arrays]:
        for piece in disk.pieces(array):
            digest.update(np.ascontiguousarray(piece))
    return digest.hexdigest()


def _told(value):
    """What JSON does not know as what it does; no address in memory, which is another one in each process."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set):
        return sorted(map(str, value))
    return re.sub(r" at 0x\w+", "", getattr(value, "__qualname__", None) or str(value))


def _memory(callback):
    """{name: value} of the attributes that a backup can hold, but for its arguments, which a new one is given anew."""
    found, given = {}, inspect.signature(type(callback)).parameters
    for name, value in vars(callback).items():
        if name in given:  # EarlyStopping for one turns the sign of its `min_delta`, each time
            continue
        with contextlib.suppress(TypeError):
            _packed(value, [])
            found[name] = value
    return found


def _write(file, state):
    arrays = []
    told = json.dumps(_packed(state, arrays))
    file.parent.mkdir(parents=True, exist_ok=True)
    with disk.whole(file) as part:
        np.savez(part, *arrays, told=np.array(told))


def _read(file):
    """The state in `file`; None where it cannot be read, and then the file is out of the way."""
    try:
        with zipfile.ZipFile(file) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        with np.load(file, allow_pickle=False) as found:
            arrays = [found[f"arr_{number}"] for number in range(len(found.files) - 1)]
            return _unpacked(json.loads(found["told"].item()), arrays)
    except Exception as error:  # damaged bytes raise errors of many kinds
        aside = file.with_suffix(".unreadable")
        file.replace(aside)
        rest = "the training goes on from the backup before it, or from the start"
        print(f"{file} is unreadable ({error}), and now called {aside.name}: {rest}", flush=True)
        return None


def _packed(value, arrays):
    """`value` as JSON holds it, while its arrays go to `arrays`. Raises TypeError for what is not plain data."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        # a .npz does not know bfloat16
        arrays.append(value.astype(np.float32) if value.dtype.kind == "V" else value)
        return {"array": len(arrays) - 1}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_packed(item, arrays) for item in value]}
    if type(value) is dict:
        return {"dict": [_packed(item, arrays) for item in value.items()]}
    raise TypeError(f"a backup cannot hold {type(value).__name__}")


def _unpacked(value, arrays):
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "array":
        return arrays[held][()]  # a scalar is one again
    items = [_unpacked(item, arrays) for item in held]
    return {"list": list, "tuple": tuple, "dict": dict}[kind](items)
