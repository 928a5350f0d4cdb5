"""The networks of `nets` in PyTorch, with the same weights."""

import numpy as np
import torch
from torch import nn


def chain(model, until: str | None = None) -> nn.Sequential:
    """A chain of convolutions, normalizations, ReLUs and poolings, named as the layers; up to `until`, or to the last."""
    net = nn.Sequential()
    for layer in model.layers:
        if len(layer.output.shape) == 4:
            net.add_module(layer.name, _module(layer))
        if layer.name == until:
            break
    return net.eval()


class Residual(nn.Module):
    """`nets.residual` written again."""

    def __init__(self, model):
        super().__init__()
        for layer in model.layers:
            if "_" in layer.name:
                self.add_module(layer.name, _module(layer))
        self.eval()

    def forward(self, x):
        x = nn.functional.max_pool2d(self.stem_relu(self.stem_norm(self.stem_conv(x))), 3, 2)
        y = self.block1_relu(self.block1_1_norm(self.block1_1_conv(x)))
        x = self.block1_out(self.block1_2_norm(self.block1_2_conv(y)) + x)
        y = self.block2_relu(self.block2_1_norm(self.block2_1_conv(x)))
        return self.block2_out(self.block2_2_norm(self.block2_2_conv(y)) + self.block2_0_norm(self.block2_0_conv(x)))


class WithClasses(nn.Module):
    """The scores, before the softmax, of a classifier; features: the part of it that has maps."""

    def __init__(self, model, features):
        super().__init__()
        self.features, self.head = features, nn.Sequential()
        for layer in model.layers:
            if len(layer.output.shape) == 2 and type(layer).__name__ != "Softmax":
                self.head.add_module(layer.name, _module(layer))
        self.eval()

    def forward(self, x):
        return self.head(self.features(x).permute(0, 2, 3, 1))  # whose units Keras counts with the channels last


def _module(layer):
    weights = [torch.from_numpy(np.array(weight)) for weight in layer.get_weights()]
    match type(layer).__name__:
        case "InputLayer":
            return nn.Identity()
        case "ReLU" | "Activation":
            return nn.ReLU()
        case "MaxPooling2D":
            return nn.MaxPool2d(layer.pool_size, layer.strides)
        case "Rescaling":
            channels = layer.output.shape[-1]
            scaling = nn.Conv2d(channels, channels, 1, groups=channels)  # a BatchNorm2d of PyTorch refuses eps=0
            scaling.weight.data[:], scaling.bias.data[:] = layer.scale, layer.offset
            return scaling
        case "BatchNormalization":
            norm = nn.BatchNorm2d(len(weights[0]), eps=layer.epsilon)
            norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = weights
            return norm
        case "Conv2D":
            return _convolution(layer, *weights)
        case "GlobalAveragePooling2D":
            return _Mean()
        case "Flatten":
            return nn.Flatten()
        case "Dropout":
            return nn.Dropout(layer.rate)
        case "Dense":
            return _dense(layer, *weights)
    raise ValueError(f"layer {layer.name!r} is a {type(layer).__name__}; no module of PyTorch is written here for it")


class _Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=(1, 2))


def _dense(layer, kernel, bias):
    module = nn.Linear(*kernel.shape)
    module.weight.data, module.bias.data = kernel.T.contiguous(), bias
    return nn.Sequential(module, *[nn.ReLU()] * (layer.activation.__name__ == "relu"))


def _convolution(layer, kernel, bias=None):
    """Keras' "same" for an image that the stride divides: of an odd padding the larger part comes after the image."""
    (size, _), (stride, _) = layer.kernel_size, layer.strides
    before, after = max(size - stride, 0) // 2, (max(size - stride, 0) + 1) // 2
    module = nn.Conv2d(*kernel.shape[2:], size, stride, before if before == after else 0, bias=bias is not None)
    module.weight.data = kernel.permute(3, 2, 0, 1).contiguous()
    if bias is not None:
        module.bias.data = bias
    padded = [] if before == after else [nn.ZeroPad2d((before, after, before, after))]
    rectified = [nn.ReLU()] if layer.activation.__name__ == "relu" else []
    return nn.Sequential(*padded, module, *rectified)
