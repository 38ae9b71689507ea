"""Any input ends in one sentence that names it or in the right result: no traceback of a library, no hang, no silent
skip.

The suite draws the same few inputs every time; FUZZ_EXAMPLES in the environment draws so many new ones (`make fuzz`).
"""

import csv
import io
import json
import os
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corrlib.audiofiles.probe import probe
from corrlib.corpora import load_corpus
from corrlib.corpora.audio import read_clip
from corrlib.evaluation.relevance import load_relevance
from corrlib.explore import words
from corrlib.study.parameters import KINDS, ParameterError, check, from_notebook
from corrlib.study.plan import plan_runs
from tests import layouts as make
from tests.hostile import flac, wav

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 0))
QUICK = settings(
    max_examples=EXAMPLES or 60,
    deadline=None,
    derandomize=not EXAMPLES,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def sentence(error, name=""):
    """An error that a user can act on: one line, that names the culprit."""
    assert str(error) and "\n" not in str(error) and name in str(error), repr(error)


def mutated(content, changes):
    """Bytes with some places overwritten, cut out or doubled."""
    content = bytearray(content)
    for kind, place, piece in changes:
        at = int(place * len(content))
        if kind == "put":
            content[at : at + len(piece)] = piece
        elif kind == "insert":
            content[at:at] = piece
        else:
            del content[at : at + 1 + 7 * len(piece)]
    return bytes(content)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "insert", "cut"]), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=5,
)


@QUICK
@given(
    name=st.sampled_from(["a.wav", "a.flac", "a.ogg", "a.mp3", "bomb.flac", "head.wav"]),
    changes=CHANGES,
    early=st.booleans(),
)
def test_any_audio_file(name, changes, early):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name == "bomb.flac":
            path.write_bytes(flac(10**9))
        elif name == "head.wav":
            path.write_bytes(wav())
        else:
            make.sound(path, 0.3)
        whole = path.read_bytes()
        head = 64 if early else len(whole)  # damage to headers is what decoders dislike most
        path.write_bytes(mutated(whole[:head], changes) + whole[head:])
        probe(str(path), path.stat().st_size)
        try:
            waveform = read_clip(path, 0.0, None)
        except (ValueError, FileNotFoundError) as error:
            sentence(error, name)
        else:
            assert waveform.dtype == np.float32 and waveform.ndim == 1 and len(waveform) and np.isfinite(waveform).all()


TABLES = {
    "clotho": (make.clotho, "clotho_captions_development.csv"),
    "audiocaps": (make.audiocaps, "train.csv"),
    "wavcaps": (make.wavcaps, "json_files/SoundBible/sb_final.json"),
    "folder": (make.own, "development.csv"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """{corpus: (its folder, path of a table, the table's bytes, number of clips)}"""
    found = {}
    for name, (build, table) in TABLES.items():
        folder = build(tmp_path_factory.mktemp(name) / "corpus")
        clips = len(load_corpus(name, folder, "development").clips)
        found[name] = folder, folder / table, (folder / table).read_bytes(), clips
    return found


def loads_or_says(name, built, content):
    """A corpus whose table holds `content` loads in part, all of it accounted for, or is refused in a sentence."""
    folder, path, _, clips = built[name]
    path.write_bytes(content)
    try:
        corpus = load_corpus(name, folder, "development", tolerance=1.0)
    except (ValueError, FileNotFoundError) as error:
        sentence(error)
        return
    assert set(corpus.captions["clip_id"]) <= set(corpus.clips["clip_id"])
    assert all(Path(p).resolve().is_relative_to(folder.resolve()) for p in corpus.clips["path"])
    assert len(corpus.clips) <= clips and corpus.captions["text"].str.strip().ne("").all()


@QUICK
@given(name=st.sampled_from(sorted(TABLES)), changes=CHANGES)
def test_any_damage_to_a_table(built, name, changes):
    loads_or_says(name, built, mutated(built[name][2], changes))


CELLS = (
    st.sampled_from(
        [
            "a.wav",
            "../b.wav",
            "/etc/passwd",
            "",
            "NaN",
            "a.wav\x00",
            "‮b.wav",
            "sounds/../..",
            "1e999",
            "<script>",
            "=1+1",
            "b.wav ",
        ]
    )
    | WORDS
)


@QUICK
@given(name=st.sampled_from(["clotho", "audiocaps", "folder"]), cells=st.lists(CELLS, min_size=6, max_size=6))
def test_any_cells_in_a_table(built, name, cells):
    rows = list(csv.reader(io.StringIO(built[name][2].decode())))
    rows[1] = (cells * 2)[: len(rows[0])]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    loads_or_says(name, built, text.getvalue().encode())


@QUICK
@given(
    entries=st.lists(st.dictionaries(st.sampled_from(["id", "caption", "duration"]), VALUES, max_size=3), max_size=3)
)
def test_any_entries_in_a_json(built, entries):
    loads_or_says("wavcaps", built, json.dumps({"data": entries}).encode())


@QUICK
@given(kind=st.sampled_from(sorted(KINDS)), number=st.integers(0, 10**6), value=VALUES)
def test_any_value_of_any_parameter(kind, number, value):
    name = sorted(KINDS[kind].model_fields)[number % len(KINDS[kind].model_fields)]
    for call in (check, from_notebook):
        try:
            found = call(KINDS[kind], {name: value})
        except ParameterError as error:
            sentence(error)
        else:
            kept = getattr(found, name)
            assert kept == value or (isinstance(value, int) and kept == float(value))
            if name in ("run", "study"):
                assert "/" not in kept and not kept.startswith(".")


SECTIONS = [
    "title",
    "seeds",
    "backbones",
    "settings",
    "data",
    "stage1",
    "stage2",
    "points",
    "members",
    "variants",
    "ablations",
    "figures",
    "data_folder",
    "base",
    "point_backbones",
    "backbone_stage1",
    "other_tasks",
    "stag1",
]
SENSIBLE = st.sampled_from(
    [
        "mn_tiny",
        "self",
        "ensemble",
        [1],
        ["mn_tiny"],
        {"epochs": 2},
        {"x": {"target": "uniform"}},
        "{seed}",
        "{none}",
        "{",
        {"x": {"backbone": "mn_tiny"}},
        {"07_ablation_targets": ["self"]},
        {"x": {}},
    ]
)


@QUICK
@given(changes=st.dictionaries(st.sampled_from(SECTIONS), SENSIBLE | VALUES, min_size=1, max_size=4))
def test_any_study_file(tmp_path, changes):
    study = {"title": "t", "seeds": [1], "backbones": ["mn_tiny"], **changes}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study, allow_unicode=True), encoding="utf-8")
    try:
        plans = plan_runs("mine", tmp_path)
    except ParameterError as error:
        assert "mine.yaml" in str(error)
    else:
        assert all("/" not in name and not name.startswith(".") for name in plans)
        assert all(needed in plans for plan in plans.values() for needed in plan.needs)


@QUICK
@given(
    text=WORDS | st.sampled_from(["a: [", "%", "&a *a", "? : ?", "\t", "{{}}", "a: !!python/name:os.system", "- - -"])
)
def test_any_text_as_a_study_file(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ParameterError, match="mine.yaml"):
        plan_runs("mine", tmp_path)


@QUICK
@given(names=CELLS, query=WORDS)
def test_any_relevance(built, names, query):
    folder, path, content, _ = built["clotho"]
    path.write_bytes(content)
    corpus = load_corpus("clotho", folder, "development")
    with open(folder / "relevance.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["query", "audio_filenames"], [query, names]])
    try:
        found = load_relevance(folder / "relevance.csv", corpus)
    except ValueError as error:
        sentence(error, "relevance.csv")
    else:
        assert found.relevance.shape == (3, 1) and found.relevance.sum() >= 1


@QUICK
@given(
    caption=WORDS | st.sampled_from(["<script>alert(1)</script>", "<img src=x onerror=y>", "a & b", "\"'><b>"]),
    name=WORDS,
)
def test_any_words_are_text_in_a_page(caption, name):
    """Whatever a caption or a file is called, it adds no element to a page."""
    from html.parser import HTMLParser

    def elements(html):
        found = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attributes: found.append((tag, sorted(k for k, _ in attributes)))
        parser.feed(html)
        return found

    for make_html in PAGES:
        assert elements(make_html(caption, name)) == elements(make_html("caption", "name"))


def session(caption, name):
    return SimpleNamespace(name=lambda clip: name, captions_of=lambda clip: [caption])


PAGES = [
    lambda caption, name: words.marked_phrases([(caption, 0.1), (name, -0.1)]),
    lambda caption, name: words.clip_facts(session(caption, name), 0, 0.5, 0.1, 1),
    lambda caption, name: words.claim_list([(caption, True), (name, False)]),
    lambda caption, name: words.caption_table(
        pd.DataFrame(
            {"text": [caption, name], "own": [True, False], "similarity": 0.1, "estimated": 0.2, "true": [1.0, 0.5]}
        )
    ),
]


def test_the_fuzzers_reach_both_ends():
    """Of mutated audio some is read and some refused: else the fuzzers above would show nothing."""
    draw, read, refused = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = make.sound(Path(folder) / "a.wav", 0.3)
        whole = path.read_bytes()
        for _ in range(60):
            path.write_bytes(mutated(whole, [("put", draw.random() / 100, draw.randbytes(3))]))
            try:
                read_clip(path)
                read += 1
            except ValueError:
                refused += 1
    assert read >= 5 and refused >= 5
