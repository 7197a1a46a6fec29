"""Pictures of chips: what is drawn can be seen, is named, and is what training sees."""

from __future__ import annotations

import io

import geopandas as gpd
import numpy as np
import pytest
import torch
from PIL import Image
from train_samples import to_ground, write_scene

from geoseg.data.dataset import join_chips
from geoseg.errors import InputError
from geoseg.raster.classes import IGNORE
from geoseg.training import preview
from geoseg.training.learner import Learner
from geoseg.training.pictures import captioned, chip_sheet, class_color, legend, overlay
from geoseg.training.setup import build, pixelwise_of, prepare

NAMES = ("bg", *(f"class number {i}" for i in range(1, 13)))


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_hatching_is_seen_on_any_ground(gray):
    drawn = overlay(np.full((16, 16, 3), gray, np.uint8), np.full((16, 16), IGNORE, np.uint8)).astype(int)
    rows, cols = np.indices((16, 16))
    line = (rows + cols) % 8 == 0
    assert (drawn[line].min() - drawn[~line].max()) > 60


def test_thin_objects_have_the_full_color():
    target = np.zeros((9, 9), np.uint8)
    target[:, 4] = 1
    target[4] = 2
    drawn = overlay(np.full((9, 9, 3), 200, np.uint8), target)
    assert drawn[0, 4].tolist() == list(class_color(1))
    assert drawn[4, 0].tolist() == list(class_color(2))
    assert drawn[0, 0].tolist() == [200] * 3
    wide = overlay(np.full((9, 9, 3), 200, np.uint8), np.ones((9, 9), np.uint8))
    assert np.allclose(wide[4, 4], 0.55 * 200 + 0.45 * np.array(class_color(1)), atol=1)


@pytest.mark.parametrize("width", [150, 400, 2000])
def test_the_legend_names_every_class(width):
    strip = legend(NAMES, width)
    assert strip.shape[1] == width
    ground = np.full((9, 9, 3), 150, np.uint8)
    for index in range(1, len(NAMES)):
        color = overlay(ground, np.full((9, 9), index, np.uint8))[4, 4]
        assert (strip == color).all(-1).sum() > 100, index
    dark = (strip < 100).all(-1)
    assert dark.sum() > 300  # letters
    assert not dark[:, -2:].any()  # none is cut off
    sheet = np.array(Image.open(io.BytesIO(chip_sheet([[np.zeros((8, width - 8, 3), np.uint8)]], NAMES))))
    assert np.array_equal(sheet[16:], strip)


def test_a_caption_fits_where_it_can():
    text = "scene_of_a_town_13cm, rows 1855..2110, columns 10240..10495"
    written = captioned(np.zeros((256, 256, 3), np.uint8), text)
    bright = (written > 120).all(-1)
    assert bright[-15:].sum() > 150
    assert not bright[:-15].any()
    assert not bright[:, -3:].any()


def test_a_preview_replaces_earlier_ones_only(quick, tmp_path):
    settings, out = quick(), tmp_path / "chips.png"
    for _ in range(2):
        preview.preview_chips(settings, tmp_path, 1, out)
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    (tmp_path / "scene.tif").write_bytes(b"pixels")
    kept = {name: (tmp_path / name).read_bytes() for name in ("photo.png", "scene.tif")}
    for name, reason in (("photo.png", "an earlier one of geoseg chips"), ("scene.tif", r"end in \.png")):
        with pytest.raises(InputError, match=reason):
            preview.preview_chips(settings, tmp_path, 1, tmp_path / name)
        assert (tmp_path / name).read_bytes() == kept[name]


@pytest.mark.parametrize("workers", [0, 2])
def test_previewed_chips_are_those_of_training(quick, tmp_path, monkeypatch, workers):
    settings = quick(
        augment={"flips": True, "scale": 0.4, "brightness": 0.3, "noise": 0.1, "share": 1.0, "paste": 1.0},
        data_workers={"train": workers},
    )
    seen: list[np.ndarray] = []
    draw = preview.to_picture
    monkeypatch.setattr(
        preview, "to_picture", lambda image, *more: (seen.append(image), draw(image, *more))[1]
    )
    preview.preview_chips(settings, tmp_path, 3, tmp_path / "chips.png", augment=True)
    assert len(seen) == 3

    ready = prepare(settings, tmp_path)
    classes = ready.facts.classes
    learner = Learner(settings, build(settings, 3, len(classes)), classes, pixelwise_of(ready.facts))
    data = ready.chips(settings)
    trained: list[torch.Tensor] = []

    def forward(pixels):
        trained.extend(pixels)
        return learner.network(pixels)

    for number, refs in enumerate(ready.epochs.batches(0, 2, workers)[:2]):
        learner.training_loss(forward, join_chips([data[ref] for ref in refs]), number)
    for raw, normal in zip(seen, trained, strict=False):
        assert torch.allclose(learner.normalize(torch.tensor(raw)[None])[0], normal, atol=1e-5)


def test_gaps_are_previewed_and_trained_but_not_validated(quick, tmp_path, monkeypatch):
    scene = write_scene(tmp_path, "row", size=192)
    row = [to_ground(left, 0, left + 8, 176) for left in range(0, 192, 8)]
    gpd.GeoDataFrame(geometry=row, crs="EPSG:32645").to_crs(4326).to_file(scene["labels"])
    data = {"scenes": [scene], "gap": True, "split": {"block_chips": 1, "buffer_px": 4}}
    settings, targets = quick(data=data, sampler={"chips_per_epoch": 8}), []
    cover = preview.overlay
    monkeypatch.setattr(
        preview, "overlay", lambda picture, target: (targets.append(target), cover(picture, target))[1]
    )
    preview.preview_chips(settings, tmp_path, 3, tmp_path / "chips.png")
    ready = prepare(settings, tmp_path)
    refs = [ref for batch in ready.epochs.batches(0, 2, 0) for ref in batch][:3]
    trained, as_labeled = ready.chips(settings), ready.chips(settings, train=False)
    for ref, target in zip(refs, targets, strict=True):
        assert np.array_equal(target, trained[ref]["target"])
        lines = (as_labeled[ref]["target"].numpy() == 1) & (target == 0)
        assert lines.sum(1).max() >= 3
