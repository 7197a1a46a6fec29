"""Streams in torch's DataLoader."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

from geoseg.data.stream import SampleStream


class Counted:
    """Numbers, every third of which is missing."""

    def shard(self, index, count):
        return (number for number in range(index, 20, count) if number % 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_share_a_stream(workers):
    loader = DataLoader(SampleStream(Counted()), batch_size=None, num_workers=workers)
    assert sorted(loader) == [number for number in range(20) if number % 3]
