"""``geoseg train``: fit a network from a config."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from geoseg.cli.common import NoBar, handle_errors, print_json, progress_bar

__all__ = ["DataOptions", "load_settings", "register", "takes_data"]

_EPILOG = """
[bold]Examples[/bold]

geoseg train vessels.json --data vessels_train --out runs/vessels

geoseg train buildings.toml --out runs/buildings --set epochs=40 --devices 0,1

geoseg train buildings.toml --out runs/buildings --resume

geoseg train --out runs/buildings --export 12 --bundle buildings-12
"""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class DataOptions:
    """Options that name the data of a training, and changes of its config."""

    data: Annotated[Path | None, typer.Option("--data", help="Annotated project to train on.")] = None
    scenes: Annotated[
        list[str] | None, typer.Option("--scenes", help="Scene to train on; may be repeated.")
    ] = None
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Vector file or mask of the scenes; {stem} is the scene's name."),
    ] = None
    aoi: Annotated[str | None, typer.Option("--aoi", help="Vector file of the fully labeled ground.")] = None
    # A graph makes its chips while training runs, so that no augmented copy lies on the disk.
    dtl: Annotated[Path | None, typer.Option("--dtl", help="DTL graph whose result is trained on.")] = None
    projects: Annotated[
        Path | None, typer.Option("--projects", help="Folder of the projects that --dtl reads.")
    ] = None
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change of the config, key=value, such as batch_size.train=4."),
    ] = None

    def source(self) -> dict[str, Any] | None:
        """The source of chips as a config has it under ``data``; None where no option names one."""
        from geoseg.errors import InputError

        # An option that would be passed over is refused: a training on other data than was meant costs hours.
        sources = {
            "--data": self.data,
            "--scenes": self.scenes,
            "--dtl and --projects": self.dtl or self.projects,
        }
        named = [name for name, value in sources.items() if value]
        if len(named) > 1:
            raise InputError(f"{' and '.join(named)} must not be given together. Name one source of chips.")
        for name, value in (("--labels", self.labels), ("--aoi", self.aoi)):
            if value and not self.scenes:
                raise InputError(f"{name} must come with --scenes; a config's own are in data.scenes.")
        # Absolute, for a config's paths start from the config's folder, but an option's from this one.
        if self.data is not None:
            return {"project": str(self.data.absolute())}
        if self.scenes:
            if self.labels is None:
                raise InputError("--scenes must come with --labels.")
            truth = {"labels": _absolute(self.labels)}
            if self.aoi:
                truth["aoi"] = _absolute(self.aoi)
            return {"scenes": [{"path": _absolute(path), **truth} for path in self.scenes]}
        if self.dtl is None and self.projects is None:
            return None
        if self.dtl is None or self.projects is None:
            raise InputError(
                "--dtl must come with --projects, the folder of the projects that the graph reads."
            )
        return {"dtl": str(self.dtl.absolute()), "projects": str(self.projects.absolute())}


def takes_data(command: F) -> F:
    """Let a command have the fields of :class:`DataOptions` as options; it gets them as ``options``."""
    fields = get_type_hints(DataOptions, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        # In the place of the parameter, so that the help lists them where the command wants them.
        if parameter.name == "options":
            parameters += [
                inspect.Parameter(name, kind, default=None, annotation=form) for name, form in fields.items()
            ]
        else:
            parameters.append(parameter.replace(kind=kind))

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        options = DataOptions(**{name: arguments.pop(name) for name in fields})
        return command(options=options, **arguments)

    # typer reads the parameters from here.
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return wrapped  # type: ignore[return-value]


def load_settings(config: Path | None, options: DataOptions) -> Any:
    """Settings from the config and the options; without a config, the defaults are changed."""
    from geoseg.config import read_document
    from geoseg.errors import ConfigError

    # A missing or broken config is told before the seconds that torch takes to load.
    document = {} if config is None else read_document(config)
    if not isinstance(document, dict):
        raise ConfigError(f"{config}: $ must be an object.")
    from geoseg.training.config import apply_overrides, parse_train_settings

    document = apply_overrides(document, options.changes or ())
    source = options.source()
    if source is not None:
        # The rest of the config's data (split, fit, column) holds for the other source, too.
        sources = ("scenes", "project", "images", "masks", "dtl", "projects")
        own = document.get("data")
        kept = {key: own[key] for key in own if key not in sources} if isinstance(own, dict) else {}
        document["data"] = {**kept, **source}
    return parse_train_settings(document, "settings" if config is None else config.name)


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
    app.command("train", epilog=_EPILOG)(train)


@handle_errors
@takes_data
def train(
    *,
    config: Annotated[
        Path | None, typer.Argument(help="JSON or TOML: a tutorial's, or geoseg's own.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")] = None,
    options: DataOptions,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Bundle, run or checkpoint to start from.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: though scenes or labels changed, if epochs and validation stay alike.",
        ),
    ] = False,
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
    quiet: NoBar = False,
) -> None:
    """Train a network from scenes and labels, or from an annotated project.

    The result is a bundle for [bold]geoseg predict[/bold], beside numbered checkpoints, charts
    (charts.html, charts.png, metrics.csv, tensorboard) and example pictures.
    """
    import json

    from geoseg.errors import InputError

    if accept_changes and not resume:
        raise InputError("--accept-changes must come with --resume.")
    if weights:
        # As JSON: a folder called 12 or true would else become a number or a truth value.
        change = f"weights={json.dumps(str(weights.absolute()))}"
        options = replace(options, changes=[*(options.changes or ()), change])
    if print_config:
        print_json(load_settings(config, options).model_dump(mode="json"))
        return
    if out is None:
        raise InputError("--out must name the folder of the run.")
    _need_extra()
    # An export needs the run alone, neither config nor data.
    if export is not None:
        from geoseg.training.checkpoints import RunFolder
        from geoseg.training.export import export_checkpoint

        typer.echo(export_checkpoint(RunFolder(out), export, bundle))
        return
    if config is None:
        raise InputError("CONFIG must be given, a JSON or TOML file.")
    settings = load_settings(config, options)
    from geoseg.models import tune_malloc
    from geoseg.training import loop

    # Before the first large array, or it has no effect on it.
    tune_malloc()
    with progress_bar(quiet) as report:
        path = loop.train(
            settings,
            out,
            base=config.absolute().parent,
            resume=resume,
            accept_changes=accept_changes,
            devices=devices,
            progress=report,
        )
    typer.echo(path)
