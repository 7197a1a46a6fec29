"""Importers: what they find, and what they refuse."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from geoseg.errors import InputError, MissingFileError
from geoseg.geo.windows import Window
from geoseg.projects.figures import Bitmap, LabeledObject, Line, Point, Polygon, Rectangle, same_figure
from geoseg.projects.formats.binary_masks import read_binary_masks
from geoseg.projects.formats.coco import figures_of, read_coco
from geoseg.projects.formats.contents import ImportContents, value_bitmaps
from geoseg.projects.formats.image_folder import read_image_folder
from geoseg.projects.formats.kitti import read_kitti
from geoseg.projects.formats.rings import figure_outline
from geoseg.projects.formats.vector_labels import LabelOptions, pixel_figures, read_vector_labels
from geoseg.projects.images import open_image
from geoseg.raster.draw import draw_figures


def picture(path: Path, array: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8) if array is None else array).save(path)
    return path


def objects(source: ImportContents, index: int = 0) -> list[LabeledObject]:
    image = source.images[index]
    return image.read(open_image(image.path).shape)


def pixels(item: LabeledObject, shape: tuple[int, int] = (40, 60)) -> set[tuple[int, int]]:
    """(column, row) of the pixels that an object draws."""
    rows, cols = np.nonzero(
        draw_figures([item.figure], [1], Window(row_off=0, col_off=0, height=shape[0], width=shape[1]))
    )
    return set(zip(cols.tolist(), rows.tolist(), strict=True))


@given(arrays(np.uint16, (5, 7), elements=st.sampled_from([0, 1, 256, 6659])))
def test_value_bitmaps_add_up_to_the_values(values: np.ndarray) -> None:
    again = np.zeros_like(values)
    for value, bitmap in value_bitmaps(values):
        (x, y), (h, w) = bitmap.origin, bitmap.mask.shape
        assert bitmap.tight() is bitmap
        again[y : y + h, x : x + w][bitmap.mask] = value
    np.testing.assert_array_equal(again, values)


class TestBinaryMasks:
    @pytest.mark.parametrize(("images", "masks"), [("img", "ann"), ("images", "masks"), ("images", "gt")])
    def test_pairs_by_stem(self, tmp_path: Path, images: str, masks: str) -> None:
        picture(tmp_path / images / "a.jpg")
        picture(tmp_path / images / "b.png")
        mask = np.zeros((4, 6), np.uint8)
        mask[1, 2:5] = 255
        picture(tmp_path / masks / "a.png", mask)
        picture(tmp_path / masks / "lost.png", mask)
        source = read_binary_masks(tmp_path)
        assert [(i.dataset, i.name) for i in source.images] == [("ds", "a.jpg"), ("ds", "b.png")]
        [item] = objects(source)
        assert (item.class_name, item.figure.origin, item.figure.mask.shape) == ("untitled", (2, 1), (1, 3))
        assert objects(source, 1) == []
        assert source.notes == [
            f"mask without image: {tmp_path / masks / 'lost.png'}",
            "ds: 1 of 2 images have no mask",
        ]
        picture(tmp_path / masks / "a.tif", mask)
        with pytest.raises(InputError, match=r"must have one mask, got a.png and a.tif in .*. Move one of"):
            read_binary_masks(tmp_path)

    def test_an_accent_may_be_spelled_apart(self, tmp_path: Path) -> None:
        picture(tmp_path / "img" / "caf\u00e9.png")
        picture(tmp_path / "ann" / "cafe\u0301.png", np.ones((4, 6), np.uint8))
        source = read_binary_masks(tmp_path)
        assert (len(objects(source)), source.notes) == (1, [])

    def test_values_of_classes(self, tmp_path: Path) -> None:
        picture(tmp_path / "town" / "img" / "a.png")
        picture(tmp_path / "town" / "ann" / "a.png", np.array([[0, 1, 2, 3, 3, 0]] * 4, np.uint8))
        source = read_binary_masks(tmp_path, {"low": [1, 2], "high": [3], "none": [9]})
        assert source.images[0].dataset == "town"
        assert [(o.class_name, int(o.figure.mask.sum())) for o in objects(source)] == [
            ("low", 8),
            ("high", 8),
        ]
        assert [c.name for c in source.classes] == ["low", "high", "none"]

    def test_mask_of_another_size_is_refused(self, tmp_path: Path) -> None:
        picture(tmp_path / "img" / "a.png")
        picture(tmp_path / "ann" / "a.png", np.zeros((3, 3), np.uint8))
        with pytest.raises(InputError, match="as large as its image of 6 x 4"):
            objects(read_binary_masks(tmp_path))

    def test_masks_in_colors_are_refused_and_gray_ones_are_not(self, tmp_path: Path) -> None:
        picture(tmp_path / "img" / "a.png")
        values = np.zeros((4, 6, 4), np.uint8)
        values[1, 2:5, :3], values[..., 3] = 255, np.arange(6)  # alpha is no color
        mask = picture(tmp_path / "ann" / "a.png", values)
        [item] = objects(read_binary_masks(tmp_path))
        assert (item.figure.origin, item.figure.mask.shape) == ((2, 1), (1, 3))
        values[1, 2:5] = (0, 255, 0, 255)  # green: nothing in the first band
        Image.fromarray(values).save(mask)
        with pytest.raises(InputError, match=r"one value a pixel, got .*a\.png in colors. Save .* palette"):
            objects(read_binary_masks(tmp_path))
        classes = Image.fromarray((values[..., 1] > 0).astype(np.uint8), "P")  # as the message advises
        classes.putpalette([0, 0, 0, 0, 255, 0])
        classes.save(mask)
        [item] = objects(read_binary_masks(tmp_path, {"green": [1]}))
        assert (item.figure.origin, item.figure.mask.shape) == ((2, 1), (1, 3))

    def test_damaged_mask_is_refused(self, tmp_path: Path) -> None:
        picture(tmp_path / "img" / "a.png")
        mask = picture(tmp_path / "ann" / "a.png", np.arange(24, dtype=np.uint8).reshape(4, 6))
        mask.write_bytes(mask.read_bytes()[:50])
        with pytest.raises(InputError):
            objects(read_binary_masks(tmp_path))

    def test_refusals(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="img or images"):
            read_binary_masks(tmp_path)
        with pytest.raises(InputError, match="above 0"):
            read_binary_masks(tmp_path, {"a": [0]})


class TestKitti:
    def test_instances_are_objects(self, tmp_path: Path) -> None:
        picture(tmp_path / "training" / "image_2" / "000000_10.png")
        values = np.zeros((4, 6), np.uint16)
        values[0, :2], values[0, 4:], values[2], values[3, 0] = 26 * 256 + 1, 26 * 256 + 2, 7 * 256, 3
        picture(tmp_path / "training" / "instance" / "000000_10.png", values)
        picture(tmp_path / "testing" / "image_2" / "000000_10.png")
        source = read_kitti(tmp_path)
        assert len(source.classes) == 34
        assert [i.dataset for i in source.images] == ["testing", "training"]
        found = [(o.class_name, int(o.figure.mask.sum())) for o in objects(source, 1)]
        assert found == [("unlabeled", 1), ("road", 6), ("car", 2), ("car", 2)]
        assert objects(source, 0) == []
        assert source.notes == ["testing: 1 of 1 images have no labels"]

    def test_instances_saved_with_8_bits_are_refused(self, tmp_path: Path) -> None:
        picture(tmp_path / "image_2" / "a.png")
        values = picture(tmp_path / "instance" / "a.png", np.full((4, 6), 26, np.uint8))
        with pytest.raises(InputError, match=r"16 bits .256 \* class id .* Put class ids into semantic"):
            objects(read_kitti(tmp_path))
        values.parent.rename(tmp_path / "semantic")  # as the message advises
        assert [item.class_name for item in objects(read_kitti(tmp_path))] == ["car"]

    def test_an_accent_may_be_spelled_apart(self, tmp_path: Path) -> None:
        picture(tmp_path / "image_2" / "caf\u00e9.png")
        picture(tmp_path / "semantic" / "cafe\u0301.png", np.full((4, 6), 26, np.uint8))
        source = read_kitti(tmp_path)
        assert ([item.class_name for item in objects(source)], source.notes) == (["car"], [])

    def test_own_classes(self, tmp_path: Path) -> None:
        picture(tmp_path / "image_2" / "a.png")
        picture(tmp_path / "semantic" / "a.png", np.full((4, 6), 200, np.uint8))
        with pytest.raises(InputError, match="0 to 33, got 200"):
            objects(read_kitti(tmp_path))
        colors = tmp_path / "colors.json"
        colors.write_text(json.dumps([{"id": 200, "name": "moon", "color": [1, 2, 3]}]))
        source = read_kitti(tmp_path)
        assert source.classes[0].color == (1, 2, 3)
        assert [o.class_name for o in objects(source)] == ["moon"]
        colors.write_text("[{}]")
        with pytest.raises(InputError, match="list of"):
            read_kitti(tmp_path)

    def test_real_labels(self, data_dir: Path) -> None:
        source = read_kitti(data_dir / "kitti")
        assert [i.dataset for i in source.images] == ["kitti"] * 4
        labels = np.asarray(Image.open(data_dir / "kitti" / "semantic" / "000000_10.png"))
        found = {o.class_name: int(o.figure.mask.sum()) for o in objects(source)}
        assert found["car"] == int((labels == 26).sum())
        assert sum(found.values()) == int((labels > 0).sum())


COCO = {
    "images": [{"id": 7, "file_name": "a.png", "height": 4, "width": 6}],
    "categories": [{"id": 3, "name": "house"}, {"id": 4, "name": "tree"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "segmentation": [[0, 0, 3, 0, 3, 2], [4, 0, 6, 0, 6, 2]]},
        {
            "image_id": 7,
            "category_id": 4,
            "segmentation": {"counts": [1, 2, 21], "size": [4, 6]},
            "iscrowd": 1,
        },
        {"image_id": 7, "category_id": 4, "bbox": [1, 1, 2, 2]},
    ],
}


def coco(folder: Path, document: object = COCO, name: str = "annotations/instances_val.json") -> Path:
    picture(folder / "images" / "a.png")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


class TestCoco:
    def test_figures_and_classes(self, tmp_path: Path) -> None:
        coco(tmp_path)
        source = read_coco(tmp_path)
        assert [(c.name, c.shape) for c in source.classes] == [("house", "polygon"), ("tree", "any")]
        assert source.images[0].dataset == "val"
        assert source.object_tags == ("iscrowd",)
        first, second, crowd, box = objects(source)
        assert pixels(first) == {(1, 0), (2, 0), (2, 1)}  # whose centers lie inside
        assert pixels(second) == {(4, 0), (5, 0), (5, 1)}
        assert isinstance(second.figure, Polygon)
        assert (crowd.figure.origin, crowd.figure.mask.shape, crowd.tags[0].name) == (
            (0, 1),
            (2, 1),
            "iscrowd",
        )
        assert box.figure == Rectangle(1, 1, 2, 2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"category_id": 9}, r"annotations\[0\]: category_id must be one of 3, 4, got 9"),
            ({"segmentation": [[0, 0, 1, 1, 2]]}, "must be x, y pairs"),
            ({"segmentation": [["x", 0, 1, 1, 2, 2]]}, "list of"),
            ({"segmentation": {"counts": "0", "size": [4, 6]}}, "sum to 4 x 6"),
            ({"segmentation": {"counts": "\u0001", "size": [4, 6]}}, "compressed RLE"),
            ({"segmentation": {"counts": [24], "size": [6, 4]}}, "size of the RLE"),
            ({"segmentation": [], "bbox": [1, 2]}, "bbox must be"),
        ],
    )
    def test_broken_annotations_name_their_place(self, tmp_path: Path, change: dict, message: str) -> None:
        coco(tmp_path, {**COCO, "annotations": [{**COCO["annotations"][0], **change}]})
        with pytest.raises(InputError, match=message):
            objects(read_coco(tmp_path))

    def test_rings_of_two_points_are_left_out_and_counted(self, tmp_path: Path) -> None:
        house = COCO["annotations"][0]
        rings = [[0, 0, 1, 1], [], house["segmentation"][0]]
        coco(tmp_path, {**COCO, "annotations": [{**house, "segmentation": rings}, COCO["annotations"][2]]})
        source = read_coco(tmp_path)
        assert [item.class_name for item in objects(source)] == ["house", "tree"]
        assert source.notes == ["instances_val.json: 2 rings of less than 3 vertices left out"]

    @pytest.mark.parametrize(
        "segmentation",
        [
            [1, 1, 4, 1, 4, 3, 1, 3],
            [[1, 1], [4, 1], [4, 3], [1, 3]],
            [[[1, 1], [4, 1], [4, 3], [1, 3]]],
            [[1, 1, 4, 1, 4, 3, 1, 3, 1, 1]],
        ],
    )
    def test_rings_as_other_tools_write_them(self, tmp_path: Path, segmentation: list) -> None:
        coco(tmp_path, {**COCO, "annotations": [{**COCO["annotations"][0], "segmentation": segmentation}]})
        source = read_coco(tmp_path)
        [item] = objects(source)
        assert pixels(item) == {(x, y) for x in (1, 2, 3) for y in (1, 2)}
        assert source.notes == []

    @pytest.mark.parametrize("bare", [{}, {"segmentation": [], "bbox": None}, {"segmentation": None}])
    def test_annotations_without_a_shape_are_left_out_and_counted(self, tmp_path: Path, bare: dict) -> None:
        keypoints = {"image_id": 7, "category_id": 4, "keypoints": [1, 1, 2], **bare}
        coco(tmp_path, {**COCO, "annotations": [keypoints, COCO["annotations"][2]]})
        source = read_coco(tmp_path)
        assert [item.class_name for item in objects(source)] == ["tree"]
        assert source.notes == ["instances_val.json: 1 annotations without a shape left out"]

    @pytest.mark.parametrize(
        ("bbox", "covered"),
        [([1, 1, 2, 2], (1, 1, 2, 2)), ([0.4, 0.6, 2, 2.0], (0, 1, 1, 2)), ([0.5, 0, 2, 1], (0, 0, 1, 0))],
    )
    def test_boxes_cover_the_pixels_whose_centers_they_hold(self, bbox: list, covered: tuple) -> None:
        assert figures_of({"bbox": bbox}, (9, 9)) == [Rectangle(*covered)]
        assert figures_of({"bbox": [1.6, 1, 0.8, 3]}, (9, 9)) == []

    @pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "missing.png"])
    def test_images_outside_and_missing_are_listed(self, tmp_path: Path, name: str) -> None:
        coco(tmp_path, {**COCO, "images": [{"id": 7, "file_name": name}]})
        source = read_coco(tmp_path)
        assert source.images == []
        assert source.failures[0][0] == f"val/{name}"

    def test_turned_boxes_are_polygons(self, tmp_path: Path) -> None:
        box = {"image_id": 7, "category_id": 4, "bbox": [0, 1, 4, 2], "segmentation": []}
        turned = {**box, "attributes": {"occluded": False, "rotation": 90.0}}
        coco(tmp_path, {**COCO, "annotations": [turned]})
        source = read_coco(tmp_path)
        assert source.classes[1].shape == "polygon"
        [item] = objects(source)
        window = Window(row_off=0, col_off=0, height=4, width=6)
        drawn = draw_figures([item.figure], [1], window, dtype=np.uint8)
        expected = np.zeros((4, 6), np.uint8)
        expected[0:4, 1:3] = 1  # 4 x 2 pixels about (2, 2), upright
        np.testing.assert_array_equal(drawn, expected)
        for attributes in (None, 3, {"rotation": 360}, {"rotation": "x"}, {"rotation": 0.0}):
            assert figures_of({**box, "attributes": attributes}, (4, 6)) == [Rectangle(0, 1, 3, 2)]

    def test_a_box_turned_by_a_little_goes_clockwise(self) -> None:
        annotation = {"bbox": [10, 28, 40, 4], "attributes": {"rotation": 30}}
        [figure] = figures_of(annotation, (60, 60))
        left = figure.exterior[figure.exterior[:, 0].argmin()]
        right = figure.exterior[figure.exterior[:, 0].argmax()]
        assert left[1] < 25 < 35 < right[1]  # y points down: the right end is lower on the screen

    def test_one_flat_ring(self) -> None:
        flat = [0, 0, 3, 0, 3, 2]
        [one], [other] = (
            figures_of({"segmentation": flat}, (4, 6)),
            figures_of({"segmentation": [flat]}, (4, 6)),
        )
        assert same_figure(one, other)

    @pytest.mark.parametrize(
        "annotation",
        [{"bbox": [1e30, 1, 5, 5]}, {"segmentation": [[0, 0, 1e12, 0, 1, 1]]},
         {"segmentation": {"counts": [1e30], "size": [4, 6]}}],
    )  # fmt: skip
    def test_numbers_that_no_image_has(self, annotation: dict) -> None:
        with pytest.raises(InputError, match="must hold numbers up to"):
            figures_of(annotation, (4, 6))

    @pytest.mark.parametrize("key", ["images", "categories"])
    def test_files_joined_without_new_ids_are_refused(self, tmp_path: Path, key: str) -> None:
        joined = {**COCO, key: [*COCO[key], COCO[key][0] | {"file_name": "b.png", "name": "b"}]}
        with pytest.raises(InputError, match=rf"\$\.{key}: ids must be unique, got \d more than once"):
            read_coco(coco(tmp_path, joined))
        coco(tmp_path)  # as the message advises: files of the same ids side by side
        coco(tmp_path, name="annotations/instances_train.json")
        source = read_coco(tmp_path)
        assert [(image.dataset, len(objects(source, i))) for i, image in enumerate(source.images)] == [
            ("train", 4),
            ("val", 4),
        ]

    @pytest.mark.parametrize("tags", [5, {"a": 1}, [5, None]])
    def test_tags_of_other_programs_are_let_be(self, tmp_path: Path, tags: object) -> None:
        document = {**COCO, "images": [COCO["images"][0] | {"tags": tags}]}
        assert read_coco(coco(tmp_path, document)).images[0].tags == ()

    def test_lost_annotations_are_listed(self, tmp_path: Path) -> None:
        coco(tmp_path, {**COCO, "images": [{"id": 1, "file_name": "a.png"}]})
        assert "3 annotations name an image_id" in read_coco(tmp_path).failures[0][1]

    def test_other_size_is_refused(self, tmp_path: Path) -> None:
        coco(tmp_path, {**COCO, "images": [{"id": 7, "file_name": "a.png", "height": 5, "width": 6}]})
        with pytest.raises(InputError, match="6 x 4 pixels where"):
            objects(read_coco(tmp_path))

    @pytest.mark.parametrize(
        "document", [[], {"images": 3, "categories": []}, {"images": [{}], "categories": []}]
    )
    def test_files_that_are_not_coco(self, tmp_path: Path, document: object) -> None:
        with pytest.raises(InputError):
            read_coco(coco(tmp_path, document))

    @given(
        st.dictionaries(
            st.sampled_from(["segmentation", "bbox"]),
            st.recursive(
                st.none() | st.integers() | st.text(max_size=3) | st.floats(),
                lambda x: st.lists(x, max_size=7) | st.dictionaries(st.sampled_from(["counts", "size"]), x),
                max_leaves=8,
            ),
        )
    )
    @settings(max_examples=200)
    def test_any_annotation_is_read_or_refused(self, annotation: dict) -> None:
        with contextlib.suppress(InputError):  # the only error that may come
            assert isinstance(figures_of(annotation, (4, 6)), list)


def scene(path: Path, crs: str | None = "EPSG:32645") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": 40, "width": 60, "count": 1, "dtype": "uint16"}
    profile |= {"transform": Affine(0.5, 0, 331000, 0, -0.5, 3057000)} if crs else {}
    profile |= {"crs": crs} if crs else {"transform": Affine(1, 0, 0, 0, 1, 0.25)}
    with rasterio.open(path, "w", **profile) as out:
        out.write(np.zeros((1, 40, 60), np.uint16))
    return path


def on_ground(*pixels: tuple[float, float]) -> shapely.Polygon:
    return shapely.Polygon([(331000 + 0.5 * x, 3057000 - 0.5 * y) for x, y in pixels])


class TestVector:
    def write(
        self, path: Path, *shapes: object, kinds: list | None = None, crs: object = "EPSG:32645"
    ) -> Path:
        columns = {} if kinds is None else {"kind": kinds}
        geopandas.GeoDataFrame(columns, geometry=list(shapes), crs="EPSG:32645").to_file(path)
        return path

    def test_vertices_are_pixels_of_the_border(self, tmp_path: Path) -> None:
        scene(tmp_path / "a.tif")
        self.write(tmp_path / "a.gpkg", on_ground((10, 5), (20, 5), (20, 15), (10, 15)))
        [item] = objects(read_vector_labels(tmp_path))
        assert item.class_name == "object"
        assert item.figure.exterior.tolist() == [[10, 5], [10, 14], [19, 14], [19, 5]]

    def test_other_crs_and_classes_from_a_column(self, tmp_path: Path) -> None:
        scene(tmp_path / "a.tif")
        shapes = [
            on_ground((10, 5), (20, 5), (20, 15), (10, 15)),
            shapely.LineString([(331001, 3056999), (331005, 3056999)]),
        ]
        shapes += [on_ground((900, 900), (920, 900), (920, 915)), shapely.Point(331001, 3056999)]
        table = geopandas.GeoDataFrame(
            {"kind": ["roof", "road", "roof", None]}, geometry=shapes, crs="EPSG:32645"
        )
        table.to_crs(4326).to_file(tmp_path / "labels.geojson")
        source = read_vector_labels(tmp_path, options=LabelOptions(class_column="kind", bitmaps=True))
        assert [(c.name, c.shape) for c in source.classes] == [("road", "line"), ("roof", "bitmap")]
        roof, road = objects(source)
        assert (roof.figure.origin, roof.figure.mask.shape) == ((10, 5), (10, 10))
        assert roof.figure.mask.all()
        np.testing.assert_allclose(road.figure.points, [[1.5, 1.5], [9.5, 1.5]], atol=1e-4)
        assert source.notes == ["labels.geojson: 1 rows without geometry or class left out"]

    def test_self_crossing_polygons_are_repaired_and_counted(self, tmp_path: Path) -> None:
        scene(tmp_path / "a.tif")
        self.write(tmp_path / "a.geojson", on_ground((0, 0), (10, 10), (10, 0), (0, 10)))
        source = read_vector_labels(tmp_path)
        assert source.notes == ["a.geojson: 1 self-crossing polygons repaired"]
        assert len(objects(source)) == 2

    def test_refusals(self, tmp_path: Path) -> None:
        scene(tmp_path / "a.tif")
        with pytest.raises(MissingFileError, match="same stem"):
            read_vector_labels(tmp_path)
        labels = self.write(tmp_path / "b.gpkg", on_ground((0, 0), (1, 0), (1, 1)), kinds=["x"])
        with pytest.raises(InputError, match=r"column must be one of b.gpkg \(kind\), got 'type'"):
            read_vector_labels(tmp_path, labels, LabelOptions(class_column="type"))
        bare = scene(tmp_path / "bare" / "c.tif", crs=None)
        with pytest.raises(InputError, match=r"c.tif must have a CRS, as .*b.gpkg has"):
            objects(read_vector_labels(bare, labels))
        fake = tmp_path / "fake.geojson"
        fake.write_text("<OGRVRTDataSource/>")
        with pytest.raises(InputError, match="content of a vector file must fit its suffix"):
            read_vector_labels(tmp_path, fake)

    def test_real_labels_come_back_to_their_place(self, data_dir: Path) -> None:
        folder = data_dir / "oam_kampala_A"
        source = read_vector_labels(folder / "kampala_A_15cm.tif", folder / "kampala_A_buildings.geojson")
        truth = geopandas.read_file(folder / "kampala_A_buildings.geojson").to_crs(3857)
        with rasterio.open(folder / "kampala_A_15cm.tif") as dataset:
            box, transform = shapely.box(*dataset.bounds), dataset.transform
        inside = truth.geometry.make_valid().intersection(box).area.sum()
        areas = [figure_outline(item.figure).area for item in objects(source)]
        assert sum(areas) * abs(transform.determinant) == pytest.approx(inside, rel=5e-3)

    @given(st.tuples(*[st.floats(-20, 40)] * 6))
    def test_figures_stay_inside_the_image(self, numbers: tuple[float, ...]) -> None:
        triangle = shapely.Polygon(np.reshape(numbers, (3, 2)))
        for figure in pixel_figures(triangle, (16, 24)):
            x, y = np.floor(figure.exterior + 0.5).T
            assert (x.min() >= 0, x.max() <= 23, y.min() >= 0, y.max() <= 15) == (True,) * 4
        for bitmap in pixel_figures(triangle, (16, 24), bitmaps=True):
            (x0, y0), (h, w) = bitmap.origin, bitmap.mask.shape
            assert min(x0, y0) >= 0
            assert x0 + w <= 24
            assert y0 + h <= 16

    def test_lines_and_points(self) -> None:
        [line] = pixel_figures(shapely.LineString([(1, 1), (30, 1)]), (9, 9))
        assert isinstance(line, Line)
        assert line.points[:, 0].max() == 8.5
        assert pixel_figures(shapely.MultiPoint([(1, 1), (50, 50)]), (9, 9)) == [Point(0.5, 0.5)]


def test_folders_are_data_sets(tmp_path: Path) -> None:
    for name in ["z.png", "b/a.png", "b/c/a.png"]:
        picture(tmp_path / name)
    source = read_image_folder(tmp_path)
    assert [(i.dataset, i.name) for i in source.images] == [("b", "a.png"), ("b_c", "a.png"), ("ds", "z.png")]
    assert objects(source) == []
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match="images"):
        read_image_folder(empty)


def test_large_outlines_are_drawn_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = np.arange(60) * 2.4
    spikes = np.stack([45 + 44 * np.cos(angles), 350 + 345 * np.sin(angles)], axis=1)
    outline = shapely.make_valid(shapely.Polygon(spikes))
    [small] = pixel_figures(outline, (700, 90), bitmaps=True)
    for name in ("types", "strips"):
        monkeypatch.setattr(f"geoseg.projects.figures.{name}.LARGE", 0)
    [large] = pixel_figures(outline, (700, 90), bitmaps=True)
    assert isinstance(small, Bitmap)
    assert isinstance(large, Bitmap)
    assert not isinstance(large.pixels, np.ndarray)
    assert same_figure(small, large)
