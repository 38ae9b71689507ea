"""Imports point one way: data and measures know nothing of models, models nothing of training, nothing of notebooks."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# each layer may import from those before it and from itself
LAYERS = [
    ["audio", "clips", "losses", "metrics", "intervals", "correspondence", "frontends", "transformer", "soundscapes",
     "figures", "atomic", "memory",
     "distributed", "gradient_cache", "ahead", "search", "roberta"],
    ["parameters", "decoded", "batches", "backbone", "passt", "atst", "mobilenet", "text", "sentences", "relevance"],
    ["backbones", "dual_encoder", "runs", "study", "ratings", "kernels"],
    ["evaluate", "plan", "checkpoints"],
    ["ensembles", "reproduce", "results", "surveys", "views", "warm"],
    ["targets", "verify"],
    ["train", "estimates", "compare", "ablations"],
    ["pretrain"],
    ["variants"],
    ["experiment"],
    ["tasks", "explore", "rank", "benchmarks"],
]
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
ALONE = {"audio", "clips", "losses", "metrics", "figures", "frontends", "transformer", "distributed", "gradient_cache",
         "ahead", "search", "roberta", "memory"}          # import nothing of ours
WITHOUT_TORCH = {"clips", "figures", "soundscapes", "parameters", "study", "plan", "runs", "reproduce", "results",
                 "intervals", "memory"}


def imported(path):
    """Names of the modules of a file's import statements at its top level, as `corrlib.x.y` or `numpy`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{a.name}" for a in node.names} if node.module == "corrlib" else {node.module}
    return found


def modules():
    for path in sorted((ROOT / "corrlib").rglob("*.py")):
        if path.name != "__init__.py" or path.parent != ROOT / "corrlib":
            yield path.relative_to(ROOT / "corrlib").parts[0].removesuffix(".py"), path


def ours(path):
    return {name.split(".")[1] for name in imported(path) if name.startswith("corrlib.")}


def test_every_module_has_its_layer():
    assert {module for module, _ in modules()} == set(LEVEL)


@pytest.mark.parametrize("module, path", list(modules()), ids=lambda x: x if isinstance(x, str) else x.name)
def test_imports_point_one_way(module, path):
    for other in ours(path) - {module}:
        assert LEVEL[other] <= LEVEL[module], f"{module} imports {other}, which stands above it"
        assert module not in ALONE, f"{module} must stand alone but imports {other}"
    if module in WITHOUT_TORCH:
        assert not any(name.split(".")[0] == "torch" for name in imported(path)), f"{module} needs no torch"


def test_files_are_short_and_names_tell():
    vague = {"utils", "helpers", "common", "misc", "tools"}
    for module, path in modules():
        assert len(path.read_text().splitlines()) <= 300, path
        assert not {module, path.stem} & vague


def test_no_cycle_between_modules():
    graph = {}
    for module, path in modules():
        graph.setdefault(module, set()).update(ours(path) - {module})

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        for other in graph[module]:
            visit(other, [*trail, module])

    for module in graph:
        visit(module, [])


def test_the_project_speaks_of_itself_alone():
    # assembled here, so that this file does not name them itself
    foreign = ["/" + "work/", "pypi" + ".org", "shared" + "/", "/" + "tmp/"]
    kinds = (".py", ".md", ".yaml", ".yml", ".toml", ".ipynb", ".cff", ".sh")
    files = [p for p in ROOT.iterdir() if p.is_file() and p.suffix in kinds]
    for folder in ("corrlib", "notebooks", "studies", "tests", ".ci"):
        files += [p for p in (ROOT / folder).rglob("*") if p.suffix in kinds or p.name == "run"]
    for path in (*files, ROOT / "Makefile", ROOT / "Snakefile"):
        for word in foreign:
            assert word not in path.read_text(encoding="utf-8"), f"{path} holds {word}"
