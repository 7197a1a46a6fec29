"""Training a network from a config: Lightning's Trainer around what the other modules prepare."""

from __future__ import annotations

import json
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessException
from torch.utils.data import DataLoader

from geoseg.data.dataset import Batch, train_loader, val_loader
from geoseg.data.sampler import BatchSampler
from geoseg.errors import GeosegError, InputError, RunError, StateMismatchError
from geoseg.train.checkpoints import RunFolder
from geoseg.train.config import TrainSettings
from geoseg.train.devices import Devices, choose_devices
from geoseg.train.initial import read_initial, start_from
from geoseg.train.module import Segmenter
from geoseg.train.precision import spare_grouped
from geoseg.train.progress import Progress, next_stop, validation_points
from geoseg.train.recorder import Recorder
from geoseg.train.setup import Prepared, build, pixelwise_of, prepare
from geoseg.typing import PathLike, no_progress
from geoseg.typing import Progress as Report

__all__ = ["train"]

logger = logging.getLogger(__name__)

#: Settings that may differ when a run is resumed: they change nothing of what is learned.
_FREE = ("keep_checkpoints", "save_every_minutes", "card", "weights")

_STOPPED = "the last state is kept, use --resume to go on"
#: Ends of a process that are not for want of memory.
_CRASHES = ("SIGSEGV", "Segmentation", "SIGABRT", "Aborted", "SIGILL", "SIGFPE")
#: An error of geoseg at the end of a traceback that another process sent.
_OWN = re.compile(r"^['\"]?geoseg\.[\w.]+: ", re.MULTILINE)


class _Segments(L.LightningDataModule):
    """Training batches up to the next validation, as one of Lightning's epochs, and the validation chips."""

    def __init__(
        self, settings: TrainSettings, prepared: Prepared, progress: Progress, points: list[int]
    ) -> None:
        super().__init__()
        self.settings, self.prepared, self.progress, self.points = settings, prepared, progress, points

    def setup(self, stage: str) -> None:
        """Be as quiet in a spawned process as in the one that spawned it."""
        if torch.multiprocessing.get_context().parent_process() is not None:
            logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
            _expect_warnings()

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (int(trainer.global_rank), int(trainer.world_size)) if trainer is not None else (0, 1)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from here to the next validation."""
        # Lightning asks once more after the last of them; the answer is not used.
        settings, done = self.settings, self.progress.batches
        stop = next_stop(self.points, done) or done
        rank, world = self._place()
        sampler = BatchSampler(
            self.prepared.plan,
            settings.batch_size.train,
            settings.data_workers.train,
            done,
            stop,
            rank,
            world,
        )
        return train_loader(self.prepared.chips(settings, settings.allow_corrupted_samples.train), sampler)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Send raw pixels; they are normalized there."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def val_dataloader(self) -> DataLoader[Any]:
        """All validation chips."""
        settings = self.settings
        data = self.prepared.chips(settings, settings.allow_corrupted_samples.val, train=False)
        return val_loader(
            data, self.prepared.val, settings.batch_size.val, settings.data_workers.val, *self._place()
        )


@dataclass(frozen=True)
class _Start:
    """Where a run starts: afresh, or from its last state."""

    progress: Progress
    state: dict[str, Any] | None


def train(
    settings: TrainSettings,
    out: PathLike,
    *,
    base: PathLike = ".",
    resume: bool = False,
    devices: str | None = None,
    progress: Report = no_progress,
) -> Path:
    """Train a network.

    Parameters
    ----------
    settings
        The config.
    out
        Folder of the run: checkpoints, charts, and in the end ``bundle``.
    base
        Folder that the config's relative paths start from.
    resume
        Go on from the last state in ``out``; the result is that of a run that was never stopped
        (bit for bit on the CPU). Without a state there, training begins.
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
        A config or data that can't be used.
    StateMismatchError
        ``out`` holds another run.
    RunError
        Training failed; the last good checkpoint is kept.
    KeyboardInterrupt
        Ctrl-C or SIGTERM.
    """
    from geoseg.train.export import export_checkpoint

    base = Path(base)
    run = RunFolder(out)
    chosen = choose_devices(settings.gpu_devices, devices)
    _claim(run, settings, resume)
    prepared = prepare(settings, base)
    network = build(settings, prepared.opened.channels, len(prepared.facts.classes))
    start = _starting_point(run, prepared, chosen) if resume else _Start(Progress(), None)
    if start.state is None:
        initial = read_initial(base / settings.weights) if settings.weights else None
        start_from(network, initial, prepared.facts.classes, settings.weights_init_type, settings.pretrained)
    run.write_json("config.json", settings.model_dump(mode="json"))
    run.write_json("facts.json", prepared.facts.document())
    fit(settings, run, prepared, network, start, chosen, progress)
    return export_checkpoint(run, run.best_index())


def _claim(run: RunFolder, settings: TrainSettings, resume: bool) -> None:
    """Refuse a folder that holds another run, or one that would be overwritten."""
    run.check_writable()
    if not (run.path / "config.json").is_file():
        return
    if not resume:
        raise InputError(
            f"--out must be a new folder, got {run.path}, which holds a run. Use --resume to go on."
        )
    before, now = run.read_json("config.json"), json.loads(settings.model_dump_json())
    changed = [key for key in now if key not in _FREE and before.get(key) != now[key]]
    if changed:
        raise StateMismatchError(
            f"a run to resume must have its own config, got another {', '.join(changed)} than in "
            f"{run.path / 'config.json'}. Restore it, or begin a new run."
        )


def _starting_point(run: RunFolder, prepared: Prepared, devices: Devices) -> _Start:
    """The last state, if it belongs to the same data and as many processes."""
    if not run.state_path.is_file():
        return _Start(Progress(), None)
    state, facts = run.load_state(), json.loads(json.dumps(prepared.facts.document()))
    before = run.read_json("facts.json")
    changed = [key for key in facts if facts[key] != before.get(key)]
    if changed:
        raise StateMismatchError(
            f"a run to resume must find its own data, got another {', '.join(changed)} than in "
            f"{run.path / 'facts.json'}. Restore the data, or begin a new run."
        )
    world = state.get("world", 1)
    if world != devices.world:
        raise StateMismatchError(
            f"a run to resume must have as many processes as it began with, got {devices.world} and not "
            f"{world}. Choose them with --devices, such as cpu:{world}."
        )
    progress = Progress(**state["progress"])
    run.drop_after(progress.validations)
    logger.info("going on after %d batches", progress.batches)
    return _Start(progress, state)


def fit(
    settings: TrainSettings,
    run: RunFolder,
    prepared: Prepared,
    network: nn.Module,
    start: _Start,
    devices: Devices,
    report: Report,
) -> Segmenter:
    """Run the Trainer from where the run stands to its end."""
    sampler = BatchSampler(prepared.plan, settings.batch_size.train, 0, 0, 0, 0, devices.world)
    points = validation_points(sampler.per_epoch, settings.epochs, settings.val_every)
    module = Segmenter(
        settings, network, prepared.facts.classes, pixelwise_of(prepared.facts), points[-1], start.progress
    )
    _restore(module, start.state)
    data = _Segments(settings, prepared, module.progress, points)
    left = sum(point > module.progress.batches for point in points)
    if not left or _stopped_early(settings, module.progress):
        return module
    examples = _examples(data, prepared) if len(prepared.val) else []
    # A progress bar cannot travel to other processes.
    told = report if devices.world == 1 else no_progress
    recorder = Recorder(run, settings, sampler.per_epoch, examples, told, start.state)
    # What Lightning logs on the way (devices, tips, the end) is told by the recorder or of no use here.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if devices.accelerator == "cpu" and settings.precision != "32":
        spare_grouped(module.network)
    trainer = _trainer(settings, devices, recorder, left)
    with warnings.catch_warnings():
        _expect_warnings()
        try:
            trainer.fit(module, datamodule=data)
        except SystemExit as stopped:  # what Lightning makes of KeyboardInterrupt
            raise KeyboardInterrupt(_STOPPED) from stopped
        except (RuntimeError, ProcessException) as error:
            if recorder.stop.asked:  # workers may be ended by the same signal
                raise KeyboardInterrupt(_STOPPED) from error
            raise _explained(error) from error
    return module


def _stopped_early(settings: TrainSettings, progress: Progress) -> bool:
    stop = settings.early_stopping
    return stop is not None and progress.validations > 0 and progress.since_best >= stop.patience


def _restore(module: Segmenter, state: dict[str, Any] | None) -> None:
    if state is None:
        return
    module.network.load_state_dict(state["network"])
    if module.average is not None:
        module.average.load_state_dict(state["average"])
    module.recent = [dict(row) for row in state["recent"]]


def _examples(data: _Segments, prepared: Prepared) -> list[dict[str, Any]]:
    """A few validation chips, spread over the list."""
    chips = prepared.chips(data.settings, data.settings.allow_corrupted_samples.val, train=False)
    step = max(1, len(prepared.val) // 4)
    return [chips[ref] for ref in prepared.val[::step][:4]]


def _trainer(settings: TrainSettings, devices: Devices, recorder: Recorder, segments: int) -> L.Trainer:
    precision: Any = settings.precision
    if precision == "16-mixed" and devices.accelerator == "cpu":
        logger.warning("precision 16-mixed needs a GPU: bf16-mixed is used on the CPU")
        precision = "bf16-mixed"
    gpu = devices.accelerator == "gpu"
    return L.Trainer(
        accelerator=devices.accelerator,
        devices=list(devices.numbers) if gpu else devices.world,
        # Shallow encoders leave parameters unused, which plain DDP refuses.
        strategy="ddp_spawn_find_unused_parameters_true" if devices.world > 1 else "auto",
        precision=precision,
        max_epochs=segments,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        gradient_clip_val=settings.gradient_clip,
        accumulate_grad_batches=settings.accumulate,
        use_distributed_sampler=False,
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(recorder.run.path),
    )


def _expect_warnings() -> None:
    """Leave out advice on what the config has decided."""
    # The number of workers is the user's choice, 0 included.
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*will create \d+ worker processes.*")
    # Lightning's own use of torch (isinstance of LeafSpec) on every batch.
    warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
    # A GPU that the config leaves unused on purpose (--devices cpu).
    warnings.filterwarnings("ignore", message=r".*GPU available but not used.*")
    # Most networks use all of their parameters; those that do not need this.
    warnings.filterwarnings("ignore", message=r".*find_unused_parameters=True was specified.*")
    # Networks arrive in evaluation mode and are switched when training starts.
    warnings.filterwarnings("ignore", message=r".*in eval mode at the start of training.*")


def _explained(error: Exception) -> GeosegError:
    """A clear message for what can break a run from outside."""
    text = str(error)
    told = list(_OWN.finditer(text))
    if told:  # from another process, behind its traceback
        return RunError(text[told[-1].end() :].strip(" \n'\""))
    if isinstance(error, GeosegError):
        return error
    if "DataLoader worker" in text or "terminated with signal" in text:
        what = "a data worker" if "DataLoader" in text else "a process of the run"
        reason = text.strip(" '\"\n").splitlines()[0].strip().rstrip(".")
        advice = (
            "Use --resume to go on."
            if any(word in reason for word in _CRASHES)
            else "Most often memory ran out: free some and use --resume, or begin a new run with lower "
            "data_workers or batch_size."
        )
        return RunError(f"{what} was ended from outside: {reason}. {advice}")
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return RunError("GPU memory ran out. Lower batch_size.train or input_size, then begin again.")
    return RunError(f"training failed: {text.strip().splitlines()[-1] if text.strip() else error!r}")
