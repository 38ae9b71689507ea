"""Notebooks executed in this process, without a kernel: cell after cell, and what they show."""

import ast
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import nbformat


def execute(path, monkeypatch, **parameters):
    """What the cells of a notebook show, in order: values of last lines and what was displayed.

    parameters take the place of what its `parameters` cell says, as papermill's do.
    """
    shown, names = [], {"__name__": "__main__"}
    monkeypatch.setattr(IPython.display, "display", lambda *things: shown.extend(things))
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            _run(cell.source, f"{Path(path).name}, {cell.id}", names, shown)
        if "parameters" in cell.metadata.get("tags", []):
            names.update(parameters)
    return shown


def _run(source, where, names, shown):
    body = ast.parse(source).body
    silent = source.rstrip().endswith(";")
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), where, "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), where, "eval"), names)
        shown.extend([value] if value is not None and not silent else [])
