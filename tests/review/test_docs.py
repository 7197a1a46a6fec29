"""What the documentation says of the page is what it does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geoseg.cli import app
from geoseg.review import Review, read_marks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
STATIC = ROOT / "geoseg" / "review" / "static"


def test_every_key_of_the_page_is_told() -> None:
    table = (ROOT / "frontend" / "src" / "keys.js").read_text(encoding="utf-8")
    keys = [key for row in re.findall(r"^  \[\[(.*?)\], '", table, re.MULTILINE) for key in row.split(", ")]
    plain = {key.strip("'") for key in keys}
    assert {"A", "Ctrl+Z", "[", "?"} <= plain
    told = PAGE.replace("comma", ",").replace("period", ".")
    also = {"ArrowRight", "ArrowLeft", "=", "Backspace", "Ctrl+Shift+Z", "Enter"}  # second names of a key
    assert not [key for key in plain - also if not re.search(rf"(?<!\w){re.escape(key)}(?!\w)", told)]


def test_the_code_of_the_page_runs(review: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    review.edit(0, 0, {"op": "mark", "place": 0, "status": "accepted"})
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(code, {})
    assert (tmp_path / "corrected.gpkg").is_file()
    assert read_marks("town.review")[0].status == "accepted"


def test_the_command_exports(review: Review, tmp_path: Path) -> None:
    command = ["review", "export", str(review.folder), "-o", str(tmp_path / "corrected.geojson")]
    shown = CliRunner().invoke(app, command)
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (
        0,
        "4 footprints, 0 of them edited; 0 rejected",
    )
    missing = CliRunner().invoke(app, ["review", "export", str(tmp_path / "no"), "-o", "x.gpkg"])
    assert missing.exit_code == 2


def test_the_built_pages_are_of_these_sources(tmp_path: Path) -> None:
    modules = ROOT / "frontend" / "node_modules"
    if shutil.which("node") is None or not modules.is_dir():
        pytest.skip("the page is built again only where node is, and `npm ci` was run in frontend")
    command = ["node", "build.mjs", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / "frontend", check=True, capture_output=True)
    for folder, page in (("review", "app"), ("report", "viewer")):
        for name in (f"{page}.js", f"{page}.css", "THIRD_PARTY.txt"):
            place = Path(folder, "static", name)
            built = (tmp_path / place).read_bytes()
            assert built == (ROOT / "geoseg" / place).read_bytes(), f"npm run build: {place}"


def test_the_page_names_no_other_machine() -> None:
    for name in ("index.html", "app.js", "app.css"):
        text = (STATIC / name).read_text(encoding="utf-8")
        names = set(re.findall(r"https?://([\w.-]+)", text)) - {"www.w3.org"}  # names of XML's dialects
        assert not {one for one in names if re.search(rf"(fetch|src|import)\W{{1,4}}https?://{one}", text)}
        assert "eval(" not in text
