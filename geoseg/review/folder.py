"""The folder of a review: whose it is, and the names of its images and which are drawn for measuring."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.config import read_document
from geoseg.errors import InputError, StateMismatchError
from geoseg.files import LockedError, hold, json_digest, write_text
from geoseg.io.names import is_remote
from geoseg.io.writers import read_provenance
from geoseg.review.ranking import QA_EVERY, draw_qa
from geoseg.review.targets import ProjectTarget, SceneTarget
from geoseg.typing import BoolArray, PathLike

__all__ = [
    "Images",
    "default_folder",
    "hold_review",
    "keep_images",
    "keep_settings",
    "read_images",
    "read_settings",
    "settings_key",
]

#: Raised when what stands in the folder changes so that an older geoseg would read it wrongly.
_VERSION = 1
#: Of a review that is told neither: the seed of its draws, and the side of its places in pixels.
_SEED, _BLOCK = 0, 512


@dataclass(frozen=True)
class Images:
    """Images of a review; one keeps its number for good, whatever joins or leaves the project.

    Attributes
    ----------
    names
        DATASET/NAME of each.
    qa
        (n,) bool, drawn for measuring.
    """

    names: list[str]
    qa: BoolArray


def default_folder(target: str) -> Path:
    """Where the review of a project or scene lies, unless the user says otherwise.

    Examples
    --------
    >>> default_folder("photos/town.tif").name, default_folder("https://example.org/town.tif?key=a/b").name
    ('town.review', 'town.review')
    """
    # An address has no folder to be beside.
    if is_remote(target):
        return Path.cwd() / f"{Path(target.partition('?')[0]).stem}.review"
    path = Path(target)
    # Beside the target and never in it: a project is a folder that other programs read, too.
    name = path.resolve().name if path.is_dir() else path.stem
    return path.resolve().parent / f"{name}.review"


@contextmanager
def hold_review(folder: Path) -> Iterator[None]:
    """Keep a review for this process.

    Raises
    ------
    LockedError
        Another process has it.
    """
    try:
        with hold(folder):
            yield
    except LockedError:
        raise LockedError(
            f"a review must be open in one process only, got {folder}, which another one has open. Use its "
            "page, or close it with Ctrl-C."
        ) from None


def keep_settings(
    folder: Path, target: SceneTarget | ProjectTarget, seed: int | None, block: int | None
) -> dict[str, Any]:
    """The settings that a review began with; written when it begins.

    What it is compared with may be another each time: no edit depends on it.

    Raises
    ------
    StateMismatchError
        The folder is of another scene, the footprints have changed since it began, or seed, block or class
        column are to be others.
    """
    # Through JSON, as it is read back: a tuple would differ from the list that it is kept as.
    identity = json.loads(json.dumps(target.identity()))
    if not (folder / "review.json").exists():
        # A folder of something else, named by mistake, must not be filled with a journal.
        if any(folder.iterdir()):
            raise InputError(
                f"folder of a review must be new or hold one, got {folder}, which is neither. Give --dir."
            )
        settings = {
            "version": _VERSION,
            "target": _full_path(
                target.project.path if isinstance(target, ProjectTarget) else target.scene.path
            ),
            "seed": _SEED if seed is None else seed,
            "block": _BLOCK if block is None else block,
            **identity,
            **_frame(target),
        }
        write_text(folder / "review.json", json.dumps(settings, indent=2))
        return settings
    settings = read_settings(folder)
    changed = [
        key for key, value in identity.items() if key != "before" and _differs(settings.get(key), value)
    ]
    if changed:
        # The first difference is named: whoever ran the network again on the scene has other footprints only.
        what = "another target" if {"kind", "path", "fingerprint"} & set(changed) else "other " + changed[0]
        raise StateMismatchError(
            f"folder of a review must be of this target, got {folder}, which was begun with {what} "
            f"({settings['target']}). Give another --dir, or remove it to begin anew."
        )
    column = (target.column or "class") if isinstance(target, SceneTarget) else None
    for name, value in (("seed", seed), ("block", block), ("class_column", column)):
        if value is not None and value != settings[name]:
            words = name.replace("_", " ")
            raise StateMismatchError(
                f"{words} must be {settings[name]}, with which the review in {folder} began, got {value}. "
                f"Give --{words.replace(' ', '-')} {settings[name]}, or another --dir."
            )
    if settings.get("before") != identity.get("before"):
        settings["before"] = identity["before"]
        write_text(folder / "review.json", json.dumps(settings, indent=2))
    return settings


def _differs(kept: Any, value: Any) -> bool:
    if isinstance(kept, dict) and isinstance(value, dict):
        # A review of an older geoseg knows less of its files.
        return any(value.get(name) != known for name, known in kept.items())
    return bool(kept != value)


def _full_path(path: PathLike) -> str:
    """A path that holds in any folder: an export from another one must know what it may not write over."""
    return str(Path(path).resolve()) if Path(path).exists() else str(path)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a review.

    Raises
    ------
    InputError
        The folder is no review, or one of a newer geoseg.
    """
    if not (folder / "review.json").is_file():
        raise InputError(f"review must be a folder that `geoseg review` made, got {folder}. Check the name.")
    settings = read_document(folder / "review.json")
    if not isinstance(settings, dict) or settings.get("version") != _VERSION:
        raise InputError(f"{folder / 'review.json'} must be of version {_VERSION}. Update geoseg.")
    return settings


def settings_key(settings: Mapping[str, Any]) -> str:
    """What an index made for these settings is known by: all but what the footprints are compared with."""
    return json_digest({name: value for name, value in settings.items() if name != "before"})


def _frame(target: SceneTarget | ProjectTarget) -> dict[str, Any]:
    """Where a scene's pixels lie, so that an export needs the review alone."""
    if isinstance(target, ProjectTarget):
        return {}
    geobox = target.scene.geobox
    frame = {
        "transform": list(geobox.transform)[:6],
        "crs": None if geobox.crs is None else geobox.crs.to_wkt(),
        "shape": list(geobox.shape),
        "gsd": geobox.gsd or _stated_gsd(target),
    }
    return {
        "frame": frame,
        "footprints_path": None if target.footprints is None else _full_path(target.footprints.path),
        "footprints_crs": None if target.crs is None else target.crs.to_wkt(),
        "class_column": target.column or "class",
    }


def _stated_gsd(target: SceneTarget) -> tuple[float, float] | None:
    """Meters of a pixel, as the run was told (``--gsd``) that measured the areas of the footprints."""
    origin = read_provenance(target.footprints.path) if target.footprints is not None else None
    stated = ((origin or {}).get("options") or {}).get("gsd")
    return (float(stated), float(stated)) if isinstance(stated, int | float) and stated > 0 else None


def keep_images(folder: Path, target: SceneTarget | ProjectTarget, seed: int) -> Images:
    """Names of the images, those that joined since put behind the others."""
    file = folder / "images.json"
    if isinstance(target, SceneTarget):
        return Images(target.names, np.zeros(1, bool))
    known = read_images(folder) if file.is_file() else Images([], np.zeros(0, bool))
    # Those that have left keep their numbers, which the journal knows images by.
    seen = set(known.names)
    joined = [name for name in target.names if name not in seen]
    # Nothing is written where nothing is new: opening a review leaves its folder as it was.
    if not joined and file.is_file():
        return known
    if known.names:
        # each for itself: a fifth of those that come one by one would be all of them
        qa = np.random.default_rng([seed, len(known.names)]).random(len(joined)) < 1 / QA_EVERY
    else:
        qa = draw_qa(len(joined), seed)
    images = Images([*known.names, *joined], np.concatenate([known.qa, qa]))
    document = [{"name": name, "qa": bool(flag)} for name, flag in zip(images.names, images.qa)]
    write_text(file, json.dumps(document, indent=1, ensure_ascii=False))
    return images


def read_images(folder: Path) -> Images:
    """Images of a project's review."""
    document = read_document(folder / "images.json")
    return Images([one["name"] for one in document], np.array([one["qa"] for one in document], bool))
