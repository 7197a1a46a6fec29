"""Configs: the tutorials' verbatim, geoseg's own, mistakes with their JSON path."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from geoseg.cli.train import DataOptions, load_settings
from geoseg.errors import ConfigError, MissingFileError
from geoseg.training.config import TrainSettings, apply_overrides, parse_train_settings
from geoseg.training.devices import choose_devices
from geoseg.training.learner import loss_terms
from geoseg.training.setup import check_size
from geoseg.training.standing import Standing, rate_factor, validation_points

#: The configs of the tutorials, as they print them.
TUTORIALS = {
    "inria": {
        "lr": 0.001, "epochs": 5, "val_every": 1, "batch_size": {"val": 3, "train": 3},
        "input_size": {"width": 512, "height": 512}, "gpu_devices": [0, 1, 2],
        "data_workers": {"val": 3, "train": 3}, "dataset_tags": {"val": "val", "train": "train"},
        "special_classes": {"neutral": "neutral", "background": "bg"},
        "weights_init_type": "transfer_learning",
    },
    "kitti": {
        "lr": 0.001, "epochs": 15, "val_every": 0.5, "batch_size": {"val": 6, "train": 14},
        "input_size": {"width": 256, "height": 256}, "gpu_devices": [0, 1, 2],
        "data_workers": {"val": 0, "train": 6}, "dataset_tags": {"val": "val", "train": "train"},
        "special_classes": {"neutral": "neutral", "background": "bg"},
        "weights_init_type": "transfer_learning",
    },
    "powerlines": {
        "lr": 0.0001, "epochs": 10, "val_every": 1, "batch_size": {"val": 6, "train": 12},
        "input_size": {"width": 256, "height": 256}, "gpu_devices": [0],
        "data_workers": {"val": 0, "train": 3}, "dataset_tags": {"val": "val", "train": "train"},
        "special_classes": {"neutral": "neutral", "background": "bg"},
        "weights_init_type": "transfer_learning",
    },
    "roads": {
        "lr": 0.001, "epochs": 20, "val_every": 1, "batch_size": {"val": 1, "train": 4},
        "input_size": {"width": 512, "height": 512}, "gpu_devices": [0, 1, 2],
        "data_workers": {"val": 0, "train": 3}, "dataset_tags": {"val": "val", "train": "train"},
        "special_classes": {"neutral": "neutral", "background": "bg"},
        "weights_init_type": "transfer_learning",
    },
    "roads_again": {
        "lr": 0.001, "epochs": 10, "val_every": 1, "batch_size": {"val": 1, "train": 4},
        "input_size": {"width": 512, "height": 512}, "gpu_devices": [0, 1, 2],
        "data_workers": {"val": 0, "train": 3}, "dataset_tags": {"val": "val", "train": "train"},
        "special_classes": {"neutral": "neutral", "background": "bg"},
        "weights_init_type": "continue_training",
    },
    "vessels": {
        "lr": 0.001, "epochs": 15, "val_every": 0.5, "batch_size": {"val": 6, "train": 12},
        "input_size": {"width": 256, "height": 256}, "gpu_devices": [0, 1, 2, 3],
        "data_workers": {"val": 0, "train": 3}, "dataset_tags": {"val": "val", "train": "train"},
        "special_classes": {"neutral": "neutral", "background": "bg"},
        "weights_init_type": "transfer_learning",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial_configs_are_taken_as_they_are(name):
    document = TUTORIALS[name]
    settings = parse_train_settings(document)
    kept = json.loads(settings.model_dump_json())
    assert {key: kept[key] for key in document} == document
    assert settings.architecture.name == "unet_v2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr_descreasing": {}}, r"\$\.lr_descreasing: unknown key"),
        ({"lr": 0}, r"\$\.lr: "),
        ({"epochs": 0}, r"\$\.epochs: "),
        ({"val_every": -1}, r"\$\.val_every: "),
        ({"batch_size": {"train": 0}}, r"\$\.batch_size\.train: "),
        ({"input_size": {"width": 0, "height": 64}}, r"\$\.input_size\.width: "),
        ({"gpu_devices": []}, r"\$\.gpu_devices: "),
        ({"gpu_devices": [0, 0]}, r"\$\.gpu_devices: must be different device numbers"),
        ({"special_classes": {"neutral": "x", "background": "x"}}, r"\$\.special_classes: .*must differ"),
        ({"weights_init_type": "warm"}, r"\$\.weights_init_type: "),
        ({"loss": "hinge"}, r"\$\.loss\[0\]\.name: must be one of bce_dice, cross_entropy"),
        (
            {"loss": [{"name": "dice", "gamma": 2}]},
            r"\$\.loss\[0\]: gamma is no setting of dice; it has class_",
        ),
        (
            {"loss": ["direction", {"name": "direction", "weight": 2}]},
            r"\$\.loss: must hold a loss of pixels beside direction, .* alone\. Add cross_entropy",
        ),
        ({"augment": {"scale": -1}}, r"\$\.augment\.scale: "),
        ({"augment": {"repaint": 0.5}}, r"\$\.augment\.repaint: must be 0 where brightness, .* are 0"),
        (
            {"augment": {"style": 0.5}, "batch_size": {"train": 1}},
            r"\$\.augment: style must be 0 where batch_",
        ),
        (
            {"augment": {"paste": 0.5}, "batch_size": {"train": 1}},
            r"\$\.augment: paste must be 0 where batch_",
        ),
        (
            {"augment": {"mixup": 0.5}, "batch_size": {"train": 1}},
            r"\$\.augment: mixup must be 0 where batch_",
        ),
        ({"augment": {"mixup": 0.6}}, r"\$\.augment\.mixup: "),
        ({"teacher": {"bundle": "b", "weight": 0}}, r"\$\.teacher\.weight: "),
        ({"data": {"project": "a", "images": "b", "masks": "c"}}, r"\$\.data: data must have one source"),
        ({"data": {"images": "b"}}, r"\$\.data: images and masks"),
        ({"auxiliary": {"kinds": ["edges"]}}, r"\$\.auxiliary\.kinds\[0\]: "),
        ({"precision": "8"}, r"\$\.precision: "),
        ({"schedule": {"name": "cosine", "warmup": 1.5}}, r"\$\.schedule\.warmup: "),
    ],
)
def test_mistakes_are_named_by_their_path(change, message):
    with pytest.raises(ConfigError, match=message):
        parse_train_settings({**TUTORIALS["vessels"], **change})


def test_toml_overrides_and_short_forms(tmp_path):
    def load(path, changes=None):
        return load_settings(path, DataOptions(changes=changes))

    path = tmp_path / "c.toml"
    path.write_text(
        'architecture = "unet_v2"\nclasses = ["road", {name = "car", values = [26]}]\nloss = "lovasz"\n'
        "[batch_size]\ntrain = 12\n"
    )
    settings = load(path, ["batch_size.train=2", "precision=bf16-mixed", "ema.decay=0.9"])
    assert settings.batch_size.train == 2
    assert settings.precision == "bf16-mixed"
    assert settings.ema is not None
    assert [c.name for c in settings.classes] == ["road", "car"]
    assert settings.loss[0].name == "lovasz"
    with pytest.raises(ConfigError, match="--set must be key=value"):
        load(path, ["nothing"])
    with pytest.raises(ConfigError, match="architecture holds no further keys"):
        load(path, ["architecture.name=unet"])
    with pytest.raises(MissingFileError):
        load(tmp_path / "none.json")


def test_overrides_reach_entries_of_lists():
    document = {"data": {"scenes": [{"path": "a.tif"}, {"path": "b.tif", "bands": [1, 2]}]}, "classes": ["x"]}
    changes = ["data.scenes.1.weight=2", "data.scenes.1.bands.0=3", "classes.0=house", "ema.decay=0.9"]
    changed = apply_overrides(document, changes)
    assert changed["data"]["scenes"] == [{"path": "a.tif"}, {"path": "b.tif", "bands": [3, 2], "weight": 2}]
    assert (changed["classes"], changed["ema"]) == (["house"], {"decay": 0.9})
    assert document["classes"] == ["x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.scenes.2.weight=2", "an entry of scenes must be 0 to 1, got 2."),
        ("data.scenes.-1.weight=2", "an entry of scenes must be 0 to 1, got -1."),
        ("data.scenes.first.weight=2", "an entry of scenes must be 0 to 1, got first."),
        ("classes.1=y", "an entry of classes must be 0, got 1."),
        ("loss.0=dice", "loss has no entries."),
        ("lr.x=1", "lr holds no further keys."),
        ("data..split=1", "--set must be key=value"),
        ("lr", "--set must be key=value"),
        ("=1", "--set must be key=value"),
    ],
)
def test_overrides_that_lead_nowhere_are_refused(change, message):
    document = {"data": {"scenes": [{}, {}]}, "classes": ["x"], "loss": [], "lr": 0.1}
    with pytest.raises(ConfigError, match=re.escape(message)):
        apply_overrides(document, [change])


def test_print_config_shows_everything_and_is_a_config(write_config):
    from geoseg.cli import app

    path = write_config(TUTORIALS["kitti"])
    result = CliRunner().invoke(app, ["train", str(path), "--print-config", "--set", "epochs=3"])
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["epochs"] == 3
    assert set(shown) == set(TrainSettings.model_fields)
    assert json.loads(parse_train_settings(shown).model_dump_json()) == shown


def test_a_loss_of_edges_goes_beside_one_of_pixels():
    settings = parse_train_settings({"loss": ["direction", "cross_entropy"]})
    assert [term.name for term in settings.loss] == ["direction", "cross_entropy"]


def test_loss_of_the_tutorials():
    settings = parse_train_settings({"loss_weights": {"bce": 2, "dice": 1}})
    assert [(t.name, t.arguments) for t in loss_terms(settings, 2)] == [("bce_dice", {"bce": 2, "dice": 1})]
    assert [(t.name, t.arguments) for t in loss_terms(settings, 3)] == [("cross_entropy", {})]
    with pytest.raises(ConfigError, match=r"\$\.loss: bce_dice must have 2 classes, got 3"):
        loss_terms(parse_train_settings({"loss": "bce_dice"}), 3)


def test_chip_sizes_that_fit_are_named():
    check_size((64, 96), 32)
    with pytest.raises(ConfigError, match=r"\$\.input_size: .* multiple of 32, got width 100. Use 96 or 128"):
        check_size((64, 100), 32)


def test_validations_come_by_the_tutorials_rule():
    for per_epoch in (1, 2, 3, 7, 40):
        for every in (0.1, 0.3, 0.5, 1, 2):
            points = validation_points(per_epoch, 4, every)
            done, expected = 0, []
            for it in range(1, 4 * per_epoch + 1):
                if int(it / per_epoch / every + 1e-9) > done:
                    done += 1
                    expected.append(it)
            if not expected or expected[-1] != 4 * per_epoch:
                expected.append(4 * per_epoch)
            assert points == expected


def test_checkpoint_of_epoch_13_5_is_number_26():
    points = validation_points(10, 15, 0.5)
    assert points.index(135) == 26
    assert len(points) == 30


def test_rate_is_divided_when_patience_ends():
    standing = Standing()
    cuts = [standing.record(loss, 2, 5.0) for loss in (1.0, 0.9, 0.95, 0.96, 0.97, 0.98, 0.5, 0.6, 0.7)]
    assert cuts == [False, False, False, True, False, True, False, False, True]
    assert standing.rate == pytest.approx(1 / 125)
    assert (standing.best, standing.best_index) == (0.5, 6)


def test_early_stop_counts_from_the_last_real_gain():
    standing = Standing()
    for loss in (1.0, 0.99, 0.98, 0.5, 0.49, 0.51):
        standing.record(loss, 1000, 5.0, min_delta=0.1)
    assert standing.since_best == 2


def test_one_cycle_rises_and_falls():
    rates = [rate_factor(step, 100, "one_cycle", None, 0.0) for step in range(100)]
    assert rates.index(max(rates)) == 30
    assert rates[0] < 0.05
    assert rates[-1] < 0.01
    assert [rate_factor(s, 10, "constant", 0.2, 0.0) for s in (0, 1, 2, 9)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 1]
    )


def test_absent_gpus_are_told_and_the_cpu_used(caplog):
    with caplog.at_level("WARNING"):
        chosen = choose_devices([0, 1, 2], available=0)
    assert (chosen.accelerator, chosen.world) == ("cpu", 1)
    assert "GPU 0, 1, 2 asked for but absent: training on the CPU" in caplog.text
    assert choose_devices([0], "1,2", available=4).numbers == (1, 2)
    with pytest.raises(ValueError, match="--devices must be cpu, cpu:N or GPU numbers"):
        choose_devices([0], "fast", available=1)
