"""A whole ONNX model from a network or an estimator."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, checker, helper

import layerkit
from layerkit.interchange.onnx_export.emitters import emit
from layerkit.interchange.onnx_export.graph import OPSET, Graph, Value
from layerkit.interchange.onnx_export.heads import Output, write_estimator
from layerkit.layer import Layer
from layerkit.shapes import Shape


def convert_network(network: Layer) -> ModelProto:
    """Write a built network: input "X", output "output", the raw outputs."""
    g = Graph()
    y = g.channels_last(emit(g, network, Value("X", network.input_shape)))
    return _model(g, network.input_shape, [Output("output", y.shape, tensor=y.name)])


def convert_estimator(estimator: Any) -> ModelProto:
    """Write a fitted estimator of ours: input "X", outputs as those of skl2onnx."""
    g = Graph()
    shape = estimator.network_.input_shape
    return _model(g, shape, write_estimator(g, estimator, Value("X", shape)))


def _model(g: Graph, input_shape: Shape, outputs: list[Output]) -> ModelProto:
    nodes = [*g.nodes, *(renaming(output, output.name) for output in outputs)]
    inputs = [_info("X", np.dtype(np.float32), input_shape)]
    infos = [_info(output.name, output.dtype, output.shape) for output in outputs]
    graph = helper.make_graph(nodes, "layerkit", inputs, infos, g.constants)
    opset = helper.make_opsetid("", OPSET)
    version = helper.find_min_ir_version_for([opset])
    model = helper.make_model(graph, opset_imports=[opset], ir_version=version)
    checker.check_model(model, full_check=True)
    return model


def renaming(output: Output, name: str) -> NodeProto:
    """Return the node that gives an output its public name."""
    return helper.make_node("Identity", [output.tensor], [name], name=f"{name}.Identity")


def sign(model: ModelProto, source: Any) -> ModelProto:
    """Write who made the model, and what its inputs and classes are called."""
    model.producer_name = "layerkit"
    model.producer_version = layerkit.__version__
    known = {
        "classes": _as_json(getattr(source, "classes_", None)),
        "feature_names": _as_json(getattr(source, "feature_names_in_", None)),
    }
    named = {name: text for name, text in known.items() if text != "null"}
    helper.set_model_props(model, {"layerkit_version": layerkit.__version__, **named})
    return model


def _as_json(names: Any) -> str:
    if isinstance(names, list):  # of several outputs
        return json.dumps([part.tolist() for part in names], default=str)
    return json.dumps(None if names is None else names.tolist(), default=str)


def _info(name: str, dtype: np.dtype, shape: Shape) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(name, kind, ["n_samples", *shape])
