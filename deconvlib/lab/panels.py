"""Controls over functions that already work without them: what notebooks type, one line a panel."""

from deconvlib.lab.altering import delete, hide, move
from deconvlib.lab.background import grow
from deconvlib.lab.browsing import augmentation, browse, shortage
from deconvlib.lab.building import build
from deconvlib.lab.comparisons import gradients, operators, study
from deconvlib.lab.controls import newest
from deconvlib.lab.decoders import restore, segment, walk
from deconvlib.lab.explaining import explain
from deconvlib.lab.explorer import explore
from deconvlib.lab.features import channels, features, synthesize
from deconvlib.lab.trainer import train
from deconvlib.lab.trainings import confusion, train_classifier


def check():
    """Raise the error that a panel shows, after it has done what is asked of it: no run succeeds with a broken panel."""
    for panel in list(newest.values()):
        panel.wait()
        if panel.error:
            raise panel.error
