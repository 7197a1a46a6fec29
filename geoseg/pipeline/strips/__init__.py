"""Predicting with workers: a strip of blocks is a task, and so is the finishing of a chunk.

A worker reads a strip, runs its windows and puts the float sums aside, in a file that all workers see. When
all strips that reach into a chunk are done, another task adds their sums in the order of the blocks, which is
the order of a run in one process: so neither the number of workers nor the order in which they end changes a
bit. The driver gives tasks in order and a bounded number at a time, and is the only one to write the record.
"""

from geoseg.pipeline.strips.driver import predict_with_workers

__all__ = ["predict_with_workers"]
