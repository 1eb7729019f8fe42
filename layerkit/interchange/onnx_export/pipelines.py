"""Whole scikit-learn models: skl2onnx converts them and calls us for our estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import (
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
    guess_data_type,
)

from layerkit.interchange.onnx_export.graph import OPSET, Graph, Value
from layerkit.interchange.onnx_export.heads import Output, write_estimator
from layerkit.interchange.onnx_export.model import renaming
from layerkit.interchange.onnx_export.scores import options_of

# What a holder may take, see `scores`; zipmap is that of all classifiers.
_OPTIONS = {"zipmap": [False], "raw_scores": [True, False], "one_column": [True, False]}
_TYPES = {np.dtype(np.float32): FloatTensorType, np.dtype(np.int64): Int64TensorType}


def convert_pipeline(model: Any, X: Any) -> ModelProto:
    """Convert any scikit-learn model that may hold our estimators."""
    from layerkit import estimators as ours

    for name in ours.__all__:
        alias, kind = f"Layerkit{name}", getattr(ours, name)
        update_registered_converter(
            kind, alias, _set_shapes, _convert, parser=_parse, options=_OPTIONS
        )
    return convert_sklearn(
        model,
        initial_types=_input_types(model, X),
        target_opset={"": OPSET, "ai.onnx.ml": 3},
        options=options_of(model),
    )


def _input_types(model: Any, X: Any) -> list[tuple[str, Any]]:
    if X is None:
        return [("X", FloatTensorType([None, model.n_features_in_]))]
    if hasattr(X, "columns"):  # a table: one input for each column
        return [(name, _as_float(kind)) for name, kind in guess_data_type(X[:1])]
    X = np.asarray(X)
    kind = StringTensorType if X.dtype.kind in "USO" else FloatTensorType
    return [("X", kind([None, *X.shape[1:]]))]


def _as_float(kind: Any) -> Any:
    """Numbers are float32 in the model, whatever they are in the table."""
    shape = [None, *kind.shape[1:]]
    return StringTensorType(shape) if isinstance(kind, StringTensorType) else FloatTensorType(shape)


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Say which outputs an estimator has."""
    operator = scope.declare_local_operator(f"Layerkit{type(model).__name__}", model)
    operator.inputs = inputs
    for output in _outputs(scope, model):
        operator.outputs.append(scope.declare_local_variable(output.name, _type_of(output)))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    outputs = _outputs(operator.scope_inst, operator.raw_operator)
    for variable, output in zip(operator.outputs, outputs, strict=True):
        variable.type = _type_of(output)


def _type_of(output: Output) -> Any:
    return _TYPES.get(output.dtype, StringTensorType)([None, *output.shape])


def _outputs(scope: Any, model: Any) -> list[Output]:
    return _write(Graph(), scope, model, "X")


def _write(g: Graph, scope: Any, model: Any, x: str) -> list[Output]:
    """Write an estimator of ours in the form that the model which holds it takes."""
    taken = scope.get_options(model, {"raw_scores": None, "one_column": False})
    return write_estimator(
        g,
        model,
        Value(x, model.network_.input_shape),
        raw_scores=bool(taken["raw_scores"]),
        both_sides=taken["raw_scores"] is not None and not taken["one_column"],
    )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    g = Graph(scope.get_unique_variable_name(type(operator.raw_operator).__name__))
    columns = [g.node("Cast", part.full_name, to=TensorProto.FLOAT) for part in operator.inputs]
    x = g.node("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    outputs = _write(g, scope, operator.raw_operator, x)
    for output, variable in zip(outputs, operator.outputs, strict=True):
        g.nodes.append(renaming(output, variable.full_name))
    container.initializers.extend(g.constants)
    container.nodes.extend(g.nodes)
    container.node_domain_version_pair_sets.add(("", OPSET))
