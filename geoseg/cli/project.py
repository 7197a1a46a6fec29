"""``geoseg project``: import, export, statistics and validation of annotated projects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.cli.common import AsJson, NoBar, handle_errors, print_json, progress_bar, report_images

if TYPE_CHECKING:
    from geoseg.projects.stats import ProjectStats

__all__ = ["register"]

#: Lines printed of a long list; the files beside the results, or --json, hold all of it.
_SHOWN = 50

_project = typer.Typer(
    help="Annotated projects: import, export, statistics, validation.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_project, name="project")


Link = Annotated[bool, typer.Option(help="Hard links in place of copies of the images, where possible.")]
ProjectFolder = Annotated[Path, typer.Argument(help="Folder of the project (with meta.json).")]

_IMPORT_EPILOG = (
    "Examples: [bold]geoseg project import kitti data_semantics/training --out projects/kitti[/bold] | "
    "[bold]geoseg project import vector scenes --labels houses.gpkg --out projects/town[/bold]"
    " | [bold]geoseg project import binary_masks INRIA --class building=255 --out projects/INRIA[/bold]"
)


@_project.command("import", epilog=_IMPORT_EPILOG)
@handle_errors
def import_project(
    format: Annotated[str, typer.Argument(help="binary_masks, kitti, coco, vector or images.")],
    src: Annotated[
        Path, typer.Argument(help="Folder to import (vector: or one scene; coco: or a JSON file).")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new project.")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="binary_masks: NAME=VALUE[,VALUE...] or NAME=all; may be repeated."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="coco: folder of the images.")] = None,
    labels: Annotated[Path | None, typer.Option(help="vector: label file for all scenes.")] = None,
    layer: Annotated[str | None, typer.Option(help="vector: layer of the label files.")] = None,
    class_name: Annotated[str | None, typer.Option(help=r"vector: class of all objects \[object].")] = None,
    class_column: Annotated[str | None, typer.Option(help="vector: column that tells the class.")] = None,
    bitmaps: Annotated[bool, typer.Option("--bitmaps", help="vector: polygons as masks.")] = False,
    link: Link = False,
    legacy: Annotated[bool, typer.Option(help="Layout of 2018: ann/STEM.json.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a project that is there.")] = False,
    quiet: NoBar = False,
) -> None:
    """Make a project of images and labels in another format.

    Images are taken over byte for byte. An image that fails is listed in OUT.failures.json, the others go on.
    """
    from geoseg.projects.exchange import ImportOptions, import_source, read_source

    mapping = dict(map(_class_values, classes)) if classes else None  # of a class given twice, the last
    options = ImportOptions(mapping, images, labels, class_name, class_column, bitmaps, layer)
    source = read_source(format, src, options)
    with progress_bar(quiet) as progress:
        summary = import_source(source, out, link=link, legacy=legacy, overwrite=overwrite, progress=progress)
    # Names that two images share, or that a project can't hold, were changed; links from outside would miss
    # them.
    for old, new in summary.renamed.items():
        print(f"renamed: {old} -> {new}", file=sys.stderr)
    print(f"{summary.project}: {summary.images} images, {summary.objects} objects")
    report_images(summary.notes, summary.failures, summary.project)


def _class_values(text: str) -> tuple[str, Any]:
    from geoseg.errors import InputError

    name, _, values = text.partition("=")
    if not name or not values:
        raise InputError(f"--class must be NAME=VALUE[,VALUE...] or NAME=all, got {text!r}.")
    if values == "all":
        return name, "__all__"
    try:
        return name, [int(value) for value in values.split(",")]
    except ValueError:
        raise InputError(f"--class must have whole numbers after {name}=, got {values!r}.") from None


_EXPORT_EPILOG = (
    "Examples: [bold]geoseg project export projects/kitti coco --out coco[/bold] | "
    "[bold]geoseg project export projects/town gpkg --out town_gpkg[/bold] | "
    "[bold]geoseg project export projects/town yolo-seg --out yolo --link[/bold]"
)


@_project.command("export", epilog=_EXPORT_EPILOG)
@handle_errors
def export_project(
    project: ProjectFolder,
    format: Annotated[
        str,
        typer.Argument(
            help="masks, masks-machine, masks-human, coco, yolo-seg, or for georeferenced images geojson, "
            "geojsonseq, gpkg, parquet, fgb, shp."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder.")],
    link: Link = False,
    quiet: NoBar = False,
) -> None:
    """Write a project in another format.

    An image that fails is listed in OUT.failures.json, the others go on.
    """
    from geoseg.projects.exchange import export_project as export

    with progress_bar(quiet) as progress:
        summary = export(project, format, out, link=link, progress=progress)
    print(f"{summary.folder}: {summary.images} images, {summary.objects} objects")
    report_images(summary.notes, summary.failures, summary.folder)


_TAG_EPILOG = (
    "Examples: [bold]geoseg project tag projects/inf_01 --tag corrected --names 'ds/0012.png,0040*'[/bold] | "
    "[bold]geoseg project tag projects/inf_01 --from-review projects/inf_01.review[/bold]"
)


@_project.command("tag", epilog=_TAG_EPILOG)
@handle_errors
def tag(
    project: ProjectFolder,
    names: Annotated[
        str | None,
        typer.Option(help="Images, by commas: NAME or DATASET/NAME, with or without suffix; * and ? too."),
    ] = None,
    from_review: Annotated[
        Path | None,
        typer.Option(help="Folder of a review: accepted images get the tag, those of its random fifth qa."),
    ] = None,
    tag: Annotated[str, typer.Option(help="Tag to put on images.")] = "corrected",
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag off instead.")] = False,
) -> None:
    """Put a tag on images of a project, or take it off.

    Annotations are changed in place, each whole or not at all; nothing is changed when a name is wrong.
    """
    from geoseg.errors import InputError
    from geoseg.projects.tagging import tag_images

    # Both together would leave open which of the two decides about an image that only one of them names.
    if (names is None) == (from_review is None):
        raise InputError("images must be named by --names or by --from-review, and by one of the two only.")
    wanted = {tag: [name.strip() for name in (names or "").split(",")]}
    if from_review is not None:
        from geoseg.review import read_marks

        if tag == "qa":
            raise InputError(
                "tag must be another than qa, which images get that were drawn for measuring. "
                "Give another --tag."
            )
        accepted = [mark for mark in read_marks(from_review) if mark.status == "accepted"]
        if not accepted:
            raise InputError(
                f"review must have accepted images, got none in {from_review}. Accept some first."
            )
        # What was drawn at random is for measuring: it must not be trained on.
        wanted = {tag: [m.name for m in accepted if not m.qa], "qa": [m.name for m in accepted if m.qa]}
    changed = tag_images(project, wanted, remove=remove)
    print(f"{project}: tags of {changed} images changed")


@_project.command(
    "stats", epilog="Example: [bold]geoseg project stats projects/kitti --plot stats.svg[/bold]"
)
@handle_errors
def stats(
    project: ProjectFolder,
    json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Picture to write (svg, png, pdf).")] = None,
    quiet: NoBar = False,
) -> None:
    """Count images, objects and area per class and data set.

    The area of a class is what it shows: later objects hide earlier ones, as in training.
    """
    from geoseg.projects.stats import project_stats

    with progress_bar(quiet or json) as progress:
        result = project_stats(project, progress=progress)
    if plot is not None:
        from geoseg.projects.project import open_project
        from geoseg.report.project_plots import plot_stats

        plot_stats(result, plot, open_project(project).meta)
    if json:
        print_json(result.to_dict())
    else:
        _print_stats(result)
    # After the tables: what they leave out has to be the last thing that is read.
    for failure in result.failures[:_SHOWN]:
        print(f"failed: {failure.image}: {failure.reason}", file=sys.stderr)
    if result.failures:
        raise SystemExit(1)


def _print_stats(result: ProjectStats) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    total = result.total
    datasets = Table("data set", "images", "labeled", "objects", "Mpx", "unlabeled", title=result.project)
    # The total of a single data set would be its own row again.
    rows = [*result.datasets.items(), *([("total", total)] if len(result.datasets) > 1 else [])]
    for name, count in rows:
        numbers = (f"{value:,}" for value in (count.images, count.labeled_images, count.objects))
        datasets.add_row(name, *numbers, f"{count.pixels / 1e6:,.1f}", f"{100 * count.unlabeled_share:.2f} %")
    console.print(datasets)
    classes = Table("class", "images", "objects", "area", "median px", "5 %", "95 %")
    # By area, so that what a network sees most of stands first and rare classes stand together.
    for title, drawn in sorted(total.classes.items(), key=lambda pair: -pair[1].area_px):
        # Empty where no object has an area, as where all are points.
        quantiles = result.sizes[title].quantiles
        share = f"{100 * drawn.area_px / max(total.pixels, 1):.2f} %"
        sizes = (f"{quantiles[q]:,.0f}" if quantiles else "-" for q in ("50%", "5%", "95%"))
        classes.add_row(title, f"{drawn.images:,}", f"{drawn.objects:,}", share, *sizes)
    console.print(classes)
    if result.tags:
        # Names of tags may hold brackets, which rich would take for markup.
        console.print(
            "tags: " + ", ".join(f"{tag} {count:,}" for tag, count in result.tags.items()), markup=False
        )


@_project.command("validate", epilog="Example: [bold]geoseg project validate projects/kitti[/bold]")
@handle_errors
def validate(
    project: ProjectFolder,
    json: Annotated[bool, typer.Option("--json", help="Print all problems as JSON.")] = False,
    # Decoding every image finds those cut short, and takes long for a large project; headers take seconds.
    headers: Annotated[bool, typer.Option("--headers", help="Read the images' headers only (fast).")] = False,
    quiet: NoBar = False,
) -> None:
    """List what is wrong with a project; exit status 2 where anything is.

    Truncated images, sizes that differ, broken or self-crossing figures, unknown classes and tags,
    annotations without image, names used twice.
    """
    from geoseg.projects.check import check_project

    with progress_bar(quiet or json) as progress:
        problems = check_project(project, pixels=not headers, progress=progress)
    if json:
        print_json([{"where": problem.where, "what": problem.what} for problem in problems])
    else:
        for problem in problems[:_SHOWN]:
            print(problem)
        if len(problems) > _SHOWN:
            print(f"... and {len(problems) - _SHOWN} more (all with --json)")
        print(f"{project}: {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}")
    if problems:
        # Status 2, as for any bad input: a script that validates before it trains stops here.
        raise SystemExit(2)
