"""What an .onnx file can't do, and the inputs and outputs that it may have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoseg.errors import ModelError
from geoseg.models.bundle import write_bundle
from geoseg.models.card import ModelCard
from geoseg.models.describe import describe_model
from geoseg.models.loading import load_model
from geoseg.models.onnx_files import read_onnx
from geoseg.models.options import GeosegOptions
from geoseg.models.scaling import Scale

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

helper, Type = onnx.helper, onnx.TensorProto
Shape = Sequence[int | str | None]


def _model(
    nodes: list[Any],
    given: Shape = (None, 3, None, None),
    returned: Shape = (None, 1, None, None),
    *,
    weights: Sequence[Any] = (),
    kind: int = Type.FLOAT,
    out_kind: int = Type.FLOAT,
    domains: Sequence[str] = (),
    functions: Sequence[Any] = (),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, given)],
        [helper.make_tensor_value_info("y", out_kind, returned)],
        list(weights),
    )
    imports = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in ("", *domains)]
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def _mean(source: str = "x", target: str = "y", axis: int = 1) -> Any:
    return helper.make_node("ReduceMean", [source], [target], axes=[axis], keepdims=1)


def _write(path: Path, content: bytes, scaled: bool = False, **options: Any) -> Path:
    card = ModelCard.create(
        "mean",
        classes=["bright"],
        bands=["red", "green", "blue"],
        scaling=[Scale(value=255)] * 3 if scaled else None,
        options=GeosegOptions(activation="none", window=64, overlap=16, **options),
    )
    return write_bundle(path, content, card, kind="onnx")


def _elsewhere(place: str) -> Any:
    weight = onnx.TensorProto(
        name="w", data_type=Type.UINT8, dims=[8], data_location=onnx.TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value=place)
    return weight


def _loop(node: Any) -> Any:
    """An ``If`` in an ``If`` around a node."""
    for level in range(2):
        body = helper.make_graph(
            [node], f"body{level}", [], [helper.make_tensor_value_info("y", Type.FLOAT, None)]
        )
        node = helper.make_node("If", ["flag"], ["y"], then_branch=body, else_branch=body)
    return node


@pytest.mark.parametrize("place", ["secret", "/etc/hostname", "../secret"])
def test_weights_in_other_files_are_not_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"\xff" * 8)
    monkeypatch.chdir(tmp_path)  # what a runtime would take a relative place from
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=Type.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    content = _model(nodes, (1, 3, 8, 8), (1, 3, 8, 8), weights=[_elsewhere(place)])
    with pytest.raises(ModelError, match="keeps weights in another file"):
        load_model(_write(tmp_path / "m", content))
    constant = helper.make_node("Constant", [], ["w"], value=_elsewhere(place))
    with pytest.raises(ModelError, match="keeps weights in another file"):
        read_onnx(_model([_loop(constant), *nodes]), "m.onnx")


@pytest.mark.parametrize(
    ("domain", "name"),
    [("evil.ops", "Run"), ("com.microsoft", "EPContext"), ("com.microsoft", "PythonOp")],
)
@pytest.mark.parametrize("deep", [False, True])
def test_operators_of_other_packages_are_refused_by_name(domain: str, name: str, deep: bool) -> None:
    node = helper.make_node(name, ["x"], ["y"], domain=domain)
    content = _model([_loop(node) if deep else node], domains=[domain])
    with pytest.raises(ModelError, match=rf"ONNX's own operators, got {domain}\.{name}"):
        read_onnx(content, "m.onnx")
    inside = helper.make_function("own", "Outer", ["x"], ["y"], [node], [helper.make_opsetid(domain, 1)])
    outer = helper.make_node("Outer", ["x"], ["y"], domain="own")
    with pytest.raises(ModelError, match=rf"got {domain}\.{name}"):
        read_onnx(_model([outer], domains=["own", domain], functions=[inside]), "m.onnx")


def test_a_function_does_not_bring_in_an_operator_of_the_runtime_under_its_name() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    function = helper.make_function(
        "com.microsoft", "EPContext", ["x"], ["y"], [_mean()], [helper.make_opsetid("", 17)]
    )
    with pytest.raises(ModelError, match=r"got com\.microsoft\.EPContext"):
        read_onnx(_model([node], domains=["com.microsoft"], functions=[function]), "m.onnx")


def test_functions_of_the_file_itself_run(tmp_path: Path) -> None:
    inside = helper.make_function("own", "Outer", ["x"], ["y"], [_mean()], [helper.make_opsetid("", 17)])
    content = _model(
        [helper.make_node("Outer", ["x"], ["y"], domain="own")], domains=["own"], functions=[inside]
    )
    image = np.full((1, 3, 20, 30), 128, np.uint8)
    np.testing.assert_allclose(load_model(_write(tmp_path / "m", content, scaled=True))(image), 128 / 255)


def test_other_formats_of_the_runtime_are_refused() -> None:
    with pytest.raises(ModelError, match="no sound ONNX network"):
        read_onnx(b"\x20\x00\x00\x00ORTM" + bytes(100), "m.onnx")


@pytest.mark.parametrize("kind", [Type.FLOAT16, Type.DOUBLE, Type.FLOAT])
def test_floats_of_any_width(kind: int, tmp_path: Path) -> None:
    content = _model([_mean()], kind=kind, out_kind=kind)
    path = _write(tmp_path / "m", content, scaled=True)
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 31), np.uint8)
    got = load_model(path)(image)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, image.mean(1, keepdims=True) / 255, atol=2e-3 if kind == Type.FLOAT16 else 1e-6
    )


def test_whole_numbers_are_taken_as_they_are_or_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=Type.FLOAT),
        _mean("f", "m"),
        helper.make_node("Div", ["m", "n"], ["y"]),
    ]
    byte = helper.make_tensor("n", Type.FLOAT, [], [255])
    content = _model(nodes, kind=Type.UINT8, weights=[byte])
    path = _write(tmp_path / "m", content)
    predictor = load_model(path)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), np.uint8)
    np.testing.assert_allclose(predictor(image), image.mean(1, keepdims=True) / 255, atol=1e-6)
    assert describe_model(path)["input"] == "uint8, sides are multiples of 1 px (others are padded)"
    with pytest.raises(ModelError, match="takes uint8 pixels, got values from 0 to 4000"):
        predictor(np.array([0, 4000, 7], np.uint16).reshape(1, 3, 1, 1))
    with pytest.raises(ModelError, match="must not state a value_scaling"):
        load_model(_write(tmp_path / "scaled", content, scaled=True))
    indices = helper.make_node("ArgMax", ["x"], ["y"], axis=1)
    with pytest.raises(ModelError, match=r"must return probabilities or logits as float32.*got int64"):
        load_model(_write(tmp_path / "classes", _model([indices], out_kind=Type.INT64)))


def test_sides_that_the_network_cannot_divide_are_padded(tmp_path: Path) -> None:
    """Halves its input twice and joins the doubled halves with it: fails unless sides are multiples of 4."""
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        _mean(target="m"),
        helper.make_node("MaxPool", ["m"], ["a"], **pool),
        helper.make_node("MaxPool", ["a"], ["b"], **pool),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], mode="nearest"),
        helper.make_node("Max", ["m", "c"], ["y"]),
    ]
    scales = helper.make_tensor("scales", Type.FLOAT, [4], [1, 1, 4, 4])
    path = _write(tmp_path / "m", _model(nodes, weights=[scales]), scaled=True)
    assert describe_model(path)["input"] == "float32, sides are multiples of 4 px (others are padded)"
    predictor = load_model(path)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 37, 50), np.uint8)
    padded = np.pad(image, ((0, 0), (0, 0), (0, 3), (0, 2)), mode="edge")
    np.testing.assert_array_equal(predictor(image), predictor(padded)[..., :37, :50])
    assert predictor.notes == []


def test_a_network_that_runs_on_no_size_is_refused(tmp_path: Path) -> None:
    fixed = helper.make_tensor("w", Type.FLOAT, [1, 3, 7, 7], [0.0] * 147)
    content = _model([helper.make_node("Add", ["x", "w"], ["s"]), _mean("s")], weights=[fixed])
    path = _write(tmp_path / "m", content)
    for check in (load_model, describe_model):
        with pytest.raises(ModelError, match="can't run on input"):
            check(path)


def test_bands_that_come_last(tmp_path: Path) -> None:
    content = _model([_mean(axis=3)], (1, 64, 48, 3), (1, 64, 48, 1))
    predictor = load_model(_write(tmp_path / "m", content, scaled=True))
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 48), np.uint8)
    np.testing.assert_allclose(predictor(image), image.mean(1, keepdims=True) / 255, atol=1e-6)
    assert read_onnx(content, "m.onnx").bands_last
    with pytest.raises(ModelError, match="takes 3 bands, its card says 4"):
        read_onnx(_model([_mean()]), "m.onnx", 4)


@pytest.mark.parametrize(
    ("factor", "note"),
    [
        (1 / 255, None),
        (100 / 255, "values from 0 to 100, not probabilities.*division by 100"),
        (-3 / 255, "values from -3 to -?0, not probabilities.*sigmoid or softmax"),
        (np.nan, "no numbers"),
    ],
)
def test_outputs_that_are_no_probabilities_are_told(factor: float, note: str | None, tmp_path: Path) -> None:
    scale = helper.make_tensor("n", Type.FLOAT, [], [factor])
    content = _model([_mean(target="m"), helper.make_node("Mul", ["m", "n"], ["y"])], weights=[scale])
    predictor = load_model(_write(tmp_path / "m", content))
    image = np.zeros((1, 3, 64, 64), np.uint8)
    image[..., :32] = 255
    predictor(image)
    predictor(image[..., :40])
    if note is None:
        assert predictor.notes == []
    else:
        assert len(predictor.notes) == 1
        assert re.search(note, predictor.notes[0])


def test_outputs_of_other_shapes_are_refused_when_loaded(tmp_path: Path) -> None:
    """A network that crops what it returns, and one that returns boxes."""
    cut = [
        helper.make_tensor(name, Type.INT64, [2], values)
        for name, values in (("a", [4, 4]), ("b", [60, 60]), ("c", [2, 3]))
    ]
    cropping = [_mean(target="m"), helper.make_node("Slice", ["m", "a", "b", "c"], ["y"])]
    for sides, wanted in (
        ((64, 64), r"of its input's sides \(64, 64\), got \(1, 1, 56, 56\)"),
        ((None, None), "of its input's sides"),
    ):
        path = _write(
            tmp_path / f"crop{sides[0]}", _model(cropping, (1, 3, *sides), (1, 1, None, None), weights=cut)
        )
        for check in (load_model, describe_model):
            with pytest.raises(ModelError, match=wanted):
                check(path)
    flat = helper.make_tensor("s", Type.INT64, [3], [1, 3, -1])
    boxes = _model(
        [helper.make_node("Reshape", ["x", "s"], ["y"])], (1, 3, 64, 64), (1, 3, 4096), weights=[flat]
    )
    with pytest.raises(ModelError, match=r"to .N, K, h, w., got 1x3x64x64 to 1x3x4096"):
        load_model(_write(tmp_path / "boxes", boxes))
