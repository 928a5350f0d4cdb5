"""Model + Dataset -> history of the training."""

import functools
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_class_weight

from deconvlib import allowed, backend, checks
from deconvlib.backend import keras
from deconvlib.data.dataset import Dataset
from deconvlib.deconvnet import activations, graph, inputs
from deconvlib.networks import summary
from deconvlib.networks.classifier import ReconstructionLoss
from deconvlib.training import device
from deconvlib.training.backup import Backup, fingerprint
from deconvlib.training.callbacks import Epochs, GradientNorms, Log

OPTIMIZERS = {name.lower(): getattr(keras.optimizers, name) for name in ("Adam", "AdamW", "RMSprop", "SGD")}
PROBE = 256  # training images on which gradient norms are measured, at most
TESTED = 500  # test images in a batch, at most
AT_ONCE = 8  # steps that one call of TensorFlow computes, at most
PAYS = 200  # steps of a training from which on that pays, as such a call takes longer to trace
CALL = 1e10  # FLOPs of layers that it computes forward: a quarter of a second on two cores, after which a training can pause
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
    precision: str = "float32",
    gradient_norms: bool = False,
    backup_dir: str | Path | None = None,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    verbose: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Train `model` in place; returns one row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate,
    seconds, and with `gradient_norms` one column gradient/<layer> each, measured on 256 training images, or fewer where
    their maps are large. The val_ columns are the test images', to be watched, never chosen by.

    optimizer: of OPTIMIZERS; "sgd" has momentum 0.9, Nesterov's. schedule: "constant", or "cosine": up from a tenth of
        `learning_rate` over the first fifth of the steps, then along a cosine to 0.
    augmentation: Keras layers applied to the training images only; the model itself stays without them.
    class_weight: "balanced" weights classes by 1 / size. label_smoothing: share in [0, 1) of a label for all classes alike.
    images_per_epoch: all images are shown once before any of them again; 0: all once. With few, it makes epochs longer.
    unlabelled: more images, uint8 (n, height, width, channels), for a model that reconstructs: each batch has as many of
        them, drawn at random, as labelled ones. They count in no loss that needs a label, and in no accuracy.
    precision: what layers compute in while training; the model is float32 again afterwards.
    backup_dir: a folder. From here a killed fit, called again with the same arguments and initial weights, goes on after its
        last whole epoch and ends with the same history and weights; one that had ended gives them at once. Several fits may
        share a folder: each has files of its own. They stay until you remove them, or lab.record, which removes
        <run_dir>/<notebook>/backup. A file that cannot be read is renamed, with one line, and the one before it taken.
    callbacks: Keras'; their `model` wraps `model` and has its weights. Of a small network's steps they hear of every eighth.
        `EarlyStopping` is a choice: give it the dataset that `hold_out` returns, whose test images are held-out training
        images. A backup also holds their attributes that are numbers, texts, arrays, or lists and dictionaries of them.
    verbose: prints one line an epoch with the time left. seed: of the images' order; the model has its own for the rest.
    Under JAX on a GPU images lie in its memory where they take at most a quarter of it, and one call computes several steps:
    callbacks hear of each, up to a quarter of a second late. Several devices share each batch, as many as divide it evenly.
    Raises ValueError for settings that cannot work; FloatingPointError where the loss or a weight is no longer a number,
    with its step or epoch; the model then has the weights of the last good epoch.
    """
    allowed.check(
        epochs=epochs, batch_size=batch_size, optimizer=optimizer, learning_rate=learning_rate, schedule=schedule,
        weight_decay=weight_decay, class_weight=class_weight, label_smoothing=label_smoothing,
        images_per_epoch=images_per_epoch, precision=precision, seed=seed,
    )  # fmt: skip
    _check(model, dataset, unlabelled)
    images, labels = dataset.x_train, dataset.y_train
    weights = None
    if class_weight or unlabelled is not None:
        weights, present = np.ones(dataset.num_classes, np.float32), np.unique(labels)
        weights[present] = compute_class_weight(class_weight, classes=present, y=labels)
    pixels = inputs.pixel_range(model) or (0, 1)
    batches = Batches(images, labels, batch_size, seed, weights, images_per_epoch, unlabelled, pixels)
    trainer = keras.Sequential([keras.Input(model.input_shape[1:]), *augmentation, model])
    log = Log(model, verbose)
    every, backup = [log, Epochs(batches), *callbacks], None
    if gradient_norms:
        probe = activations.batch_size(model, dataset.image_shape, PROBE)
        every.insert(0, GradientNorms(model, inputs.as_input(model, images[:probe]), labels[:probe]))
    if backup_dir:
        settings = [epochs, batch_size, optimizer, learning_rate, schedule, weight_decay, class_weight, label_smoothing]
        settings += [images_per_epoch, precision, gradient_norms, seed, pixels, *(layer.get_config() for layer in augmentation)]
        arrays = [images, labels, dataset.x_test, dataset.y_test, *([] if unlabelled is None else [unlabelled])]
        backup = Backup(backup_dir, fingerprint(model, settings, arrays, callbacks), log, callbacks)
    metrics = {"metrics" if unlabelled is None else "weighted_metrics": [keras.metrics.SparseCategoricalAccuracy("accuracy")]}
    compiled = {"loss": functools.partial(_cross_entropy, label_smoothing)} | metrics
    optimizer = _optimizer(optimizer, learning_rate, schedule, weight_decay, epochs * len(batches))
    tested = activations.batch_size(model, dataset.image_shape, TESTED)
    validation = Batches(dataset.x_test, dataset.y_test, tested, pixels=pixels)
    _train(trainer, precision, optimizer, compiled, batches, epochs, every, backup, validation_data=validation)
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
    learning_rate: of Adam, with the schedule "cosine".
    backup_dir: as for `fit`. Of `make`, its first and last batch must be the same.
    The others, and what is raised: as for `fit`.
    """
    checks.positive("count", count)
    allowed.check(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, precision=precision, seed=seed)
    batches = _Pairs(count, make, batch_size, seed)
    log = Log(model, verbose)
    backup = None
    if backup_dir:
        settings = [count, epochs, batch_size, keras.losses.serialize(keras.losses.get(loss)), learning_rate, precision, seed]
        arrays = keras.tree.flatten([batches[0], batches[len(batches) - 1]])
        backup = Backup(backup_dir, fingerprint(model, settings, arrays), log, ())
    # a model of its own: to compile the user's would change how it is saved
    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input  # which has none before it is called
    trainer = keras.Model(given, model(given))
    optimizer = _optimizer("adam", learning_rate, "cosine", 0.0, epochs * len(batches))
    _train(trainer, precision, optimizer, {"loss": loss}, batches, epochs, [log, Epochs(batches)], backup)
    return pd.DataFrame(log.rows)


def psnr_loss(targets, outputs):
    """Minus the mean PSNR in dB of images (n, height, width, channels) in [0, 1], a loss for `fit_pairs`.

    The hardest images dominate a mean squared error; here each counts by its own error's ratio. 1e-6 is added to each error,
    about what rounding to 8 bits leaves. Chen et al. 2021, "HINet", their loss.
    """
    errors = keras.ops.mean(keras.ops.square(targets - outputs), axis=(1, 2, 3))
    return 10 * keras.ops.mean(keras.ops.log10(errors + 1e-6))


def _check(model, dataset, unlabelled):
    if any(own not in (None, given) for own, given in zip(model.input_shape[1:], dataset.image_shape, strict=True)):
        raise ValueError(f"the model takes images of {model.input_shape[1:]}, {dataset.name} has {dataset.image_shape}")
    if model.output_shape[-1] != dataset.num_classes:
        raise ValueError(f"the model has {model.output_shape[-1]} classes, {dataset.name} has {dataset.num_classes}")
    black = np.zeros((1, *dataset.image_shape), np.float32)
    checks.probabilities(model, keras.ops.convert_to_numpy(model(black, training=False)).astype(np.float32))
    if unlabelled is not None:
        inputs.check_images(model, unlabelled)
        if not any(isinstance(layer, ReconstructionLoss) for layer in model.layers):
            raise ValueError("unlabelled images need a model that reconstructs: give networks.classifier reconstruction_weight")


def _cross_entropy(smoothing, labels, probabilities):
    if not smoothing:
        return keras.losses.sparse_categorical_crossentropy(labels, probabilities)
    wanted = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), probabilities.shape[-1])
    return keras.losses.categorical_crossentropy(wanted, probabilities, label_smoothing=smoothing)


def _optimizer(name, learning_rate, schedule, weight_decay, steps):
    if schedule == "cosine":
        warm = steps // 5
        warming = {"warmup_target": learning_rate, "warmup_steps": warm}
        learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate / 10, steps - warm, **warming)
    extra = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    decays = bool(weight_decay) or name == "adamw"  # which takes no None, and without a word decays by 0.004
    return OPTIMIZERS[name](learning_rate, weight_decay=weight_decay if decays else None, **extra)


def _train(trainer, precision, optimizer, compiled, batches, epochs, callbacks, backup, **settings):
    """`trainer.fit`, from where `backup` is, while layers compute in `precision`; their weights are float32 throughout."""
    layers = [layer for layer in graph.layers(trainer) if layer.name not in FULL]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = precision
        trainer.compile(optimizer=optimizer, steps_per_execution=_steps_at_once(trainer, batches, epochs), **compiled)
        # the first step would make the optimizer's variables, and TensorFlow trace it twice
        trainer.optimizer.build(trainer.trainable_variables)
        settings |= {"epochs": epochs, "callbacks": callbacks}
        if backup:
            settings |= {"initial_epoch": backup.resume(trainer, epochs), "callbacks": [*callbacks, backup]}
        with device.epochs(trainer, batches, settings.get("validation_data")) as first:
            # shuffle: Keras would change the order of the batches by a seed of its own
            trainer.fit(batches, shuffle=False, verbose=0, **settings | {"callbacks": [*first, *settings["callbacks"]]})
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def _steps_at_once(trainer, batches, epochs):
    """Between two calls Keras takes a tenth of the time of a small network's step."""
    if backend.NAME != "tensorflow" or epochs * len(batches) < PAYS:
        return 1
    layers = [layer for layer in graph.layers(trainer) if not isinstance(layer, keras.Model)]
    try:
        forward = batches.batch_size * sum(map(summary.flops, layers))
    except AttributeError:  # a layer that another calls has no shapes
        return 1
    return int(np.clip(CALL / max(forward, 1), 1, AT_ONCE))


class Batches(keras.utils.PyDataset):
    """Batches of float images in the range `pixels`, in an order of seed and epoch alone, so that a fit can resume.

    Images stay uint8 until their batch is due; until `shuffle` the order is as stored. weights: (K,) of the classes.
    places: (images an epoch, 2), where each lies among the images, and the one beside it among the unlabelled.
    """

    def __init__(self, images, labels, batch_size, seed=None, weights=None, images_per_epoch=0, unlabelled=None, pixels=(0, 1)):
        super().__init__()
        self.arrays = images, labels, weights, unlabelled
        self.batch_size, self.seed, self.pixels = batch_size, seed, pixels
        self.length = images_per_epoch or len(images)
        self.places = np.stack(2 * [np.arange(self.length) % len(images)], axis=1)

    def shuffle(self, epoch):
        images, _, _, unlabelled = self.arrays
        rng = np.random.default_rng([self.seed, epoch])
        passes = -(-self.length // len(images))
        self.places[:, 0] = np.concatenate([rng.permutation(len(images)) for _ in range(passes)])[: self.length]
        if unlabelled is not None:
            self.places[:, 1] = rng.integers(len(unlabelled), size=self.length)

    def __len__(self):
        return -(-self.length // self.batch_size)

    def __getitem__(self, index):
        return self.batch(self.arrays, self.places[index * self.batch_size : (index + 1) * self.batch_size])

    def batch(self, arrays, places, numpy=np):
        """What Keras trains on: of some of `places`, out of `arrays`, this object's, which lie where `numpy` computes."""
        images, labels, weights, unlabelled = arrays
        images, labels = images[places[:, 0]], labels[places[:, 0]]
        if weights is None:
            return inputs.in_range(images, *self.pixels), labels
        weights = weights[labels]
        if unlabelled is not None:
            images = numpy.concatenate([images, unlabelled[places[:, 1]]])
            # twice, since the mean of the losses is over twice as many images
            weights = numpy.concatenate([2 * weights, numpy.zeros_like(weights)])
            labels = numpy.concatenate([labels, numpy.zeros_like(labels)])
        return inputs.in_range(images, *self.pixels), labels, weights


class _Pairs(keras.utils.PyDataset):
    """Batches of what `make` makes, in an order and of draws that depend on seed and epoch alone."""

    arrays = None  # it has no images to lie on the device

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


def images_per_second(model: keras.Model) -> float:
    """How many images a second this machine trains `model` on, in batches of 64 of noise; the model is left as it was.

    The median of six steps of Adam, after two that compile.
    """
    batch_size, before, seconds = 64, model.get_weights(), []
    trainer = keras.Sequential([keras.Input(model.input_shape[1:]), model])
    trainer.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).random((batch_size, *model.input_shape[1:]), np.float32)
    for _ in range(8):
        begun = time.perf_counter()
        trainer.train_on_batch(images, np.zeros(batch_size, int))
        seconds.append(time.perf_counter() - begun)
    model.set_weights(before)
    return batch_size / float(np.median(seconds[2:]))
