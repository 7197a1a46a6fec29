"""Two annotated projects with the same images: compared pixel by pixel and object by object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError
from geoseg.geo.windows import Window
from geoseg.pipeline.comparison.result import Comparison, Fit, PlaceChange, fit_pairs, sum_up
from geoseg.projects.figures import Annotation, Bitmap
from geoseg.projects.project import Item, Project, open_project
from geoseg.raster.draw import draw_figures
from geoseg.raster.labels import label_chunk
from geoseg.scores.changes import ObjectChanges, count_changes
from geoseg.scores.polygons import OverlapPairs
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["Trio", "compare_projects", "match_titles", "number_objects", "open_trio"]

#: Pixels of the largest image that is compared: three numbers of four bytes for each.
_MOST_PIXELS = 2**28
#: Titles that are background or no class, whatever their suffix.
_NO_OBJECTS = ("bg", "background", "neutral")


@dataclass(frozen=True)
class Trio:
    """An image in both projects, and in the truth where it has it.

    Attributes
    ----------
    name
        DATASET/STEM, with the suffix where two images differ in it alone.
    items
        Before, after, truth.
    """

    name: str
    items: tuple[Item, Item, Item | None]


def open_trio(
    before: Project, after: Project, truth: Project | None
) -> tuple[list[Trio], list[tuple[str, str]]]:
    """Images that both projects have, by data set and name; and those that one of them lacks.

    An image of the truth may be in another data set, if its name is there once only, in the predictions too.
    """
    # Without suffix, for a prediction may be in another format; unless two images differ in it alone.
    alike = {key for side in (before, after) for key, n in Counter(map(_stem, side)).items() if n > 1}
    sides = [
        {_full(item) if _stem(item) in alike else _stem(item): item for item in side}
        for side in (before, after)
    ]
    missing = [
        (name, f"not in {side.path}")
        for names, side in ((sides[0], after), (sides[1], before))
        for name in names
        if name not in sides[1 if side is after else 0]
    ]
    shared = {name: item for name, item in sides[0].items() if name in sides[1]}
    true: dict[str, Item] = {}
    if truth is not None:
        # By the name alone as well, where it is the only one: a truth is often in other data sets. Where
        # there are two, the truth of one says nothing of the other.
        only = {item.stem for item in _only(shared.values(), lambda item: item.stem)}
        true |= {item.stem: item for item in _only(truth, lambda item: item.stem) if item.stem in only}
        true |= {_stem(item): item for item in _only(truth, _stem) if _stem(item) not in alike}
        true |= {_full(item): item for item in truth}
    trios = [
        Trio(name, (item, sides[1][name], true.get(_full(item)) or true.get(name) or true.get(item.stem)))
        for name, item in shared.items()
    ]
    return trios, missing


def _stem(item: Item) -> str:
    return f"{item.dataset}/{item.stem}"


def _full(item: Item) -> str:
    return f"{item.dataset}/{item.name}"


def _only(items: Iterable[Item], key: Callable[[Item], str]) -> list[Item]:
    """Images whose key no other one has."""
    items = list(items)
    counts = Counter(map(key, items))
    return [item for item in items if counts[key(item)] == 1]


def match_titles(
    before: Project, after: Project, truth: Project | None, wanted: Mapping[str, str] | None = None
) -> list[tuple[str, str | None]]:
    """Titles of both predictions, each with the one that stands for its class in the truth.

    In the truth a class has the same title, or the longest one that it begins with, up to a sign that is no
    letter and no digit: ``road_unet`` is ``road``, and ``roadside`` is not.

    Parameters
    ----------
    before, after, truth
        The projects.
    wanted
        Titles to compare, and those in the truth; None: all that both have, but for backgrounds.

    Raises
    ------
    InputError
        Nothing to compare, or a title that is not there.
    """
    names = [project.meta.class_names for project in (before, after)]
    true = () if truth is None else truth.meta.class_names
    if wanted:
        for title, other in wanted.items():
            for known, project in zip((*names, true), (before, after, truth)):
                named = other if project is truth else title
                if project is not None and named not in known:
                    raise InputError(
                        f"class must be one of {', '.join(known) or 'none'} in {project.path}, got {named}. "
                        "Give --class TITLE=TITLE_IN_THE_TRUTH."
                    )
        return [(title, other if truth is not None else None) for title, other in wanted.items()]
    shared = [title for title in names[0] if title in names[1] and not _is_background(title)]
    matched: list[tuple[str, str | None]] = []
    for title in shared:
        fitting = [
            other for other in true if title.startswith(other) and not title[len(other) :][:1].isalnum()
        ]
        if truth is None or fitting:
            # The longest, so that road_area_unet is road_area where the truth has road as well.
            matched.append((title, max(fitting, key=len) if fitting else None))
    if not matched:
        listed = "; ".join(f"{p.path}: {', '.join(p.meta.class_names) or 'none'}"
                           for p in (before, after, truth) if p is not None)  # fmt: skip
        raise InputError(
            f"projects must share a class besides backgrounds, got {listed}. Name one with --class."
        )
    return matched


def _is_background(title: str) -> bool:
    return any(title == no or title.startswith(f"{no}_") for no in _NO_OBJECTS)


def _why_not(title: str, predictions: Sequence[Project]) -> str:
    lacking = [project for project in predictions if title not in project.meta.class_names]
    return f"{lacking[0].path} does not have it." if lacking else "the truth has no such class. Use --class."


def number_objects(annotation: Annotation, title: str) -> NDArray[np.int32]:
    """A number for each object of a class at its pixels, 0 elsewhere; (h, w).

    Connected pixels of bitmaps are one object; of other shapes each is one, later on top.
    """
    window = Window(row_off=0, col_off=0, height=annotation.height, width=annotation.width)
    figures = [item.figure for item in annotation.objects if item.class_name == title]
    masks = [figure for figure in figures if isinstance(figure, Bitmap)]
    others = [figure for figure in figures if not isinstance(figure, Bitmap)]
    numbers: NDArray[np.int32]
    # Predictions are one bitmap a class, so objects have to be told by what hangs together; a polygon is one
    # object that somebody drew.
    numbers, count = label_chunk(draw_figures(masks, [1] * len(masks), window))
    if others:
        drawn = draw_figures(others, range(1, len(others) + 1), window, dtype=np.int32)
        numbers = np.where(drawn > 0, drawn + count, numbers).astype(np.int32)
        # Without those that are wholly hidden.
        numbers = np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape).astype(np.int32) + (
            0 if (numbers == 0).any() else 1
        )
    return numbers


def _pairs(first: NDArray[np.int32], second: NDArray[np.int32]) -> OverlapPairs:
    """Overlaps of the objects of two rasters."""
    areas = [np.bincount(numbers.ravel())[1:].astype(np.float64) for numbers in (first, second)]
    shared = (first > 0) & (second > 0)
    width = len(areas[1]) + 1
    # Both numbers in one, so that one sort counts all pairs.
    codes, counts = np.unique(first[shared].astype(np.int64) * width + second[shared], return_counts=True)
    return OverlapPairs(codes // width - 1, codes % width - 1, counts.astype(np.float64), areas[0], areas[1])


def compare_projects(
    before: PathLike,
    after: PathLike,
    *,
    truth: PathLike | None = None,
    tag: str | None = None,
    classes: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare two annotated projects; see :func:`geoseg.pipeline.comparison.compare.compare`."""
    projects = [open_project(before), open_project(after)]
    true = None if truth is None else open_project(truth)
    titles = match_titles(projects[0], projects[1], true, classes)
    trios, failures = open_trio(projects[0], projects[1], true)
    if not trios:
        raise InputError(
            f"projects must have images of the same names, got none in {before} and {after}. "
            "Compare two predictions of one project."
        )
    places, areas, tagged = [], [], 0
    for number, trio in enumerate(trios, 1):
        try:
            place, area, has_tag = _compare_image(trio, projects, true, titles, tag)
        # One broken image is listed, or a comparison of thousands would end with the first.
        except InputError as error:
            failures.append((trio.name, " ".join(str(error).split())))
        else:
            places.append(place)
            areas.append(area)
            tagged += has_tag
        progress("images", number, len(trios))
    if tag is not None and not tagged:
        raise InputError(
            f"tag must be on an image of the projects, got {tag!r}, which none has. "
            "Tag images with geoseg project tag."
        )
    if not places:
        raise InputError(f"no image could be compared. The first: {failures[0][0]}: {failures[0][1]}")
    if truth is not None and not any(place.before for place in places):
        tagged_ones = "" if tag is None else f" with the tag {tag!r}"
        raise InputError(
            f"truth must have an image that is compared{tagged_ones}, got none in {truth}. "
            "Give a project with images of the same names."
        )
    compared = {title for title, _ in titles}
    everything = dict.fromkeys((*projects[0].meta.class_names, *projects[1].meta.class_names))
    notes = tuple(
        f"class {title} is not compared: {_why_not(title, projects)}"
        for title in everything
        if classes is None and title not in compared and not _is_background(title)
    )
    empty = Comparison(
        str(Path(before)), str(Path(after)), None if truth is None else str(Path(truth)), "px",
        tuple(titles), tuple(places), ObjectChanges(), 0.0, None, None, tag, notes=notes,
        failures=tuple(failures),
    )  # fmt: skip
    return sum_up(empty, areas)


def _compare_image(
    trio: Trio,
    projects: Sequence[Project],
    true: Project | None,
    titles: Sequence[tuple[str, str | None]],
    tag: str | None,
) -> tuple[PlaceChange, tuple[float, float], bool]:
    """One image; the area that the two share and that either covers; whether it has the tag."""
    annotations = [project.annotation(item) for project, item in zip(projects, trio.items[:2])]
    target = None
    if true is not None and trio.items[2] is not None:
        target = true.annotation(trio.items[2])
    every = [*annotations, *([target] if target is not None else [])]
    # Of two sizes no pixel of one is a pixel of the other.
    if len({one.shape for one in every}) > 1:
        raise InputError(f"image must be of one size in all projects, got {[one.shape for one in every]}.")
    if annotations[0].height * annotations[0].width > _MOST_PIXELS:
        raise InputError(
            f"image must have at most {_MOST_PIXELS} pixels, got {annotations[0].width} x "
            f"{annotations[0].height}. Compare footprints instead."
        )
    has_tag = tag is not None and any(one.has_tag(tag) for one in every)
    # With a tag only those images count that somebody has looked at.
    judged = target is not None and (tag is None or has_tag)
    both = either = 0.0
    objects, fits = ObjectChanges(), [Fit(), Fit()]
    for title, true_title in titles:
        sides = [number_objects(annotation, title) for annotation in annotations]
        both += np.count_nonzero((sides[0] > 0) & (sides[1] > 0))
        either += np.count_nonzero((sides[0] > 0) | (sides[1] > 0))
        objects += count_changes(_pairs(sides[0], sides[1]))
        if judged and target is not None and true_title is not None:
            wanted = number_objects(target, true_title)
            for index, side in enumerate(sides):
                fits[index] += fit_pairs(_pairs(wanted, side))
    place = PlaceChange(
        trio.name,
        both / either if either else 1.0,  # two empty images agree
        objects,
        fits[0] if judged else None,
        fits[1] if judged else None,
    )
    return place, (both, either), has_tag
