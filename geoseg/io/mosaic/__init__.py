"""Many files that are one picture, such as an orthophoto in thousands of sheets, as one scene.

:func:`sort_files` decides which files are one; :class:`Sheets` is the reference that opens them as a
:class:`Mosaic`. Nothing is copied or resampled: a window reads of each sheet what lies under it.
"""

from geoseg.io.mosaic.index import files_stamps
from geoseg.io.mosaic.sheets import Sheets, SortedFiles, sort_files
from geoseg.io.mosaic.source import Mosaic

__all__ = ["Mosaic", "Sheets", "SortedFiles", "files_stamps", "sort_files"]
