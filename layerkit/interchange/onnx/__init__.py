"""Models to ONNX, which runs without layerkit, and from it."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerkit.archive import replacing
from layerkit.interchange.formats import require
from layerkit.layer import Layer
from layerkit.shapes import Shape, as_shape

if TYPE_CHECKING:
    from onnx import ModelProto

    from layerkit.layers import Sequential

_INSTALL = "'layerkit[onnx]'"


def to_onnx(model: Any, path: str | os.PathLike | None = None, X: Any = None) -> ModelProto:
    """Write a network, an estimator or a whole scikit-learn Pipeline as an ONNX model.

    The model runs wherever ONNX does, without layerkit and without Python. It predicts as in
    inference: dropout does nothing, batch normalization uses its running statistics.

    Parameters
    ----------
    model : Layer, estimator, or any model that skl2onnx converts
        A built network; a fitted estimator of ours; or a fitted Pipeline, ColumnTransformer,
        GridSearchCV, … with our estimators inside. At its end may stand a
        TransformedTargetRegressor, if its inverse is a scale and a shift, exp, expm1, a square, a
        square root or a reciprocal; or a FixedThresholdClassifier or TunedThresholdClassifierCV.
    path : str or path, optional
        File to write, or to replace once the new one is complete.
    X : array or DataFrame, optional
        A few rows of the data, for a Pipeline that reads text or takes a table apart by its
        columns' names: a DataFrame's columns become inputs of the model, one each, numbers as
        float32, text as strings.

    Returns
    -------
    model : onnx.ModelProto
        Opset 17, float32, with a batch axis of any length. Input ``X`` in our layout, images
        channels last. A network's output is ``output``. Estimators have what skl2onnx gives those
        of scikit-learn: classifiers ``label`` and ``probabilities`` (``scores`` after a margin
        loss; ``probabilities_0``, … where y has several columns of classes), regressors
        ``variable`` (n_samples, n_outputs), with `GaussianNLL` also ``std``. The metadata name
        layerkit, its version, the classes and the features. A `TabularClassifier` or
        `TabularRegressor` has an input ``(n_samples, 1)`` for each column: numbers as float32, NaN
        where they are missing; text as strings, "" where it is missing; dates as int64, seconds
        since 1970, the least int64 where they are missing (NumPy's ``datetime64[s]`` as integers).

    Raises
    ------
    ImportError
        Without onnx (and skl2onnx for Pipelines): ``pip install 'layerkit[onnx]'``.
    NotFittedError
        If an estimator is not fitted.
    OSError
        If the disk refuses; a file that was there stays as it is.
    RuntimeError
        If a network is not built.
    TypeError
        For what is no model; for a layer, a loss's inverse link, or a model around our estimators
        without an ONNX form, by its name; for what skl2onnx cannot convert, in its words. A layer
        of yours gets a form from a function decorated with
        ``layerkit.interchange.onnx_export.emits(YourLayer)`` that takes
        ``(graph, layer, x)``, appends nodes and returns the output as a ``Value``.
    ValueError
        If a model does not say how many columns it takes, and no X is given.

    Notes
    -----
    ONNX convolves images with the channels first, so a Transpose stands before and after every
    stretch of image layers, none between them. An `Embedding` reads -1 as the last row instead of
    refusing it.

    Recurrent layers become RNN, GRU and LSTM with Transposes around them (``layout=0``), and begin
    from zeros, as in `infer`, if they are ``stateful`` too. A network for rows of any number of
    steps becomes a model with a free time axis. All rows of one call are equally long there: give
    rows of unequal length one by one, or those of a length together.

    Examples
    --------
    .. code-block:: python

        pipeline = make_pipeline(StandardScaler(), MLPClassifier()).fit(X, y)
        to_onnx(pipeline, "model.onnx")

        import onnxruntime  # elsewhere, without layerkit
        session = onnxruntime.InferenceSession("model.onnx")
        label, probabilities = session.run(None, {"X": X.astype("float32")})
    """
    require("onnx", install=_INSTALL)
    from layerkit.interchange.onnx.models import sign

    if X is None and hasattr(model, "networks_"):
        from layerkit.interchange.onnx.tables import convert_tabular

        converted = convert_tabular(model)
    elif isinstance(model, Layer) or not hasattr(model, "fit"):
        converted = _converted(model, X)
    else:
        from sklearn.utils.validation import check_is_fitted

        from layerkit.interchange.onnx.endings import without_endings

        check_is_fitted(model)
        inside, endings = without_endings(model)
        converted = _converted(inside, X)
        for write in endings:
            write(converted)
    converted = sign(converted, model)
    if path is not None:
        with replacing(Path(path)) as file:
            file.write(converted.SerializeToString())
    return converted


def _converted(model: Any, X: Any) -> ModelProto:
    """Write what ourselves can, and the rest with skl2onnx."""
    from layerkit.interchange.onnx.models import convert

    is_ours = X is None and isinstance(getattr(model, "network_", None), Layer)
    if isinstance(model, Layer) or is_ours:
        return convert(model)
    if not hasattr(model, "fit"):
        shown = reprlib.repr(model)
        raise TypeError(f"to_onnx takes a layer, an estimator or a Pipeline, got {shown}")
    require("skl2onnx", install=_INSTALL)
    from layerkit.interchange.onnx.pipelines import convert_pipeline

    return convert_pipeline(model, X)


def from_onnx(
    source: str | os.PathLike | ModelProto,
    input_shape: int | Shape | None = None,
    output: str | None = None,
) -> Sequential:
    """Build a network from an ONNX model, to inspect it or to go on training it.

    Parameters
    ----------
    source : str, path or onnx.ModelProto
        Feed-forward, with one input; residual sums, products of two branches (a `Gate`) and
        concatenated branches included.
    input_shape : int or tuple of int, optional
        Of one sample in our layout, **channels last**; needed where the model leaves sizes open.
    output : str, optional
        Name of the tensor to end at, which may lie in the middle: without its last Softmax a
        classifier is ready for a loss that takes logits. By default the first output of floats.

    Returns
    -------
    network : Sequential
        Built, with copies of the parameters. Where the model takes images or sequences with their
        channels first, as most do, the network takes them channels last, and the rows of a Dense
        after a Flatten are reordered to match; what it gives is channels last, too. A scaling of
        the columns becomes a frozen `BatchNorm`.

    Raises
    ------
    ImportError
        Without onnx: ``pip install 'layerkit[onnx]'``.
    TypeError
        For a source that is neither a path nor a model.
    ValueError
        For an operator, or a use of one, that we have no layer for: the first one is named, with
        the reason. For a file that holds no model; for an input_shape that is not the model's.

    Notes
    -----
    RNN, GRU (``linear_before_reset=1``) and LSTM are read with the Transposes and Squeezes that
    stand around them, forward or bidirectional, from zeros as initial states; a time axis that is
    left open stays open. Of what they return, all steps and the last state are taken, in PyTorch's
    ways of writing them.

    Activations, normalizations, softmaxes and gated linear units are known by the values that they
    give, not by how they are spelt in operators. Other operators become what computes the same: a
    mean or maximum over any axes is a pooling, a clip a `HardTanh` with its bounds, a slice of a
    table's columns `Columns`. Every tensor must come from the input through a chain of layers,
    branches, and sums and products of them.

    Examples
    --------
    .. code-block:: python

        network = from_onnx("model.onnx")
        y = network.infer(images)  # (n_samples, height, width, channels)
    """
    require("onnx", install=_INSTALL)
    from layerkit.interchange.onnx.reader import read_model

    return read_model(source, None if input_shape is None else as_shape(input_shape), output)
