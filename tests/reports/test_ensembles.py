"""Groups of members: weights chosen on validation, what a group knows, what estimating costs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corrlib.corpora.batches import Items
from corrlib.correspondence.targets import build_target
from corrlib.correspondence.weights import choose_weights
from corrlib.evaluation.embeddings import save_embeddings
from corrlib.evaluation.metrics import per_query
from corrlib.reports import ensembles
from tests.finished import declare


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


@pytest.fixture
def members():
    """A good member, a weaker one and noise: embeddings of 20 clips with 3 captions each, and whose each caption is."""
    generator = torch.Generator().manual_seed(3)
    clips, owner = unit(generator, 20, 8), torch.arange(20).repeat_interleave(3)
    captions = {noise: F.normalize(clips[owner] + noise * unit(generator, 60, 8), dim=-1) for noise in (0.9, 1.6)}
    return {
        "good": (clips, captions[0.9]),
        "weak": (clips, captions[1.6]),
        "noise": (unit(generator, 20, 8), unit(generator, 60, 8)),
    }, owner


def score(pairs, weights, owner):
    total = sum(w * (clips @ captions.T) for w, (clips, captions) in zip(weights, pairs, strict=True))
    return float(per_query(total, (torch.arange(20)[:, None] == owner[None, :]).float())["ap@10"].mean())


def test_chosen_weights_leave_noise_out_and_are_no_worse_than_any_member(members):
    pairs, owner = list(members[0].values()), members[1]
    weights = choose_weights(pairs, owner)
    assert weights.sum() == pytest.approx(1) and weights[0] > weights[2]
    assert all(score(pairs, weights, owner) >= score(pairs, alone, owner) - 1e-9 for alone in np.eye(3))


def test_chosen_weights_are_those_of_the_target(members):
    pairs, owner = members
    runs_of = {f"stage1-{name}": pair for name, pair in pairs.items()}
    parameters = type(
        "P",
        (),
        {
            "target": "ensemble",
            "temperature": 0.05,
            "target_temperature": None,
            "student": "s",
            "teachers": list(runs_of),
            "combine": "chosen_weights",
            "study": "t",
        },
    )
    held_out = type("I", (), {"clip_of_caption": owner})
    target = build_target(parameters, held_out, runs_of.get, validation=(runs_of.get, held_out))
    batch = type("B", (), {"clip_rows": torch.arange(20), "caption_rows": torch.arange(60)})
    weights = choose_weights(list(pairs.values()), owner)
    total = sum(float(w) * (clips @ captions.T) for w, (clips, captions) in zip(weights, pairs.values(), strict=True))
    torch.testing.assert_close(target(batch)[0], (total / 0.05).softmax(0), atol=1e-5, rtol=1e-4)


def test_groups_are_all_subsets():
    assert ensembles.groups(["a", "b", "c"]) == [
        ("a",),
        ("b",),
        ("c",),
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
        ("a", "b", "c"),
    ]


@pytest.fixture
def study(members, tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    for name, pair in members[0].items():
        folder = tmp_path / "e" / f"stage1-{name}-seed1"
        folder.mkdir(parents=True)
        pair = [e.clone() for e in pair]
        save_embeddings(
            folder / "embeddings.safetensors", {"evaluation": pair, "development": [e.clone() for e in pair]}
        )
        declare(folder, wall_seconds=60.0)
    items = Items.__new__(Items)
    items.clips, items.captions, items.clip_of_caption = 20, 60, members[1]
    return items


def test_knowledge_of_groups(study, members):
    truth = (torch.arange(20)[:, None] % 10 == members[1][None, :] % 10).float().numpy()  # every caption fits two clips
    table = ensembles.knowledge("e", 1, [("good",), ("noise",), ("good", "weak")], study, truth, 0.05).set_index(
        "group"
    )
    pairs = list(members[0].values())
    assert table.loc["good", "annotated mAP@10"] == pytest.approx(score(pairs, [1, 0, 0], members[1]))
    assert table.loc["good + weak", "annotated mAP@10"] == pytest.approx(score(pairs, [0.5, 0.5, 0], members[1]))
    # the second clip that fits is known to nobody here: its precision is that of chance, 1 / rank on average
    assert table["average_precision"].between(0.05, 0.5).all()


def test_likeness_of_members(study, members):
    table = ensembles.likeness("e", 1, ["good", "weak", "noise"])
    assert np.diag(table) == pytest.approx(1) and table.loc["good", "weak"] > 0.4 > abs(table.loc["good", "noise"])


def test_cost_counts_training_bytes_and_time(study):
    table = ensembles.cost("e", 1, ["good", "weak"], 0.05)
    assert table["training seconds"].tolist() == [60, 120]
    assert table["bytes"].tolist() == [4 * 8 * 80, 2 * 4 * 8 * 80] and (table["estimating seconds"] > 0).all()
