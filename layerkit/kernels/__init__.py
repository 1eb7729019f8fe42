"""The hot loops behind plain functions: arrays in, arrays out, no layer in sight."""

from layerkit.kernels._elementwise import log_sigmoid, log_softmax, sigmoid, softmax, softplus
from layerkit.kernels._numpy import (
    Padding,
    Pair,
    avg_pool2d,
    avg_pool2d_input_grad,
    conv2d,
    conv2d_input_grad,
    conv2d_kernel_grad,
    max_pool2d,
    max_pool2d_input_grad,
    output_size,
    sum_rows,
)
from layerkit.kernels._random import keep_mask

__all__ = [
    "Padding",
    "Pair",
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_kernel_grad",
    "keep_mask",
    "log_sigmoid",
    "log_softmax",
    "max_pool2d",
    "max_pool2d_input_grad",
    "output_size",
    "sigmoid",
    "softmax",
    "softplus",
    "sum_rows",
]
