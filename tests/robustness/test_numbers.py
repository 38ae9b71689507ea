"""Hostile arguments of every public function of similarities, embeddings and measures: each is refused in one sentence.

A number that is wrong and says nothing is the worst answer. A right call stands beside every wrong one.
"""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib.correspondence import estimation, quality, sentences, weights
from corrlib.evaluation import intervals, metrics, relevance, search
from corrlib.training import losses
from tests import hostile

CLIPS, CAPTIONS, SIZE = 4, 4, 3
DRAW = torch.Generator().manual_seed(0)
UNIT = torch.nn.functional.normalize(torch.randn(4, CLIPS, SIZE, generator=DRAW), dim=-1)
SIMILARITY, EYE = UNIT[0] @ UNIT[1].T, torch.eye(CLIPS, dtype=torch.bool)
TRUTH = EYE.float().clamp(min=0.25)
PAIR = {"clip_embeddings": [UNIT[0], UNIT[1]], "caption_embeddings": [UNIT[2], UNIT[3]]}
ROWS = {"clip_rows": slice(None), "caption_rows": slice(None)}
VALUES, GROUPS = np.array([0.1, 0.5, 0.2, 0.9]), np.array(["a", "a", "b", "c"])

ESTIMATE = estimation.estimate(SIMILARITY[None], 0.1)

# what a loss is given that is not finite makes it nan, which a trainer must see
FLOWS = ("nan", "inf", "-inf")


def embeddings(right):
    """Matrices that are wrong as one of two members' embeddings; fewer of a caption or clip is no mistake."""
    found = hostile.matrices(right[1])
    found.pop("empty")
    wrong = [[right[0], value] for value in found.values()]
    return [*wrong, right[0], right[:1], [], None, 3]


def similarities(*without):
    return [value for name, value in hostile.matrices(SIMILARITY).items() if name not in without] + [EYE]


def annotations(*without):
    wrong = {**hostile.matrices(EYE), "between": TRUTH, "a similarity": SIMILARITY}
    return [value for name, value in wrong.items() if name not in without]


def truths(*without):
    wrong = {**hostile.matrices(TRUTH), "percent": 100 * TRUTH, "negative": -TRUTH}
    return [value for name, value in wrong.items() if name not in without]


def by_seed(right):
    return [
        [0.1, float("nan"), 0.2, 0.9],
        [0.1, float("inf"), 0.2, 0.9],
        [0.1, 0.2j, 0.2, 0.9],
        ["a", "b", "c", "d"],
        right[:3],
        [],
        None,
        np.zeros((2, 2, 4)),
    ]


LEVEL = {"resamples": hostile.ONE_OR_MORE, "level": hostile.LEVELS}
CALLS = [  # a function, right arguments, and wrong ones in the place of some
    (
        estimation.estimate,
        {"teacher_similarities": SIMILARITY[None].repeat(2, 1, 1), "temperature": 0.1, "weights": [1.0, 2.0]},
        {
            "teacher_similarities": [
                SIMILARITY,
                *(m if m is None else [m] for m in similarities("another shape", "ragged", "one axis")),
            ],
            "temperature": [*hostile.TEMPERATURES, 1e-39, 1e-45, 1e-300],
            "weights": hostile.WEIGHTS,
            "combine": ["median", None, 3],
        },
    ),
    (
        estimation.top_correspondences,
        {**PAIR, "temperature": 0.1, "k": 2, "block": 3, "weights": [1.0, 2.0]},
        {
            "clip_embeddings": embeddings(UNIT[:2]),
            "caption_embeddings": embeddings(UNIT[2:]),
            "temperature": [*hostile.TEMPERATURES, 1e-39, 1e-45, 1e-300],
            "k": hostile.COUNTS,
            "block": hostile.ONE_OR_MORE,
            "weights": hostile.WEIGHTS,
        },
    ),
    (
        estimation.member_similarities,
        {**PAIR, **ROWS},
        {
            "clip_embeddings": embeddings(UNIT[:2]),
            "caption_embeddings": embeddings(UNIT[2:]),
            "clip_rows": hostile.ROWS,
            "caption_rows": hostile.ROWS,
        },
    ),
    (estimation.ensemble_similarity, {**PAIR, **ROWS}, {"weights": hostile.WEIGHTS, "clip_rows": hostile.ROWS}),
    (
        quality.agreement,
        {"estimated": SIMILARITY, "truth": TRUTH, "annotated": EYE},
        {
            "estimated": similarities(),
            "truth": truths(),
            "annotated": annotations(),
            "bins": [0, -1, [0.0, float("nan")]],
            "judged": [matrix for matrix in annotations() if matrix is not None],
        },
    ),
    (
        quality.probability_mass,
        {"estimated": ESTIMATE[0], "truth": TRUTH, "annotated": EYE},
        {"estimated": [*similarities(), SIMILARITY], "truth": truths(), "annotated": annotations()},
    ),
    (
        quality.calibration,
        {"estimated": SIMILARITY, "truth": TRUTH},
        {"estimated": similarities(), "truth": truths(), "bins": [0, -1, [0.0, float("nan")], [0.5, 0.6]]},
    ),
    (
        weights.choose_weights,
        {"members": [(UNIT[0], UNIT[1])], "clip_of_caption": torch.arange(CAPTIONS)},
        {
            "members": [[], [(hostile.spoilt(UNIT[0], float("nan")), UNIT[1])]],
            "clip_of_caption": [torch.tensor([0, 1]), torch.tensor([0, 1, 2, 9]), torch.tensor([0, 1, 2, -1])],
            "rounds": hostile.ONE_OR_MORE,
        },
    ),
    *(
        (
            function,
            {"caption_embeddings": UNIT[0], "clip_of_caption": [0, 0, 1, 1], "clips": 2},
            {"clip_of_caption": [[0, 0, 1], [0, 0, 1, 2], [0, 0, 1, -1], [0.0, 0.5, 1.0, 1.0]]},
        )
        for function in (sentences.clip_embeddings, sentences.without_own)
    ),
    *(
        (
            function,
            {"similarity": SIMILARITY, "relevance": EYE},
            {"similarity": similarities(), "relevance": truths(), **({} if function is metrics.ranks else {"k": k})},
        )
        for function in (metrics.ranks, metrics.per_query, metrics.retrieval_metrics)
        for k in [[3, None, (0,), (2.5,), (-1,), (True,), ("1",)]]
    ),
    (
        metrics.oracle_ceiling,
        {"truth": TRUTH, "annotated": EYE},
        {"truth": truths(), "annotated": [*annotations(), torch.ones(CLIPS, CAPTIONS)], "k": [3, (0,), (2.5,)]},
    ),
    (
        search.nearest,
        {"queries": UNIT[0], "embeddings": UNIT[1], "k": 2, "block": 3},
        {
            "queries": [v for n, v in hostile.matrices(UNIT[0]).items() if n != "empty"],
            "embeddings": list(hostile.matrices(UNIT[1]).values()),
            "k": hostile.COUNTS,
            "block": hostile.ONE_OR_MORE,
        },
    ),
    (
        search.recall,
        {"found": torch.tensor([[1, 2]]), "exact": torch.tensor([[1, 2]])},
        {"found": [torch.tensor([1, 2]), torch.ones(2, 2)], "exact": [torch.tensor([1, 2]), torch.ones(0, 2)]},
    ),
    (
        relevance.rank_correlation,
        {"guess": VALUES, "truth": VALUES},
        {"guess": by_seed(VALUES), "truth": [pd.Series([1.0, 2.0, np.nan, 3.0]), VALUES[:2]]},
    ),
    (
        relevance.judge_relevance,
        {"similarity": SIMILARITY, "relevance": relevance.Relevance("graded", ["a"] * 4, TRUTH.numpy())},
        {"similarity": similarities()},
    ),
    *(
        (function, {"values": VALUES, "groups": GROUPS}, {"values": by_seed(VALUES), "groups": wrong_groups, **more})
        for function, more in (
            (intervals.bootstrap_means, {"resamples": hostile.ONE_OR_MORE}),
            (intervals.bootstrap_interval, LEVEL),
        )
        for wrong_groups in [
            [GROUPS[:2], ["a"] * 4, [], np.array(["a", None, "b", "c"], object), [1.0, np.nan, 2.0, 3.0]]
        ]
    ),
    (
        intervals.paired_difference,
        {"a": VALUES, "b": VALUES / 2, "groups": GROUPS},
        {"a": by_seed(VALUES), "b": by_seed(VALUES), **LEVEL},
    ),
    (
        intervals.randomisation_test,
        {"a": VALUES, "b": VALUES / 2, "groups": GROUPS},
        {"a": by_seed(VALUES), "b": by_seed(VALUES), "resamples": hostile.ONE_OR_MORE},
    ),
    (
        intervals.interval_over_seeds,
        {"means": [0.1, 0.2]},
        {"means": [[0.1, np.nan], [0.1, 1j], ["a"], None], "level": hostile.LEVELS},
    ),
    (intervals.holm, {"p_values": [0.1, 0.2]}, {"p_values": [[0.1, np.nan], [-0.1], [1.1], [0.1j], ["a"]]}),
    (
        losses.contrastive_loss,
        {"similarity": SIMILARITY, "annotated": EYE, "temperature": 0.1},
        {
            "similarity": [m for m in similarities(*FLOWS) if isinstance(m, torch.Tensor)],
            "annotated": [m for m in annotations() if isinstance(m, torch.Tensor)],
            "temperature": hostile.TEMPERATURES,
        },
    ),
    (
        losses.distillation_loss,
        {"similarity": SIMILARITY, "teacher_similarity": SIMILARITY, "temperature": 0.1},
        {
            "similarity": [m for m in similarities(*FLOWS) if isinstance(m, torch.Tensor)],
            "teacher_similarity": [m for m in similarities("-inf") if isinstance(m, torch.Tensor)],
            "temperature": hostile.TEMPERATURES,
            "teacher_temperature": [t for t in hostile.TEMPERATURES if t is not None] + [1e-45],
        },
    ),
    (
        losses.symmetric_cross_entropy,
        {
            "similarity": SIMILARITY,
            "clip_given_caption": ESTIMATE[0],
            "caption_given_clip": ESTIMATE[1],
            "temperature": 0.1,
        },
        {
            "clip_given_caption": [ESTIMATE[1], SIMILARITY, 2 * ESTIMATE[0], hostile.spoilt(ESTIMATE[0], float("nan"))],
            "caption_given_clip": [ESTIMATE[0], ESTIMATE[1][:1], EYE],
            "temperature": hostile.TEMPERATURES,
        },
    ),
    (
        losses.stage_loss,
        {"similarity": SIMILARITY, "annotated": EYE, "temperature": 0.1, "estimated": ESTIMATE, "w_dist": 1.0},
        {"estimated": [None, (ESTIMATE[1], ESTIMATE[0])], "temperature": hostile.TEMPERATURES},
    ),
]
NAMES = [f"{function.__module__.removeprefix('corrlib.')}.{function.__name__}" for function, _, _ in CALLS]


@pytest.mark.parametrize("function, right, wrong", CALLS, ids=NAMES)
def test_every_hostile_argument_is_refused_in_one_sentence(function, right, wrong):
    function(**right)
    silent, raw = [], []
    for name, values in wrong.items():
        for value in values:
            try:
                found = function(**{**right, name: value})
            except ValueError as error:
                assert str(error).strip() and "\n" not in str(error), repr(error)
            except Exception as error:
                raw.append((name, value, repr(error)))
            else:
                silent.append((name, value, found))
    assert not silent and not raw, f"no error: {silent}; raw errors: {raw}"


OTHERS = {  # which read files, or are given what the functions above were given
    "metrics.first_ranked", "metrics.summarise", "sentences.embed_sentences", "relevance.load_relevance",
    "relevance.load_multi_positive", "relevance.load_graded", "relevance.read_ratings", "relevance.read_captions",
    "relevance.load_relevances", "relevance.summary", "relevance.by_name",
}  # fmt: skip


def test_no_public_function_is_left_out():
    for module in (estimation, quality, sentences, weights, intervals, metrics, relevance, search, losses):
        room = module.__name__.split(".")[-1]
        own = [f for _, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
        for function in own:
            name = f"{module.__name__.removeprefix('corrlib.')}.{function.__name__}"
            if not function.__name__.startswith("_") and f"{room}.{function.__name__}" not in OTHERS:
                assert name in NAMES, f"{name} is given no hostile arguments"


def test_whole_numbers_that_float32_would_merge_are_told_apart():
    """2^24 and 2^24 + 1 are one number in float32: the wrong clip would come first."""
    similarity = torch.tensor([[2**24, 2**24 + 1], [2**24 + 1, 2**24]])
    for given in (similarity, similarity.numpy(), similarity.tolist()):
        assert metrics.retrieval_metrics(given, 1 - torch.eye(2))["R@1"] == 1
    assert search.nearest(similarity[:1], torch.eye(2, dtype=torch.int64), 1)[1].item() == 1
    with pytest.raises(ValueError, match="above 2\\^53"):
        metrics.retrieval_metrics(similarity * 2**35, torch.eye(2))


def test_numbers_in_lists_keep_their_precision():
    similarity = [[0.5, 0.5 + 1e-12], [0.5 + 1e-12, 0.5]]
    assert metrics.retrieval_metrics(similarity, 1 - torch.eye(2))["R@1"] == 1


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e38, 1e300])
def test_weights_of_any_size_are_shares(scale):
    members = torch.stack([SIMILARITY, SIMILARITY.T])
    found = estimation.estimate(members, 0.1, weights=[1.0 * scale, 3.0 * scale])
    for ours, expected in zip(found, estimation.estimate(members, 0.1, weights=[0.25, 0.75]), strict=True):
        torch.testing.assert_close(ours, expected)


def test_the_coldest_temperature_that_is_taken_gives_the_best_clip_everything():
    probability, row = estimation.top_correspondences([UNIT[0]], [UNIT[1]], 1e-30, 1)
    assert torch.equal(probability[:, 0], torch.ones(CAPTIONS)) and torch.equal(row[:, 0], SIMILARITY.argmax(0))
    assert torch.equal(estimation.estimate(SIMILARITY[None], 1e-30)[0].sum(0), torch.ones(CAPTIONS))
