"""Relevance beyond annotated pairs: multi-positive lists, human ratings, text alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from corrlib.corpora import load_corpus
from corrlib.correspondence import ratings
from corrlib.correspondence.sentences import clip_embeddings, embed_sentences, without_own
from corrlib.evaluation.relevance import (
    Relevance,
    by_name,
    judge_relevance,
    load_relevance,
    load_relevances,
    read_ratings,
    summary,
)
from tests import layouts as make

NAMES = ("a.wav", "Zürich é.wav", "c.wav", "d.wav")


@pytest.fixture
def corpus(tmp_path):
    make.clotho(tmp_path / "clotho", names=NAMES)
    return load_corpus("clotho", tmp_path / "clotho", "evaluation")


def graded(folder, change=lambda ratings: ratings):
    """The layout of "TAU Audio-Text Graded Relevances 2023": two queries, three rated clips each."""
    fids = {name: f"fid{i}=" for i, name in enumerate(NAMES)}
    for split in ("development", "validation", "evaluation"):
        texts = [
            [f"clotho_{split}", f"t{i}{j}", fids[n], f"{n} caption {j}", "[]"]
            for i, n in enumerate(NAMES)
            for j in range(5)
        ]
        make.table(folder / "data/text_data" / f"{split}_text.csv", ["split", "tid", "fid", "text", "tokens"], texts)
        make.table(
            folder / "data/audio_metadata" / f"{split}_audio_metadata.csv",
            ["split", "fid", "file_name"],
            [[split, fid, name] for name, fid in fids.items()],
        )
        rows = [
            ["t00", "fid0=", "TP", "90"],
            ["t00", "fid1=", "C15", "40"],
            ["t00", "fid2=", "TN", "0"],
            ["t31", "fid3=", "TP", "100"],
            ["t31", "fid0=", "C15", "20"],
            ["t31", "fid1=", "C15", "30"],
        ]
        make.table(
            folder / "data/relevance_data" / f"{split}_relevances.csv",
            ["tid", "fid", "fid_group", "rating"],
            change(rows),
        )
    return folder


@pytest.mark.parametrize("write", [lambda names: str(names), ";".join])
def test_multi_positive(tmp_path, corpus, write):
    path = make.table(
        tmp_path / "r.csv",
        ["query", "audio_filenames"],
        [["a dog", write(["a.wav", "Zürich é.wav"])], ["rain", write(["d.wav"])]],
    )
    found = load_relevance(path, corpus)
    assert found.texts == ["a dog", "rain"]
    assert found.relevance.tolist() == [[1, 0], [1, 0], [0, 0], [0, 1]]
    similarity = np.array([[0.9, 0.1], [0.2, 0.2], [0.5, 0.3], [0.1, 0.05]])
    table = judge_relevance(similarity, found)
    assert table["ap@10"].tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 4]) and table["rank"].tolist() == [1, 4]


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ([["a dog", "x.wav"]], "'x.wav', which is no clip of this split"),
        ([["a dog", ""]], "gives the query 'a dog' no clip"),
        ([["a dog", "[1, 2]"]], "that are no list of names"),
        ([["a dog", "['a.wav"]], "that are no list of names"),
    ],
)
def test_wrong_lists_are_named(tmp_path, corpus, rows, sentence):
    path = make.table(tmp_path / "r.csv", ["query", "audio_filenames"], rows)
    with pytest.raises(ValueError, match=sentence):
        load_relevance(path, corpus)


def test_graded_counts_rated_clips_only(tmp_path, corpus):
    found = load_relevance(graded(tmp_path / "g"), corpus)
    assert found.texts == ["a.wav caption 0", "d.wav caption 1"]
    expected = np.array([[0.9, 0.2], [0.4, 0.3], [0.0, np.nan], [np.nan, 1.0]], np.float32)
    np.testing.assert_allclose(found.relevance, expected)
    assert found.groups[0, 0] == "TP" and found.groups[3, 0] == ""
    similarity = np.array([[0.9, 0.1], [0.2, 0.2], [0.5, 0.9], [1.0, 0.05]])
    table = judge_relevance(similarity, found)
    assert table["rated"].tolist() == [3, 3]
    assert table["rank_correlation"].tolist() == pytest.approx(
        [spearmanr([0.9, 0.2, 0.5], [0.9, 0.4, 0]).statistic, -0.5]
    )
    gain = [0.2 / np.log2(3) + 0.3 + 1.0 / np.log2(4), 1.0 + 0.3 / np.log2(3) + 0.2 / np.log2(4)]
    assert table["ndcg@10"].iloc[1] == pytest.approx(gain[0] / gain[1])


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda rows: [*rows, ["t00", "fid9=", "C15", "5"]], "is in no table"),
        (lambda rows: [*rows, ["t00", "fid3=", "C15", "101"]], "the rating '101'"),
        (lambda rows: [*rows, ["t00", "fid3=", "C15", "high"]], "the rating 'high'"),
    ],
)
def test_wrong_ratings_are_named(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_ratings(graded(tmp_path, change), "evaluation")


def test_missing_relevance_is_named(tmp_path, corpus):
    with pytest.raises(FileNotFoundError, match="set `relevance` to"):
        load_relevance(tmp_path / "nothing.csv", corpus)


def test_several_relevances_by_name(tmp_path, corpus):
    listed = make.table(tmp_path / "r.csv", ["query", "audio_filenames"], [["a dog", "a.wav;d.wav"]])
    places = {"dcase": str(listed), "tau": str(graded(tmp_path / "g"))}
    found = load_relevances(places, corpus)
    assert {name: one.kind for name, one in found.items()} == {"dcase": "multi-positive", "tau": "graded"}
    assert list(load_relevances(str(listed), corpus)) == ["multi-positive"] and load_relevances("", corpus) == {}
    similarity = np.arange(4.0)[:, None] * [[1.0, -1.0]]
    listed_only = judge_relevance(similarity[:, :1], found["dcase"])
    assert summary(listed_only) == pytest.approx({"queries": 1, "mAP@10": 0.75, "mAP@16": 0.75, "R@1": 0.5, "R@5": 1,
        "R@10": 1, "nDCG@10": (1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3)), "median_rank": 1})  # fmt: skip
    rated = judge_relevance(similarity, found["tau"])
    assert summary(rated)["queries"] == 2 and summary(rated)["rank correlation"] == rated["rank_correlation"].mean()
    kept = by_name("tau", rated, found["tau"].queries(corpus))
    assert list(kept) == ["caption_id", "clip", "tau rated", "tau ndcg@10", "tau rank_correlation"]


def test_a_query_is_the_caption_of_its_words(tmp_path):
    """Of several clips with that caption, it is that of the most relevant one; other words go with the first match."""
    make.clotho(tmp_path / "clotho", names=NAMES)
    corpus = load_corpus("clotho", tmp_path / "clotho", "evaluation")
    same = corpus.captions["text"].iloc[5]  # every clip has it, word by word
    rows = [[same.upper() + " .", "c.wav;d.wav"], ["other words", "d.wav"], *[[same, "c.wav;d.wav"]] * 2]
    found = load_relevance(make.table(tmp_path / "r.csv", ["query", "audio_filenames"], rows), corpus)
    queries = found.queries(corpus)
    first, second = (f"clotho/evaluation/{name}.wav#1" for name in "cd")
    assert queries["caption_id"].tolist() == [first, "query 2", second, first]
    assert queries["clip"].tolist() == [2, 3, 3, 2] and queries["caption"].tolist() == [10, -1, 15, 10]
    hidden = Relevance("graded", [same], np.array([[np.nan], [0.0], [np.nan], [np.nan]], np.float32))
    assert hidden.queries(corpus)["clip"].tolist() == [1]  # of the others nothing is known


def test_clips_that_the_corpus_leaves_out_are_left_out(tmp_path, corpus, capsys):
    gone = corpus.clips[corpus.clips["clip_id"].str.endswith("d.wav")][["clip_id", "path"]].assign(reason="empty")
    corpus = corpus.without(gone)
    rows = [["a dog", "a.wav;d.wav"], ["rain", "d.wav"]]
    path = make.table(tmp_path / "r.csv", ["query", "audio_filenames"], rows)
    found = load_relevance(path, corpus)
    assert found.texts == ["a dog"] and found.relevance.T.tolist() == [[1, 0, 0]]
    assert "2 pairs name clips that the corpus leaves out; 1 of 2 queries stay" in capsys.readouterr().out
    rated = load_relevance(graded(tmp_path / "g"), corpus)
    assert rated.texts == ["a.wav caption 0", "d.wav caption 1"] and np.isfinite(rated.relevance).sum(0).tolist() == [
        3,
        2,
    ]
    make.table(path, ["query", "audio_filenames"], rows[1:])
    with pytest.raises(ValueError, match="holds no query with a clip of this split"):
        load_relevance(path, corpus)


# Text alone


def test_sentences_that_mean_the_same_are_alike():
    found = embed_sentences(["A dog barks loudly.", "Rain falls on a roof.", "A hound is barking."])
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert found[0] @ found[2] > 0.6 > 0.3 > found[0] @ found[1]
    torch.testing.assert_close(embed_sentences(["Rain falls on a roof."])[0], found[1], atol=1e-5, rtol=0)


def test_a_caption_takes_no_part_in_its_own_clip():
    generator = torch.Generator().manual_seed(0)
    captions = torch.nn.functional.normalize(torch.randn(6, 5, generator=generator), dim=1)
    owner = np.array([0, 0, 1, 1, 1, 2])
    found = without_own(captions, owner, 3)
    for clip in range(3):
        for caption in range(6):
            others = [j for j in range(6) if owner[j] == clip and j != caption]
            mean = captions[others].sum(0)
            expected = torch.nn.functional.normalize(mean, dim=0) @ captions[caption] if others else torch.tensor(0.0)
            torch.testing.assert_close(found[clip, caption], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(clip_embeddings(captions, owner, 3)[2], captions[5])


def test_ratings_by_kind_and_their_agreement_with_text(tmp_path):
    folder = graded(tmp_path)
    pairs = {split: ratings.predicted(folder, split) for split in ratings.SPLITS}
    table = ratings.spread(pairs)
    assert table["pairs"].tolist() == [6, 9, 3] and table["mean"].tolist() == pytest.approx([95, 30, 0])
    found = ratings.agreement(pairs, resamples=50)
    assert found["queries"].tolist() == [2, 2, 2, 6] * 2 and found["rank correlation"].between(-1, 1).all()
    own = pairs["evaluation"]
    by_hand = np.mean([spearmanr(q["similarity"], q["rating"]).statistic for _, q in own.groupby("query")])
    row = found[(found["clips"] == "all rated clips") & (found["split"] == "evaluation")]
    assert row["rank correlation"].iloc[0] == pytest.approx(by_hand)


def test_judging_needs_no_more_than_the_rated(tmp_path):
    relevance = Relevance("graded", ["x"], np.array([[np.nan], [1.0], [0.5]], np.float32))
    table = judge_relevance(np.array([[9.0], [1.0], [2.0]]), relevance)
    assert pd.api.types.is_float_dtype(table["ndcg@10"]) and table["rank_correlation"].iloc[0] == pytest.approx(-1)
