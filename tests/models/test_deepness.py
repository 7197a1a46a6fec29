"""ONNX files with Deepness metadata: read as models, and written from bundles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.export import export_onnx
from geoseg.models.loading import load_model
from geoseg.typing import Array

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Bright(nn.Module):
    """Probability of "bright": the mean of three standardized bands through a sigmoid; K copies."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.sigmoid(x.mean(1, keepdim=True))
        return mean if self.outputs == 1 else torch.cat([1 - mean, mean], 1)


METADATA = {
    "model_type": "Segmentor",
    "class_names": {"0": "background", "1": "roof"},
    "resolution": 30,
    "tiles_size": 48,
    "tiles_overlap": 25,
    "standardization_mean": [0.5, 0.4, 0.3],
    "standardization_std": [0.2, 0.2, 0.1],
    "seg_thresh": 0.6,
    "seg_small_segment": 7,
}


def _file(path: Path, outputs: int = 1, **changes: object) -> Path:
    from geoseg.models.engines import export_onnx_bytes

    model = onnx.load_from_string(export_onnx_bytes(Bright(outputs), (1, 3, 48, 48)))
    metadata = {key: value for key, value in {**METADATA, **changes}.items() if value is not None}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("outputs", [1, 2])
def test_bare_onnx_loads_with_a_card_of_its_metadata(outputs: int, tmp_path: Path) -> None:
    predictor = load_model(_file(tmp_path / "roofs v2.onnx", outputs))
    card = predictor.card
    assert card is not None
    assert predictor.classes == (("roof",) if outputs == 1 else ("background", "roof"))
    assert predictor.background == (None if outputs == 1 else 0)
    options = card.options
    assert (options.gsd, options.window, options.overlap, options.threshold) == (0.3, (48, 48), (12, 12), 0.6)
    assert options.min_area_m2 == pytest.approx(np.pi / 4 * 2.1**2)
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 48), dtype=np.uint8)
    scaled = (x / 255 - np.array([0.5, 0.4, 0.3]).reshape(3, 1, 1)) / np.array([0.2, 0.2, 0.1]).reshape(
        3, 1, 1
    )
    want = 1 / (1 + np.exp(-scaled.mean(1)))
    np.testing.assert_allclose(predictor(x)[:, -1], want, atol=2e-5)
    np.testing.assert_allclose(predictor(x[..., :30, :40])[:, -1], want[:, :30, :40], atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": None}, "model_type is missing.*tiles_overlap"),
        ({"model_type": "Detector"}, "one of Segmentor, got Detector"),
        ({"resolution": "fine"}, "resolution must be a number, got 'fine'"),
        ({"standardization_mean": [1, 2]}, "standardization_mean must be 3 numbers"),
        ({"standardization_std": 0}, "impossible"),
        ({"seg_thresh": 3}, "impossible"),
    ],
)
def test_impossible_metadata_is_told(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(_file(tmp_path / "x.onnx", **changes))


def test_broken_onnx(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"x\.onnx is no sound ONNX network"):
        load_model(tmp_path / "x.onnx")


def test_exported_bundle_carries_metadata_and_predicts_the_same(
    bundle: Path, tmp_path: Path, pixels: Array, expected: Array
) -> None:
    path = export_onnx(bundle, tmp_path / "tiny.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert (metadata["model_type"], metadata["class_names"]) == (
        "Segmentor",
        {"0": "background", "1": "building"},
    )
    assert (metadata["resolution"], metadata["tiles_size"], metadata["tiles_overlap"]) == (30, 64, 25)
    x = (pixels[:1] / np.float32(255) - np.reshape(metadata["standardization_mean"], (3, 1, 1))) / np.reshape(
        metadata["standardization_std"], (3, 1, 1)
    )
    (got,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    np.testing.assert_allclose(got, expected[:1], atol=2e-5)
    predictor = load_model(path)
    np.testing.assert_allclose(predictor(pixels), expected, atol=2e-5)
    assert predictor.card is not None
    assert (predictor.card.name, predictor.card.options.gsd) == ("tiny test network", 0.3)
