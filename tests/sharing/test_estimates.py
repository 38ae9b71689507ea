"""Estimates as files: the probabilities of the dense matrix, in both directions, without ever making it."""

import csv
import io
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib.corpora import load_corpus
from corrlib.corpora.corpus import Corpus
from corrlib.correspondence import estimate
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.relevance import load_relevance
from corrlib.files import csv_of, digest_file
from corrlib.sharing import ensembles, estimates, missing
from tests.finished import declare
from tests.sharing.conftest import STUDY, TEACHERS

pytest.importorskip("pyarrow")
COLUMNS = ["caption_id", "caption", "clip_id", "file", "rank", "probability", "similarity", "annotated"]
DIRECTIONS = ("clips_of_captions", "captions_of_clips")


@pytest.fixture
def folder(finished, tmp_path):
    return estimates.export_correspondences(ensembles.open_ensemble(STUDY), tmp_path / "estimates", k=10)


@pytest.fixture
def dense(finished):
    """(mean similarity, clip given caption, caption given clip), each (clips, captions)."""
    pairs = [load_embeddings(STUDY, name, "development") for name in TEACHERS]
    similarities = torch.stack([clips @ captions.T for clips, captions in pairs])
    return similarities.mean(0), *estimate(similarities, 0.05)


@pytest.fixture
def corpus(data):
    return load_corpus("soundscapes", data, "development")


@pytest.mark.parametrize("direction", [0, 1])
def test_random_probabilities_are_those_of_the_dense_matrix(folder, dense, corpus, direction):
    table = pd.read_parquet(folder / f"{DIRECTIONS[direction]}.parquet")
    assert list(table.columns) == COLUMNS
    assert len(table) == 10 * (len(corpus.captions) if direction == 0 else len(corpus.clips))
    clips, captions = pd.Index(corpus.clips["clip_id"]), pd.Index(corpus.captions["caption_id"])
    similarity, probability = dense[0], dense[1 + direction]
    for _, row in table.sample(100, random_state=7).iterrows():
        clip, caption = clips.get_loc(row["clip_id"]), captions.get_loc(row["caption_id"])
        assert row["probability"] == pytest.approx(float(probability[clip, caption]), abs=1e-6)
        assert row["similarity"] == pytest.approx(float(similarity[clip, caption]), abs=1e-6)
        assert row["annotated"] == (corpus.captions["clip_id"][caption] == row["clip_id"])
        assert row["caption"] == corpus.captions["text"][caption]
        competing = probability[:, caption] if direction == 0 else probability[clip]
        assert row["rank"] == 1 + int((competing > probability[clip, caption]).sum())


@pytest.mark.parametrize("direction", [0, 1])
def test_normalisers_give_the_probability_of_any_pair(folder, dense, direction):
    name = ("caption_normalisers", "clip_normalisers")[direction]
    normaliser = torch.tensor(pd.read_parquet(folder / f"{name}.parquet")["log_normaliser"].to_numpy())
    logits = dense[0] / 0.05
    found = (logits - (normaliser[None] if direction == 0 else normaliser[:, None])).exp()
    torch.testing.assert_close(found, dense[1 + direction], atol=1e-6, rtol=1e-4)


def test_what_it_says_of_itself(folder, finished, corpus, data):
    about = json.loads((folder / "correspondences.json").read_text())
    assert list(about["members"]) == TEACHERS and about["temperature"] == 0.05
    for name, right in about["members"].items():
        assert digest_file(finished / STUDY / name / "embeddings.safetensors") == right
    import pyarrow.parquet

    for name in (*DIRECTIONS, "caption_normalisers", "clip_normalisers"):
        metadata = pyarrow.parquet.read_schema(folder / f"{name}.parquet").metadata
        assert json.loads(metadata[b"corrlib"]) == about
    files = pd.read_parquet(folder / "captions_of_clips.parquet")["file"]
    assert all((Path(data) / name).is_file() and not os.path.isabs(name) for name in files)
    import huggingface_hub

    card = huggingface_hub.DatasetCard.load(folder / "README.md")
    assert [c["data_files"] for c in card.data.configs][:2] == [f"{name}.parquet" for name in DIRECTIONS]
    assert str(len(corpus.captions)) in card.text and "TO=folder" in card.text


def test_datasets_reads_it(folder, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets of Hugging Face is not installed")
    table = datasets.load_dataset(str(folder), "clips_of_captions", cache_dir=str(tmp_path))["train"]
    assert table.column_names == COLUMNS


def test_blocks_do_not_show(finished, monkeypatch, folder, tmp_path):
    for name, few in {"AT_ONCE": 7, "BLOCK": 5, "PAIRS": 3}.items():
        monkeypatch.setattr(estimates, name, few)
    again = estimates.export_correspondences(ensembles.open_ensemble(STUDY), tmp_path / "again", k=10)
    for name in DIRECTIONS:
        one, two = (pd.read_parquet(place / f"{name}.parquet") for place in (folder, again))
        pd.testing.assert_frame_equal(one, two)
    ensemble = ensembles.open_ensemble(STUDY)
    stored = ensemble.caption_embeddings, ensemble.clip_embeddings
    whole, parts = (estimates.top(*stored, 0.05, 10, block=block) for block in (1024, 5))
    torch.testing.assert_close(whole.probability, parts.probability, atol=1e-6, rtol=0)


def test_more_than_there_are_is_all(finished, tmp_path, corpus):
    folder = estimates.export_correspondences(ensembles.open_ensemble(STUDY), tmp_path / "all", k=1000)
    table = pd.read_parquet(folder / "clips_of_captions.parquet")
    assert json.loads((folder / "correspondences.json").read_text())["clips_a_caption"] == len(corpus.clips) == 24
    sums = table.groupby("caption_id")["probability"].sum()
    assert len(table) == 24 * len(corpus.captions) and np.allclose(sums, 1, atol=1e-5)


def test_it_replaces_estimates_and_nothing_else(folder, finished, tmp_path):
    estimates.export_correspondences(ensembles.open_ensemble(STUDY, "evaluation"), folder, k=3)
    assert json.loads((folder / "correspondences.json").read_text())["split"] == "evaluation"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="something else"):
        estimates.export_correspondences(ensembles.open_ensemble(STUDY), tmp_path / "other")


def test_which_ensemble(finished, tmp_path, monkeypatch):
    assert ensembles.open_ensemble(STUDY).members == tuple(TEACHERS)
    alone = ensembles.open_ensemble(STUDY, members=TEACHERS[1:], temperature=0.1)
    assert (alone.members, alone.temperature) == (tuple(TEACHERS[1:]), 0.1)
    with pytest.raises(FileNotFoundError, match="no finished stage-1 run of seed 9"):
        ensembles.open_ensemble(STUDY, seed=9)
    with pytest.raises(FileNotFoundError, match="no finished stage-1 run in"):
        ensembles.open_ensemble("nothing")


def test_other_data_are_refused(finished, tmp_path, monkeypatch):
    """Runs whose data changed after they had embedded them."""
    import shutil

    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    run = tmp_path / "runs" / STUDY / TEACHERS[1]
    content = json.loads((run / "manifest.json").read_text())
    kept = ("parameters", "setting", "backbone", "data_fingerprint", "notebook")
    declare(run, **{name: content[name] for name in kept}, development_fingerprint="another")
    with pytest.raises(ValueError, match="stage1-mn_tiny-seed1 embedded other data than the development split"):
        ensembles.open_ensemble(STUDY)


def test_likely_missing_annotations_become_relevance(folder, dense, corpus, tmp_path):
    table = pd.read_csv(folder / "missing_annotations.csv", keep_default_na=False)
    similarity, probability, _ = dense
    own_rows = pd.Index(corpus.clips["clip_id"]).get_indexer(corpus.captions["clip_id"])
    better = similarity > similarity[own_rows, range(len(own_rows))][None]
    among_top = probability >= probability.topk(10, dim=0).values[-1]
    assert len(table) == min(int((better & among_top).sum()), missing.LIMIT) > 0
    assert table["probability"].is_monotonic_decreasing and (table["accept"] == "").all()
    assert (table["probability"] > table["annotated_probability"]).all()
    first = table.iloc[0]
    caption = pd.Index(corpus.captions["caption_id"]).get_loc(first["caption_id"])
    assert first["annotated_probability"] == pytest.approx(float(probability[own_rows[caption], caption]), abs=1e-6)

    with pytest.raises(ValueError, match="no decision yet"):
        missing.accepted_relevance(folder / "missing_annotations.csv", tmp_path / "relevance.csv")
    table.loc[0, "accept"] = "Yes"
    refused = table.index[table["caption_id"] != first["caption_id"]][0]
    table.loc[refused, "accept"] = "no"
    table.to_csv(tmp_path / "reviewed.csv", index=False)
    assert missing.accepted_relevance(tmp_path / "reviewed.csv", tmp_path / "relevance.csv") == 2
    relevance = load_relevance(tmp_path / "relevance.csv", corpus)
    assert relevance.texts == [first["query"], table["query"][refused]]
    names = corpus.clips["clip_id"].to_numpy()
    assert {*names[relevance.relevance[:, 0] == 1]} == {first["clip_id"], first["annotated_clip_id"]}
    assert {*names[relevance.relevance[:, 1] == 1]} == {table["annotated_clip_id"][refused]}
    table.loc[1, "accept"] = "perhaps"
    table.to_csv(tmp_path / "reviewed.csv", index=False)
    with pytest.raises(ValueError, match="'perhaps' in line 3"):
        missing.accepted_relevance(tmp_path / "reviewed.csv", tmp_path / "relevance.csv")


def test_odd_captions_and_names_come_through_a_review(tmp_path, capsys):
    """From a table to a spreadsheet and its UTF-16 with semicolons, and back as relevance."""
    texts = [
        "=1+2",
        "'=1+2",
        "-5 dogs",
        'says "no", twice',
        "a\nb",
        "c\rd",
        "a; b",
        "\tx",
        "déjà 犬",
        "001",
        "nan",
        "dup",
        "dup",
    ]
    names = [f"clip {place}; {odd}.wav" for place, odd in enumerate(("a'b", 'q"t', "x,y", "[z]", "=w", "below/ü"))]
    clips = pd.DataFrame({"clip_id": [f"mine/development/{name}" for name in names], "split": "development"})
    ids, own_rows = clips["clip_id"].to_numpy(), torch.arange(len(texts)) % len(names)
    captions = pd.DataFrame(
        {"caption_id": [f"c{n}" for n in range(len(texts))], "text": texts, "clip_id": ids[own_rows]}
    )
    embeddings = torch.eye(len(names)), torch.rand(len(texts), len(names), generator=torch.Generator().manual_seed(4))
    embeddings[1][range(len(texts)), own_rows] = 0  # every other clip is preferred
    found = estimates.top([embeddings[1]], [embeddings[0]], 0.05, k=len(names))
    ensemble = SimpleNamespace(corpus=Corpus(clips, captions), temperature=0.05)
    table = missing.missing_annotations(ensemble, found, torch.zeros(len(texts)))
    table["accept"] = ["x" if rank % 2 else "" for rank in table["rank"]]
    sheet = csv_of(table).encode()
    again = pd.read_csv(io.BytesIO(sheet), keep_default_na=False, dtype=str).to_csv(
        index=False, sep=";", quoting=csv.QUOTE_ALL
    )
    (tmp_path / "reviewed.csv").write_bytes(again.encode("utf-16"))
    right = {}
    for row in table[table["accept"] == "x"].itertuples():
        right.setdefault(row.caption_id, {row.annotated_clip_id}).add(row.clip_id)
    assert missing.accepted_relevance(tmp_path / "reviewed.csv", tmp_path / "relevance.csv") == len(right) == len(texts)
    relevance = load_relevance(tmp_path / "relevance.csv", ensemble.corpus)
    assert relevance.texts == [texts[int(caption[1:])] for caption in right]
    assert [set(ids[column == 1]) for column in relevance.relevance.T] == list(right.values())


def test_the_loop_of_the_page_trains_with_it(folder, finished, tmp_path, monkeypatch, dense):
    page = Path("docs/sharing.md").read_text(encoding="utf-8")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "read_parquet" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    torch.manual_seed(1)
    np.random.seed(1)
    estimates.export_correspondences(ensembles.open_ensemble(STUDY), tmp_path / "estimates", k=1000)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "docs/sharing.md", "exec"), names)
    assert names["losses"][-1] < names["losses"][0]
    # of the whole corpus as one batch, what it is trained towards is the estimate
    everything = np.arange(24), np.arange(120)
    for name, axis, right in (("clips_of_captions", 0, dense[1]), ("captions_of_clips", 1, dense[2])):
        target = names["target"](names["matrix"](name), *everything, axis)
        torch.testing.assert_close(target, right.to(target), atol=1e-5, rtol=0)
