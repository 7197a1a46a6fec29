"""The registry with geoseg's own layers in it."""

from geoseg.dtl import layers
from geoseg.dtl.registry import LayerKind, Registry, registry

__all__ = ["LayerKind", "Registry", "layers", "registry"]
