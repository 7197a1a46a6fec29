"""The layers geoseg brings; importing this package registers them."""

from geoseg.dtl.layers import (
    classes,
    conditions,
    conversion,
    geometry,
    lines,
    masks,
    photometric,
    routing,
    saving,
    scaling,
    scenes,
    sources,
)

__all__ = [
    "classes",
    "conditions",
    "conversion",
    "geometry",
    "lines",
    "masks",
    "photometric",
    "routing",
    "saving",
    "scaling",
    "scenes",
    "sources",
]
