"""Whole runs on small networks: learning, resuming, exporting, failing clearly."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.optim.swa_utils import update_bn
from train_samples import base_config, town, write_scene
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.data import dataset
from geoseg.errors import ConfigError, GeosegError, InputError, ModelError, RunError, StateMismatchError
from geoseg.files import LockedError, hold, json_digest
from geoseg.raster.classes import IGNORE
from geoseg.training import fit, learner, loop, recorder
from geoseg.training.charts import chart_picture
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import parse_train_settings
from geoseg.training.export import export_checkpoint
from geoseg.training.loop import train

FULL = {
    "ema": {"decay": 0.9},
    "schedule": {"name": "one_cycle"},
    "optimizer": {"name": "sgd", "weight_decay": 0.001},
    "augment": {"flips": True, "scale": 0.3, "brightness": 0.1, "noise": 0.05},
    "accumulate": 2,
    "gradient_clip": 1.0,
    "auxiliary": {"kinds": ["boundary", "distance"]},
    "loss": ["cross_entropy", {"name": "lovasz", "weight": 0.5}],
}


class Stop(Exception):
    """Stands for a kill."""


def stop_after(batches):
    def report(stage, done, total, **info):
        if stage == "training" and done == batches:
            raise Stop

    return report


def interrupt_after(batches, number):
    def report(stage, done, total, **info):
        if stage == "training" and done == batches:
            os.kill(os.getpid(), number)

    return report


def weights(run: Path, index: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"{index:08d}" / "model.safetensors")


def done_in(run: Path) -> int:
    """Batches of the best checkpoint."""
    return RunFolder(run).list_checkpoints()[RunFolder(run).best_index()]["batches"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def finished(towns, tmp_path_factory):
    """A plain run of two epochs and all that it leaves."""
    data = {"scenes": towns, "split": {"block_chips": 1, "buffer_px": 4}}
    settings = parse_train_settings(
        base_config(data=data, val_every=0.5, card={"name": "Small houses", "license": "CC0-1.0"})
    )
    out = tmp_path_factory.mktemp("runs") / "plain"
    return settings, out, train(settings, out, devices="cpu")


def test_a_run_leaves_checkpoints_charts_and_a_bundle(finished):
    _, out, bundle = finished
    rows = RunFolder(out).list_checkpoints()
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert [row["epoch"] for row in rows] == [0.5, 1.0, 1.5, 2.0]
    best = min(rows, key=lambda row: row["loss"])
    assert [row["best"] for row in rows] == [row is best for row in rows]
    lines = (out / "metrics.csv").read_text().splitlines()
    assert len(lines) == 5
    assert {"epoch", "train_loss", "val_loss", "val_dice", "val_mean_iou", "iou:house"} <= set(
        lines[0].split(",")
    )
    assert (out / "charts.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "charts.html").read_text()
    assert "__DATA__" not in page
    assert '"val_loss": [[0.5,' in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert len(list((out / "examples").glob("*.png"))) == 4
    assert list((out / "tensorboard").glob("events*"))
    assert bundle == out / "bundle"


def test_the_bundle_predicts_what_the_checkpoint_does(finished):
    from geoseg.models.bundle import open_bundle
    from geoseg.models.state import load_module

    _, out, path = finished
    bundle = open_bundle(path)
    card = bundle.card
    index = RunFolder(out).best_index()
    assert card.classes == ("bg", "house")
    assert card.background == 0
    assert card.options.window == (32, 32)
    assert card.options.training_resize is None
    assert card.options.gsd == pytest.approx(0.5, rel=0.01)
    assert card.options.training["checkpoint"] == index
    assert card.options.training["scenes"]["train"] == ["north", "south"]
    assert 0 < card.options.threshold["house"] < 1
    assert card.properties.model_extra["license"] == "CC0-1.0"
    assert same(dict(load_module(bundle).state_dict()), weights(out, index))


def test_any_checkpoint_can_be_exported(finished, tmp_path):
    from geoseg.models.bundle import open_bundle
    from geoseg.models.state import load_module

    _, out, _ = finished
    target = tmp_path / "second"
    result = CliRunner().invoke(app, ["train", "--out", str(out), "--export", "1", "--bundle", str(target)])
    assert result.exit_code == 0, result.output
    assert same(dict(load_module(open_bundle(target)).state_dict()), weights(out, 1))
    result = CliRunner().invoke(app, ["train", "--out", str(out), "--export", "9"])
    assert result.exit_code == 2
    assert "checkpoint must be one of 0, 1, 2, 3, got 9" in result.stderr


def test_a_folder_in_use_is_refused(finished, quick):
    settings, out, _ = finished
    with pytest.raises(InputError, match="--out must be a new folder"):
        train(settings, out, devices="cpu")
    with pytest.raises(StateMismatchError, match="another lr"):
        train(quick(lr=0.5), out, devices="cpu", resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_state_of_another_program_is_left_alone(quick, tmp_path, resume):
    (tmp_path / "last.ckpt").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds a last\.ckpt of something else"):
        train(quick(), tmp_path, devices="cpu", resume=resume)
    assert (tmp_path / "last.ckpt").read_bytes() == b"mine"


def test_other_data_or_processes_are_refused_on_resuming(quick, tmp_path):
    settings = quick(epochs=1)
    with pytest.raises(Stop):
        train(settings.model_copy(update={"save_every_minutes": 0.0}), tmp_path / "run", devices="cpu",
              progress=stop_after(3))  # fmt: skip
    with pytest.raises(StateMismatchError, match=r"as many processes as it began with, got 2 and not 1"):
        train(settings, tmp_path / "run", devices="cpu:2", resume=True)
    facts = tmp_path / "run" / "facts.json"
    facts.write_text(facts.read_text().replace('"north"', '"west"'))
    with pytest.raises(StateMismatchError, match="must find what it began with, got another scenes than in"):
        train(settings, tmp_path / "run", devices="cpu", resume=True)


def test_files_that_changed_are_named_on_resuming(tmp_path):
    names = write_scene(tmp_path, "a", seed=1)
    scene = {key: Path(path).name for key, path in names.items()}  # as in a config in their folder
    data = {"scenes": [scene], "split": {"block_chips": 1, "buffer_px": 4}}
    document = base_config(data=data, epochs=1, save_every_minutes=0.0)
    settings, out = parse_train_settings(document), tmp_path / "run"
    with pytest.raises(Stop):
        train(settings, out, base=tmp_path, devices="cpu", progress=stop_after(2))

    # Labels that are written anew and are the same, overviews, and a folder that was moved change nothing.
    frames = {which: gpd.read_file(names[which]) for which in ("labels", "aoi")}
    frames["labels"].to_file(names["labels"])
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    moved = shutil.copytree(tmp_path, tmp_path / "moved", ignore=shutil.ignore_patterns("run"))
    with pytest.raises(Stop):
        train(settings, out, base=moved, devices="cpu", resume=True, progress=stop_after(3))
    for which, frame in frames.items():
        frame.translate(1e-6).to_file(moved / scene[which])
        with pytest.raises(StateMismatchError, match=f"as they were, got changed files: {scene[which]}. Res"):
            train(settings, out, base=moved, devices="cpu", resume=True)
        frame.to_file(moved / scene[which])
    Path(write_scene(tmp_path, "b", seed=5)["path"]).replace(names["path"])
    # The way out that the message names; what scales the bands stays.
    facts = json.loads((out / "facts.json").read_text())
    (out / "facts.json").write_text(json.dumps({**facts, "mean": [1, 2, 3]}))
    (tmp_path / "config.json").write_text(json.dumps(document))
    call = ["train", str(tmp_path / "config.json"), "--out", str(out), "--resume", "--devices", "cpu"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 2
    assert "got changed files: a.tif, of the same sizes and other times, as copies are. Re" in result.stderr
    assert "give --accept-changes to go on" in result.stderr
    result = CliRunner().invoke(app, [*call, "--accept-changes"])
    assert result.exit_code == 0, result.output
    now = json.loads((out / "facts.json").read_text())
    assert now["mean"] == [1, 2, 3]
    assert {name for name in now["files"] if now["files"][name] != facts["files"][name]} == {"a.tif"}


def test_other_epochs_or_other_validation_windows_are_refused_on_resuming(tmp_path):
    names = write_scene(tmp_path, "a", seed=1)
    data = {"scenes": [names], "split": {"block_chips": 1, "buffer_px": 4}}
    settings = parse_train_settings(base_config(data=data, epochs=1, save_every_minutes=0.0, sampler={}))
    run = RunFolder(tmp_path / "run")
    with pytest.raises(Stop):
        train(settings, run.path, base=tmp_path, devices="cpu", progress=stop_after(2))
    facts = run.read_json("facts.json")

    def refusal(**changes):
        run.write_json("facts.json", {k: v for k, v in {**facts, **changes}.items() if v is not None})
        with pytest.raises(StateMismatchError) as caught:
            train(settings, run.path, base=tmp_path, devices="cpu", resume=True, accept_changes=True)
        return str(caught.value)

    assert facts["epoch_batches"] == 33  # of two chips; twice as many as cover 192 x 176 pixels
    assert "be validated on the windows it began with, got others. Restore" in refusal(validation="0")
    # Runs of earlier versions: the checkpoints tell how long an epoch was.
    (run.path / "checkpoints").mkdir()
    run.write_json("checkpoints/index.json", [{"index": 0, "epoch": 0.5, "batches": 6, "best": True}])
    assert "12 batches, got 33. Restore" in refusal(epoch_batches=None)
    (run.path / "checkpoints" / "index.json").unlink()
    ground = gpd.read_file(names["aoi"])
    ground.scale(0.6, 0.6).to_file(names["aoi"])
    assert re.search(r"33 batches, got \d+, for files changed: a_aoi.gpkg\. Restore its data", refusal())
    ground.rotate(45).intersection(ground.geometry).to_file(names["aoi"])
    assert "for a, whose labeled ground does not fill its bounds: the earlier version" in refusal(files=None)
    # What the messages advise.
    ground.to_file(names["aoi"])
    run.write_json("facts.json", facts)
    with pytest.raises(Stop):
        train(settings, run.path, base=tmp_path, devices="cpu", resume=True, progress=stop_after(3))
    # A run of an earlier version that drew the same goes on.
    old = ("files", "epoch_batches", "validation")
    run.write_json("facts.json", {k: v for k, v in facts.items() if k not in old})
    with pytest.raises(Stop):
        train(settings, run.path, base=tmp_path, devices="cpu", resume=True, progress=stop_after(4))
    assert run.read_json("facts.json") == facts
    # It kept one digest, of all labels in their order.
    digests = [facts["files"][Path(names[which]).name] for which in ("labels", "aoi")]
    run.write_json("facts.json", {**facts, "files": None, "labels": json_digest(digests)})
    labels = gpd.read_file(names["labels"])
    labels.translate(1e-6).to_file(names["labels"])
    with pytest.raises(StateMismatchError, match="got changed files: labels"):
        train(settings, run.path, base=tmp_path, devices="cpu", resume=True)
    labels.to_file(names["labels"])
    with pytest.raises(Stop):
        train(settings, run.path, base=tmp_path, devices="cpu", resume=True, progress=stop_after(5))


def test_resuming_a_finished_run_changes_nothing(finished):
    settings, out, _ = finished
    before = weights(out, 3)
    train(settings, out, devices="cpu", resume=True)
    assert same(before, weights(out, 3))
    assert len(RunFolder(out).list_checkpoints()) == 4


def test_the_same_seed_gives_the_same_weights(finished, tmp_path, quick):
    settings, out, _ = finished
    train(settings, tmp_path / "again", devices="cpu")
    assert same(weights(tmp_path / "again", 3), weights(out, 3))
    assert (tmp_path / "again" / "metrics.csv").read_text() == (out / "metrics.csv").read_text()
    other = settings.model_copy(update={"seed": 4, "epochs": 1})
    train(other, tmp_path / "other", devices="cpu")
    assert not same(weights(tmp_path / "other", 0), weights(out, 0))


@pytest.mark.parametrize(
    ("changes", "cuts", "sign"),
    [({}, (3, 7), signal.SIGTERM), (FULL, (3, 6), signal.SIGINT)],
    ids=["plain", "everything"],
)
def test_a_killed_run_resumes_mid_epoch_to_the_same_result(quick, tmp_path, changes, cuts, sign):
    settings = quick(**changes)
    kept = settings.model_copy(update={"save_every_minutes": 0.0})
    train(settings, tmp_path / "whole", devices="cpu")
    first, second = cuts
    with pytest.raises(Stop):
        train(kept, tmp_path / "cut", devices="cpu", progress=stop_after(first))
    assert 0 < RunFolder(tmp_path / "cut").load_state()["progress"]["batches"] <= first
    # Asked to stop, a run keeps all that it did, up to the last optimizer step.
    with pytest.raises(KeyboardInterrupt, match="use --resume to go on"):
        train(settings, tmp_path / "cut", devices="cpu", resume=True, progress=interrupt_after(second, sign))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert RunFolder(tmp_path / "cut").load_state()["progress"]["batches"] == second
    train(kept, tmp_path / "cut", devices="cpu", resume=True)
    assert same(weights(tmp_path / "cut", 1), weights(tmp_path / "whole", 1))
    for name in ("metrics.csv", "checkpoints/index.json"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_run_killed_before_its_last_picture_draws_it_on_resuming(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "chart_picture", chart_picture)
    settings = quick(epochs=1, val_every=0.5)
    train(settings, tmp_path / "whole", devices="cpu")

    def killed(self):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(recorder.Recorder, "finish", killed)
        with pytest.raises(Stop):
            train(settings, tmp_path / "cut", devices="cpu")
    assert RunFolder(tmp_path / "cut").load_state()["progress"]["validations"] == 2
    train(settings, tmp_path / "cut", devices="cpu", resume=True)
    for name in ("charts.png", "charts.html", "metrics.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_auxiliary_outputs_are_kept_where_the_config_says_so(quick, tmp_path):
    from geoseg.models import load_model
    from geoseg.models.bundle import open_bundle
    from geoseg.models.state import load_module

    kinds = ("boundary", "contact", "distance")
    settings = quick(auxiliary={"kinds": kinds}, epochs=1)
    train(settings, tmp_path / "run", devices="cpu")
    card = settings.card.model_copy(update={"auxiliary": True})
    train(settings.model_copy(update={"card": card}), tmp_path / "run", devices="cpu", resume=True)
    full = export_checkpoint(RunFolder(tmp_path / "run"), 0, tmp_path / "full")
    for path in (full, tmp_path / "run" / "bundle"):
        assert open_bundle(path).card.options.auxiliary == kinds

    image = np.stack([town(40, seed)[0][:, :, :32] for seed in (5, 6)])
    predictor, whole = load_model(full, engine="torch"), load_model(full, engine="torch", auxiliary=True)
    assert predictor.classes == ("bg", "house")
    assert whole.classes == ("bg", "house", *kinds)
    prob, every = predictor(image), whole(image)
    network = load_module(open_bundle(full), auxiliary=True)
    assert same(dict(network.state_dict()), weights(tmp_path / "run", 0))
    logits = network(whole.load().normalize(torch.from_numpy(image))).detach()
    # Each processor adds up in its own order, which shows in the last bits of the largest numbers: the engine
    # and the bare network may differ by a few parts in 10^6 of those, and a sigmoid by a quarter as much.
    close = 1e-5 * float(logits.abs().max())
    assert np.allclose(every[:, :2], prob, atol=close)
    assert np.allclose(every[:, 2:], logits[:, 2:].sigmoid(), atol=close)
    assert np.array_equal(pickle.loads(pickle.dumps(whole))(image), every)
    assert whole.fingerprint() != predictor.fingerprint()


def test_a_bundle_has_the_classes_alone_by_default(quick, tmp_path):
    from geoseg.models import load_model
    from geoseg.models.bundle import open_bundle
    from geoseg.models.state import read_state

    settings = quick(auxiliary={"kinds": ["distance"]}, epochs=1)
    bundle = open_bundle(train(settings, tmp_path / "run", devices="cpu"))
    assert weights(tmp_path / "run", 0)["segmentation_head.0.bias"].shape == (3,)
    assert read_state(bundle.weights(), "")["segmentation_head.0.bias"].shape == (2,)
    assert bundle.card.options.auxiliary == ()
    with pytest.raises(ModelError, match="must keep auxiliary outputs"):
        load_model(bundle.path, auxiliary=True)
    with pytest.raises(ConfigError, match=r"card.auxiliary must go with auxiliary outputs"):
        quick(card={"auxiliary": True})


def test_overfitting_a_single_chip(quick, tmp_path, towns):
    """A network learns one chip by heart; validated on the same chip."""
    from train_samples import write_scene

    scene = write_scene(tmp_path, "one", size=64, seed=5)
    scenes = [{**scene, "part": "train"}, {**scene, "part": "val"}]
    settings = quick(
        data={"scenes": [{k: v for k, v in s.items() if k != "aoi"} for s in scenes]},
        input_size={"width": 64, "height": 64},
        sampler={"chips_per_epoch": 1},
        batch_size={"train": 1, "val": 1},
        epochs=80,
        val_every=80,
        lr=0.005,
    )
    train(settings, tmp_path / "run", devices="cpu")
    row = RunFolder(tmp_path / "run").list_checkpoints()[-1]
    assert row["scores"]["iou"][1] > 0.98


def test_every_batch_is_in_tensorboard_once_after_a_kill(quick, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = quick(save_every_minutes=0.0)
    for number, last in enumerate((3, 6)):
        with pytest.raises(Stop):
            train(settings, tmp_path / "run", devices="cpu", resume=number > 0, progress=stop_after(last))
    train(settings, tmp_path / "run", devices="cpu", resume=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/batch_loss")] == list(range(1, 9))
    assert [event.step for event in events.Scalars("val/loss")] == [4, 8]


def test_the_average_moves_once_a_step(quick, tmp_path, monkeypatch):
    """Not once a batch: the gradients of several may make one step."""
    seen = []
    monkeypatch.setattr(learner, "move_average", lambda average, network, decay: seen.append(decay))
    train(quick(ema={"decay": 0.5}, accumulate=2, epochs=1), tmp_path / "run", devices="cpu")
    assert seen == pytest.approx([1 / 11, 2 / 12])


def test_batch_norm_has_the_statistics_of_the_weights_as_they_are(quick, tmp_path, monkeypatch):
    taken = []

    def listed(batches, network):
        batches = list(batches)
        update_bn(batches, network)
        taken.append((batches, network))

    monkeypatch.setattr(fit, "update_bn", listed)
    settings = quick(epochs=1, val_every=1, lr=0.05, batch_norm_batches=2)
    train(settings, tmp_path / "measured", devices="cpu")
    ((batches, network),) = taken
    assert len(batches) == 2
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    seen = {}
    for norm in norms:
        norm.register_forward_hook(
            lambda norm, inputs, output: seen.setdefault(norm, []).append(inputs[0].double())
        )
    kept = weights(tmp_path / "measured", 0)
    network.load_state_dict(kept)
    measured = {norm: (norm.running_mean.clone(), norm.running_var.clone()) for norm in norms}
    network.train()
    with torch.inference_mode():
        for batch in batches:
            network(batch)
    # The last layers of the encoder are cut off, and used by nobody.
    assert len(seen) > 5
    for norm, inputs in seen.items():
        mean, variance = measured[norm]
        expected = torch.stack([one.mean((0, 2, 3)) for one in inputs]).mean(0)
        assert torch.allclose(mean.double(), expected, atol=1e-5)
        expected = torch.stack([one.var((0, 2, 3)) for one in inputs]).mean(0)
        assert torch.allclose(variance.double(), expected, rtol=1e-4, atol=1e-6)
    # What is learned is the same either way, to the bit.
    changed = settings.model_copy(update={"batch_norm_batches": 0})
    train(changed, tmp_path / "running", devices="cpu")
    running = weights(tmp_path / "running", 0)
    differing = {name for name in kept if not torch.equal(kept[name], running[name])}
    assert {name.rsplit(".", 1)[1] for name in differing} == {
        "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip


def test_early_stopping_and_fewer_checkpoints(quick, tmp_path):
    settings = quick(epochs=6, lr=1e-9, early_stopping={"patience": 2, "min_delta": 1.0}, keep_checkpoints=1)
    train(settings, tmp_path / "run", devices="cpu")
    run = RunFolder(tmp_path / "run")
    rows = run.list_checkpoints()
    assert len(rows) == 3
    there = [
        row["index"] for row in rows if (run.checkpoint_path(row["index"]) / "model.safetensors").is_file()
    ]
    assert there == sorted({run.best_index(), 2})
    train(settings, tmp_path / "run", devices="cpu", resume=True)
    assert len(run.list_checkpoints()) == 3


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(quick, tmp_path, precision, caplog):
    with caplog.at_level("WARNING"):
        train(quick(precision=precision, epochs=1, loss="focal"), tmp_path / "run", devices="cpu")
    assert ("bf16-mixed is used on the CPU" in caplog.text) == (precision == "16-mixed")
    assert all(v.dtype != torch.bfloat16 for v in weights(tmp_path / "run", 0).values())


# ------------------------------------------------------------------ starting from weights


def test_transfer_takes_all_but_the_last_layer(finished, quick, tmp_path):
    _, out, bundle = finished
    for source in (bundle, out, out / "checkpoints" / "00000002"):
        with pytest.raises(Stop):
            train(quick(weights=str(source)), tmp_path / source.name, devices="cpu", progress=stop_after(1))
    settings = quick(weights=str(bundle), lr=1e-12, epochs=1)
    train(settings, tmp_path / "run", devices="cpu")
    before, after = weights(out, RunFolder(out).best_index()), weights(tmp_path / "run", 0)
    convolutions = [k for k in before if before[k].ndim == 4]
    for key in convolutions:
        equal = torch.allclose(before[key], after[key], atol=1e-6)
        assert equal != key.startswith("segmentation_head"), key


def test_continuing_needs_the_same_classes_in_the_same_order(finished, quick, tmp_path):
    from geoseg.models.bundle import open_bundle

    _, out, bundle = finished
    settings = quick(weights=str(bundle), weights_init_type="continue_training", lr=1e-12, epochs=1)
    train(settings, tmp_path / "run", devices="cpu")
    before, after = weights(out, RunFolder(out).best_index()), weights(tmp_path / "run", 0)
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before if before[k].ndim == 4)
    # The card tells all the batches behind the weights, also after a resume.
    done = done_in(out)
    train(settings, tmp_path / "run", devices="cpu", resume=True)
    training = open_bundle(tmp_path / "run" / "bundle").card.options.training
    assert (training["batches"], training["earlier_batches"]) == (done_in(tmp_path / "run"), done)
    again = quick(weights=str(tmp_path / "run" / "bundle"), epochs=1)
    third = train(again, tmp_path / "third", devices="cpu")
    earlier = open_bundle(third).card.options.training["earlier_batches"]
    assert earlier == done + done_in(tmp_path / "run")
    assert "earlier_batches" not in open_bundle(bundle).card.options.training
    other = quick(weights=str(bundle), weights_init_type="continue_training", classes=["roof"])
    with pytest.raises(InputError, match=r"got \[0 bg, 1 roof\] here and \[0 bg, 1 house\] in"):
        train(other, tmp_path / "other", devices="cpu")
    with pytest.raises(ConfigError, match="must have weights to go on from"):
        train(quick(weights_init_type="continue_training"), tmp_path / "none", devices="cpu")


def test_a_permuted_class_map_is_refused(quick, tmp_path):
    data = quick().data.model_copy(update={"class_column": "roof"})
    document = json.loads(quick(classes=["tin", "tile"], epochs=1).model_dump_json())
    document["data"] = json.loads(data.model_dump_json())

    train(parse_train_settings(document), tmp_path / "first", devices="cpu")
    document.update(
        classes=["tile", "tin"], weights=str(tmp_path / "first"), weights_init_type="continue_training"
    )
    with pytest.raises(InputError, match=r"got \[0 bg, 1 tile, 2 tin\] here and \[0 bg, 1 tin, 2 tile\]"):
        train(parse_train_settings(document), tmp_path / "second", devices="cpu")


# ------------------------------------------------------------------ what can go wrong


def test_a_loss_that_is_not_finite_stops_and_names_the_chip(quick, tmp_path, monkeypatch):
    original = learner.call_loss
    armed = []

    def poisoned(name, logits, target, **settings):
        loss = original(name, logits, target, **settings)
        return loss * torch.nan if armed and (target == 1).any() else loss

    def report(stage, done, total, **info):
        if stage == "training" and done == 5:
            armed.append(True)

    monkeypatch.setattr(learner, "call_loss", poisoned)
    with pytest.raises(
        RunError, match=r"loss must be finite, got nan after 5 batches, at (north|south), rows \d+"
    ):
        train(
            quick(sampler={"chips_per_epoch": 8, "foreground": 1}),
            tmp_path / "run",
            devices="cpu",
            progress=report,
        )
    run = RunFolder(tmp_path / "run")
    assert len(run.list_checkpoints()) == 1
    assert all(torch.isfinite(v.float()).all() for v in weights(tmp_path / "run", 0).values())
    export_checkpoint(run, 0)


def test_a_card_that_would_be_refused_is_refused_before_training(quick, tmp_path):
    with pytest.raises(ConfigError, match=r"\$\.card\.name: must be 3 or more .* got Häuser & Höfe"):
        quick(card={"name": "Häuser & Höfe"})
    with pytest.raises(ConfigError, match=r"\$\.card\.bands: must name the 3 bands .* got red, nir"):
        train(quick(card={"bands": ["red", "nir"]}), tmp_path / "run", devices="cpu")
    assert not (tmp_path / "run").exists()


def test_a_second_run_on_the_same_folder_is_refused(quick, tmp_path):
    with hold(tmp_path / "run"), ThreadPoolExecutor(1) as other:
        second = other.submit(train, quick(), tmp_path / "run", devices="cpu", resume=True)
        with pytest.raises(LockedError, match="run"):
            second.result()
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_full_disk_ends_the_run_and_keeps_its_state(quick, tmp_path, monkeypatch):
    settings = quick(epochs=1, save_every_minutes=0.0)
    with pytest.raises(Stop):
        train(settings, tmp_path / "run", devices="cpu", progress=stop_after(3))
    before = (tmp_path / "run" / "last.ckpt").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"No space left on device.* Check the free space"):
            train(settings, tmp_path / "run", devices="cpu", resume=True)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before
    train(settings, tmp_path / "run", devices="cpu", resume=True)


def test_a_killed_worker_is_explained(quick, tmp_path, monkeypatch):
    original = dataset.cut_chip

    def deadly(*args, **kwargs):
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    monkeypatch.setattr(dataset, "cut_chip", deadly)
    with pytest.raises(RunError, match=r"a data worker was ended from outside.*use --resume, or begin a new"):
        train(quick(data_workers={"train": 1, "val": 0}), tmp_path / "run", devices="cpu")


@pytest.fixture
def broken(quick, tmp_path):
    """Settings of two scenes; the pixels of one, which is validated on, can't be read."""
    data = quick().data
    good, bad = data.scenes
    path = tmp_path / "broken.tif"
    content = bytearray(Path(bad.path).read_bytes())
    # Uncompressed: what is cut off is missing.
    path.write_bytes(content[: len(content) // 3])
    scenes = [
        {**good.model_dump(), "part": "train"},
        {**bad.model_dump(), "path": str(path), "part": "val"},
    ]

    def make(swap=False, **changes):
        for scene, part in zip(scenes, ("val", "train") if swap else ("train", "val"), strict=True):
            scene["part"] = part
        return quick(data={"scenes": scenes}, **changes)

    return make


def test_unreadable_chips_may_be_allowed(broken, tmp_path):
    with pytest.raises(RunError, match=r"chips must be readable, got 1 that are not; .*broken.tif"):
        train(broken(), tmp_path / "run", devices="cpu")
    train(broken(allow_corrupted_samples={"val": 99}), tmp_path / "allowed", devices="cpu")


def test_an_error_in_a_worker_is_one_line(broken, tmp_path):
    settings = broken(swap=True, data_workers={"train": 1, "val": 0})
    with pytest.raises(RunError) as caught:
        train(settings, tmp_path / "run", devices="cpu")
    assert str(caught.value).startswith("chips must be readable, got 1")
    assert "\n" not in str(caught.value)


class FewProcesses:
    """Stands for Fabric with two processes, of which this one is the second."""

    world_size, global_rank, is_global_zero = 2, 1, False

    def __init__(self, **options):
        assert options["devices"] == 2

    def launch(self, function, *arguments):
        try:
            function(self, *arguments)
        except GeosegError as error:
            raise ProcessRaisedException(f"Traceback ...\nRunError: {error}\n", 1, 7) from error
        raise ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 7, -9, "SIGKILL")


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (RunError("loss must be finite, got nan."), r"^loss must be finite, got nan\.$"),
        (InputError("no such chip"), "^no such chip$"),
        (RuntimeError("shapes differ"), "^training failed: shapes differ$"),
        (
            None,
            r"^a process of the run was ended from outside: process 1 terminated with signal SIGKILL\. Most",
        ),
    ],
)
def test_what_ends_another_process_is_told_in_one_line(quick, tmp_path, monkeypatch, happens, message):
    class Fitting:
        def __init__(self, *arguments): ...

        def run(self):
            if happens is not None:
                raise happens

    monkeypatch.setattr(loop, "Fabric", FewProcesses)
    monkeypatch.setattr(loop, "Fitting", Fitting)
    kind = type(happens) if isinstance(happens, GeosegError) else RunError
    with pytest.raises(kind, match=message):
        train(quick(), tmp_path / "run", devices="cpu:2")


def test_a_run_whose_folder_cannot_be_made_is_refused(quick, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="--out must be a folder that can be written to"):
            train(quick(), out, devices="cpu")


def test_chip_sizes_the_network_cannot_divide_are_refused(quick, tmp_path):
    with pytest.raises(
        ConfigError, match=r"\$\.input_size: must be a multiple of 8, got height 36. Use 32 or 40"
    ):
        train(quick(input_size={"width": 32, "height": 36}), tmp_path / "run", devices="cpu")


DDP = """
import json
import sys
from pathlib import Path
from geoseg.training.config import parse_train_settings
from geoseg.training.loop import train

if __name__ == "__main__":
    settings = parse_train_settings(json.loads(Path(sys.argv[1]).read_text()))
    train(settings, sys.argv[2], devices=sys.argv[3])
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_twice_the_batch(quick, tmp_path):
    """Gloo on the CPU, a network without batch norm, plain gradient descent."""
    # A shallow encoder, so that some of its parameters are used by nobody.
    shallow = {"encoder_depth": 3, "decoder_channels": [16, 8, 8], "decoder_use_norm": False}
    spec = {"name": "unet", "encoder": "vgg11", "kwargs": shallow}
    common = {
        "architecture": spec, "loss": "cross_entropy", "optimizer": {"name": "sgd"}, "momentum": 0.0,
        "epochs": 1, "lr": 0.05,
    }  # fmt: skip
    script = tmp_path / "run.py"
    script.write_text(DDP)
    for name, batch, devices in (("one", 4, "cpu"), ("two", 2, "cpu:2")):
        settings = quick(**common, batch_size={"train": batch, "val": 4})
        # Every pixel labeled: the mean over a batch is then the mean over its halves.
        scenes = tuple(s.model_copy(update={"aoi": None}) for s in settings.data.scenes)
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"scenes": scenes})})
        config = tmp_path / f"{name}.json"
        config.write_text(settings.model_dump_json())
        done = subprocess.run(
            [sys.executable, str(script), str(config), str(tmp_path / name), devices],
            capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one", 0), weights(tmp_path / "two", 0)
    for key in one:
        assert torch.allclose(one[key], two[key], atol=1e-5), key
    rows = [RunFolder(tmp_path / name).list_checkpoints()[0] for name in ("one", "two")]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-4)
    assert rows[0]["scores"]["accuracy"] == pytest.approx(rows[1]["scores"]["accuracy"], abs=1e-3)


def test_targets_hold_no_other_values(quick):
    from geoseg.training.setup import prepare

    prepared = prepare(quick(), Path())
    chips = dataset.ChipDataset(prepared.opened.areas, (32, 32))
    for ref in prepared.val[:6]:
        assert set(chips[ref]["target"].unique().tolist()) <= {0, 1, IGNORE}
