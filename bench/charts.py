"""Draws the report's pictures as SVG; it runs where bench/requirements.txt is installed."""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench import plan
from bench.data import MAIN, Data
from bench.report import PARTS, grown, parts
from bench.stats import seconds_text, spread

# Readable on white and on dark alike.
INK, GRID = "#7a828e", "#7a828e40"
COLD, WARM, BEST, OTHER = "#c4554d", "#4a7fc1", "#2f9e6e", "#b08a3e"
_COLOURS = (
    "#9aa4b2",
    "#c4554d",
    "#d8893b",
    "#b08a3e",
    "#2f9e6e",
    "#4a7fc1",
    "#8463a9",
    "#5aa7a7",
    "#c774a8",
)

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "bench",
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GRID,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.frameon": False,
    }
)


def _save(figure: Any, path: Path) -> None:
    # No date: the same data gives the same file.
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _colour(way: plan.Way) -> str:
    if way.key == "limit":
        return INK
    if way.fleet in {"shared", "buildkit"}:
        return BEST
    return COLD if way.keeps == "nothing" else OTHER


def readme(data: Data, path: Path) -> None:
    """Draw the README's figure: one source line changed, an image within the whole job."""
    rows = []
    for way in data.ways(*MAIN):
        cell = plan.source_cell(*MAIN, way)
        image, job = data.seconds(cell), data.seconds(cell, "job")
        if image and job:
            rows.append((way, image.median, job.median))
    if not rows:
        return
    ways, images, whole = zip(*rows, strict=True)
    colours = [_colour(way) for way in ways]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(ways) + 0.9))
    axes.barh(range(len(ways)), whole, color=colours, height=0.66, alpha=0.35)
    axes.barh(range(len(ways)), images, color=colours, height=0.66)
    for place, (_, built, done) in enumerate(rows):
        axes.annotate(
            f"{seconds_text(built)} s of {seconds_text(done)} s",
            (max(built, done), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(ways)), [way.short for way in ways])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel("seconds, one source line changed: build and push, and the whole job (pale)")
    axes.set_xlim(0, max(whole) * 1.3)
    axes.xaxis.grid(visible=True, color=GRID)
    axes.set_axisbelow(True)
    _save(figure, path)


def situations(data: Data, path: Path) -> None:
    """Draw every situation of the compiled program, on a logarithmic scale."""
    network, workload = MAIN
    ways = data.ways(network, workload)
    figure, axes = plt.subplots(figsize=(9, 4.6))
    width = 0.86 / max(1, len(ways))
    for number, way in enumerate(ways):
        places, heights = [], []
        for place, situation in enumerate(plan.SITUATIONS):
            value = data.seconds(plan.Cell(network, workload, way.key, situation))
            if value:
                places.append(place - 0.43 + width * (number + 0.5))
                heights.append(value.median)
        # The strong colours first: there are more ways than ten.
        colour = plt.get_cmap("tab20")(number * 2 % 20 + number // 10)
        axes.bar(places, heights, width=width * 0.9, label=way.short, color=colour)
    axes.set_yscale("log")
    axes.set_ylabel("seconds of build and push\n(median; dashed: per job, cold)")
    if cold := data.cold(network, workload):
        axes.axhline(cold.median, linestyle="--", linewidth=1, color=COLD)
    titles = [
        title.replace(" ", "\n", 2).replace("\n", " ", 1) for title in plan.SITUATIONS.values()
    ]
    axes.set_xticks(range(len(plan.SITUATIONS)), titles)
    axes.yaxis.grid(visible=True, color=GRID)
    axes.set_axisbelow(True)
    axes.legend(ncol=3, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    _save(figure, path)


def time_goes(data: Data, path: Path) -> None:
    """Draw where a job's time goes, way by way, one source line changed."""
    rows = []
    for way in data.ways(*MAIN):
        if way.fleet and (found := parts(data, plan.source_cell(*MAIN, way))):
            rows.append((way, found))
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 1.6))
    left = [0.0] * len(rows)
    for number, part in enumerate(PARTS):
        widths = [found[part] for _, found in rows]
        axes.barh(
            range(len(rows)),
            widths,
            left=left,
            height=0.66,
            label=part,
            color=_COLOURS[number % len(_COLOURS)],
        )
        left = [before + more for before, more in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [way.short for way, _ in rows])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel("seconds of the job (mean)")
    axes.legend(ncol=3, fontsize=9, loc="upper center", bbox_to_anchor=(0.4, -0.14))
    _save(figure, path)


def at_once(data: Data, path: Path) -> None:
    """Draw how long it takes until all of several jobs are done."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    for key, colour in (("baseline", COLD), ("shared", BEST)):
        if found := data.at_once(key):
            seconds = [
                spread([record["wall_seconds"] for record in records]) for records in found.values()
            ]
            axes.errorbar(
                list(found),
                [value.median for value in seconds],
                yerr=[
                    [value.median - value.low for value in seconds],
                    [value.high - value.median for value in seconds],
                ],
                marker="o",
                capsize=3,
                color=colour,
                label=plan.way(key).short,
            )
    axes.set_xlabel("jobs at once, small service")
    axes.set_ylabel("seconds until all jobs have ended")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color=GRID)
    axes.legend()
    _save(figure, path)


def disk(data: Data, path: Path) -> None:
    """Draw how the volumes grow, with and without collection."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    names = {"docker": ("limit not reached", COLD), "tight": ("limit reached", BEST)}
    for role, (name, colour) in names.items():
        for record in data.of_kind("disk", daemon=role):
            builds, more = zip(*grown(record), strict=True)
            sizes = [size / 1e9 for size in more]
            axes.plot(builds, sizes, marker="o", markersize=3, color=colour, label=name)
    axes.set_xlabel("builds, a new layer each (straight down: a collection)")
    axes.set_ylabel("GB more than before")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color=GRID)
    axes.legend()
    _save(figure, path)


PICTURES = {
    "situations": situations,
    "time": time_goes,
    "at-once": at_once,
    "disk": disk,
}


_NEEDS = {"at-once": "at once", "disk": "disk"}
"""The records without which there is nothing to draw; builds where nothing is said."""


def main() -> None:
    """Draw the pictures of a run: its mode, its raw data, the folder to draw into."""
    mode, data, folder = sys.argv[1], Data.read(Path(sys.argv[2])), Path(sys.argv[3])
    if mode == "jobs":
        readme(data, folder / "readme.svg")
        return
    for name, draw in PICTURES.items():
        if data.of_kind(_NEEDS.get(name, "build")):
            draw(data, folder / f"{name}.svg")


if __name__ == "__main__":
    main()
