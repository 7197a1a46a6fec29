"""Files and folders that appear whole or not at all, and the locks that keep runs apart.

The only place that gives a result its name. Whoever writes one uses

- :class:`Staged`, :func:`write_text` or :func:`write_bytes`: a temporary name beside the target, the content
  forced to the disk, then the name;
- :func:`hold`: the lock on a target, for jobs that work for long before they write it;
- :func:`results_folder`, :func:`check_outputs`, :func:`write_failures`: where results go, and the list of
  what is missing from them;
- :class:`Depot`: where workers exchange what they make, in a folder or in an object store;
- :func:`stop_if_full`, :func:`write_error`: why a file could not be written, in the same words everywhere.
"""

from geoseg.files.depot import (
    Depot,
    FolderDepot,
    borrowed_depot,
    checked_depot,
    depot_at,
    emptied,
    is_part,
    new_part,
)
from geoseg.files.disk import DiskFullError, is_full, os_reason, stop_if_full, write_error
from geoseg.files.locks import LockedError, hold, is_held, remove_folder, scratch_folder
from geoseg.files.pages import check_page, page_head
from geoseg.files.results import (
    check_outputs,
    failures_file,
    plain_stem,
    relative_path,
    results_folder,
    write_failures,
)
from geoseg.files.staging import Staged, json_digest, json_text, place_bytes, write_bytes, write_text

__all__ = [
    "Depot",
    "DiskFullError",
    "FolderDepot",
    "LockedError",
    "Staged",
    "borrowed_depot",
    "check_outputs",
    "check_page",
    "checked_depot",
    "depot_at",
    "emptied",
    "failures_file",
    "hold",
    "is_full",
    "is_held",
    "is_part",
    "json_digest",
    "json_text",
    "new_part",
    "os_reason",
    "page_head",
    "place_bytes",
    "plain_stem",
    "relative_path",
    "remove_folder",
    "results_folder",
    "scratch_folder",
    "stop_if_full",
    "write_bytes",
    "write_error",
    "write_failures",
    "write_text",
]
