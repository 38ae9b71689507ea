"""The start page and docs/ as Sphinx takes them: README.md in parts, the links of both leading to what the site has."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corrlib.reports import blocks
from corrlib.reports.pages import MARKED
from corrlib.reports.text import as_markdown
from corrlib.sharing.site_links import Links
from corrlib.sharing.site_notebooks import Shown
from corrlib.study import runs

TABLE, QUESTIONS, CITE = "What comes out", "Questions, notebooks, figures", "Cite"  # headings of README.md


class _OfRuns(blocks.Published):
    """Tables where a study's runs wrote them, published or not."""

    def path(self, study: str, name: str) -> Path:
        return runs.figures_folder(study) / f"{name}.csv"


def write(
    study: str, title: str, seed: int, shown: list[Shown], matches: Mapping[str, Any], links: Links, root: Path
) -> None:
    """Write index.md, matches.md and docs/ into the folder of `links`, with the files of the repository they name.

    shown: the executed notebooks; matches: the data of the Matches page; root: the repository. ValueError where
    README.md lacks a heading that the start page is made of.
    """
    source = links.source
    (source / "index.md").write_text(_start(study, title, seed, shown, links, root), encoding="utf-8")
    (source / "matches.md").write_text(f"# Matches\n\n{as_markdown(matches['title'])}\n", encoding="utf-8")
    (source / "docs").mkdir(exist_ok=True)
    for path in _docs(root):
        text = links.mended(path.read_text(encoding="utf-8"), "docs")
        (source / "docs" / path.name).write_text(text, encoding="utf-8")


def _docs(root: Path) -> list[Path]:
    return sorted((root / "docs").glob("*.md"))


def _start(study: str, title: str, seed: int, shown: list[Shown], links: Links, root: Path) -> str:
    """The claim and the picture of README.md, the study's main table, the map of questions, and where all pages are."""
    intro, parts = _parts((root / "README.md").read_text(encoding="utf-8"))
    missing = [name for name in (TABLE, QUESTIONS, CITE) if name not in parts]
    if missing:
        raise ValueError(f"README.md has no heading '## {missing[0]}', which the start page is made of; restore it")
    table = MARKED.sub(lambda _: _main_table(study), parts[TABLE])
    what = (
        f"These pages show study `{study}`, {as_markdown(title)}: {len(shown)} executed notebooks of seed {seed}, and "
        "[the partial matches](matches.md), to hear, to see and to judge. None of them needs an installation."
    )
    text = f"{intro}\n{what}\n\n## {TABLE}\n{table}\n## {QUESTIONS}\n{_map(parts[QUESTIONS])}\n## {CITE}\n{parts[CITE]}"
    return links.mended(text, own_figures=True) + _contents(shown, root)


def _parts(readme: str) -> tuple[str, dict[str, str]]:
    """(what stands above the first heading of second order, {heading: what stands below})."""
    intro, *parts = re.split(r"^## ", readme, flags=re.MULTILINE)
    return intro, dict(part.split("\n", 1) for part in parts)


def _map(text: str) -> str:
    """The table of questions alone; what follows tells how to run a study."""
    before, bar, table = text.partition("|")
    return before + bar + table.split("\n\n")[0] + "\n"


def _main_table(study: str) -> str:
    published = _OfRuns(runs.figures_folder(study))
    try:
        table = blocks.rendered(published, ["summary", study])
    except blocks.Missing:
        return f"*The table is not there yet: `make reproduce STUDY={study}` writes it.*\n"
    made = runs.read_manifest(study, "results") if runs.is_finished(study, "results") else {"code": {}}
    commit = str(made["code"].get("commit") or "not recorded")[:7]
    return f"\n{table}\n\n<sub>`make reproduce STUDY={study}` · commit {commit}</sub>\n\n"


def _contents(shown: list[Shown], root: Path) -> str:
    """The contents of the side bar: titles as they are written, a notebook's with its run."""
    trees = {
        "Study": ["matches"],
        "Executed notebooks": [f"{own.title} <notebooks/{own.page}>" for own in shown],
        "Docs": [f"docs/{path.stem}" for path in _docs(root)],
    }
    return "".join(
        "\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(lines) + "\n```\n"
        for caption, lines in trees.items()
        if lines
    )
