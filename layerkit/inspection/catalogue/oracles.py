"""PyTorch's own function and its autograd, as a second opinion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerkit.inspection.catalogue.record import Absent


def differentiate_in_torch(
    expression: str, names: Mapping[str, Any], learned: Sequence[str], grad_output: Any
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Evaluate an expression in PyTorch; return it and the gradients of ``sum(G y)``."""
    try:
        import torch
    except ImportError:
        raise Absent("PyTorch") from None

    tensors: dict[str, Any] = {
        name: torch.tensor(np.array(value)) if np.ndim(value) else value
        for name, value in names.items()
    }
    for name in learned:
        if tensors[name].is_floating_point():
            tensors[name].requires_grad_()
    y = eval(expression, {"torch": torch, "F": torch.nn.functional, **tensors})
    y.backward(torch.as_tensor(grad_output))
    gradients = {
        name: tensors[name].grad.numpy() for name in learned if tensors[name].grad is not None
    }
    return y.detach().numpy(), gradients
