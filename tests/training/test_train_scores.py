"""Scores, thresholds, charts and pictures against slow references."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from geoseg.raster.classes import IGNORE, classify
from geoseg.raster.stitch import SCALE
from geoseg.training.charts import chart_groups, chart_page, chart_picture
from geoseg.training.history import History
from geoseg.training.metrics import SegmentationScore, best_thresholds, image_dice, scores_of
from geoseg.training.pictures import chip_sheet, overlay, to_picture


def validation(classes, seed=0, batches=3):
    rng = np.random.default_rng(seed)
    for _ in range(batches):
        target = rng.integers(0, classes, (2, 20, 24))
        hint = np.eye(classes)[target].transpose(0, 3, 1, 2)
        logits = rng.normal(0, 1, hint.shape) + 1.2 * hint
        target[rng.random(target.shape) < 0.15] = IGNORE
        yield torch.tensor(logits, dtype=torch.float32), torch.tensor(target, dtype=torch.uint8)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_those_of_counting_pixels(classes):
    score = SegmentationScore(classes)
    guesses, truths, losses = [], [], []
    for number, (logits, target) in enumerate(validation(classes)):
        score.update(logits, target, torch.tensor(float(number)))
        guesses.append(logits.argmax(1).numpy())
        truths.append(target.numpy())
        losses.append(number)
    found = score.compute()
    guess, truth = np.concatenate(guesses), np.concatenate(truths)
    keep = truth != IGNORE
    assert found["loss"] == pytest.approx(np.mean(losses))
    assert found["accuracy"] == pytest.approx((guess == truth)[keep].mean())
    for k in range(classes):
        a, b = (guess == k) & keep, truth == k
        assert found["iou"][k] == pytest.approx((a & b).sum() / (a | b).sum())
    assert found["mean_iou"] == pytest.approx(np.mean(found["iou"][1:]))
    if classes == 2:
        dice = [
            2 * ((g == 1) & (t == 1)).sum() / (((g == 1) & (t != IGNORE)).sum() + (t == 1).sum() + 1e-5)
            for g, t in zip(guess, truth, strict=True)
        ]
        assert found["dice"] == pytest.approx(np.mean(dice))


@pytest.mark.parametrize("classes", [2, 3])
def test_tuned_thresholds_are_the_best_as_the_pipeline_applies_them(classes):
    score = SegmentationScore(classes)
    logits, target = next(validation(classes, 5))
    score.update(logits, target, torch.tensor(0.0))
    found = score.compute()
    stored = np.rint(logits.softmax(1).numpy() * SCALE).astype(np.uint8).transpose(1, 0, 2, 3)
    stored = stored.reshape(classes, -1, 24)
    truth = target.numpy().reshape(-1, 24)

    def iou(thresholds):
        values = classify(stored, background=0, thresholds=tuple(thresholds)).values
        values[truth == IGNORE] = 0
        return [
            ((values == k) & (truth == k)).sum() / ((values == k) | (truth == k)).sum()
            for k in range(1, classes)
        ]

    assert iou(found["thresholds"]) == pytest.approx(found["tuned_iou"])
    for t in np.linspace(0.05, 0.95, 19):
        assert all(a <= b + 1e-12 for a, b in zip(iou([t] * (classes - 1)), found["tuned_iou"], strict=True))


def test_a_class_that_is_never_right_keeps_one_half():
    assert best_thresholds(torch.zeros(1, 2, 255, dtype=torch.long), torch.tensor([10])) == ([0.5], [0.0])


def test_empty_images_and_absent_classes():
    nothing = torch.zeros(2, 4, 4, dtype=torch.uint8)
    assert image_dice(nothing, nothing).tolist() == [0, 0]
    assert scores_of(torch.tensor([[5, 0], [0, 0]]))["iou"] == [1.0, None]


@pytest.fixture
def history(tmp_path):
    kept = History(tmp_path / "metrics.csv")
    for i in range(6):
        kept.add({"index": i, "epoch": (i + 1) / 2, "train_loss": 1 / (i + 1), "val_loss": 1.1 / (i + 1),
                  "lr": 0.1, "iou:house": i / 10, "note": "x"})  # fmt: skip
    return kept


def test_history_is_kept_up_to_where_a_run_goes_on(history):
    assert len(History(history.path, 4).rows) == 4
    assert History(history.path, 4).rows == history.rows[:4]
    assert History(history.path).rows == []


def test_charts_show_the_range_asked_for(history):
    assert chart_groups(history) == {
        "loss": ["train_loss", "val_loss"], "iou of classes": ["iou:house"], "learning rate": ["lr"],
    }  # fmt: skip
    whole, part = chart_picture(history), chart_picture(history, (1.0, 2.0))
    assert Image.open(io.BytesIO(whole)).size[0] > 500
    assert whole != part
    page = chart_page(history, "Roads & <b>")
    assert "Roads &amp; &lt;b&gt;" in page
    assert page.count('type="range"') == 2
    data = json.loads(re.search(r"const data = (.*);\n", page).group(1))
    assert data["loss"]["val_loss"][0] == [0.5, 1.1]
    assert len(data["iou of classes"]["iou:house"]) == 6


def test_pictures():
    image = np.array([[[0, 100]], [[50, 200]]], np.uint16)
    gray = to_picture(image, (0, 0), (100, 100))
    assert gray.tolist() == [[[0, 0, 0], [255, 255, 255]]]
    target = np.array([[0, 1], [2, IGNORE]], np.uint8)
    base = np.full((2, 2, 3), 100, np.uint8)
    drawn = overlay(base, target)
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert len({tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}) == 4
    sheet = np.array(Image.open(io.BytesIO(chip_sheet([[base, base], [drawn]]))))
    assert sheet.shape == (2 * 6 + 4, 2 * 6 + 4, 3)
