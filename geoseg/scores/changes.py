"""What changed between two predictions, and how sure a share is that was found on a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.scores.matching import splits_and_merges
from geoseg.scores.polygons import OverlapPairs
from geoseg.typing import Array

__all__ = ["ObjectChanges", "count_changes", "median_interval", "share_interval"]


@dataclass(frozen=True)
class ObjectChanges:
    """Objects of an earlier and a later prediction; counts of two places may be added.

    Attributes
    ----------
    before, after
        Objects.
    gone, new
        Earlier objects less than half covered by later ones, and the reverse.
    split, merged
        Earlier objects that several later ones lie in, each by more than half of its own area; later objects
        that several earlier ones lie in.
    """

    before: int = 0
    after: int = 0
    gone: int = 0
    new: int = 0
    split: int = 0
    merged: int = 0

    def __add__(self, other: ObjectChanges) -> ObjectChanges:
        return ObjectChanges(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


def count_changes(
    pairs: OverlapPairs, *, found: OverlapPairs | None = None, known: OverlapPairs | None = None
) -> ObjectChanges:
    """Count what became of objects.

    Parameters
    ----------
    pairs
        Overlaps of earlier objects (as ``truth``) with later ones (as ``pred``).
    found, known
        The same of earlier objects with the ground that is each later object's alone, and of the ground of
        earlier ones with later objects, where objects of one side overlap; None: they do not.

    Examples
    --------
    >>> import shapely
    >>> from geoseg.scores.polygons import overlap_pairs
    >>> before = shapely.box([0, 10, 20], 0, [4, 14, 24], 4)
    >>> count_changes(overlap_pairs(before, shapely.box([0, 2, 20], 0, [2, 4, 21], 4)))
    ObjectChanges(before=3, after=3, gone=2, new=0, split=1, merged=0)
    """
    before, after = len(pairs.truth_area), len(pairs.pred_area)
    found, known = found or pairs, known or pairs
    covered = np.bincount(found.truth, found.area, minlength=before)
    covering = np.bincount(known.pred, known.area, minlength=after)
    split, merged = splits_and_merges(pairs, np.ones(before, np.bool_), np.ones(after, np.bool_))
    return ObjectChanges(
        before,
        after,
        int((covered < pairs.truth_area / 2).sum()),
        int((covering < pairs.pred_area / 2).sum()),
        split,
        merged,
    )


def share_interval(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Exact confidence interval of a share of which ``hits`` of ``total`` were seen; (0, 1) without any.

    References
    ----------
    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26, 1934.

    Examples
    --------
    >>> [round(limit, 4) for limit in share_interval(9, 10)]
    [0.555, 0.9975]
    >>> share_interval(0, 0)
    (0.0, 1.0)
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, total - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, total - hits, 1 - tail)) if hits < total else 1.0
    return low, high


def median_interval(values: Array, level: float = 0.95) -> tuple[float, float] | None:
    """Exact confidence interval of the median of what values were drawn from, whatever its distribution.

    The limits are the k-th smallest and the k-th largest value, with the greatest k that keeps the level. Of
    fewer than six values no interval has 95 percent: None.

    References
    ----------
    W. R. Thompson, "On confidence ranges for the median and other expectation distributions for populations
    of unknown distribution form", Annals of Mathematical Statistics 7, 1936.

    Examples
    --------
    >>> median_interval(np.arange(1, 11))
    (2.0, 9.0)
    >>> median_interval(np.arange(5)) is None
    True
    """
    from scipy.special import bdtr

    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    # Fewer than k of n values below the median: as many heads of a fair coin.
    tails = bdtr(np.arange(n), n, 0.5)
    most = int(np.searchsorted(tails, (1 - level) / 2, side="right"))
    return None if most == 0 else (float(ordered[most - 1]), float(ordered[n - most]))
