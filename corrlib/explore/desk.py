"""What the notebook talks to: the chosen study and model, and each view as widgets or, in a headless run, as
figures.
"""

import gc
import os
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import Markdown, display

from corrlib import figures
from corrlib.explore import panels, stills, words
from corrlib.explore.judging import Judging
from corrlib.explore.page import view
from corrlib.explore.session import Session, models
from corrlib.explore.style import LABEL
from corrlib.explore.verdicts import Verdicts
from corrlib.figures import use_style
from corrlib.study import runs
from corrlib.study.parameters import ExploreParameters


def is_interactive() -> bool:
    """Whether somebody sits before this notebook: a Jupyter server or an editor says so, papermill does not."""
    shell = get_ipython()
    return "JPY_SESSION_NAME" in os.environ or (shell is not None and "__vsc_ipynb_file__" in shell.user_ns)


class Desk:
    """A session and its views. Choosing another study or model draws every view on the page anew.

    A view is a widget where somebody sits before the notebook; else its figure is shown and saved, and the view is the
    first rows of the table behind it.
    """

    def __init__(self, parameters: ExploreParameters) -> None:
        """FileNotFoundError if the study has no finished model; where there are widgets, only if no study has one."""
        self.interactive = is_interactive() if parameters.interactive is None else parameters.interactive
        self.parameters = parameters
        self._views: list[tuple[w.VBox, Callable[[], w.Widget]]] = []
        self._asked: dict[str, Any] = {"caption": parameters.caption, "count": 5, "beside": ""}
        study, model, self._other = parameters.study, parameters.model, ""
        known = [name for name, found in models().items() if found] if self.interactive else []
        if known and study not in known:
            self._other = f"Study “{study}” has no finished model yet; this is another one. "
            study, model = known[0], ""
        self._open(study, model)
        self._run = None if self.interactive else runs.Run(parameters, "13_explore")  # widgets leave no run behind

    def _open(self, study: str, model: str) -> None:
        self.session = Session(study, model)
        self.session.warm_up()
        gc.collect()
        gc.freeze()  # else a search waits 0.3 s for it now and then
        self.verdicts = Verdicts(runs.root() / study / "explore" / "verdicts.csv")

    def chooser(self) -> w.VBox | str:
        """Lists of the finished studies and of their models; without widgets, what was chosen, in words."""
        if not self.interactive:
            return f"study {self.session.study}, model {self.session.model}, {self.session.items.clips:,} clips"
        known = {name: found for name, found in models().items() if found}
        study = w.Dropdown(options=list(known), value=self.session.study, description="Study", style=LABEL)
        model = w.Dropdown(options=known[study.value], value=self.session.model, description="Model", style=LABEL)
        said = w.HTML(words.escape(self._other) + self._facts())

        def reopen(*_: Any) -> None:
            if not model.value:
                return
            try:
                self._open(study.value, model.value)
            except (OSError, ValueError) as error:  # a run or its data are no longer there
                said.value = f"<b>Not opened:</b> {words.escape(str(error))}"
                return
            said.value = self._facts()
            for holder, make in self._views:
                holder.children = [make()]

        def relist(*_: Any) -> None:
            model.unobserve(reopen, "value")
            model.options = known[study.value]
            model.observe(reopen, "value")
            reopen()

        study.observe(relist, "value")
        model.observe(reopen, "value")
        return view(w.HBox([study, model]), said)

    def _facts(self) -> str:
        s = self.session
        return words.escape(
            f"{s.items.clips:,} clips and {s.items.captions:,} captions of {s.parameters.corpus} ({s.split}); "
            f"the estimate is that of {len(s.teachers)} stage-1 models"
        )

    def search(self, caption: str, count: int = 5) -> w.VBox | pd.DataFrame:
        """The `count` most similar clips of a caption."""
        self._asked.update(caption=caption, count=count)
        return self._view(
            "search",
            lambda: panels.search(self.session, self._asked),
            lambda: stills.search(self.session, caption, count),
        )

    def clip(self, clip: int = 0) -> w.VBox | pd.DataFrame:
        """The most probable captions of a clip (row number; with widgets, the first one shown)."""
        if not self.interactive:
            use_style()  # a caption is no formula, in a table neither
            return self.session.best_captions(clip).round(4)
        return self._view("clip", lambda: panels.clip(self.session))

    def matrix(self, clips: int = 40) -> w.VBox | pd.DataFrame:
        """A block of so many clips and one caption of each (a figure shows 24)."""
        return self._view("matrix", lambda: panels.heat_map(self.session, clips), lambda: stills.heat_map(self.session))

    def partial_matches(self, count: int = 200) -> w.VBox | pd.DataFrame:
        """The `count` pairs on which annotation and estimate disagree most."""
        return self._view(
            "partial_matches",
            lambda: Judging(self.session, self.verdicts, count).panel(),
            lambda: stills.partial_matches(self.session, count),
        )

    def _view(
        self, name: str, widgets: Callable[[], w.Widget], still: Callable[[], tuple[Any, pd.DataFrame]] | None = None
    ) -> w.VBox | pd.DataFrame:
        if self.interactive:
            holder = w.VBox([widgets()])
            self._views.append((holder, widgets))
            return holder
        assert still is not None  # a view without a still is not shown headlessly
        figure, table = still()
        folder = self.parameters.figures or runs.figures_folder(self.parameters.study)
        figures.save(figure, folder, f"explore_{name}", table)
        display(figure)
        plt.close(figure)
        return table.head(10)

    def say_answer(self) -> w.VBox | pd.DataFrame | Markdown:
        """`answer` as it is to be shown; with widgets it follows the chosen study."""
        if not self.interactive:
            return Markdown(self.answer())
        return self._view("answer", lambda: w.HTML(f"<p>{words.escape(self.answer())}</p>"))

    def answer(self) -> str:
        """What the greatest disagreements are like, as a sentence with its numbers."""
        table, truth = self.session.partial_matches(100), self.session.truth
        above = 100 * (table["disagreement"] > 0).mean()
        text = (
            f"Of the {len(table)} captions on which annotation and estimate disagree most, the ensemble holds another "
            f"clip to be more probable than the annotated one in {above:.0f} %."
        )
        if truth is None:
            return text + " The truth of this corpus is not known: listen, and accept or reject."
        (whole, part), (whole_of_all, part_of_all) = _shares(table["true"]), _shares(truth)
        return text + (
            f" Of these pairs {whole:.0f} % match wholly by the truth and {part:.0f} % in part; of all pairs "
            f"{whole_of_all:.1f} % and {part_of_all:.1f} %."
        )

    def finish(self) -> None:
        """End a headless run; nothing to do where there are widgets."""
        if self._run is not None:
            self._run.finish()


def _shares(truth: np.ndarray | pd.Series) -> tuple[float, float]:
    """Wholly and partly matching pairs, in percent."""
    return 100 * (truth >= 1).mean(), 100 * ((truth > 0) & (truth < 1)).mean()
