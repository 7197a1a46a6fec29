"""The training loop, as each process of a run goes through it: from where the run stands to its end."""

from __future__ import annotations

import logging
import math
import time
import warnings
from dataclasses import asdict
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, inference_mode, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from geoseg.data.dataset import train_loader, val_loader
from geoseg.data.sampler import BatchSampler
from geoseg.errors import RunError
from geoseg.training.checkpoints import RunFolder
from geoseg.training.config import TrainSettings
from geoseg.training.learner import Learner, make_optimizer, step_seed
from geoseg.training.metrics import Scores, SegmentationScore, reduce_means
from geoseg.training.recorder import Recorder
from geoseg.training.setup import Prepared, pixelwise_of
from geoseg.training.standing import Standing, rate_factor, validation_points
from geoseg.training.stopping import StopRequest
from geoseg.typing import Progress

__all__ = ["Fitting", "be_quiet"]

#: Validation chips shown with their prediction.
_EXAMPLES = 4


class Fitting:
    """A run in one process. All processes do the same; the first also writes down what comes of it.

    Parameters
    ----------
    fabric
        Launched: devices, processes and precision are its part.
    network
        Trained in place.
    settings
        The config.
    run
        The run's folder; a state in it is gone on from.
    prepared
        What to learn from.
    report
        Told of batches done.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        settings: TrainSettings,
        run: RunFolder,
        prepared: Prepared,
        report: Progress,
    ) -> None:
        self.fabric, self.settings, self.folder = fabric, settings, run
        self.prepared, self.report = prepared, report
        self.rank, self.world = fabric.global_rank, fabric.world_size
        facts = prepared.facts
        # The optimizer takes parameters as they lie on their device, so the network moves there first.
        self.learner = Learner(settings, network, facts.classes, pixelwise_of(facts), prepared.teacher).to(
            fabric.device
        )
        self.optimizer = make_optimizer(self.learner.network, settings)
        self.forward, self.stepper = fabric.setup(self.learner.network, self.optimizer)
        self.per_epoch = self._batches(0, 0).per_epoch
        # Every process works out the same points by itself: none has to be told when to validate.
        self.points = validation_points(self.per_epoch, settings.epochs, settings.val_every)
        corrupted = settings.allow_corrupted_samples
        self.train_chips = prepared.chips(settings, corrupted.train)
        self.val_chips = prepared.chips(settings, corrupted.val, train=False)
        self.standing = Standing()
        self.recent: list[dict[str, float]] = []
        # A process that stopped alone would leave the others waiting for its gradients, see StopRequest.
        self.stop = StopRequest(watch=self.world == 1)
        self.recorder: Recorder | None = None
        self._saved_at = time.monotonic()

    def run(self) -> None:
        """Train and validate in turn.

        Raises
        ------
        RunError
            A loss that is not finite, or chips that can't be read.
        KeyboardInterrupt
            Asked to stop; the state is kept.
        """
        self._restore()
        standing = self.standing
        with warnings.catch_warnings(), self.stop:
            be_quiet()
            if self.fabric.is_global_zero:
                # A run that was killed between a checkpoint and its state left a checkpoint that will be made
                # again.
                self.folder.drop_after(standing.validations)
                # A few validation chips, spread over the list.
                refs = self.prepared.val
                spread = refs[:: max(1, len(refs) // _EXAMPLES)][:_EXAMPLES]
                self.recorder = Recorder(
                    self.folder,
                    self.settings,
                    standing.validations,
                    standing.batches,
                    [self.val_chips[ref] for ref in spread],
                )
            try:
                while standing.validations < len(self.points) and not self._stops_early():
                    self._train()
                    self._measure_batch_norm()
                    self._conclude(self._validate())
                    self._save()
                if self.recorder is not None:
                    self.recorder.finish()
            except RuntimeError as error:
                if self.stop.requested:  # the signal may have ended the workers, too
                    raise KeyboardInterrupt from error
                raise
            finally:
                if self.recorder is not None:
                    self.recorder.board.close()

    def _restore(self) -> None:
        """Go on from the last state."""
        if not self.folder.state_path.is_file():
            return
        # Each process reads the file: tensors that are sent to another process stay shared with it.
        state = self.folder.load_state()
        self.learner.network.load_state_dict(state["network"])
        if self.learner.average is not None:
            self.learner.average.load_state_dict(state["average"])
        # Without its moments Adam would begin anew, and the resumed run would be another one.
        self.optimizer.load_state_dict(state["optimizer"])
        # The scaler of float16 has adapted its factor to this network; it is part of the state for the same
        # reason.
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.standing, self.recent = Standing(**state["progress"]), state["recent"]

    def _save(self) -> None:
        """Keep the state."""
        self._saved_at = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        average = self.learner.average
        self.folder.save_state(
            {
                "network": self.learner.network.state_dict(),
                "average": average.state_dict() if average is not None else None,
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "progress": asdict(self.standing),
                # The training scores since the last validation, which the next row of the history sums up.
                "recent": self.recent,
                # What is random differs by process, so a run goes on only with as many as it began with.
                "world": self.world,
            }
        )

    def _batches(self, start: int, stop: int) -> BatchSampler:
        """This process's share of the training batches ``start`` to ``stop``."""
        size, workers = self.settings.batch_size.train, self.settings.data_workers.train
        return BatchSampler(self.prepared.epochs, size, workers, start, stop, self.rank, self.world)

    def _stops_early(self) -> bool:
        stop = self.settings.early_stopping
        return (
            stop is not None and self.standing.validations > 0 and self.standing.since_best >= stop.patience
        )

    # ------------------------------------------------------------ training

    def _train(self) -> None:
        """All batches from here to the next validation."""
        standing, accumulate = self.standing, self.settings.accumulate
        # A state may have been saved between two validations: the loader begins behind its batches, while the
        # steps of the optimizer are counted from the last validation.
        start = self.points[standing.validations - 1] if standing.validations else 0
        end = self.points[standing.validations]
        self.learner.set_modes(training=True)
        for batch in train_loader(self.train_chips, self._batches(standing.batches, end)):
            done = standing.batches - start
            # Between two steps of the optimizer no gradient is half summed: there is no more than the state.
            if done % accumulate == 0:
                minutes = (time.monotonic() - self._saved_at) / 60
                if self.stop.requested or (done and minutes >= self.settings.save_every_minutes):
                    self._save()
                self._grant_stop()
            self._set_rate()
            # The batches before a validation are stepped even if fewer than accumulate are left, so that what
            # is validated has learned from all of them.
            last = (done + 1) % accumulate == 0 or standing.batches + 1 == end
            # Gradients travel between processes once a step, not once a batch.
            with self.fabric.no_backward_sync(self.forward, enabled=not last):
                batch = batch.to(self.fabric.device, True)
                with self.fabric.autocast():
                    loss, scores = self.learner.training_loss(
                        self.forward, batch, standing.batches, self.rank
                    )
                # A sum of shares is the mean over the batches of a step: accumulate does not change the rate.
                self.fabric.backward(loss / accumulate)
            if last:
                self._step()
            self.recent.append(scores)
            if self.recorder is not None:
                self.report("training", standing.batches + 1, self.points[-1], loss=scores["loss"])
                self.recorder.batch(standing.batches + 1, scores["loss"])
            standing.batches += 1
        if self.stop.requested:
            self._save()
        self._grant_stop()

    def _grant_stop(self) -> None:
        if self.stop.requested:
            raise KeyboardInterrupt

    def _set_rate(self) -> None:
        schedule, done = self.settings.schedule, self.standing.batches
        factor = self.standing.rate * rate_factor(
            done, self.points[-1], schedule.name, schedule.warmup, schedule.floor
        )
        for group in self.optimizer.param_groups:
            # From the config's rate at each batch, never from the last one: rounding would pile up.
            group["lr"] = self.settings.lr * group["share"] * factor

    def _step(self) -> None:
        """One step of the optimizer, and one of the average, however many batches it is made of."""
        if self.settings.gradient_clip is not None:
            # Gradients of float16 may be infinite; its scaler then leaves the step out.
            self.fabric.clip_gradients(
                self.forward, self.stepper, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
            )
        self.stepper.step()
        self.stepper.zero_grad()
        self.learner.move_average((self.standing.batches + 1) / self.settings.accumulate)

    # ------------------------------------------------------------ validation

    def _measure_batch_norm(self) -> None:
        """Give batch norm the statistics of the weights as they are now, from the last training batches.

        Its running statistics trail the weights by some ten steps, and begin at those of no data or of
        ImageNet. In a short run, or at a high rate, they fit no weights at all: after 11 steps on KITTI's
        streets the validation loss was 2.65 with them, and 0.58 with statistics measured anew. Training
        itself does not use them.
        """
        batches, end = self.settings.batch_norm_batches, self.standing.batches
        network = self.learner.evaluated
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        if not (batches and norms):
            return
        start = self.points[self.standing.validations - 1] if self.standing.validations else 0
        # Chips as prediction meets them: not augmented. With an own count of unreadable ones, since these
        # have been counted in training.
        chips = self.prepared.chips(self.settings, self.settings.allow_corrupted_samples.train)
        loader = train_loader(chips, self._batches(max(start, end - batches), end))
        # Dropout must not depend on whether the run was resumed.
        torch.manual_seed(step_seed(self.settings.seed, end, self.rank))
        with self.fabric.autocast():
            update_bn(
                (self.learner.normalize(batch.to(self.fabric.device, True).image) for batch in loader),
                network,
            )
        # Each process has measured its own share of every batch.
        for norm in norms if self.world > 1 else ():
            for name in ("running_mean", "running_var"):
                statistic = getattr(norm, name)
                if statistic is not None:
                    statistic.copy_(self._total(statistic) / self.world)

    @inference_mode()
    def _validate(self) -> Scores:
        """Scores of all validation chips, summed over the processes."""
        batch_size, workers = self.settings.batch_size.val, self.settings.data_workers.val
        loader = val_loader(self.val_chips, self.prepared.val, batch_size, workers, self.rank, self.world)
        score = SegmentationScore(len(self.learner.classes), self.fabric.device)
        self.learner.set_modes(training=False)
        for number, batch in enumerate(loader, 1):
            # A run that goes on from its state comes here again.
            self._grant_stop()
            batch = batch.to(self.fabric.device, True)
            with self.fabric.autocast():
                logits = self.learner.evaluated(self.learner.normalize(batch.image))
                loss = self.learner.losses(logits, batch)
            # Auxiliary outputs follow the classes and have no score.
            score.update(logits[:, : len(self.learner.classes)], batch.target, loss)
            if self.recorder is not None:
                self.report("validation", number, len(loader))
        score.reduce(self._total)
        scores = score.compute()
        # Before anything is recorded: this checkpoint must not become the newest of the run.
        if not math.isfinite(scores["loss"]):
            raise RunError(
                f"validation loss must be finite, got {scores['loss']} after {self.standing.batches} "
                "batches. The last good checkpoint is kept; lower lr or clip gradients."
            )
        return scores

    def _total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        return cast(Tensor, self.fabric.all_reduce(tensor, reduce_op="sum"))

    def _conclude(self, scores: Scores) -> None:
        """Decide what follows from a validation, on every process alike; write it all down on the first."""
        standing, index = self.standing, self.standing.validations
        row = {
            "epoch": standing.batches / self.per_epoch,
            "batches": float(standing.batches),
            # The last group is the decoder's; the encoder's rate may be a share of it.
            "lr": float(self.optimizer.param_groups[-1]["lr"]),
        }
        for name in ("loss", "accuracy", "dice", "mean_iou"):
            # Training chips are scored while the network changes, so these are means over the epoch, and
            # those of this process alone.
            row[f"train_{name}"] = reduce_means([(batch[name], int(batch["chips"])) for batch in self.recent])
            row[f"val_{name}"] = scores[name]
        for name, iou in zip(self.learner.classes, scores["iou"], strict=True):
            # A class that is neither labeled nor predicted has no IoU; its cell of the CSV stays empty.
            if iou is not None:
                row[f"iou:{name}"] = iou
        decreasing, early = self.settings.lr_decreasing, self.settings.early_stopping
        if standing.record(
            scores["loss"], decreasing.patience, decreasing.lr_divisor, early.min_delta if early else 0.0
        ):
            # With another rate, what the optimizer remembers of the old one is of no use.
            self.optimizer.state.clear()
        self.recent.clear()
        if self.recorder is not None:
            self.recorder.validation(index, row, scores, self.learner)


def be_quiet() -> None:
    """Leave out what torch and Fabric say about what the config has decided."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # The number of workers is the user's choice.
    warnings.filterwarnings("ignore", message=r".*will create \d+ worker processes.*")
    # Most networks use all of their parameters; those that do not need this.
    warnings.filterwarnings("ignore", message=r".*find_unused_parameters=True was specified.*")
