"""13_explore on a folder of anybody's sounds: search as widgets or as a figure; the views that need a study say so."""

from io import StringIO
from pathlib import Path
from typing import Any

import ipywidgets as w
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

from corrlib import figures
from corrlib.explore import Desk, is_interactive, models
from corrlib.explore.page import view
from corrlib.explore.sound import RATE_HZ, TOP_HZ, waveform_of_file
from corrlib.explore.style import LABEL, WIDE
from corrlib.explore.words import escape
from corrlib.reports.text import as_markdown
from corrlib.sharing.library import SoundFolder
from corrlib.sharing.load import find_run, load_model
from corrlib.sharing.model import RetrievalModel
from corrlib.sharing.sound_views import Asked, SoundSearch, found_folder, in_words, line
from corrlib.study import runs
from corrlib.study.parameters import ExploreParameters

NO_CAPTIONS = "the sounds of a folder have no captions, and no ensemble has estimated which would describe them"
NAMED = 10  # skipped files that are shown before the list is opened


def open_desk(parameters: ExploreParameters) -> "Desk | SoundDesk":
    """What 13_explore talks to: a study's clips, or the sounds in `sounds_folder`; errors as those of the two."""
    return SoundDesk(parameters) if parameters.sounds_folder else Desk(parameters)


class SoundDesk:
    """A folder of sounds and the views of it, in place of those of `corrlib.explore.Desk`.

    A search is of no study, and leaves no run behind: its figure and its table lie in `figures`, or in
    `runs/sounds/<name of the folder>/`.
    """

    def __init__(self, parameters: ExploreParameters) -> None:
        """FileNotFoundError where there is no such folder or no model, ValueError where the folder holds no sound."""
        self.interactive = is_interactive() if parameters.interactive is None else parameters.interactive
        self.parameters = parameters
        self.asked = Asked(parameters.caption, parameters.like, parameters.weight)
        self._name, self._chosen_for_them = _model_of(parameters)
        self._holder, self._answer = w.VBox(), w.HTML()
        self._progress = _Line()
        if self.interactive:
            display(self._progress.label)  # before anything is embedded
        self._open(parameters.sounds_folder, self._name)
        self._progress.label.value = ""

    def _open(self, folder: str, name: str) -> None:
        """Both, or neither: where one cannot be opened, the desk stays as it was."""
        model = load_model(name) if name != getattr(self, "_opened", "") else self.model
        sounds = SoundFolder(model, Path(folder).expanduser(), progress=self._progress if self.interactive else True)
        self.model: RetrievalModel = model
        self.sounds, self._opened = sounds, name

    def chooser(self) -> w.VBox | str:
        """The folder and the model, to choose others; without widgets, what was chosen, in words."""
        if not self.interactive:
            return self._chosen_for_them + self._facts()
        folder = line("Folder", str(self.sounds.folder))
        known = [f"{study}/{run}" for study, names in models().items() for run in names]
        model = w.Combobox(
            value=self._name,
            options=known,
            placeholder="study/run, an exported folder, or a name on the hub",
            description="Model",
            continuous_update=False,
            layout=WIDE,
            style=LABEL,
        )
        button = w.Button(description="Open", tooltip="look for sounds that came, changed or went, and embed them")
        said = w.HTML(escape(self._chosen_for_them) + self._said())

        def reopen(*_: Any) -> None:
            button.disabled = True
            try:
                self._open(folder.value, model.value)
            except (OSError, ValueError, ImportError) as error:
                said.value = f"<b>Not opened:</b> {escape(str(error))}"
                return
            finally:
                button.disabled = False
                self._progress.label.value = ""
            said.value = self._said()
            self._draw()

        button.on_click(reopen)
        return view(folder, model, button, said)

    def search(self, caption: str) -> w.VBox | pd.DataFrame:
        """The sounds most similar to the caption, and to the sound `like` of the parameters."""
        self.asked.caption = caption
        if not self.interactive:
            return self._still()
        self._draw()
        return self._holder

    def _draw(self) -> None:
        self._holder.children = [SoundSearch(self.sounds, self.asked).panel()]
        self._answer.value = f"<p>{escape(self.answer())}</p>"

    def _still(self, shown: int = 5) -> pd.DataFrame:
        table, cards = self._found(), []
        for row in table.head(shown).to_dict("records"):
            waveform = waveform_of_file(self.sounds.folder / row["file"], row["seconds"])
            spectrogram = figures.decibels(waveform, RATE_HZ, TOP_HZ)
            cards.append((row["file"], spectrogram, len(waveform) / RATE_HZ, row["similarity"]))
        how = f"{len(self.sounds.sounds):,} sounds of a folder, heard by {self.model.name}."
        figure = figures.ranked_sounds(in_words(self.asked), cards, how)
        figures.save(figure, self.parameters.figures or found_folder(self.sounds.folder), "explore_sounds", table)
        display(figure)
        plt.close(figure)
        return table.head(10)

    def _found(self) -> pd.DataFrame:
        return self.asked.found(self.sounds)

    def clip(self) -> w.HTML | Markdown:
        """Why there are no captions of a sound."""
        return self._missing("No captions of a sound", NO_CAPTIONS)

    def matrix(self) -> w.HTML | Markdown:
        """Why there is no matrix."""
        return self._missing("No matrix", NO_CAPTIONS)

    def partial_matches(self) -> w.HTML | Markdown:
        """Why there are no partial matches."""
        return self._missing("No partial matches", NO_CAPTIONS)

    def _missing(self, what: str, why: str) -> w.HTML | Markdown:
        text = f"{what}: {why}. Leave `sounds_folder` empty to look at a study."
        return w.HTML(f"<p>{escape(text)}</p>") if self.interactive else Markdown(text)

    def finish(self) -> None:
        """Nothing to do: a search leaves no run behind."""

    def say_answer(self) -> w.HTML | Markdown:
        """`answer` as it is to be shown; with widgets it follows the chosen folder."""
        return self._answer if self.interactive else Markdown(as_markdown(self.answer()))

    def answer(self) -> str:
        """What was found, as a sentence with its numbers."""
        table = self._found()
        if table.empty:
            return "The folder holds no other sound."
        first, last = table.iloc[0], table.iloc[-1]
        return (
            f"Of {len(self.sounds.sounds):,} sounds, {first['file']} is most similar to {in_words(self.asked)} "
            f"(similarity {first['similarity']:.3f}); number {len(table)} has {last['similarity']:.3f}."
        )

    def _facts(self) -> str:
        s = self.sounds
        hours = s.sounds["seconds"].sum() / 3600
        heard = f"; of {s.longer:,} the first {self.model.clip_seconds:g} s are heard" if s.longer else ""
        facts = (
            f"{len(s.sounds):,} sounds ({hours:.1f} hours) in {s.folder}, heard by {self.model.name}{heard}; "
            f"{s.embedded:,} embedded now, {len(s.skipped):,} files skipped."
        )
        if s.approximate:
            facts += f" {s.approximate.said}."
        if self.model.provenance.get("parameters", {}).get("corpus") == "soundscapes":
            facts += " The model was trained on composed scenes: expect little of it on recordings."
        return facts

    def _said(self) -> str:
        """The facts as HTML, and what was skipped, to be opened."""
        skipped = self.sounds.skipped
        if skipped.empty:
            return escape(self._facts())
        lines = "".join(
            f"<li>{escape(row['file'])}: {escape(row['reason'])}</li>" for row in skipped.to_dict("records")
        )
        opened = " open" if len(skipped) <= NAMED else ""
        return (
            f"{escape(self._facts())}<details{opened}><summary>Skipped files</summary>"
            f"<ul style='overflow-wrap:anywhere;line-height:1.35'>{lines}</ul></details>"
        )


class _Line(StringIO):
    """Where tqdm writes its bar: the text of a label, always the last line."""

    def __init__(self) -> None:
        super().__init__()
        self.label = w.Label()

    def write(self, text: str) -> int:
        if text.strip():
            self.label.value = text.strip("\r\n ")
        return len(text)


def _model_of(parameters: ExploreParameters) -> tuple[str, str]:
    """(the model as `load_model` takes it, what is said where it was chosen for them)."""
    if parameters.model:
        of_study = f"{parameters.study}/{parameters.model}"
        return (of_study if find_run(of_study) else parameters.model), ""
    known = {study: names for study, names in models().items() if names}
    if not known:
        raise FileNotFoundError(
            f"no study below {runs.root()} has a finished model; run `make reproduce`, or name an exported folder as "
            "`model`"
        )
    study = parameters.study if parameters.study in known else next(iter(known))
    said = "" if study == parameters.study else f"Study “{parameters.study}” has no finished model yet. "
    return f"{study}/{known[study][0]}", said
