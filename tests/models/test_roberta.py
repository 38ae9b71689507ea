"""RoBERTa without padding against transformers' own, caption by caption."""

import pytest
import torch
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from corrlib.evaluation.evaluate import embed
from corrlib.models import roberta
from corrlib.models.text import TextEncoder, distinct, train_tokenizer

WORDS = "rain falls on a roof while dogs bark and a bell rings".split()


def encoder(dropout=0.0, layers=3):
    torch.manual_seed(0)
    tokenizer = train_tokenizer([" ".join(WORDS)] * 3)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=66,
        pad_token_id=1,
        type_vocab_size=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return TextEncoder(RobertaModel(config, add_pooling_layer=False).double(), tokenizer)


def ids(*lengths):
    draw = torch.Generator().manual_seed(1)
    return [[0, *torch.randint(4, 60, (n - 2,), generator=draw).tolist(), 2] for n in lengths]


def alone(text, token_ids):
    """Each caption by transformers' own forward, without a neighbour."""
    return torch.cat([text.model(input_ids=torch.tensor([own])).last_hidden_state[:, 0] for own in token_ids])


@pytest.mark.parametrize("least", [1, 3, 100])  # an attention for each length, some mixed, one for all
@pytest.mark.parametrize("lengths", [(5,), (3, 3, 3), (2, 9, 4, 4, 4, 7, 2, 31, 9, 4), tuple(range(2, 33))])
def test_features_and_gradients_are_those_of_transformers(monkeypatch, lengths, least):
    monkeypatch.setattr(roberta, "LEAST", {"cpu": least})
    text, token_ids, found = encoder().train(), ids(*lengths), []
    for way in (text, lambda given: alone(text, given)):
        features = way(token_ids)
        trained = [p for p in text.parameters() if p.requires_grad]
        found.append([features, *torch.autograd.grad(features.square().sum(), trained)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_nothing_is_computed_of_padding_nor_of_others_than_the_first_token_at_the_end():
    text, seen = encoder(), []
    for layer in text.model.encoder.layer:
        layer.intermediate.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    text(ids(4, 9, 30))
    assert seen == [43, 43, 3]


def test_a_caption_that_occurs_often_is_computed_once_unless_dropout_tells_it_apart():
    token_ids = ids(5, 8) * 3
    for dropout, training, rows in ((0.0, True, 2), (0.3, False, 2), (0.3, True, 6)):
        text, seen = encoder(dropout).train(training), []
        text.model.encoder.layer[-1].intermediate.register_forward_hook(lambda m, i, o, seen=seen: seen.append(len(o)))
        features = text(token_ids)
        assert seen == [rows]
        assert torch.equal(features[0], features[2]) == (rows == 2)
    assert distinct(token_ids)[1].tolist() == [0, 1, 0, 1, 0, 1]


def test_encoders_of_other_families_may_draw_where_nobody_sees_it():
    text, seen = encoder(), []
    config = BertConfig(
        vocab_size=100,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    text.model = BertModel(config, add_pooling_layer=False)
    text.model.encoder.layer[-1].intermediate.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    for training in (True, False):
        text.train(training)(ids(5, 8) * 3)
    assert seen == [6, 2]


def test_dropout_is_drawn_where_transformers_draws_it():
    """The mean over many draws is near the one without, and no two draws are alike."""
    plain, text = encoder(0.0), encoder(0.1).train()
    token_ids = ids(6)
    with torch.no_grad():
        draws = torch.cat([text(token_ids * 200) for _ in range(5)])
    assert len({float(d[0]) for d in draws}) == len(draws)
    assert (draws.mean(0) - plain(token_ids)[0]).abs().max() < 0.3 < draws.std(0).max()


def test_checkpointed_activations_have_the_same_gradient():
    found = []
    for save in (False, True):
        text, token_ids = encoder().train(), ids(3, 7, 7)
        if save:
            for layer in text.model.encoder.layer:
                layer.gradient_checkpointing = True  # what DualEncoder.save_memory has transformers set
        runs = []
        text.model.encoder.layer[0].intermediate.register_forward_hook(lambda m, i, o, runs=runs: runs.append(1))
        trained = list(text.parameters())
        found.append(torch.autograd.grad(text(token_ids).square().sum(), trained))
        assert len(runs) == (2 if save else 1)
    for plain, saved in zip(*found, strict=True):
        torch.testing.assert_close(plain, saved)


def test_a_whole_corpus_embeds_equal_captions_once():
    class Corpus:
        clips, captions, texts = 1, 4, ["rain falls", "a bell rings", "rain falls", "rain falls"]

    class Audio:
        places, read, collate = staticmethod(list), staticmethod(int), staticmethod(lambda pieces: pieces)

    class Encoder(torch.nn.Module):
        embedding_size = 24
        embed_batch = staticmethod(lambda loaded: torch.zeros(1, 24))

        def __init__(self):
            super().__init__()
            self.text, self.asked = encoder(), []

        def embed_tokens(self, tokens):
            self.asked += tokens
            return self.text(tokens)

    model = Encoder()
    captions = embed(model, Audio(), Corpus())[1]
    assert len(model.asked) == 2
    torch.testing.assert_close(captions, alone(model.text, model.text.tokenize(Corpus.texts)).float())
