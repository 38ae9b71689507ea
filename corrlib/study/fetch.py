"""`python -m corrlib.study.fetch STUDY`: bring the corpora and weights that a study names, and that are not there yet.

What lies in the data folder already, in whatever layout, is left as it is, and everything can be put there by hand.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from corrlib.corpora import check_name
from corrlib.corpora.layouts import Tree, corpus_folder
from corrlib.files import NotWritten, there
from corrlib.processes import end_with
from corrlib.study import relevances
from corrlib.study.archives import unpack_wavcaps
from corrlib.study.download import Damaged, FetchError, check, download, need_room, record, unpack
from corrlib.study.parameters import ParameterError, nearest
from corrlib.study.sources import BY_HAND, CORPORA, GB, GONE, LISTS, LISTS_BY_HAND, TEXT_ENCODERS, WEIGHTS, Source
from corrlib.study.study_file import StudyFile, load_study


@dataclass(frozen=True)
class Item:
    """A source, the group by which mirrors know it, and the folder to which its file goes."""

    source: Source
    group: str
    folder: Path

    @property
    def path(self) -> Path:
        """Where the file goes."""
        return self.folder / self.source.file


def default_folder() -> str:
    """Where published corpora go, and are sought, where no DATA is given."""
    return f"{os.environ.get('CORRLIB_DATA', 'data')}/published"


def missing_of_corpus(name: str, data: str | Path, merged: bool = False) -> list[Item]:
    """What is not there yet of a published corpus below `data`."""
    folder = _home(name, Path(data), merged)
    tree = Tree(folder) if folder.is_dir() else None
    return [Item(source, name, folder) for source in CORPORA[name] if not _there(source, tree)]


def missing_of_study(study: StudyFile) -> list[Item]:
    """What is not there yet of the corpora, weights and text encoder that a study names, and that are published."""
    names = _corpora(study)
    merged = any("+" in name for name in names)
    wanted = dict.fromkeys(one for name in names for one in check_name(name) if one in CORPORA)
    items = [item for name in wanted for item in missing_of_corpus(name, study.data_folder, merged)]
    for path in _values(study, "weights"):
        if path.name in WEIGHTS and not path.is_file():
            items.append(Item(WEIGHTS[path.name], "weights", path.parent))
    for path in (*_relevances(study), *_values(study, "exclude")):
        if path.name in LISTS and not path.is_file():
            items.append(Item(LISTS[path.name], "lists", path.parent))
    for folder in _values(study, "text_weights"):
        sources = TEXT_ENCODERS.get(folder.name, ())
        items += [Item(s, folder.name, folder) for s in sources if not (folder / s.file).is_file()]
    return items


def advice(name: str) -> str:
    """One sentence that says how to get what study `name` lacks, and how much that is; "" where nothing is lacking."""
    given = os.environ.get("DATA")
    os.environ["DATA"] = given or default_folder()
    try:
        items = missing_of_study(load_study(name))
    finally:
        if given is None:
            del os.environ["DATA"]
    if not items:
        return ""
    command = f"make data STUDY={name}" + (f" DATA={given}" if given else "")
    return (
        f"study '{name}' lacks {len(items)} published files, such as {items[0].path}: `{command}` gets them "
        f"({_gigabytes(items)} to download)" + ("" if given else ", or DATA=folder names where they lie")
    )


def fetch(items: list[Item]) -> None:
    """Bring all items, one after the other; FetchError or NotWritten at the first that fails."""
    by_disk: dict[int, list[Item]] = {}
    for item in items:
        by_disk.setdefault(there(item.folder).stat().st_dev, []).append(item)
    for group in by_disk.values():
        need_room(group[0].folder, sum(map(space, group)), f"what is to be fetched ({len(group)} files)")
    for number, item in enumerate(items, 1):
        source, path = item.source, item.path
        by_hand = path.is_file()
        if by_hand:
            check(source, path)
        else:
            print(f"[{number}/{len(items)}] {path} ({source.expected / GB:.3g} GB)", flush=True)
            download(source, item.group, path)
        if source.unpacks:
            print(f"[{number}/{len(items)}] unpacking {path.name}", flush=True)
            try:
                unpack(source, path)
            except Damaged:
                if not by_hand:
                    path.unlink()
                raise
        record(source, path)
        if source.unpacks and not by_hand:
            path.unlink()


def space(item: Item) -> int:
    """Bytes that an item takes while it is fetched."""
    came = sum(p.stat().st_size for p in (item.path, item.path.with_name(f".{item.path.name}.part")) if p.is_file())
    return max(item.source.expected - came, 0) + (item.source.unpacks[1] if item.source.unpacks else 0)


def _gigabytes(items: list[Item]) -> str:
    total = sum(item.source.expected for item in items) / GB
    return f"about {total:.1f} GB" if total >= 0.1 else f"about {total * 1000:.0f} MB"


def _home(name: str, data: Path, merged: bool) -> Path:
    """The folder of a corpus: one of its name, or `data` itself where parts of it lie there already."""
    below = corpus_folder(data, name)
    if below or merged:
        return below or data / name
    names = {part for source in CORPORA[name] for part in (source.file, *(source.unpacks or ())[:1])}
    return data if data.is_dir() and names & set(os.listdir(data)) else data / name


def _there(source: Source, tree: Tree | None) -> bool:
    if tree is None:
        return False
    if source.unpacks:
        return tree.has_audio([source.unpacks[0]]) or (source.audio_only and tree.has_audio())
    return any(source.file in files for files in tree.files.values())


def _sections(study: StudyFile) -> list[dict]:
    """All places of a study file that may name a corpus or weights."""
    sections = [
        study.data,
        study.stage1,
        study.stage2,
        *study.backbone_stage1.values(),
        *study.backbone_stage2.values(),
    ]
    sections += [*study.members.values(), *study.points.values()]
    for variant in study.variants.values():
        sections += [variant.data, variant.training, variant.stage1, variant.stage2]
    return sections


def _corpora(study: StudyFile) -> list[str]:
    return list(dict.fromkeys(str(s["corpus"]) for s in _sections(study) if "corpus" in s))


def _values(study: StudyFile, key: str) -> list[Path]:
    return list(dict.fromkeys(Path(str(s[key])) for s in _sections(study) if s.get(key)))


def _relevances(study: StudyFile) -> list[Path]:
    """What a study names as `relevance`, for all its runs or for some; not what has a place for each seed."""
    given = [study.relevance, *(section["relevance"] for section in _sections(study) if "relevance" in section)]
    named = dict.fromkeys(place for value in given for place in relevances.places(value or "").values())
    return [Path(place) for place in named if "{" not in place]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", default="")
    parser.add_argument("--corpus", default="", help="only this corpus, or several as in clotho+audiocaps")
    parser.add_argument("--data", default=os.environ.get("DATA") or default_folder(), help="the folder of the corpora")
    given = parser.parse_args(arguments)
    try:
        if given.corpus:
            names = check_name(given.corpus)
            if unknown := [name for name in names if name not in CORPORA]:
                raise ParameterError(f"corpus '{unknown[0]}' is not published anywhere{nearest(unknown[0], CORPORA)}")
            items = [item for name in names for item in missing_of_corpus(name, given.data, len(names) > 1)]
            lists = []
        else:
            os.environ["DATA"] = given.data
            study = load_study(given.study)
            names = [one for name in _corpora(study) for one in check_name(name)]
            items = missing_of_study(study)
            lists = _relevances(study)
        what = f"corpus {given.corpus}" if given.corpus else f"study '{given.study}'"
        if items:
            print(f"{what}: {len(items)} files to fetch, {_gigabytes(items)}", flush=True)
            fetch(items)
        print(f"{what}: all that is published of it, and can be fetched, is there", flush=True)
        for name in dict.fromkeys(names):
            home = _home(name, Path(given.data), len(names) > 1)
            if name == "wavcaps":
                unpack_wavcaps(home)
            if name in BY_HAND and not Tree(home).has_audio():
                print(BY_HAND[name].format(home))
            if name in GONE:
                print(GONE[name])
        for path in lists:
            if not path.exists():
                print(LISTS_BY_HAND.format(path))
    except (FetchError, NotWritten, ParameterError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what has come is kept, the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    end_with(main)
