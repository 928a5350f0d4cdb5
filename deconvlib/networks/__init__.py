"""Hyperparameters -> keras.Model: classifiers, autoencoders, the layers that Keras lacks, and models of other origin."""

from deconvlib.allowed import DECODERS, NORMALIZATIONS
from deconvlib.networks.autoencoders import encoder_decoder, variational
from deconvlib.networks.classifier import classifier, seeds_of, tutorial
from deconvlib.networks.loading import class_names, load
from deconvlib.networks.network_deconvolution import DeconvolvedConv2D, DeconvolvedDense
from deconvlib.networks.summary import architecture, layer_table
from deconvlib.networks.upsampling import OPERATORS
