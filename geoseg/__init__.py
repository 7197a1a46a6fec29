"""Huge satellite and aerial scenes in, exact vector footprints out.

Footprints of a scene
    segment : footprints in memory, as a GeoDataFrame
    run : footprints to files, in bounded memory; a run that was stopped goes on
    run_batch : the same of many scenes, with a manifest of what became of each
    vectorize : footprints of a mask, a class map or probabilities
    load_model : a network from a bundle; without a path the building network that ships

The steps one by one, on xarray (also as methods, ``array.geoseg``)
    open_scene : a scene of any size as a lazy array
    predict : its stitched probabilities, lazily
    split_masks : the objects of a mask, numbered
    polygonize : their outlines

Networks of your own
    train : a network from scenes and labels, ends with a bundle
    evaluate : a prediction against the truth
    compare : two predictions, what changed and which is better
    infer : a network over an annotated project, to another project
    open_project : an annotated project
    open_graph, run_graph : transformation graphs over projects

Errors
    errors : all of them; each is a GeosegError

>>> import geoseg
>>> frame = geoseg.segment("scene.tif", threshold=0.6)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg import errors
from geoseg.errors import GeosegError
from geoseg.late import offer_late, when_imported
from geoseg.version import VERSION

if TYPE_CHECKING:
    from geoseg.api import run, run_batch, segment, vectorize
    from geoseg.dtl import open_graph, run_graph
    from geoseg.models import load_model
    from geoseg.pipeline.comparison.compare import compare
    from geoseg.pipeline.evaluation.files import evaluate_files as evaluate
    from geoseg.pipeline.inference.run import infer_project as infer
    from geoseg.projects.project import open_project
    from geoseg.training.loop import train
    from geoseg.xr import open_scene, polygonize, predict, split_masks

__version__ = VERSION

__all__ = [
    "GeosegError",
    "__version__",
    "compare",
    "errors",
    "evaluate",
    "infer",
    "load_model",
    "open_graph",
    "open_project",
    "open_scene",
    "polygonize",
    "predict",
    "run",
    "run_batch",
    "run_graph",
    "segment",
    "split_masks",
    "train",
    "vectorize",
]

__getattr__, __dir__ = offer_late(
    __name__,
    {
        "compare": "geoseg.pipeline.comparison.compare",
        "evaluate": "geoseg.pipeline.evaluation.files:evaluate_files",
        "infer": "geoseg.pipeline.inference.run:infer_project",
        "load_model": "geoseg.models",
        "open_graph": "geoseg.dtl",
        "open_project": "geoseg.projects.project",
        "open_scene": "geoseg.xr",
        "polygonize": "geoseg.xr",
        "predict": "geoseg.xr",
        "run": "geoseg.api",
        "run_batch": "geoseg.api",
        "run_graph": "geoseg.dtl",
        "segment": "geoseg.api",
        "split_masks": "geoseg.xr",
        "train": "geoseg.training.loop",
        "vectorize": "geoseg.api",
    },
)

# DataArray.geoseg: xarray takes 0.4 s to load, which the commands and many programs do not need
when_imported("xarray", "geoseg.accessor")
