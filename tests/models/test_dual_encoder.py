"""Dual encoder and text: clips of any length, batches of any mix, captions never cut unseen."""

import pytest
import torch

from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import build_text_encoder, clean, load_text_encoder

CAPTIONS = [
    "A dog barks loudly, and rain falls.",
    "Rain!",
    "It's a bird's song: two birds sing in a tree.",
    "rain falls",
]
RATE = 16000


@pytest.fixture(scope="module", params=["passt_tiny", "atst_tiny", "mn_tiny"])
def encoder(request):
    torch.manual_seed(0)
    backbone = build_backbone(request.param)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # one pass makes the statistics, else a new MN hears next to nothing
    backbone.train()(torch.randn(8, 2 * RATE) * torch.logspace(-3, 0, 8)[:, None])
    return DualEncoder(backbone, build_text_encoder("tiny", CAPTIONS * 3), 32).eval()


def clips(*seconds):
    generator = torch.Generator().manual_seed(1)
    waves = [0.3 * torch.randn(int(s * RATE), generator=generator) for s in seconds]
    return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor([len(w) for w in waves]), waves


@torch.no_grad()
def test_a_clip_is_the_same_in_any_batch(encoder):
    batch, lengths, waves = clips(31.0, 4.0, 10.0, 23.5, 0.4, 10.01)
    together = encoder.embed_audio(batch, lengths)
    alone = torch.cat([encoder.embed_audio(w[None], torch.tensor([len(w)])) for w in waves])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(6))


@torch.no_grad()
def test_a_long_clip_is_the_mean_of_its_segments_tail_included(encoder):
    batch, lengths, _ = clips(23.0)
    seconds = [(0, 10), (10, 20), (20, 23)]
    parts = [batch[:, a * RATE : b * RATE] for a, b in seconds]
    parts[2] = torch.nn.functional.pad(parts[2], (0, 7 * RATE))
    features = torch.cat([encoder.backbone(p) for p in parts]).mean(0)
    expected = torch.nn.functional.normalize(encoder.audio_projection(features), dim=0)
    torch.testing.assert_close(encoder.embed_audio(batch, lengths)[0], expected, atol=1e-5, rtol=0)
    changed = batch.clone()
    changed[0, 22 * RATE :] = 0  # the tail counts
    assert (encoder.embed_audio(changed, lengths)[0] - expected).abs().max() > 2e-5


@torch.no_grad()
def test_a_tail_may_be_padded_to_whole_seconds_only(encoder, monkeypatch):
    seen, forward = [], encoder.backbone.forward
    monkeypatch.setattr(encoder.backbone, "forward", lambda x: seen.append(tuple(x.shape)) or forward(x))
    monkeypatch.setattr(encoder, "whole_segments", False)
    batch, lengths, _ = clips(22.3, 4.0)
    found = encoder.embed_audio(batch, lengths)
    assert sorted(seen) == [(1, 3 * RATE), (1, 4 * RATE), (2, 10 * RATE)]
    tail = torch.nn.functional.pad(batch[:1, 20 * RATE : int(lengths[0])], (0, 23 * RATE - int(lengths[0])))
    parts = [encoder.backbone(part) for part in (batch[:1, : 10 * RATE], batch[:1, 10 * RATE : 20 * RATE], tail)]
    expected = torch.nn.functional.normalize(encoder.audio_projection(torch.cat(parts).mean(0)), dim=0)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_is_never_computed(encoder, monkeypatch):
    seen, forward = [], encoder.backbone.forward
    monkeypatch.setattr(encoder.backbone, "forward", lambda x: seen.append(tuple(x.shape)) or forward(x))
    batch, lengths, _ = clips(30.0, 3.2, 10.0)
    encoder.embed_audio(batch, lengths)
    assert sorted(seen) == [(1, 4 * RATE), (4, 10 * RATE)]  # 3 + 1 segments; 3.2 s are padded to whole seconds only
    changed = batch.clone()
    changed[1, int(lengths[1]) :] = 7.0
    # what stands behind a clip's end is not heard
    torch.testing.assert_close(encoder.embed_audio(changed, lengths), encoder.embed_audio(batch, lengths))


@pytest.mark.parametrize("length", [0, 40001])
def test_impossible_lengths_are_refused(encoder, length):
    with pytest.raises(ValueError, match="clip 1 of the batch has length"):
        encoder.embed_audio(torch.zeros(2, 40000), torch.tensor([40000, length]))


@torch.no_grad()
def test_captions_do_not_depend_on_their_neighbours(encoder):
    many = CAPTIONS * 12  # enough for the split into short and long
    together = encoder.embed_captions(many)
    alone = torch.cat([encoder.embed_captions([c]) for c in CAPTIONS]).repeat(12, 1)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(48))


def test_gradients_reach_both_towers(encoder):
    encoder.train()
    batch, lengths, _ = clips(1.0, 1.0)
    (encoder.embed_audio(batch, lengths) @ encoder.embed_captions(CAPTIONS[:2]).T).sum().backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None and "mask_embed" not in n]
    encoder.zero_grad()
    encoder.eval()
    assert without == []


# Text


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A dog barks, loudly!", "a dog barks loudly"),
        ("It's  the dog’s  bowl.", "its the dogs bowl"),
        ("Wind-up toy; 3 clicks", "wind up toy 3 clicks"),
        ("  ", ""),
        ("Grün", "grün"),
    ],
)
def test_clean_up(text, expected):
    assert clean(text) == expected


def test_cutting_is_counted_and_keeps_the_end_token():
    text = build_text_encoder("tiny", CAPTIONS, max_tokens=6)
    ids = text.tokenize(CAPTIONS)
    assert max(map(len, ids)) == 6 and all(i[0] == text.tokenizer.cls_token_id for i in ids)
    assert all(i[-1] == text.tokenizer.sep_token_id for i in ids)
    full = build_text_encoder("tiny", CAPTIONS, max_tokens=60).tokenize(CAPTIONS)
    assert (text.cut_captions, text.seen_captions) == (sum(len(i) > 6 for i in full), 4) and text.cut_captions > 0


def test_clean_up_can_be_switched_off():
    kept = build_text_encoder("tiny", CAPTIONS, clean_captions=False)
    cleaned = build_text_encoder("tiny", CAPTIONS)
    assert kept.tokenize(["Rain!"]) != kept.tokenize(["rain"])
    assert cleaned.tokenize(["Rain!"]) == cleaned.tokenize(["rain"])


def test_saved_text_encoders_come_back(tmp_path):
    torch.manual_seed(0)
    text = build_text_encoder("tiny", CAPTIONS).eval()
    text.save(tmp_path)
    again = load_text_encoder(tmp_path).eval()
    again.load_state_dict(text.state_dict())
    ids = text.tokenize(CAPTIONS)
    assert again.tokenize(CAPTIONS) == ids
    with torch.no_grad():
        torch.testing.assert_close(again(ids), text(ids))


@pytest.mark.parametrize("kind", ["roberta", "bert", "distilbert"])
def test_any_transformers_encoder_from_a_local_folder(kind, tmp_path):
    """A folder as `save_pretrained` writes it, as the published text encoders are."""
    from transformers import AutoModel, BertConfig, DistilBertConfig, RobertaConfig

    tiny = build_text_encoder("tiny", CAPTIONS)
    shape = {"vocab_size": len(tiny.tokenizer), "pad_token_id": 1}
    config = {
        "roberta": lambda: RobertaConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=66,
            **shape,
        ),
        "bert": lambda: BertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **shape
        ),
        "distilbert": lambda: DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, **shape),
    }[kind]()
    model = AutoModel.from_config(config)
    model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    text = build_text_encoder(kind, weights=str(tmp_path), dropout=0.3).eval()
    ids = text.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = model.eval()(input_ids=torch.tensor([ids[0]])).last_hidden_state[0, 0]
        torch.testing.assert_close(text(ids)[0], expected, atol=1e-5, rtol=1e-4)
    assert {m.p for m in text.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}, "dropout as asked"


def test_a_missing_text_encoder_says_where_it_belongs():
    with pytest.raises(FileNotFoundError, match="set text_weights to it") as caught:
        build_text_encoder("roberta-large", weights="weights/roberta-large")
    assert "weights/roberta-large" in str(caught.value) and "model.safetensors" in str(caught.value)
