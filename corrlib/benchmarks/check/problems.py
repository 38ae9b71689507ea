"""What would stop a study, a sentence each, found without training anything."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from transformers import AutoConfig

from corrlib.benchmarks.check.models import training_of
from corrlib.benchmarks.check.splits import Corpora
from corrlib.files import there
from corrlib.models.text import minilm_folder
from corrlib.soundscapes.recordings import find_recordings
from corrlib.study import inputs, runs
from corrlib.study.backbones import BACKBONES, HUB, family
from corrlib.study.fetch import BY_HAND, advice, default_folder, missing_of_study
from corrlib.study.outside import is_outside, parts
from corrlib.study.parameters import ParameterError, StageOneParameters
from corrlib.study.plan import Plan, plan_runs
from corrlib.study.study_file import StudyFile, load_study


def plan(name: str) -> tuple[StudyFile, dict[str, Plan], list[str]]:
    """(the study, its runs, what it lacks of what a command line gives or a command fetches).

    Where the study file asks for a folder that is not given, it is planned as if for the place where `make data` puts
    what it fetches. ParameterError where it cannot be planned at all.
    """
    wanting: list[str] = []
    while True:
        try:
            plans, study = plan_runs(name), load_study(name)
            break
        except ParameterError as error:
            asked = re.search(r"needs \$([A-Z][A-Z0-9_]*): ", str(error))
            if not asked:
                raise
            os.environ[asked[1]] = default_folder() if asked[1] == "DATA" else f"no {asked[1]} given"
            wanting.append(str(error))
    if "DATA" in os.environ and any("$DATA" in sentence for sentence in wanting):
        del os.environ["DATA"]  # it was not given, and what gets it need not be told where
        lacking = advice(name)
        os.environ["DATA"] = default_folder()
        if lacking or Path(default_folder()).is_dir():
            wanting = [sentence for sentence in wanting if "$DATA" not in sentence]
    else:
        lacking = advice(name)
    return study, plans, [*([lacking] if lacking else []), *wanting]


def problems(study: StudyFile, plans: dict[str, Plan], corpora: Corpora) -> list[str]:
    """What else is not there or cannot go together, each once, in the order of the runs."""
    fetched = {str(item.path) for item in missing_of_study(study)}
    found: list[str] = []
    for run in plans.values():
        p = run.parameters
        if run.kind == "data":
            found += _of_sounds(p["sounds"], p["leave_out"], Path(p["data"]))
        for key, path in inputs.places(p)[1].items():
            listed = key.startswith("relevance") or key in ("graded", "exclude")
            if listed and not Path(path).exists() and path not in fetched:
                found.append(f"{key} names {path}, which does not exist; put it there")
        if run.kind == "stage1":
            found += _of_model(StageOneParameters(**p), fetched)
        if run.kind in ("stage1", "stage2"):
            found += _of_lengths(training_of(run, plans), corpora)
        found += _of_teachers(p.get("teachers") or [])
    for name in dict.fromkeys(one for corpus, _ in corpora for one in corpus.split("+")):
        found += _by_hand(name, corpora)
    if not os.access(there(runs.root()), os.W_OK):
        found.append(f"the runs folder {runs.root()} cannot be written; set CORRLIB_RUNS to one that can")
    return list(dict.fromkeys(found))


def _of_model(p: StageOneParameters, fetched: set[str]) -> list[str]:
    """Weights, backbone and text encoder of a run that are not there and that no command fetches."""
    found = []
    if p.weights and not Path(p.weights).is_file() and p.weights not in fetched:
        entry = BACKBONES.get(p.backbone)
        where = (
            f" ({entry.published_file} of {family(p.backbone).published_at})" if entry and entry.published_file else ""
        )
        found.append(f"the weights {p.weights} of {p.backbone} are not there; put the published file there{where}")
    if p.backbone.startswith(HUB) and (why := _not_at_hand(p.backbone.removeprefix(HUB))):
        found.append(f"the backbone {p.backbone} is not at hand ({why}); fetch it with `hf download`, or name a folder")
    if p.text_encoder == "minilm" and not p.text_weights:
        try:
            minilm_folder()
        except FileNotFoundError as error:
            found.append(str(error))
    elif p.text_encoder != "tiny":
        source = p.text_weights or p.text_encoder
        coming = any(Path(path).parent == Path(source) for path in fetched)
        if not coming and (why := _not_at_hand(source)):
            found.append(
                f"the text encoder {source} is not at hand ({why}); set text_weights to the folder of {p.text_encoder}"
            )
    return found


def _not_at_hand(source: str) -> str:
    """Why a model of transformers cannot be built without a network; "" where it can."""
    try:
        AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        return str(error).splitlines()[0][:100]
    return ""


def _of_sounds(sounds: str, leave_out: list[str] | str, folder: Path) -> list[str]:
    if sounds == "synthetic" or (folder / "corpus.json").is_file() or sounds.startswith("no SOUNDS"):
        return []
    try:
        find_recordings(sounds, leave_out)
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    return []


def _of_lengths(p: StageOneParameters, corpora: Corpora) -> list[str]:
    """Log-mels are kept of clips of one length, no longer than a segment."""
    splits = corpora.get((p.corpus, p.data), {})
    lengths = [float(s) for split in splits.values() for s in (split.seconds.min(), split.seconds.max())]
    if p.cache_log_mel is not True or not lengths or (max(lengths) - min(lengths) < 0.001 and max(lengths) <= 10):
        return []
    return [
        f"cache_log_mel needs clips of one length, at most 10 s, and those of {p.corpus} last {min(lengths):.1f} to "
        f"{max(lengths):.1f} s; set cache_log_mel to auto, or to false, in both stages"
    ]


def _of_teachers(teachers: Iterable[str]) -> list[str]:
    found = []
    for teacher in teachers:
        kind, place = parts(teacher) if is_outside(teacher) else ("", "")
        if kind == "embeddings" and not Path(place).is_file():
            found.append(f"the teacher's file {place} does not exist; give a safetensors file of embeddings")
        if kind == "clap" and (why := _not_at_hand(place)):
            found.append(f"the teacher {teacher} is not at hand ({why}); name a folder that holds it")
    return found


def _by_hand(name: str, corpora: Corpora) -> list[str]:
    """What of a corpus no command brings, where it is not there."""
    if name not in BY_HAND:
        return []
    from corrlib.corpora.layouts import Tree
    from corrlib.corpora.load import folder_of

    found = []
    for corpus, data in corpora:
        folder = folder_of(data, name, "+" in corpus)
        if name in corpus.split("+") and not (folder.is_dir() and Tree(folder).has_audio()):
            found.append(BY_HAND[name].format(folder))
    return found
