"""Inference over projects equals a plain reference, whatever the batches and threads."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from plain_inference import RefusedError, infer_image, result_titles

import geoseg
from geoseg.errors import ConfigError, InputError, ModelError, RunError, StateMismatchError
from geoseg.projects.figures import Annotation, ClassMeta, Figure, LabeledObject, ProjectMeta, Tag, TagMeta
from geoseg.projects.figures.types import Bitmap, Line, Point, Polygon, Rectangle, figure_bounds, same_figure
from geoseg.projects.project import Project, open_project
from geoseg.projects.writer import ProjectWriter

NAMES = ("bg", "road", "Isolator")
SIZE = (40, 32)


def predict(batch: np.ndarray) -> np.ndarray:
    """Three classes from colors and the place in the window, so that windows differ where they overlap."""
    batch = batch.astype(np.float64) / 255
    rows, cols = np.indices(batch.shape[2:])
    waves = np.sin(rows / 5 + 7 * batch[:, 1]), np.cos(cols / 7 + 5 * batch[:, 2])
    logits = np.stack([2 * batch[:, 0], 1.5 * waves[0] + 0.5, 1.5 * waves[1]], axis=1)
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def smooth_image(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def random_figure(rng: random.Random, shape: str, height: int, width: int) -> Figure:
    x, y = rng.randint(0, width - 9), rng.randint(0, height - 9)
    w, h = rng.randint(1, min(40, width - x - 1)), rng.randint(1, min(40, height - y - 1))
    corners = np.array([[x, y], [x + w, y], [x + w / 2, y + h]], np.float64)
    if shape == "polygon":
        return Polygon(corners)
    if shape == "line":
        return Line(corners)
    if shape == "point":
        return Point(x, y)
    if shape == "rectangle":
        return Rectangle(x, y, x + w, y + h)
    return Bitmap((x, y), np.ones((h, w), bool))


def write_project(path: Path, seed: int, *, images: int = 3, legacy: bool = False) -> Path:
    rng, generator = random.Random(seed), np.random.default_rng(seed)
    shapes = {"house": "polygon", "track": "line", "pole": "point", "frame": "rectangle", "road": "bitmap"}
    classes = tuple(ClassMeta(title, shape, (9, 9, len(title))) for title, shape in shapes.items())
    with ProjectWriter(path, ProjectMeta(classes, (TagMeta("qa"),)), legacy=legacy) as writer:
        for number in range(images):
            height, width = rng.randint(40, 110), rng.randint(40, 130)
            pixels = smooth_image(generator, height, width)
            titles = [rng.choice(list(shapes)) for _ in range(rng.randint(0, 4))]
            objects = tuple(LabeledObject(t, random_figure(rng, shapes[t], height, width)) for t in titles)
            annotation = Annotation(height, width, objects, (Tag("qa"),), f"image {number}")
            name = f"{number:02}.{rng.choice(['png', 'tif'])}"

            def write(file: Path, pixels: np.ndarray = pixels) -> None:
                Image.fromarray(pixels).save(file)

            writer.add("one" if number % 2 else "two", name, annotation, write)
    return path


def random_config(rng: random.Random) -> dict[str, Any]:
    def some(titles: tuple[str, ...]) -> Any:
        return rng.choice(["__all__", rng.sample(titles, rng.randint(0, len(titles))), [*titles, "nobody"]])

    def sides(least: int) -> dict[str, str]:
        amounts = (f"{rng.randint(least, 20)}px", f"{rng.randint(least, 30)}%")
        names = rng.sample(["left", "top", "right", "bottom"], rng.randint(0, 4))
        return {name: rng.choice(amounts) for name in names}

    project = ("house", "track", "pole", "frame", "road")
    kind = rng.choice(["full_image", "roi", "bboxes", "sliding_window"])
    mode: dict[str, Any] = {}
    if kind == "roi":
        mode = {"bounds": sides(-2), "class_name": "roi"}
    elif kind == "bboxes":
        mode = {"from_classes": some(project), "padding": sides(-12)}
    elif kind == "sliding_window":
        width, height = rng.randint(20, 70), rng.randint(20, 70)
        mode = {"window": {"width": width, "height": height}}
        if rng.random() < 0.7:
            mode["min_overlap"] = {"x": rng.randint(0, width - 1), "y": rng.randint(0, height // 2)}
    if kind != "full_image" and rng.random() < 0.6:
        mode["save"] = rng.random() < 0.7
    classes: dict[str, Any] = {}
    if rng.random() < 0.6:
        classes["save_classes"] = some(NAMES)
    if rng.random() < 0.6:
        classes["add_suffix"] = rng.choice(["_dl", "", "_unet"])
    if rng.random() < 0.5:
        return {"model": {"gpu_device": 0}, "mode": {"name": kind, "model_classes": classes, **mode}}
    config = {"mode": {"source": kind, **mode}, "model_classes": classes}
    if rng.random() < 0.6:
        config["existing_objects"] = {"save_classes": some(project), "add_suffix": rng.choice(["", "_old"])}
    return config


def infer(project: Path, config: Any, out: Path, **options: Any) -> Any:
    return geoseg.infer(project, predict, config, out, classes=NAMES, input_size=SIZE, **options)


def same_annotations(first: Project, second: Project) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.annotation is not None
        assert other.annotation is not None
        assert one.annotation.read_bytes() == other.annotation.read_bytes()


@pytest.mark.parametrize("seed", range(24))
def test_a_plain_reference_gives_the_same(tmp_path: Path, seed: int) -> None:
    source = open_project(write_project(tmp_path / "in", seed, legacy=seed % 2 == 1))
    config = random_config(random.Random(seed))
    try:
        titles = result_titles(config, source.meta.class_names, NAMES)
    except RefusedError:
        with pytest.raises(ConfigError, match="distinct titles"):
            infer(source.path, config, tmp_path / "out")
        assert not list(tmp_path.glob("*out*"))
        return
    expected = {}
    for item in source:
        annotation = source.annotation(item)
        objects = [
            (one.class_name, figure_bounds(one.figure), (one.class_name, one.figure))
            for one in annotation.objects
        ]
        pixels = np.asarray(Image.open(item.image)).transpose(2, 0, 1)
        try:
            expected[item.name] = infer_image(config, pixels, objects, predict, NAMES, SIZE)
        except RefusedError:
            expected[item.name] = None
    done = [name for name, drawn in expected.items() if drawn is not None]
    if not done:
        with pytest.raises(RunError, match="no image"):
            infer(source.path, config, tmp_path / "out")
        return
    summary = infer(source.path, config, tmp_path / "out", batch_size=seed % 5 + 1, workers=seed % 3 + 1)
    assert [Path(one.image).name for one in summary.failures] == [n for n in expected if n not in done]
    result = open_project(tmp_path / "out")
    assert list(result.meta.class_names) == titles
    assert result.meta.tags == source.meta.tags
    assert len(result) == summary.images == len(done)
    for item in result:
        annotation = result.annotation(item)
        original = next(one for one in source if one.name == item.name)
        assert item.image.read_bytes() == original.image.read_bytes()
        assert annotation.tags == (Tag("qa"),)
        assert annotation.description.startswith("image")
        drawn = expected[item.name]
        assert drawn is not None
        assert [one.class_name for one in annotation.objects] == [title for title, _ in drawn]
        for one, (_, what) in zip(annotation.objects, drawn, strict=True):
            if isinstance(what, np.ndarray):
                assert isinstance(one.figure, Bitmap)
                mask = np.zeros(annotation.shape, bool)
                (x, y), (h, w) = one.figure.origin, one.figure.shape
                mask[y : y + h, x : x + w] = one.figure.mask
                assert np.count_nonzero(mask != what) <= 0.001 * what.size
            elif isinstance(what[0], str):
                assert same_figure(one.figure, what[1])
            else:
                left, top, right, bottom = what
                assert one.figure == Rectangle(left, top, right - 1, bottom - 1)


@pytest.mark.parametrize("kind", ["sliding_window", "bboxes"])
def test_batches_and_threads_change_nothing(tmp_path: Path, kind: str) -> None:
    source = write_project(tmp_path / "in", 7, images=6)
    mode = {"source": kind}
    if kind == "sliding_window":
        mode |= {"window": {"width": 37, "height": 29}, "min_overlap": {"x": 11, "y": 5}}
    infer(source, {"mode": mode}, tmp_path / "a", batch_size=1)
    for number, (batch, workers) in enumerate(((3, 1), (5, 4), (1000, 2))):
        infer(source, {"mode": mode}, tmp_path / str(number), batch_size=batch, workers=workers)
        same_annotations(open_project(tmp_path / "a"), open_project(tmp_path / str(number)))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from geoseg.cli import app
    from geoseg.models import load_model, write_bundle
    from geoseg.models.architectures import build_network
    from geoseg.models.card import ModelCard
    from geoseg.models.options import ArchitectureSpec, GeosegOptions

    spec = ArchitectureSpec(name="unet", encoder="resnet18")
    network = build_network(spec, in_channels=3, classes=2)
    card = ModelCard.create(
        "roads",
        classes=("bg", "road"),
        bands=("red", "green", "blue"),
        scaling=None,
        options=GeosegOptions(
            architecture=spec, multiple=32, window=(64, 64), overlap=(16, 16), training_resize=(32, 64)
        ),
        colors=("112233", None),
    )
    bundle = write_bundle(tmp_path / "roads", network, card)
    source = write_project(tmp_path / "in", 3, images=2)
    config = tmp_path / "infer.json"
    config.write_text(json.dumps({"gpu_devices": [0], "model_classes": {"add_suffix": "_dl"}}))
    command = ["infer", str(source), "--model", str(bundle), "--config", str(config), "--json"]
    command += ["--engine", "torch", "--workers", "2"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["images"], told["windows"], told["failures"]) == (2, 2, [])
    meta = open_project(tmp_path / "out").meta
    assert meta.class_names == ("bg_dl", "road_dl")
    assert meta.classes[0].color == (0x11, 0x22, 0x33)
    # Python gives the same, and another number of windows in a batch, too.
    geoseg.infer(
        source, load_model(bundle, device="cpu", engine="torch"), config, tmp_path / "again", batch_size=1
    )
    same_annotations(open_project(tmp_path / "out"), open_project(tmp_path / "again"))
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "which exists" in result.output


def test_failures_are_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = write_project(tmp_path / "in", 11, images=4)
    items = list(open_project(source))
    items[0].image.write_bytes(b"no image")
    assert items[1].annotation is not None
    document = json.loads(items[1].annotation.read_text())
    document["size"]["width"] += 1
    items[1].annotation.write_text(json.dumps(document))
    summary = infer(source, {}, tmp_path / "out", workers=2)
    assert [one.image for one in summary.failures] == [f"{i.dataset}/{i.name}" for i in items[:2]]
    listed = json.loads((tmp_path / "out.failures.json").read_text())
    assert [one["image"] for one in listed] == [one.image for one in summary.failures]
    assert "size must be that of the image" in listed[1]["reason"]
    assert [one.name for one in open_project(tmp_path / "out")] == [i.name for i in items[2:]]
    with pytest.raises(RunError, match=r"no image .*out2\.failures\.json says why"):
        infer(source, {"mode": {"source": "sliding_window", "window": {"width": 999}}}, tmp_path / "out2")
    assert len(json.loads((tmp_path / "out2.failures.json").read_text())) == 4
    assert not (tmp_path / "out2").exists()
    assert not (tmp_path / "out2.geoseg").exists()


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_project(tmp_path / "in", 5, images=9)
    seen: list[int] = []

    def stop_early(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        if len(seen) > 7:
            raise KeyboardInterrupt
        return predict(batch)

    def counted(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return predict(batch)

    # One name: a model is known again by its fingerprint.
    stop_early.fingerprint = counted.fingerprint = lambda: "three classes"  # type: ignore[attr-defined]
    options: dict[str, Any] = {"classes": NAMES, "input_size": SIZE, "batch_size": 1}
    with pytest.raises(KeyboardInterrupt):
        geoseg.infer(source, stop_early, {}, tmp_path / "out", **options)
    kept = len(list((tmp_path / "out.geoseg").glob("*.json"))) - 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(StateMismatchError, match="--restart"):
        geoseg.infer(source, counted, {"model_classes": {"add_suffix": "_x"}}, tmp_path / "out", **options)
    seen.clear()
    # What is no longer what was written is predicted again.
    harmed = next(file for file in (tmp_path / "out.geoseg").glob("*.json") if file.name != "state.json")
    content = harmed.read_bytes()
    harmed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    kept -= 1
    summary = geoseg.infer(source, counted, {}, tmp_path / "out", **options)
    assert 0 < kept == summary.kept
    assert len(seen) == 9 - kept == summary.windows
    assert not (tmp_path / "out.geoseg").exists()
    infer(source, {}, tmp_path / "whole")
    same_annotations(open_project(tmp_path / "out"), open_project(tmp_path / "whole"))


def test_an_image_that_is_replaced_meanwhile_is_never_put_beside_objects_of_the_old_one(
    tmp_path: Path,
) -> None:
    source = write_project(tmp_path / "in", 5, images=3)
    image = next(iter(open_project(source))).image
    height, width = np.asarray(Image.open(image)).shape[:2]
    other = smooth_image(np.random.default_rng(99), height, width)

    def replacing(batch: np.ndarray) -> np.ndarray:
        if not (tmp_path / "replaced").exists():
            Image.fromarray(other).save(image)
            (tmp_path / "replaced").touch()
        return predict(batch)

    replacing.fingerprint = lambda: "three classes"  # type: ignore[attr-defined]
    options: dict[str, Any] = {"classes": NAMES, "input_size": SIZE}
    with pytest.raises(RunError, match=f"{image.name} was replaced or changed during the run"):
        geoseg.infer(source, replacing, {}, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert geoseg.infer(source, replacing, {}, tmp_path / "out", **options).kept == 2
    infer(source, {}, tmp_path / "fresh")
    same_annotations(open_project(tmp_path / "out"), open_project(tmp_path / "fresh"))


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = write_project(tmp_path / "in", 5, images=1)
    before = sorted(tmp_path.rglob("*"))
    for out in (source, source / "inside", tmp_path):
        with pytest.raises(InputError, match="must not be the project itself"):
            infer(source, {}, out, overwrite=True)
    with pytest.raises(InputError, match="classes must be given"):
        geoseg.infer(source, predict, {}, tmp_path / "out")
    with pytest.raises(InputError, match=r"input_size must be \(width, height\)"):
        geoseg.infer(source, predict, {}, tmp_path / "out", classes=NAMES, input_size=(0, 3))
    with pytest.raises(InputError, match="threshold must go with a model that has a background"):
        infer(source, {}, tmp_path / "out", threshold=0.4)
    with pytest.raises(ModelError, match="2 probabilities a pixel, one for each class, got 3"):
        geoseg.infer(source, predict, {}, tmp_path / "out", classes=("bg", "road"))
    for number in ("workers", "batch_size"):
        with pytest.raises(InputError, match=f"{number} must be at least 1"):
            infer(source, {}, tmp_path / "out", **{number: 0})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_network_without_background_gets_one(tmp_path: Path) -> None:
    source = write_project(tmp_path / "in", 5, images=1)

    def bright(batch: np.ndarray) -> np.ndarray:
        return batch[:, :1] / np.float32(255)

    summary = geoseg.infer(source, bright, {}, tmp_path / "out", classes=["roof"])
    assert "below 0.5 are 'bg'" in summary.notes[0]
    assert open_project(tmp_path / "out").meta.class_names == ("bg_unet", "roof_unet")
    for threshold in (0.25, 0.5):
        out = tmp_path / str(threshold).replace(".", "_")
        geoseg.infer(source, bright, {}, out, classes=["roof"], threshold=threshold)
        [item] = open_project(out)
        pixels = np.asarray(Image.open(item.image))[..., 0]
        drawn = open_project(out).annotation(item).objects
        areas = {one.class_name: one.figure.mask.sum() for one in drawn}  # type: ignore[union-attr]
        assert areas.get("roof_unet", 0) == np.count_nonzero(pixels / np.float32(255) >= threshold)
        assert sum(areas.values()) == pixels.size


def test_scenes_are_read_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiled GeoTIFF with missing data, with windows in strips and bitmaps kept compressed."""
    height, width = 900, 700
    pixels = np.random.default_rng(1).integers(1, 255, (3, height, width), dtype=np.uint8)
    pixels[:, 300:400, 100:650] = 0
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "nodata": 0}
    with ProjectWriter(tmp_path / "in", ProjectMeta()) as writer:
        (img, _), _ = writer.reserve("parent/child", "scene.tif"), writer.reserve("parent", "no.tif")
        with rasterio.open(
            img / "scene.tif", "w", crs="EPSG:32645", transform=Affine(1, 0, 9, 0, -1, 9), tiled=True,
            blockxsize=256, blockysize=256, **profile,
        ) as out:  # fmt: skip
            out.write(pixels)
    monkeypatch.setattr("geoseg.pipeline.inference.classes._MOST_SUMS", 50_000)
    monkeypatch.setattr("geoseg.projects.figures.types.LARGE", 1000)
    config = {
        "mode": {
            "source": "sliding_window",
            "window": {"width": 300, "height": 280},
            "min_overlap": {"x": 40, "y": 100},
        }
    }

    def bright(batch: np.ndarray) -> np.ndarray:
        return np.stack([1 - batch[:, 0] / 255, batch[:, 0] / 255], axis=1)

    geoseg.infer(tmp_path / "in", bright, config, tmp_path / "out", classes=("dark", "light"), workers=2)
    project = open_project(tmp_path / "out")
    [item] = project
    assert item.dataset == "parent/child"
    found = {one.class_name: np.zeros((height, width), bool) for one in project.annotation(item).objects}
    for one in project.annotation(item).objects:
        assert isinstance(one.figure, Bitmap)
        (x, y), (h, w) = one.figure.origin, one.figure.shape
        found[one.class_name][y : y + h, x : x + w] = one.figure.mask
    valid = (pixels != 0).any(axis=0)
    assert np.array_equal(found["light_unet"], valid & (pixels[0] / np.float32(255) > 0.5))
    assert np.array_equal(found["dark_unet"], valid & ~found["light_unet"])


def test_the_network_is_given_full_batches_across_images(tmp_path: Path) -> None:
    source = write_project(tmp_path / "in", 9, images=5)
    sizes: list[int] = []
    running = threading.Lock()

    def counted(batch: np.ndarray) -> np.ndarray:
        assert running.acquire(blocking=False)  # one thread runs the network
        sizes.append(len(batch))
        running.release()
        return predict(batch)

    mode = {"source": "sliding_window", "window": {"width": 30, "height": 30}}
    summary = geoseg.infer(
        source,
        counted,
        {"mode": mode},
        tmp_path / "out",
        classes=NAMES,
        input_size=SIZE,
        batch_size=8,
        workers=3,
    )
    assert sizes[:-1] == [8] * (len(sizes) - 1)
    assert sum(sizes) == summary.windows > 30
    assert not summary.failures


@pytest.mark.parametrize("link", [False, True])
def test_images_are_copied_or_linked(tmp_path: Path, link: bool) -> None:
    source = write_project(tmp_path / "in", 2, images=2, legacy=True)
    infer(source, {}, tmp_path / "out", link=link, legacy=True)
    for one, other in zip(open_project(source), open_project(tmp_path / "out"), strict=True):
        assert one.image.samefile(other.image) == link
        assert other.annotation is not None
        assert other.annotation.name == f"{other.stem}.json"
    with pytest.raises(InputError, match="which exists"):
        infer(source, {}, tmp_path / "out")
    infer(source, {"model_classes": {"save_classes": ["road"]}}, tmp_path / "out", overwrite=True)
    assert open_project(tmp_path / "out").meta.class_names == ("road_unet",)


def test_images_are_tagged_with_how_sure_the_network_is(tmp_path: Path) -> None:
    source = write_project(tmp_path / "in", 5, images=3)

    def bright(batch: np.ndarray) -> np.ndarray:
        return np.stack([1 - batch[:, 0] / 255, batch[:, 0] / 255], axis=1)

    geoseg.infer(source, bright, {}, tmp_path / "out", classes=("bg", "light"), rank=True)
    project = open_project(tmp_path / "out")
    kinds = {tag.name: tag.value_type for tag in project.meta.tags}
    assert kinds == {"qa": "none", "uncertain": "any_number", "expected_iou": "any_number"}
    for item in project:
        prob = np.asarray(Image.open(item.image))[..., 0].astype(np.float32) / np.float32(255)
        found = prob > 0.5
        values = {tag.name: tag.value for tag in project.annotation(item).tags}
        assert values["uncertain"] == pytest.approx(np.mean((prob > 0.25) & (prob < 0.75)), abs=1e-3)
        expected = prob[found].sum() / (prob + found - prob * found).sum()
        assert values["expected_iou"] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(InputError, match="rank must go with today's layout"):
        geoseg.infer(source, bright, {}, tmp_path / "no", classes=("bg", "light"), rank=True, legacy=True)


def test_polygons_without_vertices_have_no_box(tmp_path: Path) -> None:
    empty, house = Polygon(np.zeros((0, 2))), Polygon(np.array([[3.0, 3], [9, 3], [9, 9]]))
    objects = tuple(LabeledObject("house", figure) for figure in (empty, house, empty))
    with ProjectWriter(tmp_path / "in", ProjectMeta((ClassMeta("house", "polygon", (9, 9, 9)),))) as writer:
        pixels = np.zeros((40, 50, 3), np.uint8)
        writer.add("ds", "a.png", Annotation(40, 50, objects), Image.fromarray(pixels).save)
    config = {"mode": {"source": "bboxes", "save": True}, "model_classes": {"save_classes": []}}
    summary = infer(tmp_path / "in", config, tmp_path / "out")
    assert (summary.windows, summary.objects, summary.failures) == (1, 1, ())
    result = open_project(tmp_path / "out")
    assert [one.figure for one in result.annotation(next(iter(result))).objects] == [Rectangle(3, 3, 9, 9)]


def test_a_gray_image_is_listed_with_what_can_be_done(tmp_path: Path) -> None:
    from geoseg.models.predictor import CallablePredictor

    with ProjectWriter(tmp_path / "in", ProjectMeta()) as writer:
        for name, bands in (("gray.png", ()), ("color.png", (3,))):
            pixels = np.zeros((40, 50, *bands), np.uint8)
            writer.add("ds", name, Annotation(40, 50), Image.fromarray(pixels).save)
    predictor = CallablePredictor(predict, classes=NAMES, in_channels=3)
    summary = geoseg.infer(tmp_path / "in", predictor, {}, tmp_path / "out", input_size=SIZE)
    (failure,) = summary.failures
    assert failure.image == "ds/gray.png"
    assert failure.reason.endswith("gdal_translate -b 1 -b 1 -b 1 makes three of a gray one.")
    gray = next(item.image for item in open_project(tmp_path / "in") if item.name == "gray.png")
    Image.open(gray).convert("RGB").save(gray)  # the same band three times
    assert not geoseg.infer(tmp_path / "in", predictor, {}, tmp_path / "again", input_size=SIZE).failures


def test_bands_and_values_are_those_of_a_run_on_a_scene(tmp_path: Path) -> None:
    from geoseg.models.card import ModelCard
    from geoseg.models.options import GeosegOptions
    from geoseg.models.predictor import CallablePredictor
    from geoseg.models.scaling import ZScore

    class WithCard(CallablePredictor):
        card = ModelCard.create(
            "colors",
            classes=NAMES,
            bands=("red", "green", "blue"),
            scaling=[ZScore(mean=100, stddev=50)],
            options=GeosegOptions(window=(64, 64), overlap=(0, 0)),
        )

    red, green, blue, nir = np.random.default_rng(0).integers(0, 255, (4, 40, 50), dtype=np.uint8)
    images = {
        "rgb.tif": ((red, green, blue), ("red", "green", "blue")),
        "bgrn.tif": ((blue, green, red, nir), ("blue", "green", "red", "nir")),
        "wide.tif": (np.stack([red, green, blue]).astype(np.uint16) * 40, ("red", "green", "blue")),
        "numbered.tif": ((red, green, blue), ("B4", "B3", "B2")),
    }
    transform = Affine(0.5, 0, 350_000, 0, -0.5, 3_056_000)
    with ProjectWriter(tmp_path / "in", ProjectMeta()) as writer:
        for name, (bands, called) in images.items():

            def write(file: Path, bands: Any = bands, called: Any = called) -> None:
                pixels = np.stack(bands)
                profile = {"count": len(bands), "height": 40, "width": 50, "dtype": pixels.dtype}
                profile |= {"crs": "EPSG:32645", "transform": transform, "photometric": "minisblack"}
                with rasterio.open(file, "w", **profile) as out:
                    out.write(pixels)
                    out.descriptions = called

            writer.add("ds", name, Annotation(40, 50), write)
    seen: dict[str, np.ndarray] = {}

    def look(batch: np.ndarray) -> np.ndarray:
        seen[f"image {len(seen)}"] = batch[0]
        return predict(batch)

    predictor = WithCard(look, classes=NAMES, in_channels=3)
    summary = geoseg.infer(tmp_path / "in", predictor, {}, tmp_path / "out", batch_size=1)
    assert [failure.image for failure in summary.failures] == ["ds/numbered.tif"]
    assert "must be known by their colors" in summary.failures[0].reason
    assert summary.failures[0].reason.endswith("Write the image with bands that it calls red, green, blue.")
    bgrn, rgb, wide = seen.values()  # in the order of their names
    assert np.array_equal(bgrn, rgb)
    assert np.array_equal(rgb, np.stack([red, green, blue]))
    assert wide.max() <= 255
    assert np.corrcoef(wide.ravel(), rgb.ravel())[0, 1] > 0.95
    notes = " ".join(summary.notes)
    assert "bands 3, 2, 1 are read as red, green, blue" in notes
    assert "values of uint16 images are stretched to 0..255" in notes
