"""Cut-off images are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoseg.errors import InputError
from geoseg.io.complete import check_complete


@pytest.mark.parametrize("size", [1, 64])
def test_every_cut_of_a_png_is_noticed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    check_complete(path)
    whole = path.read_bytes()
    for kept in {8, 20, 33, 45, len(whole) // 2, len(whole) - 12, len(whole) - 1}:
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match="truncated"):
            check_complete(path)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    check_complete(tmp_path / "a.jpg")
