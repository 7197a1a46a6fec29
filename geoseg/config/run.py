"""The settings of a run, each declared once.

From the class here and its bases (``config/scenes.py``: what is read; ``config/suggested.py``: what a model's
card may suggest) come the options of ``geoseg run``, ``predict`` and ``vectorize`` with their help texts, the
keyword arguments of :func:`geoseg.run`, ``segment``, ``predict`` and ``vectorize``, the keys of a card that
suggest a setting, the defaults, ``--config`` and ``--print-config``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from geoseg.config.option import Option, settings_of
from geoseg.config.scenes import SceneSettings
from geoseg.config.suggested import NETWORK, OUTLINES, STORED, SuggestedSettings
from geoseg.config.values import Words, as_tuple
from geoseg.typing import Connectivity, OnError, Overlaps

__all__ = ["RunSettings", "SuggestedSettings"]

#: Settings that ``auto`` leaves to the model, the device or the scene.
_AUTO = ("split", "stretch", "batch_size", "device", "engine")


class RunSettings(SceneSettings):
    """All settings of a run; see each one's ``help`` in its :class:`Option`.

    A value of None is as good as none: then the model's card decides, else the default.

    Examples
    --------
    >>> RunSettings(window=256, bands=None).given()
    {'window': (256, 256)}
    """

    # From here on how to work and what to write.
    formats: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)],
        BeforeValidator(as_tuple),
        Option(
            help="Formats of the footprints, several with commas.",
            takes=("run", "vectorize"),
            panel="Files",
            rule="names of output formats",
            choices="geoseg.io.writers:FORMATS",
            metavar="NAME[,NAME...]",
            flag="--format",
            keyword="str | Sequence[str]",
        ),
    ] = ("geojson",)
    class_names: Annotated[
        Words | None,
        Option(
            help="Names of the values 1, 2, ... (or of the bands) with commas; one name for all.",
            takes=("vectorize",),
            panel="Footprints",
            rule="texts",
            metavar="NAME[,NAME...]",
            keyword="str | Sequence[str]",
            unset="as the raster says",
        ),
    ] = None
    # A house whose wall runs diagonally hangs together at corners; cut there, it would be two.
    connectivity: Annotated[
        Connectivity,
        Option(
            help="8: pixels that touch at a corner are one object; 4: they are not.",
            takes=OUTLINES,
            panel="Footprints",
        ),
    ] = 8
    # What fits depends on the device's memory and the network, so no number holds for all.
    batch_size: Annotated[
        Annotated[int, Field(ge=1)] | None,
        BeforeValidator(lambda value: None if value == "auto" else value),
        Option(
            help="Windows of a batch.",
            takes=NETWORK,
            panel="Network",
            rule="at least 1, one whole number, or auto",
            metavar="N",
            keyword='int | Literal["auto"]',
            unset="auto, by device and memory",
            same_bytes=True,
        ),
    ] = None
    # A text and no list of choices: cuda:N has no end, and what there is is known only to torch.
    device: Annotated[
        str,
        Option(
            help="Where the network runs: auto, cpu, cuda, cuda:N or mps.",
            takes=NETWORK,
            panel="Network",
            same_bytes=True,
        ),
    ] = "auto"
    engine: Annotated[
        str,
        Option(
            help="Runtime of the network: auto, torch, onnxruntime, openvino or compile.",
            takes=NETWORK,
            panel="Network",
            same_bytes=True,
        ),
    ] = "auto"
    workers: Annotated[
        int,
        Field(ge=1),
        Option(
            help="Processes of this machine that share each scene; each holds the model. The result does not "
            "change.",
            takes=("run", "predict", "segment", "vectorize"),
            panel="Work",
            metavar="N",
        ),
    ] = 1
    scheduler: Annotated[
        str | None,
        Option(
            help="Address of a dask cluster whose workers share each scene, such as tcp://host:8786. They "
            "must see the scenes, the model and the folder of the results, or else the --store.",
            takes=("run", "predict", "segment", "vectorize"),
            panel="Work",
            metavar="ADDRESS",
            unset="this machine",
        ),
    ] = None
    # Beside the results unless somebody says so: they are on a disk that all see, or there is one machine.
    store: Annotated[
        str | None,
        Option(
            help="Folder or address (s3://bucket/folder, gs://, az://, any of fsspec) for the probabilities "
            "and what workers exchange; all must reach it. Results stay where they are.",
            takes=("run", "predict", "segment", "vectorize"),
            panel="Work",
            metavar="PLACE",
            unset="beside the results",
        ),
    ] = None
    devices: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)] | None,
        BeforeValidator(as_tuple),
        Option(
            help="Devices of the workers, one process for each, such as cuda:0,cuda:1.",
            takes=STORED,
            panel="Network",
            rule="names of devices",
            metavar="NAME[,NAME...]",
            keyword="str | Sequence[str]",
            unset="as --device says",
            same_bytes=True,
        ),
    ] = None
    # "Wanted": a run takes the nearest multiple of the stride, vectorize whole blocks of the file.
    chunk: Annotated[
        int,
        Field(ge=1),
        Option(
            help="Wanted side in pixels of the pieces that are stored and traced at a time.",
            takes=(*STORED, "vectorize"),
            panel="Work",
        ),
    ] = 1536
    # 254 and not 255 steps, so that one value is left for what has no data.
    dtype: Annotated[
        Literal["uint8", "float32"],
        Option(
            help="Pixels of the raster: probability * 254 with nodata 255 (uint8), or as it is (float32).",
            takes=("predict",),
            panel="Files",
        ),
    ] = "uint8"
    # Off: of a large scene the probabilities take more disk than all footprints.
    save_prob: Annotated[
        bool,
        Option(help="Also write NAME.prob.tif, the probabilities, a COG.", takes=("run",), panel="Files"),
    ] = False
    save_mask: Annotated[
        bool,
        Option(help="Also write NAME.mask.tif, the classes, a COG.", takes=("run",), panel="Files"),
    ] = False
    # Beside the footprints and not inside of a GeoPackage, whose readers would find a second layer.
    style: Annotated[
        bool,
        Option(
            help="Also write NAME.qml, by which QGIS colors the footprints by their confidence.",
            takes=("run", "vectorize"),
            panel="Files",
        ),
    ] = True
    qgs: Annotated[
        bool,
        Option(
            help="Also write NAME.qgs, a QGIS project of the scene and all that was made of it.",
            takes=("run",),
            panel="Files",
        ),
    ] = False
    stac: Annotated[
        bool,
        Option(
            help="Also write NAME.stac.json, a STAC item of the results; of many scenes a collection.json.",
            takes=("run",),
            panel="Files",
        ),
    ] = False
    report: Annotated[
        bool,
        Option(
            help="Also write NAME.report.html: map, totals, least certain places, settings, in one file that "
            "opens without a network.",
            takes=("run",),
            panel="Files",
        ),
    ] = False
    save_valid: Annotated[
        bool,
        Option(
            help="Also write NAME.valid.tif: which ground had data, in cells of 8 pixels or more.",
            takes=("run",),
            panel="Files",
        ),
    ] = False
    merge: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)] | None,
        BeforeValidator(as_tuple),
        Option(
            help="Also write one data set of all scenes, OUT/merged.FORMAT. Parquet is a folder of files, in "
            "which neighbors on the ground lie together.",
            takes=("run",),
            panel="Files",
            rule="names of output formats",
            choices="geoseg.io.writers:FORMATS",
            metavar="NAME[,NAME...]",
            keyword="str | Sequence[str]",
            unset="none",
        ),
    ] = None
    merge_crs: Annotated[
        str | None,
        Option(
            help="CRS of the merged data set, such as EPSG:3035.",
            takes=("run",),
            panel="Files",
            metavar="CRS",
            unset="that of the scenes, or WGS 84 where they have several",
        ),
    ] = None
    overlaps: Annotated[
        Overlaps,
        Option(
            help="Where scenes overlap, the merged data set has the footprints of all of them (keep), of the "
            "newest scene (newest), or of the one with the highest mean confidence (best).",
            takes=("run",),
            panel="Files",
        ),
    ] = "keep"
    update: Annotated[
        Path | None,
        Option(
            help="Vector file of footprints that were known before: a column says which ones are new, kept "
            "or changed, and NAME.new, NAME.changed and NAME.gone hold them.",
            takes=("run",),
            panel="Files",
            metavar="FILE",
            keyword="PathLike",
            unset="nothing is compared",
        ),
    ] = None
    update_iou: Annotated[
        float,
        Field(gt=0, le=1),
        Option(
            help="A footprint is kept, not changed, from this intersection over union with a known one.",
            takes=("run",),
            panel="Files",
            rule="a number above 0 and at most 1",
        ),
    ] = 0.5
    # Never by itself: what is thrown away may be hours of work, so a kept run of other settings is refused.
    restart: Annotated[
        bool,
        Option(help="Throw away a kept run and begin again.", takes=("run", "predict"), panel="Work"),
    ] = False
    # What geoseg wrote it knows by a mark in the file; whatever lacks it may be somebody's work.
    overwrite: Annotated[
        bool,
        Option(
            help="Write over files of these names that geoseg did not write. Its own are always replaced; a "
            "GeoPackage keeps its other layers.",
            takes=("run", "predict", "vectorize"),
            panel="Files",
        ),
    ] = False
    retry_failed: Annotated[
        bool,
        Option(
            help="Try scenes again that failed, or that lack regions which could not be read.",
            takes=("run",),
            panel="Work",
        ),
    ] = False
    # For batches that fail for one reason, such as a full disk or a wrong model: each would fail alike.
    max_failures: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Option(
            help="Stop a run of many scenes when more than this number have failed in this call.",
            takes=("run",),
            panel="Work",
            rule="a whole number of at least 0",
            metavar="N",
            unset="go on however many fail",
        ),
    ] = None
    # A hole in the result is only ever made where somebody asked for it.
    on_error: Annotated[
        OnError,
        Option(
            help="A region that can't be read: fail, or skip it and list it.",
            takes=(*STORED, "vectorize"),
            panel="Work",
        ),
    ] = "fail"

    @model_validator(mode="before")
    @classmethod
    def _only_given(cls, values: Any) -> Any:
        """Leave out None and ``auto``, which choose nothing, and make plain numbers of numpy's."""
        if not isinstance(values, Mapping):
            return values
        # Left out, not set to None: which settings were given decides whether the model's count.
        return {
            name: value.tolist() if hasattr(value, "tolist") else value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and value == "auto" and name in _AUTO)
        }

    @property
    def main_device(self) -> str:
        """Device that stands for all: those of the workers are of its kind."""
        return self.devices[0] if self.devices else self.device

    def given(self) -> dict[str, Any]:
        """The settings that somebody chose, without the defaults."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the stored pixels by themselves."""
        options = settings_of(type(self)).items()
        return {name: getattr(self, name) for name, (_, option) in options if option.fingerprint}
