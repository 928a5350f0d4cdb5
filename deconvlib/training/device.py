"""Epochs on the device, under JAX: many steps a call, of images that lie there, on all devices."""

import contextlib
import time

import numpy as np

from deconvlib import backend
from deconvlib.backend import keras

if backend.NAME == "jax":
    jax = backend.jax

AHEAD = 128  # steps that one call computes, at most
CALL = 0.25  # seconds that it should take: between two, a training is paused and stopped
# bytes that a device is taken to have where it does not tell, as a processor: there XLA computes convolutions in a loop many
# times slower than outside it, and images lie in its memory anyway
UNTOLD = 0


@contextlib.contextmanager
def epochs(trainer, batches, validation=None):
    """Gives callbacks with which `trainer.fit` on these computes many steps a call, of images on the device, on all devices.

    trainer: compiled. batches, validation: as Batches in training.fit, with `batch_size`, `arrays`, `places` and `batch`; where
    `arrays` is None or does not fit, Keras draws each batch as ever. What is computed is the same, but for rounding.
    On a processor, under another backend than JAX and under a distribution of the user's own, Keras does all: no callbacks.
    """
    if backend.NAME != "jax" or keras.distribution.distribution() is not None:
        yield []
        return
    parallel = _data_parallel(batches.batch_size)
    sets = {"train": batches} | ({} if validation is None else {"test": validation})
    resident = all(data.arrays is not None for data in sets.values()) and _fit([data.arrays for data in sets.values()])
    make = _Resident if resident else _Divided
    functions = {kind: make(getattr(trainer, f"{kind}_step"), data, parallel) for kind, data in sets.items()}
    try:
        yield [_Functions(functions)] if resident or parallel else []
    finally:
        for variable in trainer.variables if parallel else ():  # on the first device alone, as before
            variable.assign(np.asarray(variable.value))


class _Functions(keras.callbacks.Callback):
    """Gives Keras what it calls for each step, within `fit` alone: a callback may evaluate the model on other images."""

    def __init__(self, functions):
        super().__init__()
        self.functions = functions

    def on_epoch_begin(self, epoch, logs=None):
        self.train, self.model.train_function = self.model.train_function, self.functions["train"]

    def on_epoch_end(self, epoch, logs=None):
        self.model.train_function = self.train

    def on_train_batch_end(self, batch, logs=None):
        for log in logs.values():
            if isinstance(log, _Later):  # Keras goes on without a number that it could not get, whatever the reason
                float(log)  # the device's error
                raise KeyboardInterrupt

    def on_test_begin(self, logs=None):
        self.test, self.model.test_function = self.model.test_function, self.functions["test"]

    def on_test_end(self, logs=None):
        self.model.test_function = self.test


class _Resident:
    """A step of Keras' over batches of arrays that lie on the device.

    The first call computes the steps to come as well, as many as take CALL seconds; each call gives the logs of its own step.
    """

    def __init__(self, step, data, parallel):
        self.step, self.data, self.parallel = jax.jit(step), data, parallel
        self.arrays = _laid(jax.tree.map(np.asarray, data.arrays), parallel)
        self.program = jax.jit(self._steps, donate_argnums=0, out_shardings=_everywhere(parallel))
        self.number, self.until, self.images, self.begun = 0, 0, 1, time.perf_counter()

    def __call__(self, state, _iterator):
        if self.number == 0:
            self.whole, self.rest = self._order()
        if self.number in (0, self.until):
            state = self._ahead(state)
        logs = {name: _Later(numbers, self.number - self.first) for name, numbers in self.kept.items()}
        self.number = (self.number + 1) % len(self.data)
        return logs, state

    def _order(self):
        """The places of an epoch's whole batches, (images, steps, ...), and those of what is left, one step."""
        places, size = self.data.places.astype(np.int32), self.data.batch_size
        end = len(places) // size * size
        whole = places[:end].reshape(end // size, size, *places.shape[1:]).swapaxes(0, 1)
        return [_laid(order, self.parallel, divided=True) for order in (whole, places[end:, None])]

    def _ahead(self, state):
        """The state after as many steps as the pace of the last call allows; the first call, which compiles, makes it one."""
        begun, self.begun = self.begun, time.perf_counter()
        pace = (self.begun - begun) / self.images
        self.first, order, here = self.number, self.whole, self.number
        if self.number == order.shape[1]:
            order, here = self.rest, 0
        count = min(AHEAD, order.shape[1] - here, max(1, int(CALL / pace / len(order))))
        self.until, self.images = self.first + count, count * len(order)
        state, self.kept = self.program(_laid(state, self.parallel), self.arrays, order, here, here + count)
        return state

    def _steps(self, state, arrays, order, first, last):
        def batch(number):
            return self.data.batch(arrays, order[:, number], jax.numpy)

        def one(number, carried):
            state, kept = carried
            logs, state = self.step(state, batch(number))
            return state, {name: kept[name].at[number - first].set(log) for name, log in logs.items()}

        logs, _ = jax.eval_shape(self.step, state, batch(0))
        kept = {name: jax.numpy.zeros(AHEAD, log.dtype) for name, log in logs.items()}
        # its bounds are no constants: one program for any number of steps
        return jax.lax.fori_loop(first, last, one, (state, kept))


class _Later:
    """A number on the device, waited for when it is asked for: not before Keras knows the state that came with it."""

    def __init__(self, numbers, place):
        self.numbers, self.place = numbers, place

    def __float__(self):
        return float(np.asarray(self.numbers)[self.place])


class _Divided:
    """A step of Keras' over batches of its iterator, each divided among the devices."""

    def __init__(self, step, _data, parallel):
        self.parallel = parallel
        self.program = jax.jit(step, donate_argnums=0, out_shardings=_everywhere(parallel))

    def __call__(self, state, iterator):
        return self.program(_laid(state, self.parallel), _laid(next(iterator), self.parallel, divided=True))


def _data_parallel(batch_size):
    """Keras' division of batches among all devices, or as many as divide one evenly; None for one."""
    devices = keras.distribution.list_devices()
    count = max(count for count in range(1, len(devices) + 1) if batch_size % count == 0)
    return keras.distribution.DataParallel(devices=devices[:count]) if count > 1 else None


def _laid(arrays, parallel, divided=False):
    """`arrays` on the device, or on each of several; divided: along their first axis, where that goes evenly."""
    if parallel is None:
        return jax.device_put(arrays)

    def layout(array):
        evenly = divided and len(array) % parallel.num_model_replicas == 0
        return parallel.get_data_layout(array.shape).backend_layout if evenly else _everywhere(parallel)

    return jax.device_put(arrays, jax.tree.map(layout, arrays))


def _everywhere(parallel):
    return parallel and keras.distribution.TensorLayout((), parallel.device_mesh).backend_layout


def _fit(arrays):
    """Whether arrays fit on the device beside a training: in a quarter of its free memory."""
    told = jax.local_devices()[0].memory_stats() or {}
    free = told.get("bytes_limit", UNTOLD) - told.get("bytes_in_use", 0)
    return sum(array.nbytes for array in jax.tree.leaves(arrays)) <= free / 4
