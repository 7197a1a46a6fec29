"""Inference written down once more, plainly: no batches, no threads, no laziness, whole arrays in float64.

What it does follows the rules of the original of 2018, and shares no code with the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: Title, and what is drawn: a mask of the whole image, or the corners of a rectangle.
Drawn = tuple[str, Any]


class RefusedError(Exception):
    """The image, or the whole job, can't be done."""


def fill_in(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Mode, classes of the model and classes that exist, all defaults filled in."""
    mode = dict(config.get("mode", {}))
    sides = dict.fromkeys(("left", "top", "right", "bottom"), "0px")
    nested = "model" in config or "name" in mode
    kind = mode.pop("name" if nested else "source", "full_image")
    classes = mode.pop("model_classes", {}) if nested else config.get("model_classes", {})
    suffix = "_unet" if not nested or kind == "full_image" else ""
    defaults = {
        "full_image": {},
        "roi": {"bounds": sides, "save": False, "class_name": "inference_roi"},
        "bboxes": {
            "from_classes": "__all__",
            "padding": sides,
            "save": False,
            "add_suffix": "_input_bbox",
        },
        "sliding_window": {
            "window": {"width": 128, "height": 128},
            "min_overlap": {"x": 0, "y": 0},
            "save": False,
            "class_name": "sliding_window",
        },
    }[kind]
    merged: dict[str, Any] = {"kind": kind, **defaults}
    for key, value in mode.items():
        merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    existing = {"save_classes": "__all__"} if nested else config.get("existing_objects", {})
    return (
        merged,
        {"save_classes": "__all__", "add_suffix": suffix, **classes},
        {"save_classes": [], "add_suffix": "", **existing},
    )


def keeps(selection: dict[str, Any], title: str) -> bool:
    return selection["save_classes"] == "__all__" or title in selection["save_classes"]


def result_titles(config: dict[str, Any], project: Sequence[str], names: Sequence[str]) -> list[str]:
    """Classes of the result, in order."""
    mode, model, existing = fill_in(config)
    titles = [title + existing["add_suffix"] for title in project if keeps(existing, title)]
    titles += [name + model["add_suffix"] for name in names if keeps(model, name)]
    if mode.get("save"):
        if mode["kind"] == "bboxes":
            sources = {"save_classes": mode["from_classes"]}
            titles += [title + mode["add_suffix"] for title in project if keeps(sources, title)]
        else:
            titles.append(mode["class_name"])
    if len(set(titles)) < len(titles):
        raise RefusedError("titles clash")
    return titles


def pixels_of(amount: str, side: int) -> int:
    number, unit = re.fullmatch(r"(-?[\d.]+)(px|%)", amount).groups()
    return int(float(number)) if unit == "px" else int(side * float(number) / 100)


def resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between the centers of pixels, edges repeated."""
    for axis, target in ((1, height), (2, width)):
        source = values.shape[axis]
        at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, source - 1), at - low
        share = share[:, None] if axis == 1 else share
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def probabilities(
    crop: np.ndarray, predict: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """From the pixels of a crop to probabilities on them; ``size`` is (width, height)."""
    seen = np.rint(resize(crop.astype(float), size[1], size[0]))
    return resize(predict(seen[None].astype(np.float32))[0].astype(float), *crop.shape[1:])


def starts(size: int, window: int, overlap: int) -> list[int]:
    first = list(range(0, size - window + 1, window - overlap))
    return first if first[-1] == size - window else [*first, size - window]


def infer_image(
    config: dict[str, Any],
    image: np.ndarray,
    objects: Sequence[tuple[str, tuple[float, float, float, float], Drawn]],
    predict: Callable[[np.ndarray], np.ndarray],
    names: Sequence[str],
    size: tuple[int, int],
) -> list[Drawn]:
    """Objects of the result: of each input object its class, its box and what is drawn are given."""
    mode, model, existing = fill_in(config)
    _, height, width = image.shape
    boxes: list[tuple[int, int, int, int]] = []
    saved: list[Drawn] = []
    if mode["kind"] == "full_image":
        boxes = [(0, 0, width, height)]
    elif mode["kind"] == "roi":
        cut = {side: pixels_of(mode["bounds"][side], width if side in ("left", "right") else height)
               for side in mode["bounds"]}  # fmt: skip
        left, top, right, bottom = cut["left"], cut["top"], width - cut["right"], height - cut["bottom"]
        if min(left, top) < 0 or right > width or bottom > height or right <= left or bottom <= top:
            raise RefusedError("roi")
        boxes = [(left, top, right, bottom)]
        saved = [(mode["class_name"], boxes[0])]
    elif mode["kind"] == "bboxes":
        for title, bounds, _ in objects:
            if mode["from_classes"] != "__all__" and title not in mode["from_classes"]:
                continue
            x0, y0, x1, y1 = (int(np.floor(v + 0.5)) for v in bounds)
            pad = {side: pixels_of(text, x1 - x0 + 1 if side in ("left", "right") else y1 - y0 + 1)
                   for side, text in mode["padding"].items()}  # fmt: skip
            box = (
                max(0, x0 - pad["left"]), max(0, y0 - pad["top"]),
                min(width, x1 + 1 + pad["right"]), min(height, y1 + 1 + pad["bottom"]),
            )  # fmt: skip
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                saved.append((title + mode["add_suffix"], box))
    classes: list[tuple[tuple[int, int], np.ndarray]] = []
    for x0, y0, x1, y1 in boxes:
        mean = probabilities(image[:, y0:y1, x0:x1], predict, size)
        classes.append(((x0, y0), mean.argmax(axis=0)))
    if mode["kind"] == "sliding_window":
        w, h = mode["window"]["width"], mode["window"]["height"]
        if w > width or h > height:
            raise RefusedError("smaller than the window")
        total, count = np.zeros((len(names), height, width)), np.zeros((height, width))
        for y in starts(height, h, mode["min_overlap"]["y"]):
            for x in starts(width, w, mode["min_overlap"]["x"]):
                total[:, y : y + h, x : x + w] += probabilities(image[:, y : y + h, x : x + w], predict, size)
                count[y : y + h, x : x + w] += 1
                saved.append((mode["class_name"], (x, y, x + w, y + h)))
        classes = [((0, 0), (total / count).argmax(axis=0))]
    drawn = [(title + existing["add_suffix"], what) for title, _, what in objects if keeps(existing, title)]
    drawn += saved if mode.get("save") else []
    for (x, y), values in classes:
        for index in sorted(range(len(names)), key=lambda index: names[index]):
            if keeps(model, names[index]) and (values == index).any():
                mask = np.zeros((height, width), bool)
                mask[y : y + values.shape[0], x : x + values.shape[1]] = values == index
                drawn.append((names[index] + model["add_suffix"], mask))
    return drawn
