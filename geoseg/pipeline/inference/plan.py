"""What the result of an inference will be: its classes, decided before a pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from geoseg.errors import ConfigError
from geoseg.pipeline.inference.classes import Certainty
from geoseg.pipeline.inference.settings import (
    Boxes,
    InferenceSettings,
    Roi,
    Selection,
    SlidingWindow,
)
from geoseg.projects.figures import Annotation, ClassMeta, LabeledObject, ProjectMeta, Tag, TagMeta, color_of
from geoseg.projects.figures.meta import Color

__all__ = ["ResultPlan", "plan_result"]


@dataclass(frozen=True)
class ResultPlan:
    """Classes of a result.

    Attributes
    ----------
    settings
        Of the config.
    meta
        Classes, in the order existing, network, regions, and the project's tags.
    kept
        Index of a network's class and its title in the result, in the order that its objects are laid.
    notes
        What the user should know.
    rank
        Whether images get tags that say how sure the network is.
    """

    settings: InferenceSettings
    meta: ProjectMeta
    kept: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]
    rank: bool = False

    def tags(self, annotation: Annotation, certainty: Certainty) -> tuple[Tag, ...]:
        """Tags of an image in the result."""
        if not self.rank:
            return annotation.tags
        values = certainty.values()
        kept = (tag for tag in annotation.tags if tag.name not in values)
        return (*kept, *(Tag(name, value) for name, value in values.items()))

    def existing(self, annotation: Annotation) -> list[LabeledObject]:
        """Objects of an image that the result keeps, under their titles there."""
        titles = ((item, self.settings.existing.title(item.class_name)) for item in annotation.objects)
        return [item.renamed(title) for item, title in titles if title is not None]


def plan_result(
    settings: InferenceSettings,
    project: ProjectMeta,
    names: Sequence[str],
    colors: Sequence[Color | None],
    *,
    rank: bool = False,
) -> ResultPlan:
    """Plan the classes of a result.

    Parameters
    ----------
    settings
        Of the config.
    project
        Classes and tags of the project.
    names, colors
        Title and color of each class of the network, in index order; without a color the title makes one.
    rank
        Images get tags that say how sure the network is.

    Raises
    ------
    ConfigError
        Two classes of the result would have one title.
    InputError
        A tag of that name has other values in the project.
    """
    mode = settings.mode
    # Under another title it is another class, which must not have the id of the old one.
    existing = [
        replace(
            one,
            name=title,
            extra={key: value for key, value in one.extra.items() if key != "id" or title == one.name},
        )
        for one in project.classes
        if (title := settings.existing.title(one.name)) is not None
    ]
    model = [
        ClassMeta(title, "bitmap", color or color_of(name))
        for name, color in zip(names, colors, strict=True)
        if (title := settings.model.title(name)) is not None
    ]
    regions: list[str] = []
    # Rectangles of where the network looked, where the config wants them kept.
    chosen = Selection()
    if isinstance(mode, Boxes):
        chosen = Selection(save_classes=mode.from_classes, add_suffix=mode.add_suffix)
        titles = (chosen.title(name) for name in project.class_names)
        regions = [title for title in titles if title is not None and mode.save]
    elif isinstance(mode, Roi | SlidingWindow) and mode.save:
        regions = [mode.class_name]
    classes = (*existing, *model, *(ClassMeta(title, "rectangle", color_of(title)) for title in regions))
    titles_of_all = [one.name for one in classes]
    if twice := sorted({title for title in titles_of_all if titles_of_all.count(title) > 1}):
        raise ConfigError(
            f"classes of the result must have distinct titles, got {', '.join(map(repr, twice))} more than "
            "once among existing objects, classes of the model and saved regions. Change an add_suffix or a "
            "save_classes of the config."
        )
    # By the titles before the suffix: later objects lie on top, and the order must not change with a suffix.
    kept = sorted(
        (name, index, title)
        for index, name in enumerate(names)
        if (title := settings.model.title(name)) is not None
    )
    notes = [
        f"{where} names {', '.join(map(repr, unknown))}, which the {whose} does not have"
        for where, whose, unknown in (
            ("save_classes of the model", "model", settings.model.unknown(tuple(names))),
            ("save_classes of existing objects", "project", settings.existing.unknown(project.class_names)),
            ("from_classes", "project", chosen.unknown(project.class_names)),
        )
        if unknown
    ]
    meta = ProjectMeta(classes, project.tags)
    for name in Certainty().values() if rank else ():
        meta = meta.with_tag(TagMeta(name, "any_number", "imagesOnly", color_of(name)))
    return ResultPlan(
        settings,
        meta,
        tuple((index, title) for _, index, title in kept),
        tuple(notes),
        rank,
    )
