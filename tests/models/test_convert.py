"""One model in several forms that give the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.errors import InputError, ModelError
from geoseg.models import convert_model, load_model
from geoseg.models.export import check_export
from geoseg.typing import Array


@pytest.fixture(scope="module")
def program(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network as a .pt2 file, written once: tracing takes seconds."""
    return convert_model(bundle, tmp_path_factory.mktemp("program") / "m.pt2")


@pytest.mark.parametrize("name", ["m.onnx", "m.zip", "folder"])
def test_each_form_answers_as_the_bundle_does(
    name: str, tmp_path: Path, bundle: Path, pixels: Array, expected: Array
) -> None:
    if name == "m.onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    out = tmp_path / name
    result = CliRunner().invoke(app, ["export", str(bundle), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    predictor = load_model(out, engine="auto" if name == "m.onnx" else "torch")
    np.testing.assert_allclose(predictor(pixels), expected, atol=2e-5)
    assert (predictor.classes, predictor.card.options.gsd) == (("building",), 0.3)  # type: ignore[union-attr]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_pt2_file_takes_any_number_of_windows(program: Path, bundle: Path) -> None:
    windows = np.random.default_rng(0).integers(0, 255, (3, 3, 64, 64), dtype=np.uint8)
    expected = load_model(bundle, engine="torch")(windows)
    predictor = load_model(program)
    np.testing.assert_allclose(predictor(windows), expected, atol=2e-5)
    assert predictor.card is not None
    assert predictor.card.options.window == (64, 64)
    with pytest.raises(ModelError, match="64"):
        predictor(np.zeros((1, 3, 72, 72), np.uint8))


def test_what_is_there_stays(program: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle.zip"
    out.write_text("mine")
    with pytest.raises(InputError, match="must not exist yet"):
        convert_model(bundle, out)
    assert out.read_text() == "mine"
    assert load_model(convert_model(bundle, out, overwrite=True), engine="torch").classes == ("building",)
    with pytest.raises(ModelError, match="must keep its weights as safetensors"):
        convert_model(program, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"must end in \.onnx, \.pt2 or \.zip"):
        convert_model(bundle, tmp_path / "m.tflite")
    result = CliRunner().invoke(app, ["export", str(bundle), "-o", str(tmp_path / "x"), "--checkpoint", "1"])
    assert result.exit_code == 2
    assert "--checkpoint must come with a training run" in result.stderr


def test_an_export_that_computes_something_else_is_refused() -> None:
    network = nn.Conv2d(3, 1, 1)
    check_export(network, (2, 3, 4, 4), lambda x: network(x) + 1e-6)
    with pytest.raises(ModelError, match="must return what the network does, got a difference of"):
        check_export(network, (2, 3, 4, 4), lambda x: network(x) * 1.01)
    with pytest.raises(ModelError, match="must return what the network does, got a difference of nan"):
        check_export(network, (2, 3, 4, 4), lambda x: network(x) * torch.nan)
    with pytest.raises(
        ModelError, match=r"must return \(2, 1, 4, 4\) as the network does, got \(2, 1, 2, 4\)"
    ):
        check_export(network, (2, 3, 4, 4), lambda x: network(x)[:, :, :2])
