"""Images and labels: named data sets, folders of photographs, generated shapes. Keras only downloads."""

from deconvlib.data.dataset import Dataset, Sample, Scenes
from deconvlib.data.inspect import (
    by_similarity,
    channel_histograms,
    channel_statistics,
    class_sheet,
    class_sizes,
    image_pairs,
    near_duplicates,
)
from deconvlib.data.loading import NAMES, load, load_scenes, resized, sample
from deconvlib.data.photographs import PHOTOGRAPHS, photograph
from deconvlib.data.shapes import SHAPES, scenes, shapes
