"""DTL: transformation graphs over annotated projects and huge scenes.

>>> from geoseg.dtl import open_graph, read_graph, run_graph  # doctest: +SKIP
"""

from geoseg.dtl.dataset import GraphSamples, MappedSamples, open_graph
from geoseg.dtl.engine import GraphEngine, LayerError, open_engine
from geoseg.dtl.graph import Graph, graph_schema, parse_graph, read_graph
from geoseg.dtl.registry import LayerSettings, layer
from geoseg.dtl.run import GraphSummary, run_graph
from geoseg.dtl.sample import Sample

__all__ = [
    "Graph",
    "GraphEngine",
    "GraphSamples",
    "GraphSummary",
    "LayerError",
    "LayerSettings",
    "MappedSamples",
    "Sample",
    "graph_schema",
    "layer",
    "open_engine",
    "open_graph",
    "parse_graph",
    "read_graph",
    "run_graph",
]
