"""``geoseg train``: fit a network from a config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.cli.common import handle_errors, print_json, progress_bar

__all__ = ["load_settings", "register"]

_EPILOG = """
[bold]Examples[/bold]

geoseg train vessels.json --data vessels_train --out runs/vessels

geoseg train buildings.toml --out runs/buildings --set epochs=40 --devices 0,1

geoseg train buildings.toml --out runs/buildings --resume

geoseg train --out runs/buildings --export 12 --bundle buildings-12
"""

Config = Annotated[Path | None, typer.Argument(help="JSON or TOML: a tutorial's, or geoseg's own.")]
Data = Annotated[Path | None, typer.Option("--data", help="Annotated project to train on.")]
Scenes = Annotated[list[str] | None, typer.Option("--scenes", help="Scene to train on; may be repeated.")]
Labels = Annotated[
    str | None,
    typer.Option("--labels", help="Vector file or mask of the scenes; {stem} is the scene's name."),
]
Aoi = Annotated[str | None, typer.Option("--aoi", help="Vector file of the fully labeled ground.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change of the config, key=value, such as batch_size.train=4."),
]
Graph = Annotated[Path | None, typer.Option("--dtl", help="DTL graph whose result is trained on.")]
Projects = Annotated[Path | None, typer.Option("--projects", help="Folder of the projects that --dtl reads.")]


def load_settings(
    config: Path,
    changes: list[str] | None,
    data: Path | None,
    scenes: list[str] | None,
    labels: str | None,
    aoi: str | None,
    graph: tuple[Path | None, Path | None] = (None, None),
) -> Any:
    """Settings from the config and the options that name data; paths of options start from here."""
    from geoseg.config import read_document
    from geoseg.errors import ConfigError

    document = read_document(config)  # before seconds of imports
    if not isinstance(document, dict):
        raise ConfigError(f"{config}: $ must be an object.")
    from geoseg.training.config import apply_overrides, parse_train_settings

    document = apply_overrides(document, changes or ())
    _check_sources(data, scenes, labels, aoi, graph)
    if data is not None or scenes or any(graph):
        source = _graph(*graph) if any(graph) else _source(data, scenes, labels, aoi)
        # The rest of the config's data (split, fit, column) holds for the other source, too.
        sources = ("scenes", "project", "images", "masks", "dtl", "projects")
        own = document.get("data")
        kept = {key: own[key] for key in own if key not in sources} if isinstance(own, dict) else {}
        document["data"] = {**kept, **source}
    return parse_train_settings(document, config.name)


def _check_sources(
    data: Path | None,
    scenes: list[str] | None,
    labels: str | None,
    aoi: str | None,
    graph: tuple[Path | None, Path | None],
) -> None:
    """Refuse options that would be passed over."""
    from geoseg.errors import InputError

    given = [("--data", data), ("--scenes", scenes), ("--dtl and --projects", any(graph))]
    named = [name for name, value in given if value]
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} must not be given together. Name one source of chips.")
    for name, value in (("--labels", labels), ("--aoi", aoi)):
        if value and not scenes:
            raise InputError(f"{name} must come with --scenes; a config's own are in data.scenes.")


def _source(
    data: Path | None, scenes: list[str] | None, labels: str | None, aoi: str | None
) -> dict[str, Any]:
    from geoseg.errors import InputError

    if data is not None:
        return {"project": str(data.absolute())}
    if labels is None:
        raise InputError("--scenes must come with --labels.")
    extra = {"labels": _absolute(labels), **({"aoi": _absolute(aoi)} if aoi else {})}
    return {"scenes": [{"path": _absolute(path), **extra} for path in scenes or ()]}


def _graph(graph: Path | None, projects: Path | None) -> dict[str, Any]:
    from geoseg.errors import InputError

    if graph is None or projects is None:
        raise InputError("--dtl must come with --projects, the folder of the projects that the graph reads.")
    return {"dtl": str(graph.absolute()), "projects": str(projects.absolute())}


def _absolute(text: str) -> str:
    # A URL or a name of GDAL's own has no folder to start from.
    return text if "://" in text or text.startswith("/vsi") else str(Path(text).absolute())


def _need_extra() -> None:
    """What trains comes with the extra ``train``."""
    import importlib.util

    from geoseg.errors import MissingDependencyError

    # Looked for without importing them, which takes seconds.
    missing = [
        name
        for name in ("lightning-fabric", "tensorboard")
        if not importlib.util.find_spec(name.replace("-", "_"))
    ]
    if missing:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}. Install it with: pip install 'geoseg[train]'"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("train", epilog=_EPILOG)
    @handle_errors
    def command(
        config: Config = None,
        out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")] = None,
        data: Data = None,
        scenes: Scenes = None,
        labels: Labels = None,
        aoi: Aoi = None,
        dtl: Graph = None,
        projects: Projects = None,
        changes: Changes = None,
        weights: Annotated[
            Path | None, typer.Option("--weights", help="Bundle, run or checkpoint to start from.")
        ] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
        devices: Annotated[
            str | None, typer.Option("--devices", help="cpu, cpu:2 or GPU numbers such as 0,1.")
        ] = None,
        export: Annotated[
            int | None,
            typer.Option("--export", help="Write a bundle of this checkpoint of the run, no training."),
        ] = None,
        bundle: Annotated[
            Path | None, typer.Option("--bundle", help="Where --export writes; default OUT/bundle.")
        ] = None,
        print_config: Annotated[
            bool, typer.Option("--print-config", help="Print the config with all defaults, no training.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    ) -> None:
        """Train a network from scenes and labels, or from an annotated project.

        The result is a bundle for [bold]geoseg predict[/bold], beside numbered checkpoints, charts
        (charts.html, charts.png, metrics.csv, tensorboard) and example pictures.
        """
        import json

        from geoseg.errors import InputError

        # As JSON: a folder called 12 or true would else become a number or a truth value.
        named = [f"weights={json.dumps(str(weights.absolute()))}"] if weights else []
        extra = [*(changes or ()), *named]
        if print_config:
            _print_config(config, extra, data, scenes, labels, aoi, (dtl, projects))
            return
        if out is None:
            raise InputError("--out must name the folder of the run.")
        _need_extra()
        if export is not None:
            from geoseg.training.checkpoints import RunFolder
            from geoseg.training.export import export_checkpoint

            typer.echo(export_checkpoint(RunFolder(out), export, bundle))
            return
        if config is None:
            raise InputError("CONFIG must be given, a JSON or TOML file.")
        settings = load_settings(config, extra, data, scenes, labels, aoi, (dtl, projects))
        from geoseg.models import tune_malloc
        from geoseg.training.loop import train

        # Before the first large array, or it has no effect on it.
        tune_malloc()
        with progress_bar(quiet) as report:
            made = train(
                settings, out, base=config.absolute().parent, resume=resume, devices=devices, progress=report
            )
        typer.echo(made)


def _print_config(
    config: Path | None,
    changes: list[str],
    data: Path | None,
    scenes: list[str] | None,
    labels: str | None,
    aoi: str | None,
    graph: tuple[Path | None, Path | None],
) -> None:
    from geoseg.training.config import apply_overrides, parse_train_settings

    if config is None:
        settings = parse_train_settings(apply_overrides({}, changes))
    else:
        settings = load_settings(config, changes, data, scenes, labels, aoi, graph)
    print_json(settings.model_dump(mode="json"))
