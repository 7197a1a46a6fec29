"""What ``import geoseg`` offers, and how little it loads."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg

ROOT = Path(geoseg.__file__).parent


def test_each_name_is_there_documented_and_known_to_editors() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    names = {
        alias.asname or alias.name
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names | {"GeosegError", "__version__", "errors"} == set(geoseg.__all__)
    for name in geoseg.__all__:
        value = getattr(geoseg, name)
        if name != "__version__":
            assert inspect.getdoc(value), name
            assert f"{name}" in str(geoseg.__doc__), name
        if inspect.isfunction(value):
            kinds = {one.kind for one in inspect.signature(value).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, name
    assert set(geoseg.__all__) <= set(dir(geoseg))
    with pytest.raises(AttributeError, match="'geoseg' has no attribute 'segments'"):
        geoseg.segments  # noqa: B018


def test_documents_use_no_deep_path() -> None:
    deep = []
    for page in (*Path(ROOT.parent, "docs").glob("*.md"), Path(ROOT.parent, "README.md")):
        if page.name == "architecture.md":
            continue
        for line in page.read_text(encoding="utf-8").splitlines():
            for words in line.split("`") if "`" in line else [line]:
                parts = words.removeprefix("from ").removeprefix("import ").split()
                path = parts[0].split("(")[0].split(".") if parts else []
                if path[0:1] == ["geoseg"] and len(path) > 3 - (words.startswith("from ")):
                    deep.append((page.name, words))
    assert not deep


def test_the_accessor_comes_with_xarray_whichever_is_first() -> None:
    code = """
import sys
import geoseg
heavy = [m for m in ("xarray", "pandas", "numpy", "pydantic") if m in sys.modules]
assert not heavy, heavy
import xarray as xr
import numpy as np
array = xr.DataArray(np.ones((2, 3), bool))
assert array.geoseg.polygonize().area.tolist() == [6]
assert type(xr.__spec__.loader).__module__ != "geoseg.late"
assert not [f for f in sys.meta_path if type(f).__module__ == "geoseg.late"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import xarray, geoseg; print(xarray.DataArray.geoseg.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "GeosegAccessor"
