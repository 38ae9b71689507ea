"""Metrics against loops written out here, ranx, closed forms and invariants."""

import os
import time

import numpy as np
import pandas as pd
import pytest
import torch

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # ranx's compilation takes a minute, its work here none
from ranx import Qrels, Run, evaluate  # noqa: E402

from corrlib.evaluation.metrics import oracle_ceiling, per_query, ranks, retrieval_metrics


def case(seed, graded):
    """Distinct similarities (no ties) and a relevance with at least one whole match a query."""
    rng = np.random.default_rng(seed)
    items, queries = rng.integers(2, 40), rng.integers(1, 12)
    similarity = rng.permutation(items * queries).reshape(items, queries) / (items * queries)
    steps = rng.integers(0, 5, (items, queries)) if graded else 4 * (rng.random((items, queries)) < 0.2)
    steps[rng.integers(0, items, queries), np.arange(queries)] = 4
    return similarity, steps / 4


def loop(similarity, relevance, query, k):
    """(rank, AP@k, R@k, nDCG@k) of one query, item by item."""
    order = sorted(range(len(similarity)), key=lambda i: (-similarity[i, query], i))
    gains = [relevance[i, query] for i in order]
    places = [place for place, gain in enumerate(gains, 1) if gain == 1]
    ap = sum((n / place) for n, place in enumerate(places, 1) if place <= k) / max(1, len(places))
    recall = sum(place <= k for place in places) / max(1, len(places))

    def dcg(values):
        return sum(g / np.log2(place + 1) for place, g in enumerate(values[:k], 1))

    best = dcg(sorted(gains, reverse=True))
    return places[0] if places else len(order) + 1, ap, recall, dcg(gains) / best if best else 0.0


@pytest.mark.parametrize("seed", range(40))
def test_equals_a_plain_loop_even_with_ties(seed):
    similarity, relevance = case(seed, graded=seed % 2)
    if seed % 4 > 1:
        similarity = np.round(similarity * 4) / 4  # many ties, broken by row
    if seed % 5 == 0:
        relevance[:, 0] = relevance[:, 0] * 0.5  # a query without a whole match
    table = per_query(similarity, relevance, k=(1, 5, 10, 16))
    for query, row in table.iterrows():
        rank, ap, recall, ndcg = loop(similarity, relevance, query, 10)
        assert row["rank"] == rank
        assert [row["ap@10"], row["r@10"], row["ndcg@10"]] == pytest.approx([ap, recall, ndcg], abs=1e-12)
        for k in (1, 5, 16):
            assert row[f"r@{k}"] == pytest.approx(loop(similarity, relevance, query, k)[2], abs=1e-12)
        assert row["ap@16"] == pytest.approx(loop(similarity, relevance, query, 16)[1], abs=1e-12)


@pytest.mark.parametrize("graded", [False, True])
def test_equals_ranx(graded):
    """200 random cases, to 1e-9. ranx takes whole numbers as relevance: quarters times 4, relevant from 4."""
    qrels, run, ours = {}, {}, []
    for seed in range(100):
        similarity, relevance = case(1000 + seed + 500 * graded, graded)
        for query in range(similarity.shape[1]):
            name, column = f"{seed}-{query}", (4 * relevance[:, query]).astype(int)
            qrels[name] = {f"c{i}": int(v) for i, v in enumerate(column) if v}
            run[name] = {f"c{i}": float(v) for i, v in enumerate(similarity[:, query])}
        ours.append(per_query(similarity, relevance))
    names = {
        "ap@10": "map@10-l4",
        "ap@16": "map@16-l4",
        "r@1": "recall@1-l4",
        "r@5": "recall@5-l4",
        "r@10": "recall@10-l4",
        "ndcg@10": "ndcg@10",
    }
    run = Run(run)
    evaluate(Qrels(qrels), run, list(names.values()))
    keys = [f"{seed}-{query}" for seed, table in enumerate(ours) for query in range(len(table))]
    for column, name in names.items():
        theirs = np.array([run.scores[name][key] for key in keys])
        np.testing.assert_allclose(np.concatenate([t[column] for t in ours]), theirs, atol=1e-9, err_msg=column)


def test_one_relevant_item_closed_forms():
    """Rank 3 of 20: AP 1/3, found from k = 3 on, nDCG 1 / log2(4)."""
    similarity = -torch.arange(20.0)[:, None]
    relevance = torch.zeros(20, 1)
    relevance[2] = 1
    found = retrieval_metrics(similarity, relevance, k=(1, 2, 3, 10))
    assert found == pytest.approx(
        {"mAP@10": 1 / 3, "mAP@16": 1 / 3, "R@1": 0, "R@2": 0, "R@3": 1, "R@10": 1, "nDCG@10": 0.5, "median_rank": 3}
    )
    below = retrieval_metrics(similarity, relevance.roll(10, 0))  # rank 13
    assert below["mAP@10"] == below["R@10"] == below["nDCG@10"] == 0
    assert below["mAP@16"] == pytest.approx(1 / 13) and below["median_rank"] == 13


def test_average_precision_divides_by_all_relevant_items():
    """20 relevant items of 20: at most 10 of them can be among the first 10, so AP@10 and R@10 are 1/2."""
    found = retrieval_metrics(torch.rand(20, 3), torch.ones(20, 3))
    assert found["mAP@10"] == found["R@10"] == 0.5 and found["R@1"] == pytest.approx(0.05) and found["nDCG@10"] == 1


def test_two_clip_example_of_the_module():
    found = retrieval_metrics(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.eye(2))
    assert all(value == 1 for value in found.values())


def test_ties_are_broken_by_row():
    relevance = torch.eye(30).repeat_interleave(2, 1)
    found = per_query(torch.full((30, 60), 0.5), relevance)
    assert found["rank"].tolist() == [i // 2 + 1 for i in range(60)]
    assert found["ap@10"].mean() == pytest.approx(sum(1 / r for r in range(1, 11)) / 30)  # chance, exactly


def test_directions_blocks_and_monotone_maps():
    generator = torch.Generator().manual_seed(0)
    similarity, relevance = torch.rand(50, 2500, generator=generator), torch.zeros(50, 2500)
    relevance[torch.arange(2500) % 50, torch.arange(2500)] = 1
    found = retrieval_metrics(similarity, relevance)
    assert found == pytest.approx(retrieval_metrics(similarity.exp() * 3, relevance))
    columns = torch.randperm(2500, generator=generator)
    assert found == pytest.approx(retrieval_metrics(similarity[:, columns], relevance[:, columns]))
    back = per_query(similarity.T, relevance.T)
    assert len(back) == 50 and back["rank"].iloc[7] == loop(similarity.T.numpy(), relevance.T.numpy(), 7, 10)[0]


def test_ranks_without_a_relevant_item_and_integer_relevance():
    similarity = torch.tensor([[0.3, 0.1], [0.2, 0.9]])
    assert ranks(similarity, torch.tensor([[0, 1], [0, 0]])).tolist() == [3, 2]
    found = per_query(similarity, torch.tensor([[0, 1], [0, 0]]) > 0)
    assert found["ap@10"].tolist() == [0, 0.5] and found["ndcg@10"].tolist()[0] == 0


@pytest.mark.parametrize(
    "similarity, relevance, sentence",
    [
        (torch.rand(3, 4), torch.zeros(4, 3), "similarity is"),
        (torch.full((3, 3), torch.nan), torch.eye(3), "not finite"),
        (torch.rand(3, 3), 5 * torch.eye(3), "outside"),
    ],
)
def test_bad_input_names_the_culprit(similarity, relevance, sentence):
    with pytest.raises(ValueError, match=sentence):
        retrieval_metrics(similarity, relevance)


def test_clotho_size_takes_seconds():
    """1,045 clips and 5,225 captions; the limit is several times what one thread needs."""
    relevance = (torch.arange(1045)[:, None] == torch.arange(5225) // 5).float()
    similarity = torch.rand(1045, 5225)
    start = time.process_time()
    found = retrieval_metrics(similarity, relevance)
    assert time.process_time() - start < 5
    assert found["median_rank"] == pytest.approx(523, abs=40)  # half of 1,045


def truth_case():
    """6 clips, 9 captions, truth in thirds, the annotated clip always wholly true, as in the built-in corpus."""
    rng = np.random.default_rng(3)
    truth, annotated = rng.integers(0, 4, (6, 9)) / 3, np.arange(6)[:, None] == np.arange(9) % 6
    truth[annotated] = rng.choice([2 / 3, 1], 9)
    return truth, annotated


def test_oracle_ceiling_equals_many_random_orders_of_ties():
    truth, annotated = truth_case()
    rng = np.random.default_rng(0)
    many, repeated = np.tile(truth, 3000), np.tile(annotated, 3000)
    drawn = retrieval_metrics(many + 1e-6 * rng.random(many.shape), repeated)
    for name, value in oracle_ceiling(truth, annotated).items():
        assert value == pytest.approx(drawn[name], abs=5 * 0.5 / 27_000**0.5), name
    assert oracle_ceiling(truth, annotated)["mAP@10"] < 0.8  # the case has something to find


def test_oracle_ceiling_closed_forms():
    eye = np.eye(20)
    assert set(oracle_ceiling(eye, eye).values()) == {1.0}
    twins = np.repeat(np.repeat(np.eye(10), 2, 0), 2, 1)  # every clip has one exact double
    assert oracle_ceiling(twins, eye) == pytest.approx(
        {"mAP@10": 0.75, "mAP@16": 0.75, "R@1": 0.5, "R@5": 1, "R@10": 1}
    )
    nothing = oracle_ceiling(np.ones((20, 20)), eye)  # chance
    assert nothing["R@5"] == pytest.approx(0.25)
    assert nothing["mAP@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 20)
    with pytest.raises(ValueError, match="exactly one"):
        oracle_ceiling(eye, np.ones((20, 20)))


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_first_ranked_are_those_of_a_full_stable_sort(levels):
    """Many ties (2 levels) need the full sort, few do not: both must give the same."""
    from corrlib.evaluation.metrics import first_ranked

    scores = torch.randint(levels, (40, 300), generator=torch.Generator().manual_seed(levels)).float()
    assert torch.equal(first_ranked(scores, 16), scores.argsort(dim=1, descending=True, stable=True)[:, :16])


def test_judging_in_blocks_equals_judging_at_once():
    from corrlib.corpora.batches import Items
    from corrlib.evaluation.evaluate import _in_blocks, judge

    items = Items.__new__(Items)
    items.clips, items.captions, items.clip_of_caption = 30, 90, torch.arange(90) // 3
    items.caption_ids = list(range(90))
    generator = torch.Generator().manual_seed(0)
    clips, captions = torch.randn(30, 8, generator=generator), torch.randn(90, 8, generator=generator)
    truth = torch.rand(30, 90, generator=generator).round(decimals=1)
    metrics, table = judge(clips, captions, items, truth)
    annotated = (torch.arange(30)[:, None] == items.clip_of_caption).float()
    similarity = clips @ captions.T
    assert metrics["annotated"] == pytest.approx(retrieval_metrics(similarity, annotated))
    assert metrics["true"] == pytest.approx(retrieval_metrics(similarity, truth))
    back = metrics["annotated clip-to-caption"]
    assert back == pytest.approx(retrieval_metrics(similarity.T.contiguous(), annotated.T.contiguous()))
    small = _in_blocks(clips, captions, lambda part: truth[:, part], block=7)
    pd.testing.assert_frame_equal(small, per_query(similarity, truth), check_exact=False)
