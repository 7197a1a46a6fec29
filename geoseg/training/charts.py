"""Charts of a run: a picture, and a page whose range of epochs can be chosen. Both work offline."""

from __future__ import annotations

import html
import io
import json
from importlib import resources

from geoseg.training.history import History

__all__ = ["chart_groups", "chart_page", "chart_picture"]


def chart_groups(history: History) -> dict[str, list[str]]:
    """Columns of each chart: training and validation side by side, then the IoU of each class."""
    columns = history.columns()
    groups = {}
    for name in ("loss", "accuracy", "dice", "mean_iou"):
        # Training beside validation: where the two part, the network learns its chips by heart.
        groups[name] = [c for c in (f"train_{name}", f"val_{name}") if c in columns]
    groups["iou of classes"] = [c for c in columns if c.startswith("iou:")]
    groups["learning rate"] = [c for c in columns if c == "lr"]
    return {name: names for name, names in groups.items() if names}


def chart_picture(history: History, epochs: tuple[float, float] | None = None) -> bytes:
    """The charts as PNG.

    Parameters
    ----------
    epochs
        First and last epoch to show; None shows all.
    """
    from matplotlib.figure import Figure

    groups = chart_groups(history)
    columns = 2
    rows = max(1, -(-len(groups) // columns))
    # Without pyplot: it keeps figures alive and may look for a screen.
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    for place, (title, names) in enumerate(groups.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        for name in names:
            points = zip(*history.column(name), strict=True)
            shown = [(x, y) for x, y in points if epochs is None or epochs[0] <= x <= epochs[1]]
            xs, ys = [x for x, _ in shown], [y for _, y in shown]
            # Dots show where few values lie; many of them would hide the line.
            axes.plot(xs, ys, marker="." if len(xs) < 60 else "", label=name.removeprefix("iou:"))
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def chart_page(history: History, title: str = "Training") -> str:
    """The charts as an HTML page with two handles for the range of epochs."""
    charts = {
        name: {column: list(zip(*history.column(column), strict=True)) for column in columns}
        for name, columns in chart_groups(history).items()
    }
    # A class called "</script>" must not end the script that holds the numbers.
    data = json.dumps(charts).replace("<", "\\u003c")
    page = resources.files(__package__).joinpath("charts_page.html").read_text(encoding="utf-8")
    return page.replace("__TITLE__", html.escape(title)).replace("__DATA__", data)
