"""What a part of the check has found: rows of what was measured, of what is asked of it, and whether it holds."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
COLUMNS = ("part", "what", "value", "unit", "bar", "passed", "note")


def row(what: str, value: Any, unit: str = "", note: str = "") -> Row:
    """Something measured, of which nothing is asked."""
    return {"what": what, "value": value, "unit": unit, "bar": "", "passed": None, "note": note}


def at_most(what: str, value: float, bar: float, unit: str = "", note: str = "") -> Row:
    """A value that must not be above `bar`; nor may it be no number."""
    return {**row(what, value, unit, note), "bar": f"<= {bar:g}", "passed": bool(value <= bar)}


def at_least(what: str, value: float, bar: float, unit: str = "", note: str = "") -> Row:
    """A value that must reach `bar`."""
    return {**row(what, value, unit, note), "bar": f">= {bar:g}", "passed": bool(value >= bar)}


def holds(what: str, found: bool, note: str = "") -> Row:
    """Something that is so or not."""
    return {**row(what, "yes" if found else "no", "", note), "bar": "yes", "passed": bool(found)}


def only_if(asked: bool, found: Row) -> Row:
    """A row as it is, or without what is asked of it: a rehearsal's sizes say nothing of speed."""
    return found if asked else {**found, "bar": "", "passed": None}


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """All rows as a table."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def shown(value: Any) -> str:
    """A value as the summary prints it."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def line(found: Row) -> str:
    """One line of the summary."""
    mark = {True: "ok    ", False: "FAILED", None: "      "}[found["passed"]]
    words = f"{mark} {found['what']}: {shown(found['value'])} {found['unit']}".rstrip()
    words += f" ({found['bar']})" if found["bar"] and found["bar"] != "yes" else ""
    return words + (f" - {found['note']}" if found["note"] else "")
