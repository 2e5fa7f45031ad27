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
from lab.jobs.remote import Lost, TimedOut
from lab.paths import ROOT

_DOCS = ROOT / "docs"
_RAW = _DOCS / "benchmarks/full.json"
_PARTIAL = bases.FOLDER / "report"
_BEFORE = _DOCS / "benchmarks/before.json"
"""What was measured before something was changed because of it; no run writes it."""


SIGNS = (
    (plan.Cell("1g", "compiled", "baseline", "nothing"), "shared", "nothing"),
    (plan.Cell("1g", "compiled", "baseline", "nothing"), "shared", "source"),
    (plan.Cell("1g", "compiled", "baseline", "nothing"), "registry", "nothing"),
    (plan.Cell("1g", "compiled", "registry", "nothing"), "shared", "nothing"),
    (plan.Cell("1g", "compiled", "registry", "nothing"), "limit", "nothing"),
)
"""What must be slower than which other way in which situation, on any machine."""


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


def _is_whole(data: Data) -> bool:
    """Tell whether all was measured, by every way."""
    left, _ = data.missing()
    return not left and not data.missing_kinds() and len(data.measurable) == len(plan.WAYS)


def _publish(records: list[Record], charts: Path) -> bool:
    """Write the raw data, the report and its pictures; return whether all was measured.

    A part of a run does not take the place of a whole one: it is written below .cache/.
    """
    data = Data(records)
    is_whole = _is_whole(data)
    folder = _DOCS if is_whole else _PARTIAL
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    raw = pictures / "full.json"
    rows = ",\n".join(json.dumps(record) for record in records)
    raw.write_text(f'{{"records": [\n{rows}\n]}}\n')
    (folder / "benchmarks.md").write_text(report.markdown(data, Data.read(_BEFORE)))
    if is_whole:
        readme = ROOT / "README.md"
        readme.write_text(report.readme(data, readme.read_text()))
    command = [charts, "-m", "bench.charts", raw, pictures]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
    say(f"  wrote {folder / 'benchmarks.md'} and its pictures")
    return is_whole


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--quick", action="store_true", help="a few cells, and their signs alone")
    parser.add_argument("--minutes", type=float, help="stop after so many; go on the next time")
    parser.add_argument("--report", action="store_true", help="only write the report anew")
    parser.add_argument("--charts", type=Path, default=Path(sys.executable), help="python with it")
    given = parser.parse_args()
    if given.report:
        records = Journal(journal_path(quick=False)).records or Data.read(_RAW).records
        _publish(records, given.charts)
        return 0
    if given.quick:
        journal_path(quick=True).unlink(missing_ok=True)
    minutes = given.minutes or (4 * plan.QUICK_MINUTES if given.quick else 4 * plan.FULL_MINUTES)
    records = run(quick=given.quick, minutes=minutes)
    if given.quick:
        if wrong := signs(Data(records)):
            raise LabError("the measurements make no sense:\n  - " + "\n  - ".join(wrong))
        say("  warm builds reused layers, and every ratio has the right sign")
        return 0
    if _publish(records, given.charts):
        journal_path(quick=False).unlink()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, CommandError, TimedOut, Lost, subprocess.SubprocessError) as error:
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(130)
