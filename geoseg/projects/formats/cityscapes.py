"""Class ids of Cityscapes, which KITTI's semantic labels use too.

References
----------
Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; label table of
https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CITYSCAPES", "Label"]


class Label(NamedTuple):
    """One class of a label table."""

    id: int
    name: str
    color: tuple[int, int, int]


CITYSCAPES: tuple[Label, ...] = (
    Label(0, "unlabeled", (0, 0, 0)),
    Label(1, "ego vehicle", (0, 0, 0)),
    Label(2, "rectification border", (0, 0, 0)),
    Label(3, "out of roi", (0, 0, 0)),
    Label(4, "static", (0, 0, 0)),
    Label(5, "dynamic", (111, 74, 0)),
    Label(6, "ground", (81, 0, 81)),
    Label(7, "road", (128, 64, 128)),
    Label(8, "sidewalk", (244, 35, 232)),
    Label(9, "parking", (250, 170, 160)),
    Label(10, "rail track", (230, 150, 140)),
    Label(11, "building", (70, 70, 70)),
    Label(12, "wall", (102, 102, 156)),
    Label(13, "fence", (190, 153, 153)),
    Label(14, "guard rail", (180, 165, 180)),
    Label(15, "bridge", (150, 100, 100)),
    Label(16, "tunnel", (150, 120, 90)),
    Label(17, "pole", (153, 153, 153)),
    Label(18, "polegroup", (153, 153, 153)),
    Label(19, "traffic light", (250, 170, 30)),
    Label(20, "traffic sign", (220, 220, 0)),
    Label(21, "vegetation", (107, 142, 35)),
    Label(22, "terrain", (152, 251, 152)),
    Label(23, "sky", (70, 130, 180)),
    Label(24, "person", (220, 20, 60)),
    Label(25, "rider", (255, 0, 0)),
    Label(26, "car", (0, 0, 142)),
    Label(27, "truck", (0, 0, 70)),
    Label(28, "bus", (0, 60, 100)),
    Label(29, "caravan", (0, 0, 90)),
    Label(30, "trailer", (0, 0, 110)),
    Label(31, "train", (0, 80, 100)),
    Label(32, "motorcycle", (0, 0, 230)),
    Label(33, "bicycle", (119, 11, 32)),
)
