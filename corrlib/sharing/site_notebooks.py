"""Executed notebooks as Sphinx takes them: those of one seed, their sound made small, and nothing fetched."""

import base64
import io
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
from plotly.offline import get_plotlyjs

from corrlib.explore.sound import mp3_bytes
from corrlib.sharing.site_links import Links
from corrlib.study import runs
from corrlib.study.plan import plan_runs

SOUND = re.compile(r"data:audio/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)")
PLAYER = re.compile(r"<audio\b.*?</audio>", re.DOTALL | re.IGNORECASE)
NO_AUDIO = "<p><em>A clip was heard here. This site is built without audio.</em></p>"
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Shown:
    """An executed notebook of the site. page: its name below notebooks/; title: in the contents."""

    run: str
    notebook: str
    page: str
    title: str


def of_seed(study: str, seed: int) -> list[Shown]:
    """The finished runs whose notebooks are shown: those of a seed and those of the whole study, in order of notebooks.

    Of several runs of one notebook the plain ensemble's comes first. FileNotFoundError where none is finished.
    """
    plans = [plan for plan in plan_runs(study).values() if _of(plan.name, seed) and _is_executed(study, plan.name)]
    if not plans:
        raise FileNotFoundError(
            f"study '{study}' has no finished run of seed {seed} in {runs.root() / study}; run `make reproduce "
            f"STUDY={study}`, or choose another seed"
        )
    first = {plan.name: not plan.name.startswith("ensemble-") for plan in plans}
    plans.sort(key=lambda plan: (plan.notebook, first[plan.name]))  # stable: as planned
    names = [Path(plan.notebook).stem for plan in plans]
    return [
        Shown(plan.name, name, plan.name, f"{name[:2]} · {plan.name if names.count(name) > 1 else name[3:]}")
        for plan, name in zip(plans, names, strict=True)
    ]


def _of(run: str, seed: int) -> bool:
    """Whether a run is of this seed, or of none."""
    found = re.search(r"-seed(\d+)$", run)
    return found is None or int(found[1]) == seed


def _is_executed(study: str, run: str) -> bool:
    return runs.is_finished(study, run) and (runs.folder_of(study, run) / "notebook.ipynb").is_file()


def write(study: str, shown: Iterable[Shown], links: Links, pages: Path, audio: str) -> None:
    """Write notebooks below the folder of `links`, without their sound where audio is `none`.

    pages: where their pages will be: plotly's script goes there, where a notebook shows a view of plotly.
    """
    folder = links.source / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    for own in shown:
        text = (runs.folder_of(study, own.run) / "notebook.ipynb").read_text(encoding="utf-8")
        content = json.loads(_without_places(text))
        if cleaned(content, audio, links):
            pages.mkdir(parents=True, exist_ok=True)
            (pages / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        (folder / f"{own.page}.ipynb").write_text(json.dumps(content), encoding="utf-8")


def _without_places(text: str) -> str:
    """A notebook's JSON without the folders of the machine that executed it."""
    data = Path(os.environ.get("CORRLIB_DATA", "data"))
    for place, word in ((data, "data"), (runs.root(), "runs"), (Path.cwd(), "."), (Path.home(), "~")):
        if place.is_absolute() and len(place.parts) > 2:
            text = text.replace(json.dumps(str(place))[1:-1], word)
    return text


def cleaned(notebook: dict[str, Any], audio: str, links: Links) -> bool:
    """Make an executed notebook fit for the site, in place; whether it shows a plotly view.

    Figures get a text for those who do not see them, sound becomes MP3 (or a sentence), plotly views become HTML, and
    what only a running kernel could show is taken out.
    """
    notebook["metadata"].pop("widgets", None)
    heading, plotly = "", False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = links.mended(_text(cell["source"]), "notebooks")
            heading = _last_heading(cell["source"]) or heading
        cell["metadata"] = {"mystnb": {"image": {"alt": f"Figure of the section {heading or 'above'}"}}}
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PLOTLY in data:
                before = "" if plotly else '<script src="plotly.min.js"></script>'  # once a page
                data, plotly = {"text/html": before + _plotly_view(data[PLOTLY])}, True
            data.pop(WIDGET, None)
            if "text/html" in data:
                data["text/html"] = _page(_text(data["text/html"]), audio)
            for kind in [kind for kind in data if kind.startswith("audio/")]:
                sound = f'<audio controls src="data:{kind};base64,{_text(data.pop(kind))}"></audio>'
                data["text/html"] = _page(sound, audio)
            if "data" in output:
                output["data"] = data
    return plotly


def _page(text: str, audio: str) -> str:
    """HTML of an output with small sound or with none; wide tables scroll, by keyboard too."""
    if audio == "none":
        text = PLAYER.sub(NO_AUDIO, text)
        return SOUND.sub("", text)  # of a player of another make
    text = PLAYER.sub(lambda found: _labelled(found[0]), text)
    return SOUND.sub(lambda found: "data:audio/mpeg;base64," + _smaller(found[1]), text)


def _labelled(player: str) -> str:
    return re.sub("<audio", '<audio aria-label="the clip" preload="none"', player, count=1, flags=re.IGNORECASE)


def _smaller(sound: str) -> str:
    """A sound in base64 as MP3 in base64."""
    waveform, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sound)), dtype="float32", always_2d=True)
    return base64.b64encode(mp3_bytes(waveform.mean(1), rate_hz)).decode()


def _plotly_view(view: dict[str, Any]) -> str:
    """A plotly figure as HTML, drawn by the copy of plotly that the site brings."""
    parts = (json.dumps(view.get(key) or {}).replace("<", "\\u003c") for key in ("data", "layout"))
    return (
        '<div class="plotly-view"></div><script>Plotly.newPlot(document.currentScript.previousElementSibling, '
        f"{', '.join(parts)}, {{responsive: true}})</script>"
    )


def _last_heading(text: str) -> str:
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return re.sub(r"[`*_\\$]", "", found[-1]).strip() if found else ""


def _text(value: str | Iterable[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
