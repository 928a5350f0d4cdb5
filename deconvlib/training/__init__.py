"""Model + Dataset -> history of the training, what the trained model gets right and wrong, and the figures of both."""

from deconvlib.allowed import SCHEDULES
from deconvlib.training import transfer
from deconvlib.training.augmentation import augmentation, augmented
from deconvlib.training.curves import curves, curves_and_mistakes, gradient_flow, gradient_norms, learning_curves, overfitting
from deconvlib.training.earlier import network_of
from deconvlib.training.evaluation import calibration, confusion, evaluate, mean_of_views, mistakes, predict, turned
from deconvlib.training.fit import OPTIMIZERS, fit, fit_pairs, images_per_second, psnr_loss
from deconvlib.training.gradients import loss_gradients
