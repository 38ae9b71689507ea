"""One trained model of a finished study, the clips it was judged on, and what the ensemble estimates of them."""

import re
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from corrlib import soundscapes
from corrlib.corpora.splits import open_corpora
from corrlib.correspondence import estimate
from corrlib.correspondence.targets import member_weights
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.search import nearest
from corrlib.explore.phrases import contributions
from corrlib.models.build import rebuild_encoder
from corrlib.models.dual_encoder import DualEncoder
from corrlib.study import runs
from corrlib.study.outside import is_outside
from corrlib.study.parameters import StageOneParameters, StageTwoParameters

BEST_FIRST = ("ensemble", "stage1", "self", "continued")


def models() -> dict[str, list[str]]:
    """{study: names of its finished models}: students of the plain ensemble first, variants of ablations after those
    of their kind.
    """
    names = {}
    for folder in sorted(p for p in runs.root().glob("*") if p.is_dir()):
        try:
            table = runs.gather(folder.name)
        except FileNotFoundError:
            continue
        place = table["setting"].map({s: i for i, s in enumerate(BEST_FIRST)}).fillna(len(BEST_FIRST))
        variant = [
            not run.startswith(f"{setting}-") for run, setting in zip(table["run"], table["setting"], strict=True)
        ]
        order = table.assign(place=place, variant=variant).sort_values(["place", "variant", "run"], kind="stable")
        names[folder.name] = order["run"].tolist()
    return names


class Session:
    """What 13_explore looks at. Rows are clips of the split that the model was judged on, columns its captions.

    teachers: the runs whose estimate is shown: those of the model, or the stage-1 runs of its seed; teachers from
    outside, which embed nothing that is typed here, are left out. The estimate is combined, and its temperature is, as
    the model's own parameters say. clip_embeddings (clips, E), caption_embeddings
    (captions, E): the model's; truth (clips, captions) or None.
    """

    def __init__(self, study: str, model: str = "") -> None:
        """model: a finished stage-1 or stage-2 run, the first of `models()` if not given.

        FileNotFoundError where it is not finished, ValueError where the corpus is no longer the one it was judged on.
        """
        if not model:
            known = models().get(study)
            model = known[0] if known else runs.gather(study)["run"][0]  # raises: nothing is finished
        manifest = runs.read_manifest(study, model)
        kind = StageTwoParameters if "student" in manifest["parameters"] else StageOneParameters
        self.study, self.model, self.manifest = study, model, manifest
        self.parameters = runs.read_parameters(study, model, kind)
        of_target = getattr(self.parameters, "target_temperature", None)  # of a student; stage 1 has none
        self.temperature, self.split = of_target or self.parameters.temperature, self.parameters.evaluate_on
        self.combine = getattr(self.parameters, "combine", "mean_similarity")
        self.corpora = open_corpora(self.parameters)
        self.corpus, self.items = self.corpora.corpus(self.split), self.corpora.items(self.split)
        if self.corpora.fingerprint(self.split) != manifest["data_fingerprint"]:
            raise ValueError(
                f"the corpus in {self.parameters.data} is not the one that run '{model}' was judged on; "
                "restore it, or run the study again"
            )
        self.clip_embeddings, self.caption_embeddings = load_embeddings(study, model, self.split)
        taught = [name for name in getattr(self.parameters, "teachers", []) if not is_outside(name)]
        self.teachers = taught or self._stage_one_runs()
        self.truth = self.corpora.truth(self.split)

    def _stage_one_runs(self) -> list[str]:
        table = runs.gather(self.study)
        names = table[(table["setting"] == "stage1") & (table["seed"] == self.parameters.seed)]["run"]
        same = [
            n
            for n in names
            if runs.read_manifest(self.study, n)["data_fingerprint"] == self.manifest["data_fingerprint"]
        ]
        return same or [self.model]

    @cached_property
    def encoder(self) -> DualEncoder:
        """The model itself, loaded when something is typed."""
        return rebuild_encoder(self.study, self.model).eval()

    @cached_property
    def _teacher_encoders(self) -> list[DualEncoder]:
        return [rebuild_encoder(self.study, name).eval() for name in self.teachers]

    @cached_property
    def _teacher_embeddings(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        fingerprint = self.corpora.fingerprint(self.split)
        return [load_embeddings(self.study, name, self.split, fingerprint) for name in self.teachers]

    @cached_property
    def similarity(self) -> torch.Tensor:
        """(clips, captions) of the model."""
        return self.clip_embeddings @ self.caption_embeddings.T

    @cached_property
    def _teacher_similarities(self) -> torch.Tensor:
        """(M, clips, captions), one a teacher."""
        return torch.stack([clips @ captions.T for clips, captions in self._teacher_embeddings])

    @cached_property
    def _combination(self) -> tuple[str, Any]:
        """(combine, weights) as `estimate` takes them."""
        validation = self.corpora.items("validation") if self.combine == "chosen_weights" else None
        return member_weights(self.study, self.teachers, self.combine, validation)

    @cached_property
    def ensemble(self) -> torch.Tensor:
        """Mean similarity (clips, captions) of the teachers."""
        return self._teacher_similarities.mean(0)

    @cached_property
    def _estimate(self) -> tuple[torch.Tensor, torch.Tensor]:
        return estimate(self._teacher_similarities, self.temperature, *self._combination)

    @property
    def clip_given_caption(self) -> torch.Tensor:
        """The estimate (clips, captions): probability of a clip given a caption; columns sum to 1."""
        return self._estimate[0]

    @property
    def caption_given_clip(self) -> torch.Tensor:
        """The estimate (clips, captions): probability of a caption given a clip; rows sum to 1."""
        return self._estimate[1]

    def warm_up(self) -> None:
        """Load all models now, so that the first search is as quick as the next."""
        self.search("a sound", 1)

    @torch.no_grad()
    def search(self, text: str, count: int = 5) -> pd.DataFrame:
        """The most similar clips of any text, best first: columns clip (row number), similarity, estimated
        (p(clip | text)). ValueError where the text is empty.
        """
        if not text.strip():
            raise ValueError("the caption is empty; type what should be heard")
        query, count = self._embed(self.encoder, [text]), min(count, self.items.clips)
        (similarity,), (best,) = nearest(query, self.clip_embeddings, count)
        estimated = self.estimate_of([text])[best, 0]
        return pd.DataFrame({"clip": best.numpy(), "similarity": similarity.numpy(), "estimated": estimated.numpy()})

    @torch.no_grad()
    def estimate_of(self, texts: list[str]) -> torch.Tensor:
        """p(clip | text) of any texts by the teachers: (clips, texts); columns sum to 1."""
        pairs = zip(self._teacher_encoders, self._teacher_embeddings, strict=True)
        members = torch.stack([clips @ self._embed(encoder, texts).T for encoder, (clips, _) in pairs])
        return estimate(members, self.temperature, *self._combination)[0]

    @staticmethod
    def _embed(encoder: DualEncoder, texts: list[str]) -> torch.Tensor:
        return encoder.embed_captions(list(texts)).float().cpu()

    def captions_of(self, clip: int) -> list[str]:
        """Texts of the captions that were written for a clip (row number)."""
        return [self.items.texts[c] for c in (self.items.clip_of_caption == clip).nonzero()[:, 0].tolist()]

    def best_captions(self, clip: int, count: int = 15) -> pd.DataFrame:
        """The most probable captions of a clip (row number), best first.

        Columns clip, caption (row numbers), text, own (written for the clip), similarity, estimated (p(caption |
        clip)), true (nan where nobody knows it).
        """
        best = self.caption_given_clip[clip].topk(min(count, self.items.captions)).indices
        return self._pairs(np.full(len(best), clip), best.numpy(), self.caption_given_clip)

    def partial_matches(self, count: int = 200) -> pd.DataFrame:
        """Pairs that are not annotated but estimated high, the greatest disagreement first.

        disagreement: p(clip | caption) less that of the caption's own clip: by how much the ensemble holds the other
        clip to be more probable than what is annotated. One row a caption: its most probable other clip. Further
        columns are those of `best_captions`, with estimated p(clip | caption).
        """
        home = self.items.clip_of_caption
        columns = torch.arange(self.items.captions)
        annotated = self.clip_given_caption[home, columns]
        others = self.clip_given_caption.clone()
        others[home, columns] = -1
        value, clip = others.max(0)
        order = (value - annotated).argsort(descending=True, stable=True)[:count]
        table = self._pairs(clip[order].numpy(), order.numpy(), self.clip_given_caption)
        return table.assign(disagreement=(value - annotated)[order].numpy())

    def _pairs(self, clips: np.ndarray, captions: np.ndarray, estimated: torch.Tensor) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "clip": clips,
                "caption": captions,
                "text": [self.items.texts[c] for c in captions],
                "own": self.items.clip_of_caption.numpy()[captions] == clips,
                "similarity": self.similarity[clips, captions].numpy(),
                "estimated": estimated[clips, captions].numpy(),
                "true": self.truth[clips, captions] if self.truth is not None else np.nan,
            }
        )

    @torch.no_grad()
    def phrases(self, caption: str, clip: int) -> list[tuple[str, float]]:
        """[(phrase, drop in the model's similarity to the clip when it is left out)] of a text."""
        return contributions(caption, lambda texts: self._embed(self.encoder, texts) @ self.clip_embeddings[clip])

    def claims(self, clip: int, caption: int) -> list[tuple[str, bool]]:
        """[(claim in words, whether it holds for the clip)] of a caption (rows); [] where nobody knows the truth."""
        if self.truth is None:
            return []
        scene, home = self._scenes[self.name(clip)], int(self.items.clip_of_caption[caption])
        number = int(self.items.caption_ids[caption].rpartition("#")[2])
        holds = soundscapes.facts(scene)
        claims = self._scenes[self.name(home)]["captions"][number - 1]["claims"]
        return [(_in_words(claim), tuple(claim) in holds) for claim in claims]

    def labels(self, clip: int) -> list[str]:
        """What is heard in a clip (row number), by the truth of the built-in corpus; [] where nobody knows it."""
        scene = self.scene(clip)
        if scene is None:
            return []
        heard = [scene["background"], *scene["events"]]
        return list(dict.fromkeys(re.sub("[_-]", " ", str(sound["class"])) for sound in heard))

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that no caption of the training split holds, in any form that begins alike."""
        typed = dict.fromkeys(re.findall(r"\w+", text.lower()))
        begins = {word: word[: max(4, len(word) - 3)] for word in typed}
        return [word for word in typed if not any(known.startswith(begins[word]) for known in self._known_words)]

    @cached_property
    def _known_words(self) -> set[str]:
        texts = self.corpora.items("development").texts
        return {word for text in texts for word in re.findall(r"\w+", text.lower())}

    def scene(self, clip: int) -> dict[str, Any] | None:
        """The composed scene of a clip (row number, see corrlib.soundscapes.scenes); None where nobody knows it."""
        return None if self.truth is None else self._scenes[self.name(clip)]

    @cached_property
    def _scenes(self) -> dict[str, dict]:
        return {scene["file"]: scene for scene in soundscapes.load_scenes(self.parameters.data)[self.split]}

    def name(self, clip: int) -> str:
        """A clip's name in its corpus, without corpus and split."""
        return str(self.corpus.clips["clip_id"][clip]).split("/", 2)[-1]


def _in_words(claim: list[str]) -> str:
    kind, *rest = claim
    return {"present": "{}", "attribute": "{}: {}", "while": "{} while {}", "followed by": "{} followed by {}"}[
        kind
    ].format(*rest)
