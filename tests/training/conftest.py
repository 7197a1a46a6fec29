"""Fixtures of small scenes, projects and configs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from train_samples import base_config, town, write_project, write_scene

from geoseg.projects.figures import Rectangle
from geoseg.training import recorder
from geoseg.training.config import parse_train_settings


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small networks run faster, and always alike, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _quick_charts(monkeypatch):
    """Drawing the picture of the charts takes as long as one of these trainings; some tests put it back."""
    monkeypatch.setattr(recorder, "chart_picture", lambda history: history.text().encode())


@pytest.fixture(scope="session")
def towns(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("towns")
    return [write_scene(folder, "north", seed=1), write_scene(folder, "south", seed=2)]


@pytest.fixture
def quick(towns):
    """Settings that train a tiny network on two small scenes."""

    def make(**changes):
        data = {"scenes": towns, "split": {"block_chips": 1, "buffer_px": 4}}
        return parse_train_settings(base_config(**{"data": data, **changes}))

    return make


@pytest.fixture(scope="session")
def house_project(tmp_path_factory) -> Path:
    """Six pictures of houses, four to train on, with background and a neutral corner."""
    images = []
    for i in range(6):
        picture, houses = town(64, 10 + i)
        objects = [("bg", Rectangle(0, 0, 63, 63))]
        objects += [("house", Rectangle(a, b, c - 1, d - 1)) for a, b, c, d in houses]
        objects.append(("neutral", Rectangle(56, 56, 63, 63)))
        images.append((f"im{i}", np.moveaxis(picture, 0, -1), objects, ["train"] if i < 4 else ["val"]))
    classes = {"house": "rectangle", "bg": "rectangle", "neutral": "rectangle"}
    return write_project(tmp_path_factory.mktemp("projects") / "houses", classes, images)


@pytest.fixture
def write_config(tmp_path):
    def write(document: dict, name: str = "config.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write
