"""The page about training: every config on it is one, and its commands run."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from train_samples import write_scene
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.data.settings import AugmentSettings, SamplerSettings, SplitSettings
from geoseg.models.losses import LOSSES
from geoseg.training.config import parse_train_settings

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
READERS = {"toml": tomllib.loads, "json": json.loads}
#: Makes the commands quick.
SMALL = [
    "epochs=1", "sampler.chips_per_epoch=4", "batch_size.train=2", "input_size.width=32",
    "input_size.height=32", "data.split.block_chips=1", "resolution=0.5",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [block for block in BLOCKS if block[0] in READERS])
def test_configs_are_taken(kind, text):
    parse_train_settings(READERS[kind](text))


def test_everything_there_is_has_its_place():
    names = {
        *LOSSES,
        *AugmentSettings.model_fields,
        *SamplerSettings.model_fields,
        *SplitSettings.model_fields,
    }
    assert not [name for name in names - {"by"} if f"`{name}`" not in PAGE]


def test_commands_run(tmp_path, monkeypatch):
    for seed, name in enumerate(("north", "south")):
        write_scene(tmp_path, name, seed=seed + 1)
    (tmp_path / "north_aoi.gpkg").rename(tmp_path / "north_labeled.gpkg")
    (tmp_path / "buildings.toml").write_text(next(text for kind, text in BLOCKS if kind == "toml"))
    monkeypatch.chdir(tmp_path)
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line)[1:]
        if "buildings.toml" in words:
            words += [part for change in SMALL for part in ("--set", change)]
        if words[0] == "run":
            words += ["--engine", "torch"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (line, result.output)
    assert (tmp_path / "first" / "model.json").is_file()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target).exists(), target
