"""Make the picture of the README: run the demo, then draw its footprints as a small PNG.

python examples/readme_picture.py                # writes docs/images/demo.png
python examples/readme_picture.py --demo DIR     # uses the demo that lies in DIR, or makes it there
"""

from __future__ import annotations

import argparse
from pathlib import Path

from geoseg.demo.run import run_demo
from geoseg.report.picture import footprint_picture

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.png"
MAX_BYTES = 600_000


def make_picture(demo: Path, target: Path) -> None:
    """Draw the demo's footprints, as large as ``MAX_BYTES`` allow."""
    result = run_demo(demo)
    target.parent.mkdir(parents=True, exist_ok=True)
    for height in range(600, 300, -40):
        footprint_picture(result.scene, result.files["geojson"], target, height=height, colors=256)
        if target.stat().st_size <= MAX_BYTES:
            break
    print(f"{target} ({target.stat().st_size / 1000:.0f} kB), score {result.score}")


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description="Make the picture of the README.")
    parser.add_argument("--demo", type=Path, default=Path("geoseg-demo"), help="folder of the demo")
    parser.add_argument("--out", type=Path, default=TARGET, help="PNG to write")
    args = parser.parse_args()
    make_picture(args.demo, args.out)


if __name__ == "__main__":
    main()
