"""What each parameter may be, declared once: for the functions that take it, and for the runner, before anything starts.

Needs no backend. A notebook's parameter without a line here fails a test.
"""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, replace

from deconvlib import checks


@dataclass(frozen=True)
class Setting:
    """What a value must be. says: in words, to be read after "must be". names: all values, where each has a name.

    parts: of a list with such names, what each entry must be; of a mapping with such names, what each name's value must be.
    """

    says: str
    holds: Callable[[object], bool]
    names: tuple[str, ...] = ()
    parts: object = None


def refuse(name: str, value, setting: Setting) -> None:
    """Raises ValueError, in one line that says what would work, where `value` is not what `setting` says."""
    if setting.holds(value):
        return
    if setting.names and isinstance(value, str):
        raise ValueError(f"{name} {checks.not_known(value, setting.names)}")
    if isinstance(setting.parts, Setting) and isinstance(value, list | tuple):
        for entry in value:
            refuse(f"{name}:", entry, setting.parts)
    if isinstance(setting.parts, dict) and isinstance(value, dict):
        for key, entry in value.items():
            if key not in setting.parts:
                raise ValueError(f"{name}: {checks.not_known(key, setting.parts)}")
            refuse(f"{name}: {key}", entry, setting.parts[key])
    raise ValueError(f"{name} must be {setting.says}, not {value!r:.200}")


def check(**given) -> None:
    """Raises ValueError where one of the values is not what SETTINGS says of its name."""
    for name, value in given.items():
        refuse(name, value, SETTINGS[name])


def whole(least: int, most: float = math.inf) -> Setting:
    says = f"a whole number from {least} to {most:,}" if most < math.inf else f"a whole number of {least} or more"
    return Setting(says, lambda value: checks.is_whole(value) and least <= value <= most)


def number(says: str, holds) -> Setting:
    """A number that is neither NaN nor infinite, and for which `holds` is true."""

    def is_one(value):
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return real and -math.inf < value < math.inf and holds(value)

    return Setting(f"a number {says}", is_one)


def one_of(*names: str) -> Setting:
    return Setting(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names, names)


def optional(setting: Setting) -> Setting:
    says = f"None, or {setting.says}"
    return Setting(says, lambda value: value is None or setting.holds(value))


def either(*settings: Setting) -> Setting:
    says = " or ".join(setting.says for setting in settings)
    return Setting(says, lambda value: any(setting.holds(value) for setting in settings))


def sequence(of: Setting, least: int = 1, most: float = math.inf) -> Setting:
    """A list, or a tuple, of entries that are each `of`."""
    count = f"{least} " if least == most else f"{least} or more " if least else ""

    def holds(value):
        return isinstance(value, list | tuple) and least <= len(value) <= most and all(map(of.holds, value))

    return Setting(f"a list of {count}entries, each {of.says}", holds, parts=of if of.names else None)


def mapping(of: dict[str, Setting]) -> Setting:
    """A mapping from some of the names to values, each what `of` says of its name."""

    def holds(value):
        return isinstance(value, dict) and all(name in of and of[name].holds(entry) for name, entry in value.items())

    return Setting(f"a mapping of some of {', '.join(of)}, each to its value", holds, parts=of)


FLAG = Setting("true or false", lambda value: isinstance(value, bool))
TEXT = Setting("a text", lambda value: isinstance(value, str))
NAME = Setting("a name or a path", lambda value: isinstance(value, str) and bool(value.strip()))
COUNT = whole(1)
SEED = whole(0, 2**31 - 1)
SIDE = whole(1, 65_536)
CHANNELS = whole(1, 4096)  # a 3 × 3 convolution of as many to as many has 600 MB of weights
STAGES = sequence(either(CHANNELS, sequence(CHANNELS)))
ABOVE_0 = number("above 0", lambda value: value > 0)
FROM_0 = number("of 0 or more", lambda value: value >= 0)
NUMBER = number("that is finite", lambda value: True)
SHARE = number("of 0 or more and below 1", lambda value: 0 <= value < 1)
RANGE = Setting(
    "(lowest, highest), two numbers like (0, 255)", lambda value: sequence(NUMBER, 2, 2).holds(value) and value[0] < value[1]
)

FITTINGS = ("crop", "squeeze")
DATASETS = ("shapes", "digits", "photographs", "cifar10", "cifar100", "mnist", "fashion_mnist")
# those of Keras that need nothing but their input and keep its shape
ACTIVATIONS = tuple(
    """relu leaky_relu relu6 elu celu selu gelu silu swish mish softplus softsign softmax log_softmax sigmoid log_sigmoid
    hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink soft_shrink tanh tanh_shrink exponential linear sparse_plus
    sparse_sigmoid sparsemax squareplus""".split()
)
POOLINGS = ("max", "average")
DECODERS = ("none", "transposed", "unpooling", "resize", "subpixel")
NORMALIZATIONS = ("none", "batch", "deconvolution", "deconvolution_then_batch")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
METHODS = (
    *("deconvnet", "guided", "gradient", "gradient × input", "SmoothGrad", "integrated gradients", "Grad-CAM"),
    "guided Grad-CAM",
)
VARIANTS = (
    *("plain", "wide", "wide branch", "transposed", "unpooling", "resize", "sub-pixel", "branch", "branch, all stages"),
    *("branch, unlabelled", "network deconvolution", "network deconvolution, first layer", "balanced weights"),
)
KINDS = ("plain", "transposed", "transposed, Keras' count", "residual", "network deconvolution")
DAMAGES = ("noise", "blur", "holes", "JPEG", "half size", "low contrast")

CLASSIFIER = {  # what networks.classifier takes, but for the images' shape, the classes and the seed
    "filters": STAGES,
    "convolutions": whole(1, 100),
    "kernel_size": whole(1, 255),
    "strides": whole(1, 255),
    "padding": one_of("same", "valid"),
    "activation": one_of(*ACTIVATIONS),
    "pooling": one_of(*POOLINGS),
    "normalization": one_of(*NORMALIZATIONS),
    "decoder": one_of(*DECODERS),
    "decoder_filters": sequence(CHANNELS),
    "decoder_kernel_size": optional(whole(1, 255)),
    "decoder_strides": whole(1, 255),
    "reconstruction_weight": FROM_0,
    "reconstructed": one_of("image", "all"),
    "dense_units": whole(0, 65_536),
    "dropout": SHARE,
    "l1": FROM_0,
    "l2": FROM_0,
}
SETTINGS = CLASSIFIER | {
    # data
    "dataset_name": NAME,
    "data_dir": optional(NAME),
    "masks_dir": optional(NAME),
    "image_shape": replace(sequence(SIDE, 3, 3), says="[height, width, channels], each a whole number of 1 or more"),
    "image_size": replace(
        optional(either(whole(0, 65_536), sequence(SIDE, 2, 2))),
        says="None or 0 for the images' own, a side in pixels, or [height, width]",
    ),
    "fitting": one_of(*FITTINGS),
    "num_classes": whole(2, 1_000_000),
    "labels_per_class": whole(0),
    "imbalance": number("of 1 or more", lambda value: value >= 1),
    "held_out": SHARE,
    "train_images": COUNT,
    "test_images": COUNT,
    "shift": number("from 0 to 0.5", lambda value: 0 <= value <= 0.5),
    "flip": FLAG,
    "turned": FLAG,
    "seed": SEED,
    # training
    "epochs": COUNT,
    "batch_size": COUNT,
    "images_per_epoch": whole(0),
    "optimizer": one_of(*OPTIMIZERS),
    "learning_rate": ABOVE_0,
    "schedule": one_of(*SCHEDULES),
    "weight_decay": FROM_0,
    "class_weight": optional(one_of("balanced")),
    "label_smoothing": SHARE,
    "precision": one_of(*PRECISIONS),
    "network": mapping(CLASSIFIER),
    "tutorial_epochs": COUNT,
    # looking into a network
    "photo": NAME,
    "layer": NAME,
    "model_path": TEXT,
    "weights": optional(NAME),
    "preprocessing": optional(NAME),
    "pixels": optional(RANGE),
    "images": NAME,
    "method": replace(
        one_of("", *METHODS), says=f"empty, for the best that the network allows, or one of {', '.join(METHODS)}"
    ),
    "class_names": sequence(TEXT, 0),
    # classifiers of one's own photographs
    "classes": sequence(TEXT, 0),
    "pretrained": NAME,
    "tuned_from": NAME,
    "few_labels": sequence(whole(2), 0),
    "scratch_size": SIDE,
    "images_shown": COUNT,
    "marked_class": TEXT,
    "mark": number("above 0 and at most 1", lambda value: 0 < value <= 1),
    "number": COUNT,
    "layers": sequence(TEXT, 0),
    "channels": COUNT,
    "top": COUNT,
    "searched": COUNT,
    "examined": COUNT,
    "compared": COUNT,
    "depths": whole(2),
    "square": COUNT,
    "stride": COUNT,
    # Zeiler and Fergus' experiments
    "snapshots": sequence(whole(0), 0),
    "moved": COUNT,
    "occluded": whole(4),
    "fill": one_of("gray", "mean", "blur"),
    "part_class": whole(0),
    "aligned": whole(2),
    "synthesized": COUNT,
    "coarse_kernel": whole(1, 255),
    "coarse_stride": whole(1, 255),
    "judged": whole(2),
    # comparisons
    "variants": sequence(one_of(*VARIANTS), 0),
    "repeats": COUNT,
    "learning_rates": mapping(dict.fromkeys(VARIANTS, ABOVE_0)),
    "tables": TEXT,
    # restoration, generation, segmentation
    "damages": sequence(one_of(*DAMAGES), 0),
    "no_skips": sequence(one_of(*DAMAGES), 0),
    "epochs_of": mapping(dict.fromkeys(DAMAGES, COUNT)),
    "code": whole(1, 65_536),
    "divergence_weight": FROM_0,
    "scenes": COUNT,
    "scene_side": Setting(
        "a multiple of 8, from 16 to 4,096", lambda value: checks.is_whole(value) and 16 <= value <= 4096 and value % 8 == 0
    ),
    "objects": COUNT,
    # operators
    "kernels": sequence(whole(1, 255)),
    "sizes": sequence(whole(1, 4096)),
    "trainings": COUNT,
    # claims about training
    "activations": sequence(one_of(*ACTIVATIONS)),
    "depth": whole(3, 1000),
    "width": CHANNELS,
    "initial_weights": whole(2),
    "trained": sequence(one_of(*KINDS), 0),
    "few_images": COUNT,
    "class_filters": sequence(CHANNELS),
    "class_epochs": COUNT,
    # what must hold
    "strict": FLAG,
    # where results go
    "run_dir": NAME,
}
ONE_A_STAGE = sequence(CHANNELS)  # a convolution
OF_A_DECODER = one_of("none", "batch", "deconvolution_and_batch")  # normalization
NOTEBOOKS = {  # names that mean something else, or less, in one notebook
    "01_data": {"labels_per_class": COUNT},
    "05_experiments": {"filters": sequence(CHANNELS, 2)},
    "07_accuracy": {"filters": sequence(CHANNELS)},
    "08_restoration": {"decoder": one_of(*DECODERS[1:]), "judged": one_of(*DAMAGES)},
    "09_generation": {"decoder": one_of(*DECODERS[1:]), "filters": ONE_A_STAGE},
    "10_segmentation": {"normalization": OF_A_DECODER},
    "11_operators": {"filters": CHANNELS, "strides": sequence(whole(2, 255)), "channels": CHANNELS},
    "12_training_claims": {"images_per_epoch": COUNT},
    "13_your_photos": {"image_size": SIDE, "held_out": number("between 0 and 1", lambda value: 0 < value < 1)},
    "14_your_model": {"square": whole(0), "stride": whole(0)},
}


def of(notebook: str, name: str) -> Setting | None:
    """What the parameter of the notebook may be; None where it is not declared, as in a notebook of the user's own."""
    return NOTEBOOKS.get(notebook, {}).get(name) or SETTINGS.get(name)
