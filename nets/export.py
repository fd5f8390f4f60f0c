"""The point-wise network of a trained model for use elsewhere, in packed bits or as ONNX."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from factorgraph.backends import HOST
from factorgraph.files import write_bytes, write_npz
from nets.encoding import ThermometerCode
from nets.layers import Dense
from nets.settings import only_signs, weight_type


class Layer(NamedTuple):
    """
    A layer of the point-wise network.

    Attributes
    ----------
    weights : (K, N) values of the weights; 0 if masked out
    bias : (K,) whole numbers that are added to the sums
    """

    weights: np.ndarray
    bias: np.ndarray


def point_wise(model: Any) -> list[Layer]:
    """
    Set each weight of a fitted classifier to its most probable value, and join the biases of each unit to one number.

    Raises
    ------
    ValueError
        Weights are not small whole numbers, or hidden units are not signs.
    """
    weights = model.settings_["weights"]
    kind = weight_type(weights)
    if not only_signs(model) or not all(value == int(value) and abs(value) < 256 for value in getattr(kind, "states", ())):
        raise ValueError(
            f"export needs weights that are whole numbers below 256, 'binary' or 'ternary', and activation='sign', not "
            f"{weights!r} and {model.activation!r}"
        )
    if not all(isinstance(layer, Dense) and not layer.skip for layer in model._architecture.layers):
        raise ValueError(f"export takes only dense layers, without skip, not {model._architecture.hidden}")
    layers = []
    for (_, size, _), belief, mask in zip(model._architecture.weights, model.weight_beliefs_, model.masks_, strict=True):
        with np.errstate(divide="ignore"):
            params = kind.from_mean(np.asarray(belief, dtype=np.float64), HOST)
        weights = np.asarray(kind.mode(params, HOST)) * (1 if mask is None else mask)
        layers.append(Layer(weights[:, :size], weights[:, size:].sum(axis=1)))
    return layers


def export_bits(model: Any, path: str | Path) -> None:
    """
    Write one ``.npz`` of bits, which `nets.bits` reads.

    The file holds the signs of the weights, and for each binary digit of their sizes, which weights have it.
    """
    arrays: dict[str, np.ndarray] = {"classes": model.classes_, "layers": np.asarray(len(model._architecture.weights))}
    if model.classes_.dtype == object:
        arrays["classes"] = np.asarray(model.classes_.tolist())
    code = model._encoder
    if isinstance(code, ThermometerCode):
        arrays["levels"] = code.thresholds
    else:
        arrays |= {"mean": code.mean, "deviation": code.deviation, "most": np.asarray(code.most_deviations)}
        arrays["dtype"] = np.asarray(model.dtype)
    for number, layer in enumerate(point_wise(model), start=1):
        sizes = np.abs(layer.weights).astype(np.uint8)
        digits = [(sizes >> place) & 1 for place in range(max(1, int(sizes.max()).bit_length()))]
        arrays[f"weights{number}"] = np.packbits(layer.weights > 0, axis=1)
        arrays[f"digits{number}"] = np.packbits(np.stack(digits), axis=2)
        arrays[f"bias{number}"] = layer.bias.astype(np.int32)
    write_npz(path, arrays)


def export_onnx(model: Any, path: str | Path) -> None:
    """
    Write an ONNX model from ``X`` (n, features), in double precision, to ``label`` (n,).

    Raises
    ------
    ImportError
        The package ``onnx`` is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise ImportError("export to ONNX needs the package onnx: pip install onnx") from error
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any, dtype: Any = np.float64) -> str:
        name = f"constant{len(constants)}"
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"value{len(nodes)}"], **attributes))
        return f"value{len(nodes) - 1}"

    one, minus = constant(1.0), constant(-1.0)

    def signs(condition: str) -> str:
        return node("Where", condition, one, minus)

    code, features = model._encoder, model.n_features_in_
    if isinstance(code, ThermometerCode):
        above = node("Greater", node("Unsqueeze", "X", constant([2], np.int64)), constant(code.thresholds))
        x = node("Reshape", signs(above), constant([-1, code.thresholds.size], np.int64))
    else:
        mean, deviation, most = code.mean, code.deviation, code.most_deviations
        varies = np.broadcast_to(deviation > 0, features)
        scaled = node("Div", node("Sub", "X", constant(mean)), constant(np.where(deviation > 0, deviation, 1.0)))
        x = node("Where", constant(varies, np.bool_), scaled, constant(0.0))
        if np.isfinite(most):
            x = node("Clip", x, constant(-most), constant(most))
        if model.dtype == "float32":
            x = node("Cast", node("Cast", x, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
    layers = point_wise(model)
    for number, layer in enumerate(layers, start=1):
        x = node("Add", node("MatMul", x, constant(layer.weights.T)), constant(layer.bias))
        if number < len(layers):
            x = signs(node("GreaterOrEqual", x, constant(0.0)))
    if len(layers[-1].bias) == 1:
        best = node("Cast", node("Squeeze", node("Greater", x, constant(0.0)), constant([1], np.int64)), to=TensorProto.INT64)
    else:
        best = node("ArgMax", x, axis=1, keepdims=0)
    classes = model.classes_
    if classes.dtype.kind in "OUS":
        constants.append(helper.make_tensor("classes", TensorProto.STRING, [len(classes)], [str(c).encode() for c in classes]))
        kind = TensorProto.STRING
    else:
        constants.append(numpy_helper.from_array(classes, "classes"))
        kind = helper.np_dtype_to_tensor_dtype(classes.dtype)
    nodes.append(helper.make_node("Gather", ["classes", best], ["label"], axis=0))
    graph = helper.make_graph(
        nodes,
        "BPClassifier",
        [helper.make_tensor_value_info("X", TensorProto.DOUBLE, ["n", features])],
        [helper.make_tensor_value_info("label", kind, ["n"])],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(proto, full_check=True)
    write_bytes(path, proto.SerializeToString())


def export(model: Any, path: str | Path) -> None:
    """Write the point-wise network in the format of the file's ending: ``.npz`` (bits) or ``.onnx``."""
    writers = {".npz": export_bits, ".onnx": export_onnx}
    suffix = os.path.splitext(os.fspath(path))[1]
    if suffix not in writers:
        raise ValueError(f"export writes files that end in .npz or .onnx, not {os.fspath(path)!r}")
    writers[suffix](model, path)
