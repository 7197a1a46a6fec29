"""How far a command is: bars on a terminal, a line every so often in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Display", "duration", "progress_bar"]

#: Stage of a command on many scenes that counts the finished ones; the other stages are of the present scene.
_SCENES = "scenes"
#: Part of the time of a scene that goes into its first stage, the network; the others have none of their own.
_NETWORK_STAGE, _NETWORK_SHARE = "predict", 0.9
#: Seconds between two lines of a log file: a day's run has 2,880 of them.
_EVERY_S = 30.0


class Display:
    """Told how far a job is, and shows nothing: of ``--quiet``, and what the others build on."""

    def __call__(self, stage: str, done: float, total: float, **info: float) -> None:
        """As :class:`geoseg.typing.Progress`."""

    def begin(self, scene: str) -> None:
        """The scene that the stages are of from here on."""


class _Course(Display):
    """What both kinds of display know: the present scene, and how much of all of them is done."""

    def __init__(self) -> None:
        self.scene = ""
        self.scenes_done = self.scenes = 0.0
        self.scene_share = 0.0

    def begin(self, scene: str) -> None:
        self.scene, self.scene_share = scene, 0.0

    def note(self, stage: str, done: float, total: float) -> None:
        """Take a report in."""
        if stage == _SCENES:
            self.scenes_done, self.scenes, self.scene_share = done, total, 0.0
            if done >= total:  # what comes now is of all of them
                self.scene = ""
        elif stage == _NETWORK_STAGE:
            self.scene_share = _NETWORK_SHARE * done / max(total, 1)

    @property
    def of_all(self) -> float:
        """Scenes that are done, with the part of the present one."""
        return min(self.scenes, self.scenes_done + self.scene_share)


class _Bars(_Course):
    """Bars of rich: one a stage; of many scenes one for all, and one for the present scene."""

    def __init__(self, bar: RichProgress) -> None:
        super().__init__()
        self._bar, self._stage = bar, ""
        self._tasks: dict[str, TaskID] = {}

    def begin(self, scene: str) -> None:
        super().begin(scene)
        self._stage = ""

    def __call__(self, stage: str, done: float, total: float, **info: float) -> None:
        self.note(stage, done, total)
        text = _info_text(info)
        if not self.scenes:
            # A stage is known from its first report: which ones a job has depends on its settings.
            self._show(stage, stage, done, total, text)
            return
        self._show(_SCENES, "all scenes", self.of_all, self.scenes, "")
        if stage == _SCENES:
            return
        name = f"{self.scene}: {stage}" if self.scene else stage
        if stage != self._stage and "present" in self._tasks:
            # From the beginning, or the speed of the stage before would tell when this one ends.
            self._bar.reset(self._tasks["present"])
        self._stage = stage
        self._show("present", name, done, total, text)

    def _show(self, key: str, name: str, done: float, total: float, text: str) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._bar.add_task(name, total=total, info="")
        self._bar.update(self._tasks[key], description=name, completed=done, total=total, info=text)


class _Lines(_Course):
    """A line in a log file every so often, whatever the number of reports; no line is ever drawn over.

    Parameters
    ----------
    write
        Takes a line.
    clock
        Seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._write, self._clock = write, clock
        self._last = clock()
        self._stage: tuple[str, str] | None = None
        self._begun = self._begun_all = (self._last, 0.0)

    def __call__(self, stage: str, done: float, total: float, **info: float) -> None:
        now, first = self._clock(), not self.scenes
        self.note(stage, done, total)
        if stage == _SCENES:
            if first:  # what was done before took no time now
                self._begun_all = (now, done)
            return
        if (self.scene, stage) != self._stage:
            self._stage, self._begun = (self.scene, stage), (now, done)
        if now - self._last < _EVERY_S:
            return
        self._last = now
        parts = [f"{stage} {100 * done / max(total, 1):.0f} %", _info_text(info)]
        parts.append(_left(self._begun, now, done, total))
        text = ", ".join(filter(None, parts))
        if self.scenes_done < self.scenes:
            here = f"[{min(self.scenes_done + 1, self.scenes):.0f}/{self.scenes:.0f}] "
            text = f"{here}{self.scene}: {text}" if self.scene else here + text
            if left := _left(self._begun_all, now, self.of_all, self.scenes):
                text += f"; all: {left}"
        self._write(text)


def _left(begun: tuple[float, float], now: float, done: float, total: float) -> str:
    """The time that is left by what was done since a moment; empty where nothing was."""
    since, before = begun
    if not before < done < total or now <= since:
        return ""
    return f"about {duration((now - since) / (done - before) * (total - done))} left"


def _info_text(info: dict[str, float]) -> str:
    return " ".join(
        f"{value:.3g} {name.replace('_per_s', '/s').replace('_', ' ').replace('mpx', 'Mpx')}"
        for name, value in info.items()
    )


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Display]:
    """A display on stderr: bars on a terminal, lines elsewhere, nothing where ``quiet`` is set."""
    if quiet:
        yield Display()
        return
    if not sys.stderr.isatty():
        yield _Lines(lambda line: print(line, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns: tuple[Any, ...] = (
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[info]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        yield _Bars(bar)


def duration(seconds: float) -> str:
    """A time in words.

    Examples
    --------
    >>> duration(4.2), duration(130), duration(7_500), duration(300_000)
    ('4 s', '2 min', '2 h 5 min', '3 days 11 h')
    """
    # Two units at the most: of days nobody counts the minutes.
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"
