"""Other parameters for each notebook than its defaults: what runs is another thing, not only a faster one.

Where Chromium is, tests/browser runs every notebook with them, in JupyterLab, before it moves the panels; elsewhere
tests/test_notebooks.py runs them without a browser. A notebook without a line here fails.
"""

import importlib.util
import shutil

CHROMIUM = importlib.util.find_spec("playwright") and (shutil.which("chromium") or shutil.which("google-chrome"))

OTHERS = {
    "00_hello": {"photo": "coffee", "layer": "b4_expand_relu", "number": 20, "seed": 1},
    "01_data": {
        **{"dataset_name": "digits", "image_size": 12, "fitting": "squeeze", "labels_per_class": 3, "imbalance": 10.0},
        **{"shift": 0.0, "seed": 1},
    },
    "02_model": {
        **{"image_shape": [28, 28, 1], "filters": [8, 16], "convolutions": 3, "activation": "tanh", "pooling": "average"},
        **{"normalization": "deconvolution", "decoder": "none", "dropout": 0.2},
    },
    "03_training": {
        **{"labels_per_class": 100, "imbalance": 2.0, "filters": [8, 16], "activation": "leaky_relu", "decoder": "transposed"},
        **{"optimizer": "rmsprop", "learning_rate": 1e-3, "schedule": "constant", "class_weight": "balanced", "l2": 1e-5},
        **{"network": {"decoder_filters": [8]}, "batch_size": 32, "epochs": 5, "tutorial_epochs": 1},
    },
    "04_deconvolution": {
        **{"dataset_name": "digits", "channels": 2, "top": 4, "searched": 100, "layers": ["relu1", "relu2"]},
    },
    "05_experiments": {
        **{"dataset_name": "digits", "train_images": 300, "test_images": 150, "filters": [8, 16], "epochs": 4},
        **{"learning_rate": 1e-2, "snapshots": [1], "channels": 2, "moved": 2, "occluded": 6, "square": 3, "stride": 1},
        **{"fill": "blur", "part_class": 0, "aligned": 3, "synthesized": 3, "coarse_kernel": 5, "coarse_stride": 2},
        **{"seed": 1},
    },
    "06_belief": {
        **{"dataset_name": "digits", "test_images": 150, "judged": 12, "square": 3, "stride": 1, "fill": "blur", "seed": 1},
    },
    "07_accuracy": {
        **{"dataset_name": "digits", "labels_per_class": 0, "imbalance": 4.0, "repeats": 1, "filters": [8, 8, 12]},
        **{"variants": ["wide branch", "branch, unlabelled", "branch, all stages", "balanced weights", "sub-pixel"]},
        **{"epochs": 2, "images_per_epoch": 800, "batch_size": 20, "learning_rate": 1e-2, "held_out": 0.3},
        **{"learning_rates": {"balanced weights": 3e-3}, "test_images": 50, "tables": ".", "seed": 1},
    },
    "08_restoration": {
        **{"dataset_name": "digits", "train_images": 200, "test_images": 40, "turned": True, "batch_size": 20},
        **{"damages": ["holes", "half size", "blur"], "no_skips": ["half size"], "judged": "holes", "decoder": "subpixel"},
        **{"filters": [4, [8, 8]], "epochs": 8, "epochs_of": {"holes": 9}, "learning_rate": 1e-2},
        **{"precision": "mixed_bfloat16", "seed": 1},
    },
    "09_generation": {
        **{"dataset_name": "digits", "train_images": 200, "test_images": 40, "decoder": "subpixel", "code": 5},
        **{"divergence_weight": 0.1, "filters": [8, 4], "epochs": 2, "batch_size": 20, "learning_rate": 1e-2, "seed": 1},
    },
    "10_segmentation": {
        **{"scenes": 150, "scene_side": 16, "objects": 1, "turned": True, "filters": [4, [8, 8]], "normalization": "none"},
        **{"epochs": 3, "batch_size": 20, "learning_rate": 2e-3, "seed": 1},
    },
    "11_operators": {
        **{"dataset_name": "digits", "train_images": 200, "test_images": 60, "kernels": [1, 3], "strides": [3]},
        **{"filters": 20, "epochs": 1, "trainings": 1, "sizes": [4], "channels": 4, "repeats": 1, "seed": 1},
    },
    "12_training_claims": {
        **{"dataset_name": "digits", "train_images": 200, "test_images": 60, "activations": ["elu"], "depth": 3, "width": 4},
        **{"initial_weights": 2, "trained": ["network deconvolution"], "few_images": 60, "class_filters": [4, 8]},
        **{"class_epochs": 1, "images_per_epoch": 120, "seed": 1},
    },
    "13_your_photos": {
        **{"dataset_name": "digits", "classes": ["3", "7", "8"], "labels_per_class": 12, "test_images": 30, "image_size": 64},
        **{"fitting": "squeeze", "held_out": 0.25, "tuned_from": "b14_expand_conv", "epochs": 2, "learning_rate": 1e-3},
        **{"few_labels": [3]},
        **{"scratch_size": 24, "images_shown": 300, "marked_class": "7", "mark": 0.3, "channels": 2, "top": 3, "seed": 1},
    },
    "14_your_model": {
        **{
            "images": "digits",
            "fitting": "squeeze",
            "number": 100,
            "layers": ["relu2"],
            "method": "integrated gradients",
            "channels": 2,
            "top": 2,
            "examined": 2,
            "compared": 3,
        },
        **{"square": 3, "stride": 2, "depths": 3, "seed": 1},
    },
}
