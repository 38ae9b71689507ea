"""The notebook of a run as a page: its parameters stand there once, with the values of the run."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corrlib.files import write_atomically


def write_page(notebook: str | Path, page: Path, parameters: Mapping[str, Any]) -> Path:
    """Write to `page` the notebook whose `parameters` cell holds these values in place of the defaults; returns `page`.

    What papermill injects stands in a cell of its own, below defaults that the run does not have; executed as it is,
    this page needs none. Comments stay. ValueError names a parameter that the cell does not have.
    """
    content = json.loads(Path(notebook).read_text(encoding="utf-8"))
    cell = next(c for c in content["cells"] if "parameters" in c["metadata"].get("tags", []))
    source = "".join(cell["source"])
    lines, unknown = source.split("\n"), set(parameters)
    for statement in reversed(ast.parse(source).body):
        name = statement.targets[0].id if isinstance(statement, ast.Assign) else ""  # pyrefly: ignore
        if name in parameters:
            lines[statement.lineno - 1 : statement.end_lineno] = [f"{name} = {parameters[name]!r}"]
            unknown.discard(name)
    if unknown:
        raise ValueError(f"{notebook} has no parameter '{sorted(unknown)[0]}' in its parameters cell; add it there")
    cell["source"] = "\n".join(lines).splitlines(keepends=True)
    write_atomically(page, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return page
