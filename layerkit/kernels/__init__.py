"""The hot loops behind plain functions: arrays in, arrays out, no layer in sight.

Every kernel exists in NumPy, many also compiled by Numba (``pip install 'layerkit[fast]'``), which
is used where it is installed. `use` chooses, `warmup` compiles ahead of time.
"""

from layerkit.kernels._numpy import convolution, elementwise, optimizers, pooling, random, sums
from layerkit.kernels._numpy.windows import Padding, Pair, output_size
from layerkit.kernels.dispatch import backend, twin, use

sigmoid = twin(elementwise.sigmoid)
softplus = twin(elementwise.softplus)
log_sigmoid = twin(elementwise.log_sigmoid)
softmax = twin(elementwise.softmax)
log_softmax = twin(elementwise.log_softmax)

conv2d = twin(convolution.conv2d)
conv2d_input_grad = twin(convolution.conv2d_input_grad)
conv2d_kernel_grad = twin(convolution.conv2d_kernel_grad)

max_pool2d = twin(pooling.max_pool2d)
max_pool2d_input_grad = twin(pooling.max_pool2d_input_grad)
avg_pool2d = twin(pooling.avg_pool2d)
avg_pool2d_input_grad = twin(pooling.avg_pool2d_input_grad)

sgd_step = twin(optimizers.sgd_step)
adam_step = twin(optimizers.adam_step)
moments_step = twin(optimizers.moments_step)
adamax_step = twin(optimizers.adamax_step)
adagrad_step = twin(optimizers.adagrad_step)
rmsprop_step = twin(optimizers.rmsprop_step)
adadelta_step = twin(optimizers.adadelta_step)
lion_step = twin(optimizers.lion_step)
rprop_step = twin(optimizers.rprop_step)
moving_average = twin(optimizers.moving_average)

keep_mask = twin(random.keep_mask)
sum_rows = twin(sums.sum_rows)

__all__ = [
    "Padding",
    "Pair",
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "backend",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_kernel_grad",
    "keep_mask",
    "lion_step",
    "log_sigmoid",
    "log_softmax",
    "max_pool2d",
    "max_pool2d_input_grad",
    "moments_step",
    "moving_average",
    "output_size",
    "rmsprop_step",
    "rprop_step",
    "sgd_step",
    "sigmoid",
    "softmax",
    "softplus",
    "sum_rows",
    "use",
]
