"""Cards: structure by JSON Schema, round trips, and errors that name the JSON path."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from geoseg.errors import ModelError
from geoseg.models import shipped_model
from geoseg.models.card import ModelCard, card_text, parse_card, read_card, write_card
from geoseg.models.options import GeosegOptions
from geoseg.models.scaling import Clip, MinMax, Offset, Scale, ZScore, band_ramps, fill_values

NUMBER, TEXT = {"type": "number"}, {"type": "string", "minLength": 1}
Z, LINEAR, CLASS_NAME = {"const": "z-score"}, {"enum": ["scale", "offset"]}, {"pattern": r"^[0-9A-Za-z-_]+$"}
TASKS = {"type": "array", "uniqueItems": True, "minItems": 1, "items": {"enum": ["semantic-segmentation"]}}


def _tensor(dimension: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["shape", "dim_order", "data_type"],
        "properties": {
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": -1},
                "minItems": 4,
                "maxItems": 4,
            },
            "dim_order": {"type": "array", "uniqueItems": True, "contains": {"const": dimension}},
            "data_type": {"enum": ["uint8", "uint16", "int16", "float32"]},
        },
    }


#: What the MLM extension 1.5 and STAC 1.1 ask of an Item, as far as geoseg writes it.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        "type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties", "links", "assets"
    ],
    "properties": {
        "type": {"const": "Feature"},
        "stac_version": {"pattern": r"^1\.[1-9]"},
        "stac_extensions": {
            "type": "array",
            "uniqueItems": True,
            "contains": {"pattern": r"^https://stac-extensions\.github\.io/mlm/v1\.5\.\d+/schema\.json$"},
        },
        "id": TEXT,
        "bbox": {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4},
        "properties": {
            "required": [
                "datetime", "start_datetime", "end_datetime", "mlm:name", "mlm:architecture", "mlm:tasks",
                "mlm:input", "mlm:output", "bands",
            ],
            "properties": {
                "mlm:name": {"pattern": r"^[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]$"},
                "mlm:architecture": TEXT,
                "mlm:tasks": TASKS,
                "mlm:framework": TEXT,
                "mlm:accelerator": {"enum": ["amd64", "cuda", None]},
                "mlm:total_parameters": {"type": "integer", "minimum": 0},
                "mlm:hyperparameters": {"type": "object", "minProperties": 1, "required": ["geoseg"]},
                "bands": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["name"]}},
                "gsd": {"type": "number", "exclusiveMinimum": 0},
                "mlm:input": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "required": ["name", "bands", "input"],
                        "properties": {
                            "name": TEXT,
                            "bands": {"type": "array", "items": TEXT, "minItems": 1},
                            "input": _tensor("bands"),
                            "value_scaling": {
                                "type": ["array", "null"],
                                "items": {
                                    "oneOf": [
                                        {"required": ["mean", "stddev"], "properties": {"type": Z}},
                                        {"required": ["value"], "properties": {"type": LINEAR}},
                                    ]
                                },
                            },
                        },
                    },
                },
                "mlm:output": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "required": ["name", "tasks", "result", "classification:classes"],
                        "properties": {
                            "name": TEXT,
                            "tasks": TASKS,
                            "result": _tensor("class"),
                            "classification:classes": {
                                "type": "array",
                                "items": {
                                    "required": ["value", "name"],
                                    "properties": {"value": {"type": "integer"}, "name": CLASS_NAME},
                                },
                            },
                        },
                    },
                },
            },
            "patternProperties": {"^mlm:(artifact_type|compile_method|entrypoint)$": False},
        },
        "assets": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "required": ["href", "roles", "mlm:artifact_type"],
                "properties": {
                    "roles": {"contains": {"const": "mlm:model"}},
                    "mlm:artifact_type": TEXT,
                    "file:size": {"type": "integer", "minimum": 1},
                    "file:checksum": {"pattern": "^1220[0-9a-f]{64}$"},
                },
                "patternProperties": {"^mlm:(name|input|output|hyperparameters)$": False},
            },
        },
    },
}  # fmt: skip


def _document(bundle: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((bundle / "model.json").read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_card_has_the_structure_of_stac_and_mlm(which: str, bundle: Path) -> None:
    document = _document(bundle if which == "tiny" else shipped_model())
    jsonschema.validate(document, SCHEMA)
    names = {band["name"] for band in document["properties"]["bands"]}
    assert set(document["properties"]["mlm:input"][0]["bands"]) <= names


@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_card_is_read_by_stac_model(which: str, bundle: Path) -> None:
    schema = pytest.importorskip("stac_model.schema")
    properties = _document(bundle if which == "tiny" else shipped_model())["properties"]
    read = schema.MLModelProperties.model_validate(properties)
    assert read.name == properties["mlm:name"]
    assert len(read.input[0].bands) == 3


def test_card_is_a_valid_stac_item(bundle: Path) -> None:
    pystac = pytest.importorskip("pystac")
    item = pystac.Item.from_dict(_document(bundle))
    assert item.assets["model"].to_dict()["href"] == "model.safetensors"
    assert item.bbox == [-180, -90, 180, 90]


def test_round_trip_keeps_what_others_wrote(bundle: Path, tmp_path: Path) -> None:
    document = _document(bundle)
    document["properties"]["mlm:input"][0]["resize_type"] = None
    document["properties"]["providers"] = [{"name": "someone"}]
    document["assets"]["thumbnail"] = {"href": "a.png", "roles": ["thumbnail"], "extra": {"deep": [1]}}
    write_card(parse_card(document), tmp_path / "card.json")
    assert json.loads((tmp_path / "card.json").read_text(encoding="utf-8")) == document
    assert read_card(tmp_path / "card.json") == parse_card(document)
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def _put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    *parents, last = path.split("/")
    node: Any = document
    for key in parents:
        node = node[int(key)] if key.isdigit() else node[key]
    node[last] = value
    return document


GEOSEG = "properties/mlm:hyperparameters/geoseg"
INPUT, OUTPUT = "properties/mlm:input/0", "properties/mlm:output/0"


@pytest.mark.parametrize(
    ("path", "value", "where", "why"),
    [
        ("type", "Collection", "$.type", "Feature"),
        ("stac_extensions", [], "$.stac_extensions", "MLM"),
        ("properties/mlm:name", "?", "$.properties.mlm:name", "match"),
        ("properties/mlm:input", [], "$.properties.mlm:input", "at least 1"),
        (f"{INPUT}/value_scaling", [{"type": "z-score", "mean": 1, "stddev": 0}],
         "$.properties.mlm:input[0].value_scaling[0]", "greater than 0"),
        (f"{INPUT}/value_scaling", [{"type": "scale", "value": 2}] * 2, "mlm:input[0]", "3 bands"),
        (f"{INPUT}/value_scaling", [{"type": "processing"}], "value_scaling[0]", "z-score"),
        (f"{INPUT}/input/shape", [-1, 3], "$.properties.mlm:input[0].input", "equal length"),
        (f"{INPUT}/input/shape", [-1, 4, -1, -1], "$.properties.mlm:input[0]", "one channel a band"),
        (f"{OUTPUT}/classification:classes", [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}],
         "classification:classes", "distinct value"),
        (f"{OUTPUT}/result/shape", [-1, 3, -1, -1], "$", "one class each"),
        (f"{GEOSEG}/overlap", 64, "geoseg", "smaller than window"),
        (f"{GEOSEG}/gsd", -1, "geoseg.gsd", "greater than 0"),
        (f"{GEOSEG}/treshold", 0.5, "geoseg.treshold", "unknown key"),
        (f"{GEOSEG}/threshold", {"road": 0.5}, "$", "road"),
        (f"{GEOSEG}/activation", "tanh", "geoseg.activation", "sigmoid"),
        (f"{GEOSEG}/gsd_range", [0.4, 0.2], "geoseg.gsd_range", "smallest first"),
        (f"{GEOSEG}/architecture", {"name": "os.system"}, "geoseg.architecture.name", "lower-case"),
    ],
)  # fmt: skip
def test_errors_name_path_and_rule(bundle: Path, path: str, value: Any, where: str, why: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_card(_put(_document(bundle), path, value), source="model.json")
    assert str(caught.value).startswith("model.json: $")
    assert where in str(caught.value)
    assert why in str(caught.value)


def test_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="not valid JSON"):
        read_card(tmp_path / "card.json")


def test_classes_of_a_softmax_begin_with_background(make_card: Callable[..., ModelCard]) -> None:
    card = make_card(("ground", "road", "building"), class_priority=["building", "road"])
    assert (card.classes, card.background, card.activation) == (("ground", "road", "building"), 0, "softmax")
    single = make_card()
    assert (single.classes, single.background, single.activation) == (("building",), None, "sigmoid")


def test_single_output_of_two_named_classes_is_the_object(bundle: Path) -> None:
    classes = [{"value": 0, "name": "background"}, {"value": 1, "name": "house"}]
    card = parse_card(_put(_document(bundle), f"{OUTPUT}/classification:classes", classes))
    assert (card.classes, card.background) == (("house",), None)


def test_card_without_geoseg_object_gets_defaults(bundle: Path) -> None:
    document = _document(bundle)
    del document["properties"]["mlm:hyperparameters"]
    card = parse_card(document)
    assert card.options == GeosegOptions()
    assert card.activation == "sigmoid"


def test_a_key_that_earlier_versions_refuse_stands_only_where_it_was_set(
    make_card: Callable[..., ModelCard],
) -> None:
    def stated(card: ModelCard) -> dict[str, Any]:
        return dict(json.loads(card_text(card))["properties"]["mlm:hyperparameters"]["geoseg"])

    card = make_card()
    assert "min_confidence" not in {**stated(card), **stated(card.replace_options(multiple=1))}
    assert stated(card)["split"] == "off"  # other defaults are stated
    assert card.options.min_confidence == 0
    sure = make_card(min_confidence=0.6).replace_options(multiple=1)
    assert (stated(sure)["min_confidence"], sure.options.suggested()["min_confidence"]) == (0.6, 0.6)


def test_scaling_lines() -> None:
    z, m, c, o, s = band_ramps(
        [
            ZScore(mean=2, stddev=4),
            MinMax(minimum=1, maximum=5),
            Clip(minimum=0, maximum=8),
            Offset(value=3),
            Scale(value=2),
        ],
        5,
    )
    assert [ramp.gain * 10 + ramp.offset for ramp in (z, m, c, o, s)] == pytest.approx([2, 2.25, 10, 7, 5])
    assert (c.low, c.high) == (0, 8)
    assert fill_values(band_ramps([ZScore(mean=2, stddev=4), None], 2)).tolist() == [2, 0]
    with pytest.raises(ValueError, match="maximum must be above"):
        MinMax(minimum=1, maximum=1)
