"""What happens after each batch and each validation: state, checkpoints, charts, pictures, early stop."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch.utils.tensorboard import SummaryWriter

from geoseg.data.dataset import Batch, join_chips
from geoseg.train.charts import chart_page, chart_picture
from geoseg.train.checkpoints import RunFolder, write_file
from geoseg.train.config import TrainSettings
from geoseg.train.history import History
from geoseg.train.metrics import reduce_means
from geoseg.train.module import Segmenter
from geoseg.train.pictures import chip_sheet, overlay, to_picture
from geoseg.train.stopping import StopRequest
from geoseg.typing import Progress as Report

__all__ = ["Recorder"]

#: Validation chips shown with their prediction.
_EXAMPLES = 4
#: Seconds between two drawings of the chart picture.
_PICTURE_EVERY = 20.0


@dataclass(eq=False)
class Recorder(L.Callback):
    """Keeps the folder of a run.

    Attributes
    ----------
    run
        The folder.
    settings
        The config.
    per_epoch
        Batches in an epoch.
    examples
        Chips to draw at each validation.
    report
        Told how far the run is.
    resume
        State to go on from.
    """

    run: RunFolder
    settings: TrainSettings
    per_epoch: int
    examples: list[dict[str, Any]]
    report: Report
    resume: dict[str, Any] | None = None
    stop: StopRequest = field(default_factory=StopRequest, init=False)
    _saved_at: float = field(default=0.0, init=False)
    _drawn_at: float = field(default=0.0, init=False)
    _history: History | None = field(default=None, init=False)
    _board: SummaryWriter | None = field(default=None, init=False)

    # ------------------------------------------------------------ start and end

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the optimizer, open the history."""
        module = _segmenter(pl_module)
        if trainer.world_size > 1:
            # A process that is ended because another failed must end, not talk to the others first.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        else:
            self.stop.watch()
        if self.resume is not None:
            trainer.optimizers[0].load_state_dict(self.resume["optimizer"])
            if self.resume.get("precision"):
                trainer.precision_plugin.load_state_dict(self.resume["precision"])
        self._saved_at = self._drawn_at = time.monotonic()
        if trainer.is_global_zero:
            done = module.progress.validations
            self._history = History(self.run.path / "metrics.csv", done)
            # What an earlier try did after its last state is done anew; what it did before stays.
            self._board = SummaryWriter(
                str(self.run.path / "tensorboard"), purge_step=module.progress.batches + 1
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the whole run, close the event file."""
        if self._history is not None and self._history.rows:
            self._chart(self._history, final=True)
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the event file."""
        self._close()

    def _close(self) -> None:
        self.stop.leave()
        if self._board is not None:
            self._board.close()
            self._board = None

    # ------------------------------------------------------------ batches

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the state every few minutes, or stop: between two optimizer steps nothing is half done."""
        module = _segmenter(pl_module)
        minutes = (time.monotonic() - self._saved_at) / 60
        between = batch_idx > 0 and batch_idx % self.settings.accumulate == 0
        due = self.stop.asked or minutes >= self.settings.save_every_minutes
        if between and due and trainer.is_global_zero:
            self._save_state(trainer, module)
        if self.stop.asked and (between or batch_idx == 0):
            raise KeyboardInterrupt

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Report (the module counts this batch after this)."""
        module = _segmenter(pl_module)
        loss, done = module.recent[-1]["loss"], module.progress.batches + 1
        self.report("training", done, module.total, loss=loss)
        if self._board is not None:
            self._board.add_scalar("train/batch_loss", loss, done)

    def _save_state(self, trainer: L.Trainer, module: Segmenter) -> None:
        if self._board is not None:
            self._board.flush()
        self.run.save_state(
            {
                "network": module.network.state_dict(),
                "average": module.average.state_dict() if module.average is not None else None,
                "optimizer": trainer.optimizers[0].state_dict(),
                "precision": trainer.precision_plugin.state_dict(),
                "progress": module.progress.state(),
                "recent": [dict(row) for row in module.recent],
                "world": trainer.world_size,
            }
        )
        self._saved_at = time.monotonic()

    # ------------------------------------------------------------ validations

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop where that is asked for; a resumed run comes here again."""
        if self.stop.asked:
            raise KeyboardInterrupt

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Report."""
        self.report("validation", batch_idx + 1, float(trainer.num_val_batches[0]))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide what follows on every process; write it all down on the first."""
        module = _segmenter(pl_module)
        scores, progress, settings = module.latest, module.progress, self.settings
        row = self._row(module)
        index = progress.validations
        stop = settings.early_stopping
        decreasing = settings.lr_decreasing
        cut = progress.record(
            scores["loss"], decreasing.patience, decreasing.lr_divisor, stop.min_delta if stop else 0.0
        )
        if cut:
            trainer.optimizers[0].state.clear()
        if stop is not None and progress.since_best >= stop.patience:
            trainer.should_stop = True
        module.recent.clear()
        if trainer.is_global_zero:
            self._write(trainer, module, {"index": index, **row})

    def _row(self, module: Segmenter) -> dict[str, float]:
        """Scores of this validation beside the means of the batches since the one before."""
        scores, progress = module.latest, module.progress
        row = {
            "epoch": progress.batches / self.per_epoch,
            "batches": float(progress.batches),
            "lr": float(module.trainer.optimizers[0].param_groups[-1]["lr"]),
        }
        for name in ("loss", "accuracy", "dice", "mean_iou"):
            row[f"train_{name}"] = reduce_means([(r[name], int(r["chips"])) for r in module.recent])
            row[f"val_{name}"] = scores[name]
        for name, value in zip(module.classes, scores["iou"], strict=True):
            if value is not None:
                row[f"iou:{name}"] = value
        return row

    def _write(self, trainer: L.Trainer, module: Segmenter, row: dict[str, Any]) -> None:
        scores = module.latest
        facts = {
            "index": row["index"],
            "epoch": row["epoch"],
            "batches": int(row["batches"]),
            "loss": scores["loss"],
            "scores": {key: scores[key] for key in ("accuracy", "dice", "mean_iou", "iou", "tuned_iou")},
            "thresholds": scores["thresholds"],
        }
        self.run.add_checkpoint(module.evaluated.state_dict(), facts, self.settings.keep_checkpoints)
        if self._history is not None:
            self._history.add(row)
            self._chart(self._history, final=False)
        self._draw(module, int(row["index"]))
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(
                    name.replace("_", "/", 1).replace(":", "/"), value, int(row["batches"])
                )
        self._save_state(trainer, module)

    def _chart(self, history: History, final: bool) -> None:
        """Write the charts; the picture, which takes a second, not again and again."""
        write_file(self.run.path / "charts.html", chart_page(history, self.settings.card.name))
        if final or time.monotonic() - self._drawn_at > _PICTURE_EVERY:
            write_file(self.run.path / "charts.png", chart_picture(history))
            self._drawn_at = time.monotonic()

    @torch.no_grad()
    def _draw(self, module: Segmenter, index: int) -> None:
        """Pixels, target and prediction of a few validation chips."""
        if not self.examples:
            return
        batch = join_chips(self.examples[:_EXAMPLES]).to(module.device)
        was = module.evaluated.training
        module.evaluated.eval()
        logits = module.evaluated(module.normalize(batch.image))[:, : len(module.classes)]
        module.evaluated.train(was)
        guess = logits.argmax(1).cpu().numpy()
        dark, bright = (getattr(module, name).flatten().tolist() for name in ("dark", "bright"))
        rows = []
        for image, target, found in zip(
            batch.image.cpu().numpy(), batch.target.cpu().numpy(), guess, strict=True
        ):
            picture = to_picture(image, dark, bright)
            rows.append([picture, overlay(picture, target), overlay(picture, found)])
        write_file(self.run.path / "examples" / f"{index:08d}.png", chip_sheet(rows, module.classes))


def _segmenter(module: L.LightningModule) -> Segmenter:
    if not isinstance(module, Segmenter):
        raise TypeError(f"expected a Segmenter, got {type(module).__name__}")
    return module
