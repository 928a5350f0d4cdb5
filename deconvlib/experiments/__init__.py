"""The papers' experiments, a file each, named as the paper names it, with its figure beside it.

Most have two functions: `measure`, arrays -> a table, and `figure`, the table -> a Figure.
"""

from deconvlib.experiments import (
    ablation,
    accuracy,
    answers,
    channels,
    correspondence,
    deletion,
    evolution,
    few_labels,
    grad_cam,
    gradients,
    invariance,
    localization,
    meanings,
    occlusion,
    operators,
    probes,
    quality,
    randomization,
    restoration,
    saliency,
    scorecard,
    segmentation,
    statistics,
    synthesis,
    targets,
    vanishing,
    watermark,
)
