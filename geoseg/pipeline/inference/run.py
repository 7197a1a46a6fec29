"""Inference over a project: the whole job, from a project and a config to another project."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import InputError, RunError, StateMismatchError
from geoseg.files import (
    hold,
    json_digest,
    json_text,
    place_bytes,
    remove_folder,
    stop_if_full,
    write_error,
    write_text,
)
from geoseg.pipeline.inference.network import Network, open_network
from geoseg.pipeline.inference.plan import ResultPlan, plan_result
from geoseg.pipeline.inference.settings import read_inference
from geoseg.pipeline.inference.stream import Stream
from geoseg.projects.formats.transfer import Failure, list_failures
from geoseg.projects.image_output import copy_image
from geoseg.projects.project import Item, open_project
from geoseg.projects.writer import ProjectWriter
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["InferenceSummary", "infer_project"]

#: Changes when the same input gives another result: what an older version kept is then not gone on with.
_VERSION = 3


@dataclass(frozen=True)
class InferenceSummary:
    """What an inference did.

    Attributes
    ----------
    project
        The result.
    images
        In the result.
    kept
        Those of them that an earlier, stopped run had finished.
    objects
        In the result.
    windows
        That went through the network this time.
    seconds, network_seconds
        Wall time, and the part of it inside the network.
    failures
        Images that are missing from the result, each with the reason.
    notes
        What the user should know.
    """

    project: str
    images: int
    kept: int
    objects: int
    windows: int
    seconds: float
    network_seconds: float
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def infer_project(
    project: PathLike,
    model: Any,
    config: PathLike | Mapping[str, Any],
    out: PathLike,
    *,
    classes: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
    workers: int = 1,
    overwrite: bool = False,
    restart: bool = False,
    threshold: float | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    rank: bool = False,
    link: bool = False,
    legacy: bool = False,
    progress: Progress = no_progress,
) -> InferenceSummary:
    """Predict the images of an annotated project, to another project: the command ``geoseg infer``.

    The result has the same images, byte for byte, their tags, and the classes that the config keeps. A run
    that was stopped goes on when the same call is made again: finished images are kept in ``OUT.geoseg``.

    Parameters
    ----------
    project
        Folder of the project.
    model
        A bundle, a torch module, or any callable from (N, C, h, w) to probabilities (N, K, h, w); None: the
        building network that ships.
    config
        A JSON file or what it holds; ``{}`` stands for the defaults. See the page about inference.
    out
        Folder of the new project.
    classes
        Title of each output in index order; a bundle names its own.
    input_size
        (width, height) in pixels that every crop is stretched to; a bundle states its own. None for other
        models: crops are seen as they are.
    workers
        Threads that read and write beside the network; the result does not depend on them.
    overwrite
        Replace a project that is there.
    restart
        Forget what a stopped run has kept.
    threshold
        Probability that a class must reach to win over the background; None: the most likely class wins.
    batch_size
        Windows that go through the network together; None: as it likes it.
    device, engine
        As for :func:`geoseg.load_model`; ``auto`` follows the config.
    rank
        Tag each image with ``uncertain`` (share of its pixels) and ``expected_iou``, by which a review ranks.
    link
        Hard links in place of copies of the images, where possible.
    legacy
        Write the layout of 2018.
    progress
        Told how many images are done.

    Returns
    -------
    InferenceSummary
        An image that fails is listed there and in ``OUT.failures.json``; the others go on.

    Raises
    ------
    ConfigError, InputError
        The config, the model or the project can't be used, classes of the result clash, or ``out`` exists;
        nothing has been written.
    RunError
        No image could be predicted, or the disk is full; what was done is kept.

    Examples
    --------
    >>> geoseg.infer("projects/roads_test", "nn_road_01", {}, "projects/inf_01")  # doctest: +SKIP
    """
    start = time.perf_counter()
    for name, value in (("workers", workers), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    settings, source = read_inference(config), open_project(project)
    target = Path(out)
    # The result takes the place of its folder as a whole, and with it whatever it is read from.
    own, read = target.resolve(), source.path.resolve()
    if own == read or read in own.parents or own in read.parents:
        raise InputError(f"out must not be the project itself or a part of it, got {target}. Name another.")
    if not len(source):
        raise InputError(f"project must hold images, got none in {source.path}. Put them into DATASET/img.")
    network = open_network(
        model,
        gpu=settings.gpu,
        device=device,
        engine=engine,
        classes=classes,
        input_size=input_size,
        threshold=threshold,
    )
    if rank and legacy:
        raise InputError("rank must go with today's layout: tags of 2018 have no values. Leave out legacy.")
    plan = plan_result(settings, source.meta, network.names, network.colors, rank=rank)
    writer = ProjectWriter(target, plan.meta, legacy=legacy, overwrite=overwrite)
    failures: dict[str, str] = {}
    places: dict[Item, tuple[Path, Path]] = {}
    with hold(target), _kept_work(target, _digest(plan, network, legacy), restart) as work, writer:
        # Names before windows: two images that can't both be in the result are told before hours of work.
        for item in source:
            try:
                places[item] = writer.reserve(item.dataset, item.name)
            except InputError as error:
                failures[_name(item)] = str(error)
        # One file for each finished image: a finished image is a fact on the disk.
        files = {item: work / f"{_key(item)}.json" for item in places}
        todo = [item for item in places if _read_kept(files[item]) is None]
        done = len(places) - len(todo)
        stream = Stream(
            network,
            plan,
            source.meta,
            workers=workers,
            batch_size=batch_size,
            report=lambda images: progress("images", done + images, len(places)),
        )
        for result in stream.run(todo):
            if result.annotation is None:
                failures[_name(result.item)] = result.reason
            else:
                content = json_text(result.annotation.to_json(legacy=legacy)).encode()
                # Behind its checksum, by which a file that a power loss cut is told from a whole one.
                check = hashlib.sha256(content).hexdigest().encode()
                try:
                    place_bytes(files[result.item], check + b"\n" + content)
                except OSError as error:
                    raise write_error(files[result.item], error) from error
        objects = _assemble(places, files, failures, link, legacy, progress)
        # In the order of the project, not in that of the threads.
        missing = [Failure(name, failures[name]) for name in map(_name, source) if name in failures]
        list_failures(target, missing)
        if len(missing) == len(source):
            raise RunError(
                f"no image of {source.path} could be predicted; {target}.failures.json says why. "
                f"The first: {missing[0].image}: {missing[0].reason}"
            )
    return InferenceSummary(
        str(target),
        len(source) - len(missing),
        done,
        objects,
        stream.windows,
        round(time.perf_counter() - start, 3),
        round(stream.network_seconds, 3),
        tuple(missing),
        (*network.notes, *plan.notes, *stream.notes, *getattr(network.predictor, "notes", ())),
    )


def _name(item: Item) -> str:
    return f"{item.dataset}/{item.name}"


def _digest(plan: ResultPlan, network: Network, legacy: bool) -> str:
    """What a kept result was made with, but for its image."""
    parts = [
        _VERSION,
        plan.settings.model_dump(mode="json", exclude={"gpu"}),
        plan.settings.mode.source,
        plan.meta.to_json(),
        network.predictor.fingerprint(),
        # The last bits depend on it, and with them pixels that two classes share.
        getattr(network.predictor, "runtime", ""),
        network.names,
        asdict(network.decide),
        network.size,
        network.native,
        legacy,
        plan.rank,
    ]
    return json_digest(parts)


def _key(item: Item) -> str:
    """A name for what is kept of an image; it changes with the image and its annotation."""
    parts: list[Any] = [item.dataset, item.name]
    for file in (item.image, item.annotation):
        try:
            stat = None if file is None else file.stat()
        except OSError:  # read again later, and listed
            stat = None
        parts.append(None if stat is None else (stat.st_size, stat.st_mtime_ns))
    return json_digest(parts)[:32]


@contextmanager
def _kept_work(target: Path, digest: str, restart: bool) -> Iterator[Path]:
    """The folder of finished images, beside the result; it stays where a run that ends early has filled it.

    Raises
    ------
    StateMismatchError
        It was made with another model, config or project.
    """
    folder = target.with_name(f"{target.name}.geoseg")
    state = folder / "state.json"
    if folder.exists():
        kept = state.read_text(encoding="utf-8") if state.is_file() else None
        # Whatever has no state is somebody's, and would be removed at the end.
        if kept is None and any(folder.iterdir()):
            raise InputError(f"{folder} must be a folder of kept results, got another one. Name another out.")
        if restart:
            remove_folder(folder)
        elif kept not in (None, digest) and len(list(folder.iterdir())) > 1:
            raise StateMismatchError(
                f"{folder} holds images that were finished with another model, config or project. "
                "Give --restart (restart=True) to forget them, or another out."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(state, digest)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield folder
    except BaseException:
        # Nothing but the state: no image was finished, so nothing is worth keeping.
        if len(list(folder.iterdir())) == 1:
            remove_folder(folder)
        raise
    remove_folder(folder)


def _read_kept(file: Path) -> bytes | None:
    """The annotation of a finished image; None where there is none, or where it is not what was written.

    A power loss may take a part of a file, and a disk may return other bytes than it was given.
    """
    try:
        check, _, content = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest().encode() == check else None


def _assemble(
    places: Mapping[Item, tuple[Path, Path]],
    files: Mapping[Item, Path],
    failures: dict[str, str],
    link: bool,
    legacy: bool,
    progress: Progress,
) -> int:
    """Put images and kept annotations into the result; returns the number of objects."""
    objects = 0
    for number, (item, (img, ann)) in enumerate(places.items(), 1):
        if _name(item) in failures:
            continue
        try:
            copy_image(item.image, img / item.name, link=link)
        except (InputError, OSError) as error:
            stop_if_full(error, img.parent)
            failures[_name(item)] = " ".join(str(error).split())
            continue
        # Seen after the copy: objects of one picture must not lie beside another one's pixels.
        if files[item].stem != _key(item):
            raise RunError(
                f"{_name(item)} was replaced or changed during the run. Give the same command again; "
                "what was finished of the others is kept."
            )
        # As it was kept, byte for byte: read and written anew, nothing could change but by mistake.
        content = _read_kept(files[item])
        if content is None:
            raise RunError(f"{files[item]} was damaged during the run. Give the same command again.")
        objects += len(json.loads(content)["objects"])
        (ann / (f"{item.stem}.json" if legacy else f"{item.name}.json")).write_bytes(content)
        progress("write", number, len(places))
    return objects
