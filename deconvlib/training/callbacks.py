"""What Keras calls while `fit` trains: the log, the epochs' random draws, gradient norms."""

import time

import numpy as np

from deconvlib import backend, progress
from deconvlib.backend import keras
from deconvlib.deconvnet import graph


class Log(keras.callbacks.Callback):
    """Keeps the rows of the history, prints them, and refuses a loss that is not a number."""

    def __init__(self, model, verbose):
        super().__init__()
        self.say = progress.say if verbose else lambda text: None
        self.network, self.rows, self.good = model, [], model.get_weights()

    def resume(self, rows, epochs):
        """Take up the rows of a training that was interrupted, whose weights the network has again."""
        self.rows, self.good = rows, self.network.get_weights()
        self.say(f"resumed after epoch {len(rows)} of {epochs}")

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.epoch_begun, self.announced = epoch, time.perf_counter(), epoch > 0

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            step = min(batch + 1, self.params["steps"])  # Keras counts on where the last call has fewer steps
            self._diverged(f"the loss is {logs['loss']} at step {step} of epoch {self.epoch + 1}")
        spent = time.perf_counter() - self.epoch_begun
        if not self.announced and spent > 10 and batch > 10:
            self.announced = True
            whole = spent / (batch + 1) * self.params["steps"]
            self.say(f"about {_duration(whole)} an epoch, {_duration(whole * self.params['epochs'])} in all")

    def _diverged(self, what):
        self.network.set_weights(self.good)
        raise FloatingPointError(
            f"{what}; the model has its weights of the end of epoch {self.epoch} again. A smaller learning_rate usually helps"
        )

    def on_epoch_end(self, epoch, logs=None):
        seconds, epochs = time.perf_counter() - self.epoch_begun, self.params["epochs"]
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs = {name: float(value) for name, value in logs.items()}
        row = {name: logs.pop(name) for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in logs}
        row = {"epoch": epoch + 1, **row, "learning_rate": rate, "seconds": seconds, **logs}
        weights = self.network.get_weights()
        # some kernels rectify NaN to 0: the loss can stay a number when the weights no longer are
        if not all(np.isfinite(weight).all() for weight in weights):
            self._diverged(f"a weight is no longer a number at the end of epoch {epoch + 1}")
        self.rows.append(row)
        self.good = weights
        left = np.mean([row["seconds"] for row in self.rows]) * (epochs - epoch - 1)
        measured = f"   loss {row['loss']:.4g}"
        if "accuracy" in row:
            measured += f"   accuracy {row['accuracy']:.3f}   test {row['val_accuracy']:.3f}"
        rest = f", about {_duration(left)} left" if left else ""
        self.say(f"epoch {epoch + 1:{len(str(epochs))}d}/{epochs}{measured}   {_duration(seconds)}{rest}")


class Epochs(keras.callbacks.Callback):
    """Makes what is random in an epoch depend on the seeds and the epoch's number alone: a resumed epoch is the same."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.shuffle(epoch)
        for variable in graph.generators(self.model):
            seed, _ = keras.ops.convert_to_numpy(variable)
            variable.assign(np.array([seed, epoch * 1_000_003 % 2**32], np.uint32))


class GradientNorms(keras.callbacks.Callback):
    """Adds to each epoch's logs the Euclidean norm of the loss' gradient at each layer's kernel."""

    def __init__(self, model, images, labels):
        super().__init__()
        self.network, self.images, self.labels = model, images, labels

    def on_epoch_end(self, epoch, logs=None):
        gradients = backend.gradients(self.network, self.images, self.labels)
        for weight, gradient in zip(self.network.trainable_variables, gradients, strict=True):
            layer, name = weight.path.split("/")[-2:]
            if name == "kernel":
                logs[f"gradient/{layer}"] = float(np.linalg.norm(gradient))


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
