"""`python -m corrlib.reports.pages`: write the marked blocks of README.md and docs/ from the published tables.

A block stands between `<!-- rendered: name arguments -->` and `<!-- end -->`; `corrlib.reports.blocks` says which there
are. Every number of a page that comes from a run stands in one, with a line below it that says which tables it is from
and which command, code and processor made them, and when.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from corrlib.files import write_atomically
from corrlib.processes import end_with
from corrlib.reports import (
    blocks,
    regime_blocks,  # noqa: F401  (its blocks are known by being imported)
)
from corrlib.reports.blocks import Missing, PageError, Published
from corrlib.study.parameters import ParameterError

MARKED = re.compile(r"(?P<begin><!-- rendered: (?P<words>[^>]*?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
BEGIN, END = "<!-- rendered:", "<!-- end -->"


def pages(root: str | Path = ".") -> list[Path]:
    """README.md and the pages of docs/ below the repository's root."""
    return [Path(root) / "README.md", *sorted((Path(root) / "docs").glob("*.md"))]


def render(text: str, figures: str | Path = "figures", link: str = "figures") -> str:
    """A page's text with its blocks written anew.

    figures: the folder of the published tables; link: the way to it from the page. PageError names a marker without an
    end, a block that does not exist, and a table of several codes or processors.
    """
    if not text.count(BEGIN) == text.count(END) == len(MARKED.findall(text)):
        raise PageError(f"the page has a marker `{BEGIN} name -->` without its `{END}`, or the other way round")
    return MARKED.sub(
        lambda found: f"{found['begin']}{_block(found['words'].split(), figures, link)}{found['end']}", text
    )


def _block(words: list[str], figures: str | Path, link: str) -> str:
    published = Published(figures)
    if not words:
        raise PageError(f"a marker names no block; write `{BEGIN} name -->`")
    try:
        text = blocks.rendered(published, words)
    except Missing as missing:
        study, path = missing.args
        make = "make benchmark" if study == "benchmark" else f"make reproduce STUDY={study}"
        return (
            f"*Not published yet: `{make}`, then `make publish STUDY={study}`, write `{path.name}` and this block.*\n"
        )
    return f"\n{text}\n\n{_made_by(words, published, link)}\n\n"


def _made_by(words: list[str], published: Published, link: str) -> str:
    """The small line below a block: which tables, and who made them."""
    entries = [blocks.entry_of(path) for path in published.read]
    if words[0] in blocks.OF_SEVERAL:
        made = {}
        for path, entry in zip(published.read, entries, strict=True):
            made.setdefault(_origin({**entry, "command": ""}), []).append(path)
        lines = [f"{_links(paths, published.folder, link)}; {origin}" for origin, paths in made.items()]
        return f"<sub>{'<br>'.join(lines)}</sub>"
    for kind, own in (("code", _code), ("processor", lambda entry: entry["processor"])):
        if len(set(map(own, entries))) > 1:
            named = " and ".join(
                f"{path.name} ({own(entry)})" for path, entry in zip(published.read, entries, strict=True)
            )
            raise PageError(
                f"block '{' '.join(words)}' would put tables of several {kind}s side by side: {named}; make them with "
                "one, and publish them again"
            )
    return f"<sub>{_links(published.read, published.folder, link)}; {_origin(entries[0])}</sub>"


def _code(entry: dict) -> str:
    return entry["fingerprint"] or f"of commit {entry['commit']}"


def _links(paths: Iterable[Path], folder: Path, link: str) -> str:
    return ", ".join(f"[{path.name}]({link}/{path.relative_to(folder).as_posix()})" for path in paths)


def _origin(entry: dict) -> str:
    made = [
        *([f"`{entry['command']}`"] if entry["command"] else []),
        f"commit {entry['commit'] or 'not recorded'}",
        f"code {entry['fingerprint'] or 'not recorded'}",
        f"processor {entry['processor'] or 'not recorded'}",
        entry["date"],
    ]
    return " · ".join(made)


def main(root: str | Path = ".") -> int:
    """Write every page's blocks; returns a process exit status."""
    for path in pages(root):
        before = path.read_text(encoding="utf-8")
        try:
            after = render(
                before, Path(root) / "figures", Path(os.path.relpath(Path(root) / "figures", path.parent)).as_posix()
            )
        except (PageError, ParameterError) as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            return 2
        if after != before:
            write_atomically(path, after)
        print(f"{path}: {len(MARKED.findall(after))} blocks" + (", written anew" if after != before else ""))
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    end_with(main)
