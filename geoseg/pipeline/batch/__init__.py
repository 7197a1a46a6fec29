"""Many scenes in one call: planned, worked on one after the other, and written down in a manifest."""

from geoseg.pipeline.batch.dry_run import DryRun, dry_run
from geoseg.pipeline.batch.manifest import MANIFEST, Manifest, SceneRecord, read_manifest
from geoseg.pipeline.batch.plan import BatchPlan, PlannedScene, is_batch, plan_batch
from geoseg.pipeline.batch.run import BatchSummary, run_batch

__all__ = [
    "MANIFEST",
    "BatchPlan",
    "BatchSummary",
    "DryRun",
    "Manifest",
    "PlannedScene",
    "SceneRecord",
    "dry_run",
    "is_batch",
    "plan_batch",
    "read_manifest",
    "run_batch",
]
