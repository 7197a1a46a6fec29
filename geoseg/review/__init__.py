"""A person looks at what a network found and corrects it: journal, edits, page.

Without a server everything here is an ordinary call: :class:`~geoseg.review.store.Review` opens a review,
:func:`export_review` writes what it came to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg.late import offer_late

if TYPE_CHECKING:
    from geoseg.review.export import Mark, ReviewExport, export_review, read_marks
    from geoseg.review.store import Answer, Review, StaleError
    from geoseg.review.targets import ProjectTarget, SceneTarget

__all__ = [
    "Answer",
    "Mark",
    "ProjectTarget",
    "Review",
    "ReviewExport",
    "SceneTarget",
    "StaleError",
    "export_review",
    "read_marks",
]

__getattr__, __dir__ = offer_late(
    __name__,
    {
        **dict.fromkeys(("ReviewExport", "Mark", "export_review", "read_marks"), "geoseg.review.export"),
        **dict.fromkeys(("Answer", "Review", "StaleError"), "geoseg.review.store"),
        **dict.fromkeys(("ProjectTarget", "SceneTarget"), "geoseg.review.targets"),
    },
)
