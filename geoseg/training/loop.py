"""Training a network from a config: what is checked before, and the processes that do it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from geoseg.config import read_document
from geoseg.data.digests import only_times_differ
from geoseg.data.sampler import BatchSampler
from geoseg.errors import GeosegError, InputError, RunError, StateMismatchError
from geoseg.files import hold
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import TrainSettings, parse_train_settings
from geoseg.training.devices import Devices, choose_devices
from geoseg.training.fit import Fitting, be_quiet
from geoseg.training.initial import read_initial, start_from
from geoseg.training.precision import spare_grouped
from geoseg.training.setup import Prepared, build, check_order, prepare
from geoseg.typing import PathLike, Progress, no_progress

__all__ = ["train"]

logger = logging.getLogger(__name__)

#: Settings that may differ when a run is resumed: they change nothing of what is learned.
_FREE = ("keep_checkpoints", "save_every_minutes", "card", "weights")

_STOPPED = "the last state is kept, use --resume to go on"
#: Signals that end a process for a fault of its own; others most often come from a system short of memory.
_FAULTS = ("SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE", "SIGBUS")


def train(
    settings: TrainSettings | PathLike | Mapping[str, Any],
    out: PathLike,
    *,
    base: PathLike | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    devices: str | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Train a network.

    Parameters
    ----------
    settings
        The config: a JSON or TOML file, what such a file holds, or settings that were parsed already.
    out
        Folder of the run: checkpoints, charts, and in the end ``bundle``.
    base
        Folder that the config's relative paths start from; None: the folder of the file, else this one.
    resume
        Go on from the last state in ``out``; the result is that of a run that was never stopped
        (bit for bit on the CPU). Without a state there, training begins.
    accept_changes
        Resume although scenes or labels changed since the run began; bands are scaled as before. Not where
        epochs or validation windows would differ.
    devices
        ``cpu``, ``cpu:2`` or GPU numbers, in place of the config's ``gpu_devices``.
    progress
        Told of batches done.

    Returns
    -------
    Path
        The bundle, of the checkpoint with the lowest validation loss.

    Raises
    ------
    InputError
        A config or data that can't be used, or another process writes to ``out``.
    StateMismatchError
        ``out`` holds another run.
    RunError
        Training failed; the last good checkpoint is kept.
    KeyboardInterrupt
        Ctrl-C or SIGTERM.
    """
    from geoseg.training.export import export_checkpoint

    if isinstance(settings, (str, os.PathLike)):
        base = Path(settings).absolute().parent if base is None else base
        settings = parse_train_settings(read_document(settings), Path(settings).name)
    elif not isinstance(settings, TrainSettings):
        settings = parse_train_settings(settings)
    base = Path(base or ".")
    # Devices and folder are checked before the data, which may take minutes to open.
    run = RunFolder(out)
    chosen = choose_devices(settings.gpu_devices, devices)
    run.check_writable()
    # The lock is held to the end: two runs in one folder would write each other's checkpoints.
    with hold(run.path):
        _check_folder(run, settings, resume)
        prepared = prepare(settings, base)
        network = build(settings, prepared.opened.channels, len(prepared.facts.classes))
        resumed = resume and run.state_path.is_file()
        if resumed:
            earlier = run.read_json("facts.json").get("earlier_batches", 0)
        else:
            # A run that goes on has its weights in the state; where they came from no longer matters.
            initial = read_initial(base / settings.weights) if settings.weights else None
            if initial is not None:
                bands = settings.card.bands or prepared.facts.bands
                check_order(initial.bands, bands, f"bands of {initial.source}", "Choose")
            start_from(
                network, initial, prepared.facts.classes, settings.weights_init_type, settings.pretrained
            )
            earlier = initial.batches if initial else 0
        size, workers = settings.batch_size.train, settings.data_workers.train
        batches = BatchSampler(prepared.epochs, size, workers, 0, 0, world=chosen.world).per_epoch
        facts = replace(prepared.facts, earlier_batches=earlier, epoch_batches=batches)
        prepared = replace(prepared, facts=facts)
        if resumed:
            prepared = _check_state(run, prepared, chosen, accept_changes)
        # Written before the first batch: a run killed at once can already be resumed, and is known as a run.
        run.write_json("config.json", settings.model_dump(mode="json"))
        run.write_json("facts.json", prepared.facts.document())
        _launch(settings, run, prepared, network, chosen, progress)
        return export_checkpoint(run, run.best_index())


def _check_folder(run: RunFolder, settings: TrainSettings, resume: bool) -> None:
    """Refuse a folder that holds another run, or one that would be overwritten."""
    if not (run.path / "config.json").is_file():
        if run.state_path.exists():  # Lightning and others call their states so, too
            raise InputError(
                f"--out must be a new folder or a run's, got {run.path}, which holds a last.ckpt of "
                "something else. Name another folder."
            )
        return
    if not resume:
        raise InputError(
            f"--out must be a new folder, got {run.path}, which holds a run. Use --resume to go on."
        )
    kept = parse_train_settings(run.read_json("config.json"), str(run.path / "config.json"))
    before, now = kept.model_dump(mode="json"), settings.model_dump(mode="json")
    changed = [key for key in now if key not in _FREE and before[key] != now[key]]
    if changed:
        raise StateMismatchError(
            f"a run to resume must have its own config, got another {', '.join(changed)} than in "
            f"{run.path / 'config.json'}. Restore it, or begin a new run."
        )


def _check_state(run: RunFolder, prepared: Prepared, devices: Devices, accept_changes: bool) -> Prepared:
    """Refuse a state of other data, of another teacher or of another number of processes.

    Gives what to go on with: where changes are accepted, bands are scaled as the network knows them.
    """
    # Each process draws its own share of every batch: with another number the run would be another one.
    world = run.load_state().get("world", 1)
    if world != devices.world:
        raise StateMismatchError(
            f"a run to resume must have as many processes as it began with, got {devices.world} and not "
            f"{world}. Choose them with --devices, such as cpu:{world}."
        )
    # Through JSON, or tuples would differ from the lists that were read.
    facts = json.loads(json.dumps(prepared.facts.document()))
    before = run.read_json("facts.json")
    files, known = facts["files"], before.get("files")
    retimed = False
    if known is None:
        # An earlier version kept one digest of all labels, or none, and did not keep what other files were.
        labels = prepared.opened.labels
        written = ["labels"] if before.get("labels", labels) != labels else []
    else:
        written = sorted(name for name in {*files, *known} if files.get(name) != known.get(name))
        retimed = all(only_times_differ(files.get(name, ""), known.get(name, "")) for name in written)
    names = ", ".join(written[:3]) + (f" and {len(written) - 3} more" if written[3:] else "")
    changes = f", for files changed: {names}" if names else ""
    if known is None and prepared.patchy:
        raise StateMismatchError(
            "a run to resume must have the epochs and the split it began with, got others for "
            f"{', '.join(prepared.patchy[:3])}, whose labeled ground does not fill its bounds: the earlier "
            "version that began the run drew them otherwise. Finish it with that, or begin a new run."
        )
    # Of earlier versions the checkpoints tell how long an epoch was.
    rows, batches = run.list_checkpoints(), facts["epoch_batches"]
    length = before.get("epoch_batches") or (
        round(rows[-1]["batches"] / rows[-1]["epoch"]) if rows else batches
    )
    # The next two also where changes are accepted. The run would end early and seem finished, at a rate that
    # jumps; or it would be validated on ground that it has learned from.
    if length != batches:
        raise StateMismatchError(
            f"a run to resume must have epochs as long as those it began with, {length} batches, got "
            f"{batches}{changes}. Restore its data, or begin a new run."
        )
    if before.get("validation", facts["validation"]) != facts["validation"]:
        raise StateMismatchError(
            f"a run to resume must be validated on the windows it began with, got others{changes}. Restore "
            "its data, or begin a new run."
        )
    # What is measured on pixels differs with them.
    free = {"files", "epoch_batches", "validation", *(("mean", "stddev") if written else ())}
    if changed := [key for key in facts if key not in free and facts[key] != before.get(key)]:
        raise StateMismatchError(
            f"a run to resume must find what it began with, got another {', '.join(changed)} than in "
            f"{run.path / 'facts.json'}{changes}. Restore it, or begin a new run."
        )
    if written and not accept_changes:
        raise StateMismatchError(
            f"a run to resume must find its scenes and labels as they were, got changed files: {names}"
            f"{', of the same sizes and other times, as copies are' if retimed else ''}. Restore them, give "
            "--accept-changes to go on with what they hold now, or begin a new run."
        )
    mean, stddev = tuple(before["mean"]), tuple(before["stddev"])
    return replace(prepared, facts=replace(prepared.facts, mean=mean, stddev=stddev))


def _launch(
    settings: TrainSettings,
    run: RunFolder,
    prepared: Prepared,
    network: nn.Module,
    devices: Devices,
    progress: Progress,
) -> None:
    """Fit on the devices, each in a process of its own where there are several; make errors clear."""
    precision: Any = settings.precision
    # Autocast of the CPU is used with bfloat16, which needs no scaling of the loss.
    if precision == "16-mixed" and devices.accelerator == "cpu":
        logger.warning("precision 16-mixed needs a GPU: bf16-mixed is used on the CPU")
        precision = "bf16-mixed"
    if devices.accelerator == "cpu" and precision != "32":
        spare_grouped(network)
        if prepared.teacher is not None:
            spare_grouped(prepared.teacher)
    several = devices.world > 1
    be_quiet()
    fabric = Fabric(
        accelerator=devices.accelerator,
        devices=list(devices.numbers) if devices.accelerator == "gpu" else devices.world,
        # Shallow encoders leave parameters unused, which plain DDP refuses.
        strategy=DDPStrategy(start_method="spawn", find_unused_parameters=True) if several else "auto",
        precision=precision,
    )
    # The first error of any process; torch itself would bring it here as the text of a traceback.
    errors = torch.multiprocessing.get_context("spawn").SimpleQueue()
    # Only children that this run starts may be ended by it.
    others = multiprocessing.active_children()
    try:
        # A progress bar can't travel to other processes.
        job = (settings, run, prepared, no_progress if several else progress)
        # Fabric looks through arguments for networks, whose memory processes must not share; the rest of them
        # holds frozen dataclasses, which it refuses to look through.
        fabric.launch(partial(_guarded, errors=errors, job=job), network)
    except KeyboardInterrupt as stopped:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise KeyboardInterrupt(_STOPPED) from stopped
    except ProcessException as error:
        if not errors.empty():
            # The process that failed first told why; those it left behind fail with messages about their
            # connection.
            raise errors.get() from error
        if not isinstance(error, ProcessExitedException):
            raise
        fault = error.signal_name in _FAULTS
        raise _ended("a process of the run", str(error), fault=fault) from error


def _guarded(fabric: Fabric, network: nn.Module, errors: SimpleQueue[GeosegError], job: Any) -> None:
    """Fit in this process; what goes wrong is a :class:`GeosegError`, also told to the first process."""
    try:
        try:
            Fitting(fabric, network, *job).run()
        except RuntimeError as error:
            if isinstance(error, GeosegError):
                raise
            raise _failure(error) from error
    except GeosegError as error:
        if fabric.world_size > 1:
            errors.put(error)
        raise


def _failure(error: RuntimeError) -> RunError:
    """A clear message for what can break a run from outside."""
    text = str(error).strip()
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return RunError("GPU memory ran out. Lower batch_size.train or input_size, then begin again.")
    if text.startswith("DataLoader worker"):  # torch has no type of its own for it
        return _ended("a data worker", text, fault=any(word in text for word in ("Segmentation", "Aborted")))
    return RunError(f"training failed: {text.splitlines()[-1] if text else repr(error)}")


def _ended(what: str, reason: str, *, fault: bool) -> RunError:
    advice = (
        "Use --resume to go on."
        if fault
        else "Most often memory ran out: free some and use --resume, or begin a new run with lower "
        "data_workers or batch_size."
    )
    return RunError(f"{what} was ended from outside: {reason.splitlines()[0].strip().rstrip('.')}. {advice}")
