"""Which code a run is made by: one fingerprint for each kind of run, whatever its comments, docstrings and layout.

A kind of run is its notebook. Its code is the notebook's code cells and every module of corrlib that they import, and
these import, wherever in a file. What is hashed are syntax trees without docstrings, so that formatting and rewording
cost nothing. The sources are those that this process found when it began, which are the ones that it runs.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import corrlib
from corrlib.study.parameters import ParameterError

# They draw or put into words what a training run has computed: beside the weights, embeddings and metrics that others
# read, it leaves pictures and their tables. They are no part of its code; of every other run's, they are.
DRAWING = ("corrlib.figures", "corrlib.explore", "corrlib.reports.single_run")
COMPUTING = ("02", "03", "04", "06")
TRAINING = ("corrlib.training.stages", "corrlib.training.worker")
KNOWN = "CORRLIB_CODE"  # in the environment: fingerprints that the starting process has computed from the same sources

_computed: dict[str, dict[str, str]] = {}  # fingerprints by all that they are of


def fingerprints(notebook: str, sources: dict[str, bytes] | None = None) -> dict[str, str]:
    """Short hashes of the code of a run of `notebook` (a name such as `06_stage2`).

    `fingerprint`: of its kind of run. `training`: of what trains and judges models, the same for every kind.
    sources: {path below corrlib: content}, as this process found them if not given.
    """
    sources = corrlib.SOURCES if sources is None else sources
    path = corrlib.HOME.parent / "notebooks" / f"{notebook}.ipynb"
    content = path.read_bytes() if path.is_file() else b'{"cells": []}'
    key = _key(notebook, content, sources)
    if key not in _computed:
        _computed.update(json.loads(os.environ.get(KNOWN, "{}")))
    if key not in _computed:
        apart = DRAWING if notebook[:2] in COMPUTING else ()
        _computed[key] = {
            "fingerprint": closure_fingerprint((), sources, apart, _cells_of(path, content)),
            "training": closure_fingerprint(TRAINING, sources),
        }
    return _computed[key]


def hand_on(notebooks: Iterable[str]) -> None:
    """Let the processes that this one starts find the fingerprints of these notebooks in their environment."""
    known = {}
    for notebook in notebooks:
        path = corrlib.HOME.parent / "notebooks" / f"{notebook}.ipynb"
        if path.is_file():
            known[_key(notebook, path.read_bytes(), corrlib.SOURCES)] = fingerprints(notebook)
    os.environ[KNOWN] = json.dumps(known)


def other_cells(notebook: str, executed: list[str]) -> str:
    """ "" where the cells that were run hold all code cells of `notebook` up to the last of them; else their own hash.

    executed: sources of cells, as IPython keeps them; none where there is no kernel.
    """
    path = corrlib.HOME.parent / "notebooks" / f"{notebook}.ipynb"
    if not any(executed) or not path.is_file():
        return ""
    run = {_syntax(_readable(cell).encode())[0] for cell in executed if cell}
    planned = [_syntax(cell.encode())[0] for cell in _cells(path.read_bytes())]
    places = [place for place, cell in enumerate(planned) if cell in run]
    if places and places == list(range(places[-1] + 1)):
        return ""
    return hashlib.sha256("\n".join(sorted(run)).encode()).hexdigest()[:16]


def edited(notebook: str, before: dict[str, str]) -> bool:
    """Whether the code on disk has become another than `before`, or cannot be read as code."""
    try:
        return fingerprints(notebook, on_disk()) != before
    except (OSError, SyntaxError, ValueError):
        return True


def on_disk() -> dict[str, bytes]:
    """The sources as they are now; `corrlib.SOURCES` are those that this process began with."""
    return corrlib.read_sources()


def closure_fingerprint(
    modules: Iterable[str],
    sources: dict[str, bytes] | None = None,
    apart: tuple[str, ...] = (),
    cells: tuple[str, ...] = (),
) -> str:
    """Short hash of code cells, of modules, and of all of corrlib that they import but for what lies in `apart`."""
    sources = corrlib.SOURCES if sources is None else sources
    syntax = [_syntax(cell.encode()) for cell in cells]
    digest = hashlib.sha256("\n".join(text for text, _ in syntax).encode())
    starting = [*modules, *(name for _, names in syntax for name in names)]
    for name in sorted(_closure(starting, sources, apart)):
        digest.update(f"{name} {_syntax(sources[_file(name, sources)])[0]}\n".encode())
    return digest.hexdigest()[:16]


def _key(notebook: str, content: bytes, sources: dict[str, bytes]) -> str:
    digest = hashlib.sha256(notebook.encode() + content)
    for path in sorted(sources):
        digest.update(path.encode() + sources[path])
    return digest.hexdigest()


def _cells(content: bytes) -> tuple[str, ...]:
    """The code cells of a notebook but for its parameters; see `_readable`."""
    cells = [c for c in json.loads(content)["cells"] if c["cell_type"] == "code"]
    codes = ["".join(c["source"]) for c in cells if "parameters" not in c["metadata"].get("tags", [])]
    return tuple(_readable(code) for code in codes)


def _cells_of(path: Path, content: bytes) -> tuple[str, ...]:
    """`_cells`; ParameterError names a notebook that is none, such as one whose end is missing."""
    try:
        return _cells(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParameterError(f"{path} is damaged or no notebook ({error}); restore it") from None


def _readable(cell: str) -> str:
    """A cell as Python. Lines that only IPython understands stand as texts, for they may do anything, too."""
    lines = [f"ipython({line!r})" if line[:1] in ("%", "!") else line for line in cell.splitlines()]
    for code in (cell, "\n".join(lines)):
        try:
            ast.parse(code)
        except (SyntaxError, ValueError):
            continue
        return code
    return f"ipython({cell!r})"


def _closure(starting: Iterable[str], sources: dict[str, bytes], apart: tuple[str, ...]) -> set[str]:
    closure, waiting = set(), list(starting)
    while waiting:
        name = waiting.pop()
        file = _file(name, sources)
        if not file or name in closure or any(f"{name}.".startswith(f"{place}.") for place in apart):
            continue
        closure.add(name)
        waiting += [*_syntax(sources[file])[1], name.rpartition(".")[0]]  # a package's own file runs before its modules
    return closure


def _file(name: str, sources: dict[str, bytes]) -> str:
    """The file of a module or package of corrlib, "" where the name is none."""
    path = name.removeprefix("corrlib.").replace(".", "/")
    module, package = f"{path}.py", f"{path}/__init__.py"
    return module if module in sources else package if package in sources else ""


@cache
def _syntax(source: bytes) -> tuple[str, tuple[str, ...]]:
    """(hash of a source's syntax tree, names of corrlib that it imports: modules, or what is in them)."""
    tree, names = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    text = hashlib.sha256(_plain(tree).encode()).hexdigest()
    return text, tuple(name for name in names if name.startswith("corrlib."))


def _plain(node: object) -> str:
    """A syntax tree as text, without docstrings, prose for `Markdown`, places, and what only some Pythons keep."""
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind"}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        fields["body"] = fields["body"][1:]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Markdown":
        fields["args"] = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
    return f"{type(node).__name__}({','.join(f'{name}={_plain(value)}' for name, value in fields.items())})"
