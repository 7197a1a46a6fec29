"""Learning from another network's probabilities, and from chips mixed into each other."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from geoseg.data.dataset import ChipBatch
from geoseg.errors import ConfigError, MissingFileError, StateMismatchError
from geoseg.models.bundle import open_bundle, write_bundle
from geoseg.models.card import ModelCard
from geoseg.models.loading import load_model
from geoseg.models.losses import soft_cross_entropy
from geoseg.models.state import load_module
from geoseg.training.learner import Learner
from geoseg.training.loop import train
from geoseg.training.setup import build, pixelwise_of, prepare
from geoseg.training.teacher import open_teacher


class Bright(nn.Module):
    """A teacher that calls bright pixels houses; keeps what it was shown."""

    def forward(self, raw):
        self.shown = raw
        house = ((raw.float().mean(1, keepdim=True) - 128) / 16).sigmoid()
        return torch.cat([1 - house, house], 1)


@pytest.fixture
def learner(quick, tmp_path):
    """A learner of settings, and a batch of chips of many colors with half of their ground labeled."""

    def make(taught_by=None, **changes):
        settings = quick(loss="cross_entropy", **changes)
        facts = prepare(settings.model_copy(update={"teacher": None}), tmp_path).facts
        network = build(settings, 3, 2)
        rng = torch.Generator().manual_seed(1)
        fields = torch.randint(0, 256, (4, 3, 4, 4), generator=rng, dtype=torch.uint8)
        image = fields.repeat_interleave(8, 2).repeat_interleave(8, 3)
        target = torch.randint(0, 2, (4, 32, 32), generator=rng, dtype=torch.uint8)
        target[:, :16] = 255
        batch = ChipBatch(image, target, torch.zeros(4, 0, 32, 32), list("abcd"))
        return Learner(settings, network, facts.classes, pixelwise_of(facts), taught_by), batch

    return make


def test_mixed_chips_count_the_labels_of_both(learner):
    one, batch = learner(augment={"mixup": 0.5})
    seen = []

    def forward(x):
        seen.append(x)
        return torch.stack([x.mean(1), -x[:, 0]], 1)

    loss, _ = one.training_loss(forward, batch, batches=3)
    plain = one.normalize(batch.image)
    other = plain.roll(1, 0)
    shares = ((seen[0] - plain) / (other - plain))[(other - plain).abs() > 0.5]
    share = float(shares.median())
    assert 0.01 < share < 0.5
    assert torch.allclose(shares, shares.new_tensor(share), atol=1e-3)
    logits = forward(seen[0])
    both = [float(one.losses(logits, labels)) for labels in (batch, batch.rolled())]
    assert float(loss) == pytest.approx((1 - share) * both[0] + share * both[1], rel=1e-4)
    # Another batch, another share; the same one again, the same.
    repeated = [float(one.training_loss(forward, batch, batches=n)[0]) for n in (3, 4)]
    assert repeated[0] == float(loss)
    assert repeated[1] != float(loss)


def test_the_teacher_sees_what_moved_and_not_what_changed_color(learner):
    teacher = Bright()
    one, batch = learner(
        teacher, augment={"flips": True, "brightness": 0.5}, teacher={"bundle": "unused", "weight": 2.0}
    )
    seen = []

    def forward(x):
        seen.append(x)
        return torch.stack([x.mean(1), -x[:, 0]], 1)

    loss, _ = one.training_loss(forward, batch, batches=1)
    # The very pixels of the batch under one of eight turns, and not as the network got them.
    chip = batch.image[0].float()
    turned = [torch.rot90(chip, n, (1, 2)) for n in range(4)]
    turned += [chip.flip(-1) for chip in turned]
    assert any(torch.allclose(teacher.shown[0], one, atol=1e-2) for one in turned)
    recolored = one.normalize(teacher.shown)
    assert (seen[0] - recolored).abs().amax((1, 2, 3)).min() > 0.02
    without, _ = learner(augment={"flips": True, "brightness": 0.5})[0].training_loss(forward, batch, 1)
    soft = soft_cross_entropy(forward(seen[0]), teacher(teacher.shown))
    assert float(loss) == pytest.approx(float(without + 2 * soft), rel=1e-5)


def test_what_a_teacher_knows_is_learned_where_nothing_is_labeled(learner):
    one, batch = learner(Bright(), teacher={"bundle": "unused"})
    batch.target[:] = 255
    optimizer = torch.optim.Adam(one.network.parameters(), lr=0.004)
    losses = []
    for step in range(24):
        loss, _ = one.training_loss(one.network, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


class Stop(Exception):
    pass


def stop(stage, done, total, **info):
    if stage == "training" and done == 2:
        raise Stop


def test_a_run_with_a_teacher_goes_on_after_a_kill_and_leaves_the_teacher_alone(quick, tmp_path):
    bundle = train(quick(epochs=1), tmp_path / "teacher", devices="cpu")
    before = (bundle / "model.safetensors").read_bytes()
    changes = {
        "epochs": 1,
        "save_every_minutes": 0,
        "teacher": {"bundle": "teacher/bundle", "weight": 0.5},
        "augment": {"flips": True, "mixup": 0.3, "brightness": 0.2},
        "seed": 5,
    }
    train(quick(**changes), tmp_path / "whole", base=tmp_path, devices="cpu")
    with pytest.raises(Stop):
        train(quick(**changes), tmp_path / "cut", base=tmp_path, devices="cpu", progress=stop)
    train(quick(**changes), tmp_path / "cut", base=tmp_path, devices="cpu", resume=True)
    whole, cut = (
        load_file(tmp_path / run / "checkpoints" / "00000000" / "model.safetensors")
        for run in ("whole", "cut")
    )
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert (bundle / "model.safetensors").read_bytes() == before
    card = open_bundle(tmp_path / "whole" / "bundle").card
    assert card.options.training["teacher"] == load_model(bundle).fingerprint()
    assert "teacher" not in open_bundle(bundle).card.options.training
    # A validation loss is that of the labels, so that runs with and without a teacher can be compared.
    network = open_teacher(bundle, ("bg", "house"), 3, "uint8").train()
    assert not any(module.training for module in network.modules())
    assert not any(weight.requires_grad for weight in network.parameters())


def test_a_run_does_not_go_on_with_another_teacher(quick, tmp_path):
    bundle = train(quick(epochs=1), tmp_path / "teacher", devices="cpu")
    other = train(quick(epochs=1, seed=9), tmp_path / "other", devices="cpu")
    settings = quick(epochs=1, save_every_minutes=0, teacher={"bundle": str(bundle)})
    with pytest.raises(Stop):
        train(settings, tmp_path / "run", devices="cpu", progress=stop)
    bundle.rename(kept := tmp_path / "kept")
    shutil.copytree(other, bundle)
    with pytest.raises(StateMismatchError, match="what it began with, got another teacher than in"):
        train(settings, tmp_path / "run", devices="cpu", resume=True)
    shutil.rmtree(bundle)
    kept.rename(bundle)
    assert train(settings, tmp_path / "run", devices="cpu", resume=True).is_dir()


def test_a_teacher_of_several_classes_a_pixel_is_refused(quick, tmp_path):
    bundle = open_bundle(train(quick(epochs=1), tmp_path / "run", devices="cpu"))
    options = bundle.card.options.model_copy(update={"activation": "sigmoid"})
    card = ModelCard.create(
        "sigmoid", classes=("bg", "house"), bands=("red", "green", "blue"), scaling=bundle.card.scaling,
        options=options, data_type="uint8",
    )  # fmt: skip
    wrong = write_bundle(tmp_path / "sigmoid", load_module(bundle), card)
    with pytest.raises(ConfigError, match=r"\$\.teacher\.bundle: must have the activation softmax, got sig"):
        open_teacher(wrong, ("bg", "house"), 3, "uint8")


def test_teachers_that_say_nothing_about_the_classes_are_refused(quick, tmp_path):
    bundle = train(quick(epochs=1), tmp_path / "teacher", devices="cpu")
    with pytest.raises(ConfigError, match=r"\$\.teacher\.bundle: must have the classes bg, roof of 3 bands"):
        open_teacher(bundle, ("bg", "roof"), 3, "uint8")
    settings = quick(classes=["roof"], teacher={"bundle": str(bundle)}, epochs=1)
    with pytest.raises(ConfigError, match=r"got bg, house of 3\. Name the bundle of a run on such data"):
        train(settings, tmp_path / "run", devices="cpu")
    with pytest.raises(MissingFileError):
        train(quick(teacher={"bundle": "nowhere"}), tmp_path / "run", base=tmp_path, devices="cpu")
