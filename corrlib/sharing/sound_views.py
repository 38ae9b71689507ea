"""Search in a folder of sounds as ipywidgets: by a caption, by a sound, by both, and "more like this"."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as w
import pandas as pd

from corrlib.explore.page import view
from corrlib.explore.sound import Player, waveform_of_file
from corrlib.explore.style import LABEL, NARROW, WIDE
from corrlib.explore.words import escape
from corrlib.files import csv_of, write_atomically
from corrlib.sharing.library import SoundFolder
from corrlib.study import runs


@dataclass
class Asked:
    """What is searched for: a caption, a sound that others should be like (below the folder, or any file), the
    caption's weight where both are given, and how many are shown.
    """

    caption: str = ""
    like: str = ""
    weight: float = 0.5
    count: int = 5

    def found(self, folder: SoundFolder, top: int = 20) -> pd.DataFrame:
        """The table of `SoundFolder.search`."""
        return folder.search(self.caption, self.sound(folder), self.weight, top)

    def sound(self, folder: SoundFolder) -> Path | None:
        """The file of `like`; a name below the folder comes before one from elsewhere."""
        if not self.like.strip():
            return None
        within = folder.folder / self.like
        return within if within.is_file() else Path(self.like).expanduser()


def in_words(asked: Asked) -> str:
    """What is searched for, as a part of a sentence."""
    caption, sound = f"“{asked.caption.strip()}”", Path(asked.like).name
    if not sound:
        return caption
    if not asked.caption.strip() or asked.weight == 0:
        return f"the sound {sound}"
    return f"{caption} ({asked.weight:g}) and the sound {sound} ({1 - asked.weight:g})"


def found_folder(folder: Path) -> Path:
    """Where tables and figures of searches in a folder are kept: `runs/sounds/<its name>/`."""
    name = re.sub(r"[^\w.-]+", "_", folder.resolve().name).strip(".") or "folder"
    return runs.root() / "sounds" / name


def line(description: str, value: str, placeholder: str = "") -> w.Text:
    """A wide line to type in, which tells what was typed when that is done."""
    return w.Text(
        value,
        description=description,
        placeholder=placeholder,
        continuous_update=False,
        layout=WIDE,
        style=LABEL,
    )


class SoundSearch:
    """The controls and what was found. What is typed is kept in `asked`, so that another folder or model answers the
    same question.
    """

    def __init__(self, folder: SoundFolder, asked: Asked) -> None:
        self.folder, self.asked = folder, asked
        self.table = pd.DataFrame()
        self._uploads = tempfile.TemporaryDirectory(prefix="corrlib-")
        self.caption = line("Caption", asked.caption, "what should be heard")
        self.like = line("Like", asked.like, "a sound file that others should be like")
        self.weight = w.FloatSlider(
            asked.weight,
            min=0,
            max=1,
            step=0.05,
            description="Weight",
            tooltip="the caption's weight; the rest is the sound's",
            continuous_update=False,
            layout=WIDE,
            style=LABEL,
        )
        self.upload = w.FileUpload(accept="audio/*", description="Upload sound", tooltip="a sound from this machine")
        self.forget = w.Button(description="Forget sound", tooltip="search by the caption alone", icon="times")
        self.button = w.Button(description="Search", tooltip="rank all sounds", button_style="primary")
        self.count = w.BoundedIntText(asked.count, min=1, max=50, description="Sounds", layout=NARROW, style=LABEL)
        self.save = w.Button(description="Save table", tooltip="write what was found as a CSV", icon="download")
        self.message, self.cards = w.HTML(), w.VBox()

    def panel(self) -> w.VBox:
        """All of it, with what `asked` finds."""
        for control in (self.caption, self.like, self.weight, self.count):
            control.observe(self.run, "value")
        self.upload.observe(self._uploaded, "value")
        self.button.on_click(self.run)
        self.forget.on_click(lambda _: setattr(self.like, "value", ""))
        self.save.on_click(self._save)
        self.run()
        return view(
            w.HBox([self.caption, self.button]),
            w.HBox([self.like, self.upload, self.forget]),
            self.weight,
            w.HBox([self.count, self.save]),
            self.message,
            self.cards,
        )

    def run(self, *_: Any) -> None:
        """Search for what the controls say; what is wrong is told where the count would stand."""
        asked = self.asked
        asked.caption, asked.like = self.caption.value, self.like.value
        asked.weight, asked.count = self.weight.value, self.count.value
        both = bool(asked.caption.strip() and asked.like.strip())
        self.weight.disabled, self.forget.disabled = not both, not asked.like.strip()
        if not asked.caption.strip() and not asked.like.strip():
            self.message.value = "Type what should be heard, or name a sound that others should be like."
            return
        try:
            self.table = asked.found(self.folder, asked.count)
        except (OSError, ValueError) as error:
            self.message.value = f"<b>Not searched:</b> {escape(str(error))}"
            return
        self.cards.children = [self._card(row) for row in self.table.to_dict("records")]
        self.message.value = (
            f"{len(self.table)} of {len(self.folder.sounds):,} sounds for {escape(in_words(asked))}"
            + (f"<br>{escape(self.folder.approximate.said)}" if self.folder.approximate else "")
        )

    def _card(self, row: Mapping[Any, Any]) -> w.HBox:
        name = row["file"]
        facts = w.HTML(
            f"<div style='overflow-wrap:anywhere;max-width:560px'>{row['rank']}. <b>{escape(name)}</b> · similarity "
            f"{row['similarity']:.3f} · {row['seconds']:.1f} s</div>"
        )
        more = w.Button(description="More like this", tooltip=f"sounds like {name}", icon="search")
        more.on_click(lambda _: setattr(self.like, "value", name))
        try:
            waveform = waveform_of_file(self.folder.folder / name, row["seconds"])
        except (OSError, ValueError) as error:  # it went meanwhile; its embedding is still there
            return w.HBox([w.HTML(f"<b>Not played:</b> {escape(str(error))}"), facts])
        return w.HBox([Player().show_waveform(waveform, name), w.VBox([facts, more])])

    def _uploaded(self, *_: Any) -> None:
        """What was uploaded is the sound that others should be like, under a name that is no path."""
        if not self.upload.value:
            return
        file = self.upload.value[0]
        name = re.sub(r"[^\w. -]+", "_", str(file["name"]))[-100:].strip(". ") or "sound"
        path = Path(self._uploads.name, name)
        path.write_bytes(bytes(file["content"]))
        self.like.value = ""  # also where one of the same name was uploaded before
        self.like.value = str(path)

    def _save(self, _: Any) -> None:
        if self.table.empty:
            return
        folder = found_folder(self.folder.folder)
        number = 1
        while (folder / f"search-{number}.csv").exists():
            number += 1
        path = folder / f"search-{number}.csv"
        model = self.folder.model.name
        asked = {"model": model, "caption": self.asked.caption, "like": self.asked.like, "weight": self.asked.weight}
        write_atomically(path, csv_of(self.table.assign(**asked)))
        self.message.value = f"Saved in {escape(str(path))}"
