"""What a run knows of its data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Facts"]


@dataclass(frozen=True)
class Facts:
    """What a run knows of its data; kept beside the checkpoints for resuming and for the card.

    Attributes
    ----------
    classes
        Names of the network's classes.
    dtype
        Of the raw pixels.
    mean, stddev
        Of each band, in raw units.
    gsd
        Smallest and largest meters per pixel.
    scenes
        Names of what was trained on and of what was validated on.
    bands
        What the scenes call their bands; empty where they do not, or where they differ.
    colors
        Color that each class is shown in, six hexadecimal digits; empty where none are known.
    earlier_batches
        Batches of the trainings whose weights this one began with.
    teacher
        Fingerprint of the network whose probabilities are learned from; None without one.
    files
        Files that it learns from, by path from the config's folder -> digest; see
        :attr:`geoseg.data.sources.Opened.files`.
    epoch_batches
        Training batches in an epoch, by which the run knows its end and its rate; 0 where an earlier version
        did not keep them.
    validation
        Digest of the windows that are validated on; empty where an earlier version did not keep it.
    """

    classes: tuple[str, ...]
    dtype: str
    mean: tuple[float, ...]
    stddev: tuple[float, ...]
    gsd: tuple[float, float] | None
    scenes: dict[str, list[str]]
    bands: tuple[str, ...] = ()
    colors: tuple[str | None, ...] = ()
    earlier_batches: int = 0
    teacher: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    epoch_batches: int = 0
    validation: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def read(cls, document: dict[str, Any]) -> Facts:
        """From JSON."""
        gsd = document["gsd"]
        facts: dict[str, Any] = {**document, "gsd": tuple(gsd) if gsd else None}
        for name in ("classes", "mean", "stddev", "bands", "colors"):  # earlier versions lack the last two
            facts[name] = tuple(document.get(name, ()))
        facts.pop("labels", None)  # what they had in place of ``files``
        return cls(**facts)
