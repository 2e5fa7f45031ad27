"""`make bench`: measures, keeps the raw data, and writes the report of it."""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from pulumi.automation.errors import CommandError

from bench import bases, plan, report
from bench.data import Data, Record
from bench.run import Journal, journal_path, run
from lab.console import LabError, fail, say
from lab.paths import ROOT

_DOCS = ROOT / "docs"
RAW: dict[plan.Mode, Path] = {
    "full": _DOCS / "benchmarks/full.json",
    "jobs": _DOCS / "benchmarks/jobs.json",
}
_PARTIAL = bases.FOLDER / "report"


SIGNS = (
    (plan.Cell("1g", "compiled", "baseline", "nothing"), "shared", "nothing"),
    (plan.Cell("1g", "compiled", "baseline", "nothing"), "shared", "source"),
    (plan.Cell("1g", "compiled", "baseline", "nothing"), "registry", "nothing"),
    (plan.Cell("1g", "compiled", "registry", "nothing"), "shared", "nothing"),
    (plan.Cell("1g", "compiled", "registry", "nothing"), "limit", "nothing"),
)
"""Pairs of a slow cell and a way in a situation that is faster, on any machine."""


def signs(data: Data) -> list[str]:
    """Return which ratios have the wrong sign; times themselves depend on the machine."""
    wrong = []
    for slow, way, situation in SIGNS:
        ratio = data.ratio(slow, replace(slow, way=way, situation=situation))
        if ratio is None:
            wrong.append(f"{way} against {slow.way}, {situation}: was not measured")
        elif ratio <= 1:
            wrong.append(f"{way} against {slow.way}, {situation}: is not faster ({ratio:.2f}×)")
    return wrong


def committed(mode: plan.Mode) -> Data:
    """Return the raw data of docs/."""
    return Data.read(RAW[mode])


def _is_whole(data: Data, mode: plan.Mode) -> bool:
    """Tell whether all was measured, by every way."""
    left, _ = data.missing(mode)
    return not left and not data.missing_kinds(mode) and len(data.measurable) == len(plan.WAYS)


def _publish(records: list[Record], mode: plan.Mode, charts: Path) -> bool:
    """Write the raw data, the report and its pictures; return whether all was measured.

    A part of a run does not take the place of a whole one: it is written below .cache/.
    """
    data = Data(records)
    is_whole = _is_whole(data, mode)
    folder = _DOCS if is_whole else _PARTIAL
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(record) for record in records)
    (pictures / RAW[mode].name).write_text(f'{{"records": [\n{rows}\n]}}\n')
    full, jobs = (data if mode == other else committed(other) for other in RAW)
    (folder / "benchmarks.md").write_text(report.markdown(full, jobs))
    if is_whole:
        readme = ROOT / "README.md"
        readme.write_text(report.readme(jobs, readme.read_text()))
    for other, raw in RAW.items():
        path = pictures / raw.name
        if path.exists():
            command = [charts, "-m", "bench.charts", other, path, pictures]
            subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    say(f"  wrote {folder / 'benchmarks.md'} and its pictures")
    return is_whole


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--mode", choices=plan.MINUTES, default="full", help="what to measure")
    parser.add_argument(
        "--minutes", type=float, help="stop after this time; the next run continues"
    )
    parser.add_argument("--report", action="store_true", help="only write the report")
    parser.add_argument(
        "--charts",
        type=Path,
        default=Path(sys.executable),
        help="Python with the charts' libraries",
    )
    given = parser.parse_args()
    mode: plan.Mode = given.mode
    journal = journal_path(mode)
    if given.report:
        _publish(Journal(journal).records or committed(mode).records, mode, given.charts)
        return 0
    if mode == "quick":
        journal.unlink(missing_ok=True)
    records = run(mode, given.minutes or 4 * plan.MINUTES[mode])
    if mode == "quick":
        if wrong := signs(Data(records)):
            raise LabError("the measurements make no sense:\n  - " + "\n  - ".join(wrong))
        say("  warm builds reused layers, and every ratio has the right sign")
    elif _publish(records, mode, given.charts):
        journal.unlink()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, CommandError, subprocess.SubprocessError) as error:
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(130)
