"""What a study's runs read, looked at before the first of them begins: hours of training are not spent towards an end
that could not come.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from corrlib.corpora.corpus import Corpus
from corrlib.corpora.load import list_corpus, splits_of
from corrlib.corpora.tables import tell
from corrlib.study import inputs, outside
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import Plan, place_of
from corrlib.study.study_file import COMPOSED, studies_folder, where_is

ON_DISK = ("/", "./", "../", "~", "weights/")  # how the name of a model begins that is none of a hub


def refuse_unready(study: str, plans: Mapping[str, Plan]) -> None:
    """ParameterError names the first file, corpus or table that a run to be made would lack, or a batch too large.

    plans: of the runs that are to be made. A corpus that is composed is not looked at, nor is audio: 01_data does that.
    """
    listed: dict[tuple[str, str], dict[str, Corpus]] = {}
    for run, plan in plans.items():
        _refuse_missing_files(study, plan)
        name, folder = plan.parameters.get("corpus"), plan.parameters.get("data")
        if not name or not folder or name == COMPOSED:
            continue
        if (name, folder) not in listed:
            listed[name, folder] = _listed(study, run, name, folder)
        if plan.kind in ("stage1", "stage2"):
            _refuse_large_batch(study, plan, listed[name, folder]["development"])


def _where(study: str, plan: Plan, name: str) -> str:
    place = place_of(study, studies_folder(), plan.kind, plan.name, name)
    return f"{place or f'study {study!r}'}, run '{plan.name}'"


def _refuse_missing_files(study: str, plan: Plan) -> None:
    named = inputs.places(plan.parameters)[1]
    named |= dict(_outside_files(plan.parameters.get("teachers") or []))
    for name, path in named.items():
        if name == "text_weights" and not path.startswith(ON_DISK):
            continue
        if not Path(path).exists():
            key = "teachers" if outside.is_outside(name) else name
            raise ParameterError(f"{_where(study, plan, key)}: {key} names {path}, which does not exist; put it there")


def _outside_files(teachers: Iterable[Any]) -> Iterable[tuple[str, str]]:
    for name in teachers:
        kind, path = outside.parts(name) if outside.is_outside(name) else ("", "")
        if kind == "embeddings" or kind == "clap" and path.startswith(ON_DISK):
            yield name, path


def _listed(study: str, run: str, name: str, folder: str) -> dict[str, Corpus]:
    """{split: its tables} of a corpus; ParameterError in the words of whatever cannot be read."""
    try:
        return {split: list_corpus(name, folder, split, audio=False) for split in splits_of(name)}
    except (OSError, ValueError) as error:
        line, _ = where_is(study, studies_folder(), lambda keys: keys == ("data_folder",))
        raise ParameterError(f"{line or f'study {study!r}'} (data_folder), run '{run}': {error}") from None


def _refuse_large_batch(study: str, plan: Plan, training: Corpus) -> None:
    """What a study itself gives is refused; of a default it is said that a batch will be all there is."""
    p = plan.parameters
    captions = training.captions["clip_id"].value_counts().to_numpy()
    items = max(1, int((-(-captions // p["captions_per_clip"])).sum() * p["development_share"]))
    if p["batch_clips"] <= items:
        return
    there = f"the training split has {items} items ({len(training.clips)} clips, {len(training.captions)} captions, up "
    there += f"to {p['captions_per_clip']} of a clip in an item)"
    if place_of(study, studies_folder(), plan.kind, plan.name, "batch_clips"):
        where = _where(study, plan, "batch_clips")
        raise ParameterError(f"{where}: batch_clips is {p['batch_clips']}, but {there}; choose at most {items}")
    tell(f"batch_clips is {p['batch_clips']} if not given, and {there}: every epoch is one batch of all of them")
