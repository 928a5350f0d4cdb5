"""Model + Dataset -> history of the training, and what the trained model gets right and wrong."""

import functools
import hashlib
import json
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix
from sklearn.utils.class_weight import compute_class_weight

from deconvlib import backend
from deconvlib.backend import keras
from deconvlib.data.loading import Dataset
from deconvlib.deconvnet import graph
from deconvlib.networks import classifier as models
from deconvlib.networks.network_deconvolution import ReconstructionLoss

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
PROBE = 256  # training images on which gradient norms are measured
FULL = ("softmax", "pixels", "corrected")  # layers that stay float32: 16 bits are few for many classes and for 8-bit pixels


def fit(
    model: keras.Model,
    dataset: Dataset,
    epochs: int = 10,
    batch_size: int = 64,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    schedule: str = "constant",
    weight_decay: float = 0.0,
    augmentation: tuple[keras.layers.Layer, ...] = (),
    class_weight: str | None = None,
    label_smoothing: float = 0.0,
    images_per_epoch: int = 0,
    unlabelled: np.ndarray | None = None,
    validation: float = 0.0,
    patience: int = 0,
    precision: str = "float32",
    gradient_norms: bool = False,
    backup_dir: str | Path | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    verbose: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Train `model` in place; returns one row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate,
    seconds, and with `gradient_norms` one column gradient/<layer> each, measured on 256 training images.

    optimizer: "adam", "adamw", "rmsprop" or "sgd" (momentum 0.9, Nesterov). schedule: "constant", or "cosine": up from a
        tenth of `learning_rate` over the first fifth of the steps, then along a cosine to 0.
    augmentation: Keras layers applied to the training images only; the model itself stays without them.
    class_weight: "balanced" weights classes by 1 / size. label_smoothing: share in [0, 1) of a label that is divided among
        all classes.
    images_per_epoch: that an epoch shows, all of them once before any of them again; 0: all once. With few images it
        makes epochs as long as others'.
    unlabelled: more images, uint8 (n, height, width, channels), for a model that reconstructs: each batch has as many of
        them, drawn at random, as labelled ones beside it. They count in no loss that needs a label, and in no accuracy.
    validation: share of the training images held out, whose loss and accuracy are the val_ columns; with 0 they are the
        test set's, to be watched, never chosen by. patience: stop after so many epochs without a lower val_loss; asks
        for `validation`, since stopping is a choice.
    precision: what layers compute in while training; the model is float32 again afterwards.
    backup_dir: a fit that was killed goes on here after its last finished epoch and ends with the same history; a folder
        left by a fit with other settings, data or weights starts anew. Removed at the end.
    callbacks: Keras callbacks, evolution.Snapshots for one; their `model` wraps `model` and has its weights.
    seed: order of the images, and the split. Initial weights and dropout take theirs when the model is built.

    verbose: prints one line an epoch with the time left.

    Raises ValueError for settings that cannot work; FloatingPointError where the loss or a weight is no longer a number,
    with its step or epoch; the model then has the weights of the last good epoch.
    """
    _check(model, dataset, epochs, batch_size, optimizer, learning_rate, schedule, class_weight, validation, patience)
    if images_per_epoch < 0 or not 0 <= label_smoothing < 1:
        raise ValueError(f"no epoch of {images_per_epoch} images or smoothing of {label_smoothing}; 0 and [0, 1) work")
    models.known("precision", precision, PRECISIONS)
    if unlabelled is not None:
        models.check_images(model, unlabelled)
        if not any(isinstance(layer, ReconstructionLoss) for layer in model.layers):
            raise ValueError("unlabelled images teach a model that reconstructs; give models.classifier reconstruction_weight")
    settings = {name: value for name, value in locals().items() if isinstance(value, str | int | float | None)}
    parts = dataset.hold_out(validation, seed) if validation else dataset
    images, labels = parts.x_train, parts.y_train
    weights = np.ones(dataset.num_classes, np.float32)
    if class_weight:
        present = np.unique(labels)
        weights[present] = compute_class_weight(class_weight, classes=present, y=labels)
    batches = _Batches(images, labels, batch_size, seed, weights, images_per_epoch, unlabelled)
    trainer = keras.Sequential([keras.Input(model.input_shape[1:]), *augmentation, model])
    log = _Log(model, epochs, len(batches), patience, "validation" if validation else "test", verbose)
    callbacks = [log, _Epochs(batches), *callbacks]
    if gradient_norms:
        callbacks.insert(0, _GradientNorms(model, models.as_input(model, images[:PROBE]), labels[:PROBE]))
    if backup_dir:
        settings |= {"backup_dir": None, "verbose": None, "augmentation": [layer.get_config() for layer in augmentation]}
        arrays = [dataset.x_train, dataset.y_train, *([] if unlabelled is None else [unlabelled])]
        log.resume(Path(backup_dir), _fingerprint(model, settings, arrays))
        callbacks.append(keras.callbacks.BackupAndRestore(backup_dir))
    with _precision(trainer, precision):
        trainer.compile(
            optimizer=_optimizer(optimizer, learning_rate, schedule, weight_decay, epochs * len(batches)),
            loss=functools.partial(_cross_entropy, label_smoothing),
            **{"metrics" if unlabelled is None else "weighted_metrics": ["accuracy"]},
        )
        trainer.fit(
            batches,
            epochs=epochs,
            validation_data=_Batches(parts.x_test, parts.y_test, 500),
            callbacks=callbacks,
            shuffle=False,  # Keras would change the order of the batches by a seed of its own
            verbose=0,
        )
    return pd.DataFrame(log.rows)


def fit_pairs(
    model: keras.Model,
    count: int,
    make,
    epochs: int = 10,
    batch_size: int = 50,
    loss="mean_squared_error",
    learning_rate: float = 2e-3,
    precision: str = "float32",
    backup_dir: str | Path | None = None,
    verbose: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Train `model` in place to give targets for inputs; returns one row an epoch: epoch, loss, learning_rate, seconds.

    count: examples an epoch. make: make(numbers, rng) -> (inputs, targets) of a batch, for `numbers` among range(count);
        what it draws with `rng` is new in each epoch, damage to images for one. loss: any that Keras knows, or a function.
    learning_rate: of Adam, up over the first fifth of the steps, then along a cosine to 0.
    backup_dir: as for `fit`, but it stays, and a training that ended there is not repeated: where one of several networks
        is interrupted, the others are not lost. report.record removes <run_dir>/<notebook>/backup.
    precision, verbose, seed: as for `fit`.

    Raises FloatingPointError as `fit` does, ValueError for numbers that cannot work.
    """
    if min(count, epochs, batch_size) < 1 or not learning_rate > 0:
        raise ValueError(
            f"{count} examples, {epochs} epochs of batches of {batch_size}, rate {learning_rate}: all must be above 0"
        )
    models.known("precision", precision, PRECISIONS)
    batches = _Pairs(count, make, batch_size, seed)
    log = _Log(model, epochs, len(batches), patience=0, watched="test", verbose=verbose)
    callbacks = [log, _Epochs(batches)]
    if backup_dir:
        settings = [count, epochs, batch_size, keras.losses.serialize(keras.losses.get(loss)), learning_rate, precision, seed]
        log.resume(Path(backup_dir), _fingerprint(model, settings, keras.tree.flatten(batches[0])))
        callbacks.append(keras.callbacks.BackupAndRestore(backup_dir, delete_checkpoint=False))
    # a model of its own, since Keras notes in the one that it trains which epoch to go on with
    trainer = keras.Model(model.input, model(model.input))
    with _precision(trainer, precision):
        trainer.compile(optimizer=_optimizer("adam", learning_rate, "cosine", 0.0, epochs * len(batches)), loss=loss)
        trainer.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return pd.DataFrame(log.rows)


def psnr_loss(targets, outputs):
    """Minus the mean PSNR in dB of images (n, height, width, channels) in [0, 1], a loss for `fit_pairs`.

    The mean squared error of a batch is that of its hardest images nearly alone; here each counts by its own error's ratio.
    1e-6 is added to each error, about what rounding to 8 bits leaves. Chen et al. 2021, "HINet", their loss.
    """
    errors = keras.ops.mean(keras.ops.square(targets - outputs), axis=(1, 2, 3))
    return 10 * keras.ops.mean(keras.ops.log10(errors + 1e-6))


def predict(model: keras.Model, *inputs: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """What `model` gives for `inputs`, float arrays of one length, one for each of its inputs, in batches."""
    run = graph.kept(_forward, model, *(array.shape[1:] for array in inputs))
    starts = range(0, len(inputs[0]), batch_size)
    return np.concatenate([run(*(x[start : start + batch_size] for x in inputs))[0] for start in starts])


def turned(images: np.ndarray, number: int) -> np.ndarray:
    """One of the 8 views of images (n, side, side, ...): turned by `number` quarters, from 4 on mirrored afterwards.

    Raises ValueError for an odd number of quarters where the sides differ: a network takes images of one shape.
    """
    if number % 2 and images.shape[1] != images.shape[2]:
        raise ValueError(f"images of {images.shape[1]} × {images.shape[2]} cannot be turned: only square ones can")
    images = np.rot90(images, number % 4, axes=(1, 2))
    return np.ascontiguousarray(images[:, :, ::-1] if number >= 4 else images)


def mean_of_views(run, images: np.ndarray, numbers=range(8)) -> np.ndarray:
    """The mean of what run(images) -> maps (n, side, side, ...) gives for the views of those numbers, each turned back.

    The enhanced prediction of Timofte et al. 2016, "Seven Ways to Improve Example-Based Single Image Super Resolution".
    """
    total = 0
    for number in numbers:
        maps = run(turned(images, number))
        total = total + np.rot90(maps[:, :, ::-1] if number >= 4 else maps, -(number % 4), axes=(1, 2))
    return total / len(numbers)


def _forward(model, *shapes):
    return backend.compiled(lambda *parts: model(parts if len(parts) > 1 else parts[0], training=False), model, *shapes)


def images_per_second(model: keras.Model, batch_size: int = 64, steps: int = 6) -> float:
    """How many images a second this machine trains `model` on, in batches of noise; the model is left as it was.

    The median of `steps` steps of Adam, after two that compile.
    """
    before, seconds = model.get_weights(), []
    trainer = keras.Sequential([keras.Input(model.input_shape[1:]), model])
    trainer.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).random((batch_size, *model.input_shape[1:]), np.float32)
    for _ in range(2 + steps):
        begun = time.perf_counter()
        trainer.train_on_batch(images, np.zeros(batch_size, int))
        seconds.append(time.perf_counter() - begun)
    model.set_weights(before)
    return batch_size / float(np.median(seconds[2:]))


class Evaluation(NamedTuple):
    """What a classifier does on test images. n images, K classes; shares and probabilities in [0, 1]."""

    accuracy: float
    balanced_accuracy: float  # mean of `per_class`: every class counts the same
    per_class: np.ndarray  # (K,) share of each class' images that is right
    confusion: np.ndarray  # (K, K) counts; row: truth, column: prediction
    predicted: np.ndarray  # (n,) class
    confidence: np.ndarray  # (n,) probability of the predicted class
    calibration: pd.DataFrame  # ten bins of confidence: confidence, accuracy, count
    calibration_error: float  # expected calibration error: mean |confidence − accuracy| over the bins, by count
    mistakes: np.ndarray  # numbers of the wrong images, most confident first


def evaluate(model: keras.Model, dataset: Dataset, batch_size: int = 500, mirrored: bool = False) -> Evaluation:
    """How `model` does on the test images of `dataset`. Raises ValueError where its classes are not the dataset's.

    mirrored: each image's probabilities are the mean of its own and its mirror image's. Calibration as in Guo et al.
    2017, with ten bins of equal width.
    """
    if model.output_shape[-1] != dataset.num_classes:
        raise ValueError(f"the model has {model.output_shape[-1]} classes, {dataset.name} has {dataset.num_classes}")
    # not model.predict: of many small models TensorFlow would warn that each has a program of its own
    predict = backend.compiled(functools.partial(model, training=False), model, dataset.image_shape)
    batches = _Batches(dataset.x_test, dataset.y_test, batch_size)
    looks = (slice(None), np.s_[:, :, ::-1]) if mirrored else (slice(None),)
    numbers = range(len(batches))
    probabilities = np.concatenate([np.mean([predict(batches[n][0][look])[0] for look in looks], axis=0) for n in numbers])
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == dataset.y_test
    confusion = confusion_matrix(dataset.y_test, predicted, labels=range(dataset.num_classes))
    with np.errstate(invalid="ignore"):  # a class without test images has no accuracy
        per_class = np.diag(confusion) / confusion.sum(axis=1)
    bins = np.minimum((confidence * 10).astype(int), 9)
    calibration = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": right}).groupby("bin")
    calibration = calibration.agg(confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), count=("bin", "size"))
    gap = (calibration["confidence"] - calibration["accuracy"]).abs()
    wrong = np.flatnonzero(~right)
    return Evaluation(
        accuracy=float(right.mean()),
        balanced_accuracy=float(np.nanmean(per_class)),
        per_class=per_class,
        confusion=confusion,
        predicted=predicted,
        confidence=confidence,
        calibration=calibration,
        calibration_error=float((gap * calibration["count"]).sum() / len(right)),
        mistakes=wrong[np.argsort(-confidence[wrong], kind="stable")],
    )


def _check(model, dataset, epochs, batch_size, optimizer, learning_rate, schedule, class_weight, validation, patience):
    models.known("optimizer", optimizer, OPTIMIZERS)
    models.known("schedule", schedule, SCHEDULES)
    models.known("class_weight", class_weight, (None, "balanced"))
    if model.input_shape[1:] != dataset.image_shape:
        raise ValueError(f"the model takes images of {model.input_shape[1:]}, {dataset.name} has {dataset.image_shape}")
    if model.output_shape[-1] != dataset.num_classes:
        raise ValueError(f"the model has {model.output_shape[-1]} classes, {dataset.name} has {dataset.num_classes}")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be 1 or more, not {epochs} and {batch_size}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, not {learning_rate}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a share of the training images in [0, 1), not {validation}")
    if patience and not validation:
        raise ValueError("patience stops by the validation loss: hold images out for it, validation=0.1 for instance")


def _cross_entropy(smoothing, labels, probabilities):
    if not smoothing:
        return keras.losses.sparse_categorical_crossentropy(labels, probabilities)
    wanted = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), probabilities.shape[-1])
    return keras.losses.categorical_crossentropy(wanted, probabilities, label_smoothing=smoothing)


def _optimizer(name, learning_rate, schedule, weight_decay, steps):
    if schedule == "cosine":
        warm = steps // 5
        learning_rate = keras.optimizers.schedules.CosineDecay(
            learning_rate / 10, steps - warm, warmup_target=learning_rate, warmup_steps=warm
        )
    extra = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    return OPTIMIZERS[name](learning_rate, weight_decay=weight_decay or None, **extra)


@contextmanager
def _precision(trainer, precision):
    """The model's layers compute in `precision` meanwhile; its weights are float32 throughout."""
    layers = [layer for layer in trainer._flatten_layers() if layer.name not in FULL]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = precision
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


class _Batches(keras.utils.PyDataset):
    """Batches of float images in [0, 1], in an order that depends on seed and epoch alone, so that a fit can resume.

    The images stay uint8 in memory until their batch is due. Without a seed the order is as stored.
    weights: (K,) of the classes, None for no weights. The others: those of `fit`.
    """

    def __init__(self, images, labels, batch_size, seed=None, weights=None, images_per_epoch=0, unlabelled=None):
        super().__init__()
        self.images, self.labels, self.batch_size, self.seed = images, labels, batch_size, seed
        self.weights, self.unlabelled = weights, unlabelled
        self.length = images_per_epoch or len(images)
        self.order = self.others = np.arange(self.length) % len(images)

    def shuffle(self, epoch):
        rng = np.random.default_rng([self.seed, epoch])
        passes = -(-self.length // len(self.images))
        self.order = np.concatenate([rng.permutation(len(self.images)) for _ in range(passes)])[: self.length]
        if self.unlabelled is not None:
            self.others = rng.integers(len(self.unlabelled), size=self.length)

    def __len__(self):
        return -(-self.length // self.batch_size)

    def __getitem__(self, index):
        here = slice(index * self.batch_size, (index + 1) * self.batch_size)
        images, labels = self.images[self.order[here]], self.labels[self.order[here]]
        if self.weights is None:
            return images.astype(np.float32) / 255, labels
        weights = self.weights[labels]
        if self.unlabelled is not None:
            images = np.concatenate([images, self.unlabelled[self.others[here]]])
            # twice, since the mean of the losses is over twice as many images
            weights = np.concatenate([2 * weights, np.zeros_like(weights)])
            labels = np.concatenate([labels, np.zeros_like(labels)])
        return images.astype(np.float32) / 255, labels, weights


class _Pairs(keras.utils.PyDataset):
    """Batches of what `make` makes, in an order and of draws that depend on seed and epoch alone."""

    def __init__(self, count, make, batch_size, seed):
        super().__init__()
        self.count, self.make, self.batch_size, self.seed = count, make, batch_size, seed
        self.shuffle(0)

    def shuffle(self, epoch):
        self.epoch, self.order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)

    def __len__(self):
        return -(-self.count // self.batch_size)

    def __getitem__(self, index):
        numbers = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.make(numbers, np.random.default_rng([self.seed, self.epoch, index]))


class _Epochs(keras.callbacks.Callback):
    """Makes what is random in an epoch depend on the seeds and the epoch's number alone: a resumed epoch is the same."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.shuffle(epoch)
        for variable in self.model.variables:
            if variable.path.endswith("seed_generator_state"):  # (seed, number of draws), of dropout and augmentation
                first, _ = keras.ops.convert_to_numpy(variable)
                variable.assign(np.array([first, epoch * 1_000_003 % 2**32], np.uint32))


class _GradientNorms(keras.callbacks.Callback):
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


class _Log(keras.callbacks.Callback):
    """Keeps the rows of the history, prints them, stops by patience, and refuses a loss that is not a number."""

    def __init__(self, model, epochs, steps, patience, watched, verbose):
        super().__init__()
        self.say = functools.partial(print, flush=True) if verbose else lambda text: None
        self.network, self.epochs, self.steps = model, epochs, steps
        self.patience, self.watched = patience, watched
        self.rows, self.good, self.file = [], model.get_weights(), None

    def resume(self, folder, fingerprint):
        """Take up the rows of an interrupted fit with the same fingerprint; clear the folder of any other."""
        mark, self.file = folder / "fingerprint.txt", folder / "history.csv"
        if not (mark.exists() and mark.read_text() == fingerprint):
            for path in folder.glob("*"):
                path.unlink()
            folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(fingerprint)

    def on_epoch_begin(self, epoch, logs=None):
        if epoch and not self.rows:
            self._take_up(epoch)
        self.epoch, self.epoch_begun, self.announced = epoch, time.perf_counter(), epoch > 0

    def on_train_end(self, logs=None):
        if not self.rows:
            self._take_up(self.epochs)

    def _take_up(self, epoch):
        """Keras restored the weights of an interrupted fit."""
        self.rows = pd.read_csv(self.file)[:epoch].to_dict("records")
        self.good = self.network.get_weights()
        self.say(f"resumed after epoch {epoch} of {self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            self._diverged(f"the loss is {logs['loss']} at step {batch + 1} of epoch {self.epoch + 1}")
        spent = time.perf_counter() - self.epoch_begun
        if not self.announced and spent > 10 and batch > 10:
            self.announced = True
            whole = spent / (batch + 1) * self.steps
            self.say(f"about {_duration(whole)} an epoch, {_duration(whole * self.epochs)} in all")

    def _diverged(self, what):
        self.network.set_weights(self.good)
        raise FloatingPointError(
            f"{what}; the model has its weights of the end of epoch {self.epoch} again. A smaller learning_rate usually helps"
        )

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs = {name: float(value) for name, value in logs.items()}
        row = {name: logs.pop(name) for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in logs}
        row = {"epoch": epoch + 1, **row, "learning_rate": rate, "seconds": now - self.epoch_begun, **logs}
        weights = self.network.get_weights()
        # some kernels rectify NaN to 0: the loss can stay a number when the weights no longer are
        if not all(np.isfinite(weight).all() for weight in weights):
            self._diverged(f"a weight is no longer a number at the end of epoch {epoch + 1}")
        self.rows.append(row)
        self.good = weights
        if self.file:
            pd.DataFrame(self.rows).to_csv(self.file, index=False)
        left = np.mean([row["seconds"] for row in self.rows]) * (self.epochs - epoch - 1)
        measured = f"   loss {row['loss']:.4g}"
        if "accuracy" in row:
            measured += f"   accuracy {row['accuracy']:.3f}   {self.watched} {row['val_accuracy']:.3f}"
        self.say(
            f"epoch {epoch + 1:{len(str(self.epochs))}d}/{self.epochs}{measured}   {_duration(row['seconds'])}"
            + (f", about {_duration(left)} left" if left else "")
        )
        if self.patience:
            best = min(range(len(self.rows)), key=lambda index: self.rows[index]["val_loss"])
            if len(self.rows) - 1 - best >= self.patience:
                self.say(f"stopped: no lower {self.watched} loss in {self.patience} epochs")
                self.model.stop_training = True


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _fingerprint(model, settings, arrays):
    """What must be the same for an interrupted fit to go on: settings, architecture, initial weights and data."""
    told = json.dumps([settings, json.loads(model.to_json())], sort_keys=True, default=str)
    told = re.sub(r'_\d+"', '"', told)  # Keras numbers the layers of a process, which says nothing about the training
    digest = hashlib.blake2b(told.encode())
    for array in [*model.get_weights(), *arrays]:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
