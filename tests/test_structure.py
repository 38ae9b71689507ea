"""The rooms of corrlib and their floors: an import points to a lower floor, wherever in a file it stands."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOME = ROOT / "corrlib"
# a room may import from those of lower floors, and from itself
FLOORS = {
    "files": 0,
    "processes": 0,
    "audiofiles": 1,
    "soundscapes": 2,
    "figures": 1,
    "corpora": 3,
    "study": 4,
    "models": 5,
    "evaluation": 6,
    "correspondence": 7,
    "training": 8,
    "reports": 8,
    "explore": 9,
    "sharing": 10,
    "benchmarks": 10,
}
ENTRANCES = {"__init__", "__main__"}
# what plans a study, reads its runs or draws needs no network, and starts within a second
WITHOUT_TORCH = {"files", "processes", "audiofiles", "soundscapes", "figures", "study"}


def modules():
    return sorted(path for path in HOME.rglob("*.py") if path.parent != HOME or path.stem not in ENTRANCES)


def room(path):
    return path.relative_to(HOME).parts[0].removesuffix(".py")


def imports(path):
    """(line, dotted name) of every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports by a relative path; write it from `corrlib` on"
            if node.module == "corrlib":
                yield from ((node.lineno, f"corrlib.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def test_the_rooms_are_those_of_the_design():
    assert {room(path) for path in modules()} == set(FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(HOME)))
def test_imports_point_downward(path):
    here = room(path)
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "corrlib" and parts[-1] not in ("corrlib", "SOURCES"):
            there = parts[1]
            assert there == here or FLOORS[there] < FLOORS[here], f"{path}:{line}: {here} may not import {name}"
        if here in WITHOUT_TORCH:
            assert parts[0] not in ("torch", "torchaudio", "transformers"), f"{path}:{line}: {here} needs no {parts[0]}"


def test_every_room_says_what_it_is_for():
    for name in FLOORS:
        path = HOME / name / "__init__.py" if (HOME / name).is_dir() else HOME / f"{name}.py"
        assert len(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") > 20, path


def test_names_tell():
    vague = {"utils", "helpers", "common", "misc", "tools"}
    assert not [
        path for path in modules() if {part.removesuffix(".py") for part in path.relative_to(HOME).parts} & vague
    ]


def test_tests_mirror_the_rooms():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    assert folders - {"robustness"} <= set(FLOORS)


def test_no_circle_between_files():
    """Of imports at the top level, which is where a circle fails."""
    graph = {}
    for path in modules():
        own = ".".join(("corrlib", *path.relative_to(HOME).with_suffix("").parts)).removesuffix(".__init__")
        graph[own] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("corrlib"):
                graph[own] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    done = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        if module in done:
            return
        for other in graph[module] & set(graph) - {module}:
            if not module.startswith(f"{other}."):  # a file may import from its own room's entrance's files
                visit(other, [*trail, module])
        done.add(module)

    for module in graph:
        visit(module, [])


def test_the_project_speaks_of_itself_alone():
    # assembled here, so that this file does not name them itself
    foreign = ["/" + "work/", "pypi" + ".org", "shared" + "/", "/" + "tmp/"]
    kinds = (".py", ".md", ".yaml", ".yml", ".toml", ".ipynb", ".cff", ".sh", ".txt")
    files = [p for p in ROOT.iterdir() if p.is_file() and p.suffix in kinds]
    for folder in ("corrlib", "notebooks", "studies", "tests", "docs", ".ci", ".github"):
        files += [p for p in (ROOT / folder).rglob("*") if p.suffix in kinds or p.name == "run"]
    for path in (*files, ROOT / "Makefile", ROOT / "Snakefile"):
        for word in foreign:
            found = re.search(re.escape(word), path.read_text(encoding="utf-8"))
            assert not found, f"{path} holds {word}"
