"""One declaration of a setting, and all that comes from it."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner

import geoseg
from geoseg.cli import app
from geoseg.config import keywords
from geoseg.config.option import PANELS, Caller, settings_of
from geoseg.config.resolve import class_thresholds, origin_of, parse_run_settings, resolve
from geoseg.config.run import RunSettings, SuggestedSettings
from geoseg.config.signature import keyword_module
from geoseg.errors import ConfigError, InputError
from geoseg.models import GeosegOptions


def run(*words: object) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])


def test_keywords_for_editors_are_those_of_the_settings() -> None:
    source = Path(keywords.__file__).read_text(encoding="utf-8")
    assert source == keyword_module(), "run: python -m geoseg.config.signature"


@pytest.mark.parametrize("caller", get_args(Caller))
def test_each_setting_reaches_everyone_who_takes_it(caller: Caller) -> None:
    options = settings_of(RunSettings, caller)
    assert options
    if caller in ("run", "predict", "vectorize"):
        shown = run(caller, "--help").stdout
        for name, (_, option) in options.items():
            assert (option.flag or f"--{name.replace('_', '-')}") in shown
    if caller != "predict":  # the command, which has no function of its own
        function = {"array": geoseg.predict}.get(caller) or getattr(geoseg, caller)
        assert set(options) < set(inspect.signature(function).parameters)
        assert all(f"{name} : " in function.__doc__ for name in options)


def test_each_setting_is_declared_whole() -> None:
    options = settings_of(RunSettings)
    assert set(options) == set(RunSettings.model_fields)
    for name, (field, option) in options.items():
        assert option.help.endswith("."), name
        assert option.panel in PANELS
        assert field.default is not None or option.unset, f"{name} must say what None does"


def test_a_card_knows_the_settings_that_it_may_suggest() -> None:
    assert set(SuggestedSettings.model_fields) < set(GeosegOptions.model_fields)
    for name, field in SuggestedSettings.model_fields.items():
        assert GeosegOptions.model_fields[name].default == field.default
    card = GeosegOptions(gsd=0.3, window=256, overlap=32, threshold={"road": 0.4})
    assert card.suggested() == {
        "window": (256, 256),
        "overlap": (32, 32),
        "threshold": {"road": 0.4},
        "resolution": 0.3,
    }
    assert GeosegOptions().suggested() == {}


def test_user_then_card_then_default() -> None:
    given, suggested = RunSettings(overlap=64), {"window": (256, 256), "overlap": (32, 32)}
    chosen = resolve(given, suggested)
    assert (chosen.window, chosen.overlap, chosen.blend) == ((256, 256), (64, 64), "smooth")
    assert [origin_of(name, given, suggested) for name in ("overlap", "window", "blend")] == [
        "given",
        "model",
        "default",
    ]
    # Simple outlines that the user asked for take the place of the card's right angles.
    assert origin_of("regularize", RunSettings(simplify_m=0.5), {"regularize": True}) == "default"
    assert origin_of("regularize", RunSettings(), {"regularize": True}) == "model"
    assert RunSettings(window=None, bands=None).given() == {}
    assert RunSettings(window=np.int64(64), min_area_m2=np.float32(2)).given() == {
        "window": (64, 64),
        "min_area_m2": 2.0,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": "512"}, "window must be a whole number of pixels, or two (height, width), got '512'."),
        ({"overlap": -1}, "overlap must be a whole number of pixels, or two (y, x), got -1."),
        ({"blend": "hann"}, "blend must be one of smooth, uniform, got 'hann'."),
        (
            {"threshold": (0.5, 2)},
            "threshold must be above 0 and at most 1, one number or one for each class",
        ),
        ({"min_confidence": 1.5}, "min_confidence must be a number from 0 to 1, got 1.5."),
        ({"min_area_m2": -1}, "min_area_m2 must be a number of at least 0, got -1."),
        ({"simplify_m": float("nan")}, "simplify_m must be a number of at least 0, got nan."),
        ({"chunk": 0}, "chunk must be a whole number of at least 1, got 0."),
        ({"resolution": 0}, "resolution must be one number of meters above 0, or native, got 0."),
        ({"bbox": (1, 2, 3)}, "bbox must be four numbers: min x, min y, max x, max y, got (1, 2, 3)."),
        ({"save_prob": "perhaps"}, "save_prob must be true or false, got 'perhaps'."),
        ({"windows": 3}, "option must be one of any_resolution, aoi, asset, bands"),
    ],
)
def test_a_mistake_names_the_setting_the_rule_and_the_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run_settings(values, caller="run")
    assert message in str(caught.value)


def test_thresholds_by_class() -> None:
    assert class_thresholds(0.4, ["a", "b"], None) == (0.4,)
    assert class_thresholds({"b": 0.3}, ["ground", "a", "b"], 0) == (0.5, 0.3)
    with pytest.raises(InputError, match=r"threshold must name classes of a, b, got c"):
        class_thresholds({"c": 0.3}, ["a", "b"], None)
    with pytest.raises(InputError, match=r"one for each of 2 classes, got 3"):
        class_thresholds((0.1, 0.2, 0.3), ["a", "b"], None)


class TestPrintConfig:
    """What ``--print-config`` prints, ``--config`` reads."""

    def test_it_tells_where_a_value_comes_from(self, tmp_path: Path) -> None:
        config = tmp_path / "run.toml"
        config.write_text("overlap = 64\nthreshold = 0.3\n")
        words = ["run", "no.tif", "-o", tmp_path / "o", "--config", config, "--threshold", 0.7]
        result = run(*words, "--window", "256,128", "--print-config")
        assert result.exit_code == 0, result.output
        assert not (tmp_path / "o").exists()
        lines = dict(line.split(" = ", 1) for line in result.stdout.splitlines() if " = " in line)
        assert lines["window"] == "[128, 256]  # this command"
        assert lines["overlap"] == f"[64, 64]  # {config}"
        assert lines["threshold"] == "0.7  # this command"
        assert lines["min_area_m2"] == "4.0  # the model"
        assert lines["chunk"] == "1536  # the default"

    @pytest.mark.parametrize("command", ["run", "predict", "vectorize"])
    def test_it_reads_what_it_printed(self, command: str, tmp_path: Path) -> None:
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", count=1, height=8, width=8, dtype="uint8", crs=32645,
            transform=Affine(1, 0, 350_000, 0, -1, 3_000_000),
        ):  # fmt: skip
            pass
        words = [command, tmp_path / "a.tif", "-o", "o", "--bands", "3,2", "--print-config"]
        printed = run(*words).stdout
        (tmp_path / "c.toml").write_text(printed)
        again = run(*words, "--config", tmp_path / "c.toml").stdout
        assert tomllib.loads(again) == tomllib.loads(printed)
        assert tomllib.loads(printed)["bands"] == [3, 2]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "windw = 3",
                (
                    "option must be one of any_resolution, aoi, asset, bands",
                    "window, workers, got",
                    "run.toml: windw",
                ),
            ),
            ("overlap = -1", ("run.toml: overlap must be", "got -1")),
            ("overlap = ", ("run.toml is not valid TOML",)),
            ("dtype = 'uint8'", ("run.toml: dtype",)),  # of another command
        ],
    )
    def test_mistakes_in_a_file(self, text: str, words: tuple[str, ...], tmp_path: Path) -> None:
        (tmp_path / "run.toml").write_text(text)
        result = run("run", "no.tif", "-o", tmp_path / "o", "--config", tmp_path / "run.toml")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        for word in words:
            assert word in result.stderr


def test_auto_is_a_word_like_any_other_where_no_setting_offers_it() -> None:
    assert parse_run_settings({"class_names": "auto"}).class_names == ("auto",)
    assert parse_run_settings({"split": "auto", "batch_size": "auto"}).given() == {}
    with pytest.raises(ConfigError):
        parse_run_settings({"formats": "auto", "regularize": "auto"})


def test_arrays_are_lists() -> None:
    settings = parse_run_settings(
        {"bbox": np.array([0.0, 1, 2, 3]), "bands": np.arange(1, 4), "window": np.array([64, 32])}
    )
    assert (settings.bbox, settings.bands, settings.window) == ((0, 1, 2, 3), (1, 2, 3), (64, 32))
