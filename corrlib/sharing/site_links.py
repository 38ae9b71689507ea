"""Links of the repository's pages as the site's: to a page where there is one, else to a copy of the file."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from corrlib.study import runs
from corrlib.study.publish import published_folder

LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")


class Links:
    """Mends Markdown of the repository. A link to nothing that the site has becomes its text."""

    def __init__(self, study: str, notebooks: Mapping[str, str], source: Path, pages: Path, root: Path) -> None:
        """notebooks: {name of a notebook: its page}; source: what Sphinx reads; pages: what it writes; root: the
        repository."""
        self.study, self.notebooks, self.source, self.pages, self.root = study, notebooks, source, pages, root
        self.own_are_published = published_folder(study) == Path("figures")

    def mended(self, text: str, folder: str = "", own_figures: bool = False) -> str:
        """The text with its links; folder: of the page below the repository, which it has below the site, too.

        own_figures: figures are those of the study's own runs where they made them. The published ones of another
        study are not shown in their place.
        """
        return LINK.sub(lambda found: self._link(found, PurePosixPath(folder), own_figures), text)

    def _link(self, found: re.Match[str], folder: PurePosixPath, own_figures: bool) -> str:
        image, text, target = found["image"], found["text"], found["target"]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        address, _, anchor = target.partition("#")
        anchor = f"#{anchor}" if anchor else ""
        place = PurePosixPath(os.path.normpath(folder / address))
        up = "../" * len(folder.parts)
        if place.suffix == ".ipynb":
            page = self.notebooks.get(place.stem)
            return f"[{text}]({up}notebooks/{page}.ipynb)" if page else text
        if place == PurePosixPath("README.md"):
            return f"[{text}]({up}index.md)"
        if place.parent == PurePosixPath("docs") and (self.root / place).is_file():
            return f"[{text}]({up}{place}{anchor})"
        origin = self._origin(place, own_figures and not image)
        if origin is None:
            return text
        copy = (self.source if image else self.pages) / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, copy)
        # Sphinx places pictures; a link to a file, it would make a download of another name
        return f"{image}[{text}]({up}{place})" if image else f'<a href="{up}{quote(str(place))}">{text}</a>'

    def _origin(self, place: PurePosixPath, own_figures: bool) -> Path | None:
        """The file that a link names, or None where the site has nothing to show for it."""
        if own_figures and place.parts[0] == "figures":
            own = runs.figures_folder(self.study) / place.name
            if own.is_file():
                return own
            if not self.own_are_published:
                return None
        there = self.root / place
        inside = self.root.resolve() in there.resolve().parents
        return there if inside and there.is_file() and there.suffix != ".md" else None  # Sphinx takes .md for a page
