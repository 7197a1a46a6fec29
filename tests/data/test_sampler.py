"""Windows, splits and batches: where they may lie, how they mix, that a seed decides all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from geoseg.data.chips import ChipRef
from geoseg.data.dataset import ChipDataset, train_loader, val_loader
from geoseg.data.sampler import BatchSampler, ImageEpochs, WindowEpochs
from geoseg.data.settings import SamplerSettings, SplitSettings
from geoseg.data.splits import AreaSplit, block_split, file_split, grid_windows
from geoseg.errors import InputError, RunError, SceneError

CHIP = (32, 32)


@pytest.fixture
def areas(make_area):
    house = [shapely.box(40, 40, 60, 60)]
    return [
        make_area("a", 300, 400, house, aoi=[shapely.box(20, 20, 380, 280)]),
        make_area("b", 100, 90, [shapely.box(5, 5, 20, 20)], seed=1),
        make_area("c", 256, 256, [shapely.box(200, 200, 220, 240)], seed=2),
    ]


def plan(areas, parts=None, seed=0, **settings):
    nothing = np.zeros((0, 4), np.int64)
    parts = parts or [AreaSplit(True, nothing, ()) for _ in areas]
    return WindowEpochs.of(areas, parts, CHIP, SamplerSettings(**settings), seed)


def flat(batches):
    return [ref for batch in batches for ref in batch]


def test_windows_stay_inside_and_on_labeled_ground(areas):
    refs = flat(plan(areas, chips_per_epoch=400, min_known=0.5).batches(0, 8, 2))
    assert len(refs) == 400
    for ref in refs:
        height, width = areas[ref.area].shape
        assert 0 <= ref.row <= height - 32
        assert 0 <= ref.col <= width - 32
        if ref.area == 0:
            inside = shapely.box(20, 20, 380, 280).intersection(
                shapely.box(ref.col, ref.row, ref.col + 32, ref.row + 32)
            )
            assert inside.area / 32**2 > 0.25


def test_a_seed_decides_the_plan_and_epochs_differ(areas):
    first, again, other = (plan(areas, chips_per_epoch=64, seed=s).batches(3, 8, 2) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != plan(areas, chips_per_epoch=64, seed=1).batches(4, 8, 2)


def test_a_scene_of_more_weight_is_drawn_more_often(areas):
    areas[1] = replace(areas[1], weight=4.0)
    drawn = [r.area for r in flat(plan(areas, chips_per_epoch=300, balance="equal").batches(0, 10, 1))]
    assert [drawn.count(n) for n in range(3)] == [50, 200, 50]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_foreground_share(areas, share):
    refs = flat(plan(areas[2:], chips_per_epoch=600, foreground=share).batches(0, 8, 1))
    anchor = areas[2].truth.anchors()[0]
    on = np.mean([r.row <= anchor[0] < r.row + 32 and r.col <= anchor[1] < r.col + 32 for r in refs])
    assert on == pytest.approx(share + (1 - share) * 0.02, abs=0.07)


def test_balance_between_scenes(areas):
    counts = np.bincount(
        [r.area for r in flat(plan(areas, chips_per_epoch=300, balance="equal").batches(0, 10, 1))]
    )
    assert counts.tolist() == [100, 100, 100]
    counts = np.bincount(
        [r.area for r in flat(plan(areas, chips_per_epoch=300, balance="area").batches(0, 10, 1))]
    )
    size = np.array([360 * 260, 90 * 100, 256 * 256])
    assert np.allclose(counts, 300 * size / size.sum(), atol=1)


def test_classes_are_drawn_alike_often(make_area):
    many = [shapely.box(x, 10, x + 4, 14) for x in range(10, 390, 10)]
    area = make_area("a", 400, 400, [*many, shapely.box(300, 300, 310, 310)], [1] * len(many) + [2])
    refs = flat(plan([area], chips_per_epoch=200, foreground=1.0).batches(0, 8, 1))
    near = np.mean([ref.row > 200 for ref in refs])
    assert near == pytest.approx(0.5, abs=0.12)


def test_batches_mix_scenes_and_each_worker_stays_near(make_area):
    big = [make_area(n, 2048, 2048, seed=i) for i, n in enumerate("ab")]
    settings = {"chips_per_epoch": 1024, "foreground": 0.0, "balance": "equal"}
    near, far = (plan(big, region_px=size, **settings).batches(0, 8, 2) for size in (256, 0))
    for batch in near:
        assert len({ref.area for ref in batch}) == 2

    def steps(batches):
        """How far one place of a worker's batches moves from one batch to its next."""
        found = []
        for before, after in zip(batches, batches[2:], strict=False):
            found += [
                abs(p.row - q.row) + abs(p.col - q.col)
                for p, q in zip(before, after, strict=True)
                if p.area == q.area
            ]
        return np.median(found)

    assert steps(near) < 0.4 * steps(far)


def test_two_processes_share_the_batches_of_one_twice_as_large(areas):
    drawn = plan(areas, chips_per_epoch=60)
    whole = list(BatchSampler(drawn, 8, 2, 0, 12))
    parts = [list(BatchSampler(drawn, 4, 2, 0, 12, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole
    assert all(len(batch) == 8 for batch in whole)


def test_a_run_continued_anywhere_sees_the_same_batches(areas):
    drawn = plan(areas, chips_per_epoch=24)
    whole = list(BatchSampler(drawn, 4, 2, 0, 18))
    assert len(whole) == 18
    for cut in (1, 5, 6, 13):
        assert list(BatchSampler(drawn, 4, 2, 0, cut)) + list(BatchSampler(drawn, 4, 2, cut, 18)) == whole


def test_whole_images_come_once_an_epoch_and_the_last_batch_may_be_short():
    refs = tuple(ChipRef(i, 0, 0, 9, 9) for i in range(7))
    sampler = BatchSampler(ImageEpochs(refs, 0), 3, 0, 0, 6)
    batches = list(sampler)
    assert [len(b) for b in batches] == [3, 3, 1] * 2
    assert sorted(flat(batches[:3])) == list(refs)
    assert sorted(flat(batches[3:])) == [ref._replace(epoch=1) for ref in refs]
    assert batches[:3] != batches[3:]
    shares = [list(BatchSampler(ImageEpochs(refs, 0), 3, 0, 0, 2, rank, 2)) for rank in (0, 1)]
    assert [len(b) for b in shares[0]] == [len(b) for b in shares[1]] == [3, 1]


# ------------------------------------------------------------------ splits


def test_blocks_keep_training_away_from_validation(areas):
    settings = SplitSettings(val_fraction=0.25, block_chips=2, buffer_px=16)
    parts = block_split(areas, CHIP, settings, ["auto"] * 3, seed=5)
    again = block_split(areas, CHIP, settings, ["auto"] * 3, seed=5)
    assert [p.val for p in parts] == [p.val for p in again]
    assert [p.val for p in parts] != [p.val for p in block_split(areas, CHIP, settings, ["auto"] * 3, seed=6)]
    drawn = flat(plan(areas, parts, chips_per_epoch=500).batches(0, 8, 1))
    for ref in drawn:
        for w in parts[ref.area].val:
            gap = max(
                ref.row - w.row_end,
                w.row_off - (ref.row + 32),
                ref.col - w.col_end,
                w.col_off - (ref.col + 32),
            )
            assert gap >= 16
    shares = [len(p.val) * 32 * 32 / (a.shape[0] * a.shape[1]) for p, a in zip(parts, areas, strict=True)]
    assert 0.1 < np.mean(shares) < 0.4


def plots_area(make_area):
    """Two plots of labeled ground in far corners of a scene, with small houses, and where they are."""
    plots = [shapely.box(20, 10, 220, 210), shapely.box(810, 800, 1010, 1000)]
    corners = np.random.default_rng(0).integers(10, 180, (2, 6, 2))
    houses = [
        shapely.box(x, y, x + 8, y + 8)
        for plot, offsets in zip(plots, corners, strict=True)
        for x, y in offsets + np.array(plot.bounds[:2], int)
    ]
    labeled = np.zeros((1024, 1024), bool)
    labeled[10:210, 20:220] = labeled[800:1000, 810:1010] = True
    return make_area("plots", 1024, 1024, houses, aoi=plots), labeled


def test_a_share_of_scattered_plots_is_validated_on(make_area):
    area, labeled = plots_area(make_area)
    for seed in range(4):
        parts = block_split([area], CHIP, SplitSettings(buffer_px=16), ["auto"], seed)
        scored = sum(labeled[w.rows, w.cols].sum() for w in parts[0].val)
        assert 0.1 < scored / labeled.sum() < 0.35
        taught = np.zeros_like(labeled)
        for ref in flat(plan([area], parts).batches(0, 8, 1)):
            taught[ref.window.rows, ref.window.cols] = True
        assert (taught & labeled).sum() > 0.3 * labeled.sum()


def test_an_epoch_is_as_long_as_the_labeled_ground_is_large(make_area):
    area, labeled = plots_area(make_area)
    assert plan([area]).chips == pytest.approx(2 * labeled.sum() / 32**2, rel=0.2)


def test_windows_between_houses_of_scattered_plots_are_drawn(make_area):
    area, labeled = plots_area(make_area)
    refs = flat(plan([area], chips_per_epoch=400, foreground=0.5).batches(0, 8, 1))
    empty = sum(not area.truth.burn(ref.window).ids.any() for ref in refs)
    assert empty > 80
    seen = np.zeros_like(labeled)
    for ref in refs:
        seen[ref.window.rows, ref.window.cols] = True
    assert (seen & labeled).sum() > 0.9 * labeled.sum()


def test_parts_of_scenes_are_kept(areas):
    parts = block_split(areas, CHIP, SplitSettings(), ["train", "val", "auto"], 0)
    assert (parts[0].train, parts[0].val) == (True, ())
    assert not parts[1].train
    assert len(parts[1].val) == len(grid_windows(areas[1], CHIP)) == 12
    assert parts[2].train
    assert parts[2].val


def test_file_split(areas):
    parts = file_split(areas, CHIP, SplitSettings(val=("b",)), ["auto"] * 3, 0)
    assert [p.train for p in parts] == [True, False, True]
    drawn = [file_split(areas, CHIP, SplitSettings(), ["auto"] * 3, seed) for seed in range(8)]
    assert {tuple(p.train for p in parts).count(False) for parts in drawn} == {1}
    assert len({tuple(p.train for p in parts) for parts in drawn}) > 1
    with pytest.raises(InputError, match=r"must name scenes, got x. There are a, b, c"):
        file_split(areas, CHIP, SplitSettings(val=("x",)), ["auto"] * 3, 0)
    with pytest.raises(InputError, match="both sides, got 0 to train on and 1"):
        file_split(areas[:1], CHIP, SplitSettings(val=("a",)), ["auto"], 0)


def test_validation_grid_covers_the_labeled_ground_once(areas):
    windows = grid_windows(areas[0], CHIP)
    seen = np.zeros(areas[0].shape, int)
    for w in windows:
        seen[w.rows, w.cols] += 1
    assert (seen[20:280, 20:380] > 0).all()
    assert seen[:20].sum() == 0


def test_no_room_to_train_is_said(make_area):
    area = make_area("small", 64, 64, [shapely.box(1, 1, 9, 9)])
    everything = AreaSplit(True, np.array([[0, 0, 64, 64]]), ())
    with pytest.raises(InputError, match=r"input_size must fit .* got 32 x 32 for small"):
        plan([area], [everything], chips_per_epoch=4).batches(0, 4, 1)
    with pytest.raises(InputError, match="a split by blocks must find a block"):
        block_split([area], (64, 64), SplitSettings(), ["auto"], 0)


# ------------------------------------------------------------------ loading


def test_workers_load_what_one_process_loads(areas):
    drawn = plan(areas, chips_per_epoch=12)
    data = ChipDataset(areas, CHIP)
    alone, shared = (list(train_loader(data, BatchSampler(drawn, 4, groups, 0, 3))) for groups in (0, 1))
    for one, other in zip(alone, shared, strict=True):
        assert one.names == other.names
        assert one.image.equal(other.image)
        assert one.target.equal(other.target)
    assert alone[0].image.shape == (4, 3, 32, 32)


def test_validation_is_dealt_to_processes_without_loss():
    refs = [ChipRef(0, i, 0, 1, 1) for i in range(11)]
    loaders = [val_loader(ChipDataset([], (1, 1)), refs, 2, 0, rank, 3) for rank in range(3)]
    dealt = [ref for loader in loaders for batch in loader.batch_sampler for ref in batch]
    assert sorted(dealt) == refs


def test_unreadable_chips_are_replaced_up_to_a_number(areas):
    class Broken(type(areas[0].pixels)):
        def read_with_valid(self, window):
            raise SceneError(f"cannot read {window}")

    broken = type(areas[0])("broken", Broken(areas[0].pixels.values), areas[0].truth)
    spare = [ChipRef(1, 0, 0, 32, 32)]
    data = ChipDataset([broken, areas[1]], CHIP, corrupted=2, spare=spare)
    bad = ChipRef(0, 0, 0, 32, 32)
    assert data[bad]["name"].startswith("b, rows 0..31")
    assert data[bad]["name"].startswith("b,")
    with pytest.raises(RunError, match=r"got 3 that are not; the last: cannot read rows 0\.\.31"):
        data[bad]
    with pytest.raises(RunError, match="allow_corrupted_samples"):
        ChipDataset([broken], CHIP)[bad]
