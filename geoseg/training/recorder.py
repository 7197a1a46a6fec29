"""What a run writes down as it goes: checkpoints, scores, charts, pictures, tensorboard."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from geoseg.data.dataset import join_chips
from geoseg.files import write_bytes, write_text
from geoseg.training.charts import chart_page, chart_picture
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import TrainSettings
from geoseg.training.history import History
from geoseg.training.learner import Learner
from geoseg.training.pictures import chip_sheet, overlay, to_picture

__all__ = ["Recorder"]

#: Seconds between two drawings of the chart picture, which takes one.
_PICTURE_EVERY = 20.0


class Recorder:
    """Keeps the folder of a run up to date; used with ``with``, on one process only.

    Parameters
    ----------
    run
        The folder.
    settings
        The config.
    validations, batches
        What is done when the run goes on from here; what an earlier try did after it is written anew.
    examples
        Validation chips to draw at each validation.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: TrainSettings,
        validations: int,
        batches: int,
        examples: list[dict[str, Any]],
    ) -> None:
        self.run, self.settings, self.examples = run, settings, examples
        self.history = History(run.path / "metrics.csv", validations)
        # What an earlier try wrote behind this batch would otherwise show as a second line.
        self.board = SummaryWriter(str(run.path / "tensorboard"), purge_step=batches + 1)
        self._drawn_at = time.monotonic()

    def batch(self, batches: int, loss: float) -> None:
        """Note the loss of a training batch."""
        self.board.add_scalar("train/batch_loss", loss, batches)

    def validation(self, index: int, row: dict[str, float], scores: dict[str, Any], learner: Learner) -> None:
        """Write the checkpoint of a validation, its scores and its pictures.

        Parameters
        ----------
        index
            Number of the validation, from 0.
        row
            What goes into the history: ``epoch``, ``batches``, the rate, scores of training and validation.
        scores
            All scores of the validation.
        """
        facts = {
            "index": index,
            "epoch": row["epoch"],
            "batches": int(row["batches"]),
            "loss": scores["loss"],
            "scores": {key: scores[key] for key in ("accuracy", "dice", "mean_iou", "iou", "tuned_iou")},
            "thresholds": scores["thresholds"],
        }
        # The checkpoint first: whatever comes after it can be drawn again, weights can't.
        self.run.add_checkpoint(learner.evaluated.state_dict(), facts, self.settings.keep_checkpoints)
        self.history.add({"index": index, **row})
        self._draw_charts()
        self._draw_examples(learner, index)
        for name, value in {"index": index, **row}.items():
            # TensorBoard groups by the part before the slash: train/loss, val/loss, iou/CLASS.
            place = name.replace("_", "/", 1).replace(":", "/")
            self.board.add_scalar(place, value, int(row["batches"]))
        self.board.flush()

    def finish(self) -> None:
        """Draw the whole run; a run that was killed before it came here and goes on comes here, too."""
        if self.history.rows:
            self._draw_charts(last=True)

    def _draw_charts(self, last: bool = False) -> None:
        write_text(self.run.path / "charts.html", chart_page(self.history, self.settings.card.name))
        if last or time.monotonic() - self._drawn_at > _PICTURE_EVERY:
            write_bytes(self.run.path / "charts.png", chart_picture(self.history))
            self._drawn_at = time.monotonic()

    @torch.no_grad()
    def _draw_examples(self, learner: Learner, index: int) -> None:
        """Pixels, target and prediction of a few validation chips."""
        if not self.examples:
            return
        batch = join_chips(self.examples).to(learner.dark.device)
        # Whatever the config says of validation: batch statistics of four chips would make an odd picture.
        learner.evaluated.eval()
        logits = learner.evaluated(learner.normalize(batch.image))[:, : len(learner.classes)]
        guesses = logits.argmax(1).cpu().numpy()
        dark, bright = learner.dark.flatten().tolist(), learner.bright.flatten().tolist()
        rows = []
        for image, target, guess in zip(
            batch.image.cpu().numpy(), batch.target.cpu().numpy(), guesses, strict=True
        ):
            picture = to_picture(image, dark, bright)
            rows.append([picture, overlay(picture, target), overlay(picture, guess)])
        write_bytes(self.run.path / "examples" / f"{index:08d}.png", chip_sheet(rows, learner.classes))
