"""Cards of what is shared, in the hub's form: task, data, recipe, metrics and limits."""

import textwrap
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from corrlib.evaluation.intervals import bootstrap_interval
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters
from corrlib.study.study_file import studies_folder

MEASURES = {"ap@10": "mAP@10", "r@1": "R@1", "r@5": "R@5", "r@10": "R@10", "ndcg@10": "nDCG@10"}
KINDS = {
    "annotated": "only the clip that a caption was written for counts",
    "true": "every clip counts that the caption wholly describes; for nDCG others, too, by the share of it that holds",
}
TASK = "text-to-audio-retrieval"
PAPER = "https://arxiv.org/abs/2408.11641"
TARGETS = {
    "stage1": "stage 1: contrastive training on annotated pairs",
    "continued": "stage 2 as its control: trained on, on annotated pairs",
    "self": "stage 2: trained towards the model's own estimated correspondences",
    "ensemble": "stage 2: trained towards the correspondences that an ensemble of stage-1 models estimates",
}


def model_card(study: str, run: str, first: StageOneParameters, origin: dict[str, Any], licence: str = "") -> str:
    """The text of README.md of a finished run's model.

    first: parameters of the stage-1 run that it began with; origin: see `exported.provenance`; licence: see
    `exported.export`.
    """
    measured = intervals(study, run)
    own_alone = first.corpus == "soundscapes" and not first.weights and first.text_encoder == "tiny"
    licence = licence or ("mit" if own_alone and _synthetic(study, first) else "other")
    data = ModelCardData(
        language="en",
        license=licence,
        library_name="corrlib",
        pipeline_tag="feature-extraction",
        tags=["audio", "audio-retrieval", "language-based-audio-retrieval", first.backbone],
        model_name=f"{study}/{run}",
        eval_results=[
            EvalResult(
                task_type=TASK,
                dataset_type=first.corpus,
                dataset_name=_corpus(first),
                dataset_split=origin["parameters"]["evaluate_on"],
                metric_type=measure,
                metric_name=f"{kind} {measure}",
                metric_value=round(mean, 4),
            )
            for kind, measure, mean, _, _ in measured
        ],
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(study, run, first, origin, licence, measured)}")
    return str(card)


def intervals(study: str, run: str) -> list[tuple[str, str, float, float, float]]:
    """(kind of relevance, measure, mean, low, high) of a finished run: 95 % intervals by bootstrap over its clips."""
    queries = runs.read_table(study, run, "queries.csv")
    return [
        (kind, measure, *bootstrap_interval(queries[f"{kind} {column}"].to_numpy(), queries["clip"].to_numpy()))
        for kind in KINDS
        for column, measure in MEASURES.items()
        if f"{kind} {column}" in queries
    ]


def _body(
    study: str,
    run: str,
    first: StageOneParameters,
    origin: dict[str, Any],
    licence: str,
    measured: list[tuple[str, str, float, float, float]],
) -> str:
    parameters, split = origin["parameters"], origin["parameters"]["evaluate_on"]
    rows = [
        f"| {kind} | {measure} | {100 * mean:.1f} | [{100 * low:.1f}, {100 * high:.1f}] |"
        for kind, measure, mean, low, high in measured
    ]
    queries = runs.read_table(study, run, "queries.csv")
    teachers = f" Teachers: {', '.join(parameters['teachers'])}." if parameters.get("teachers") else ""
    recipe = TARGETS.get(origin["setting"], f"stage 2, setting `{origin['setting']}`")
    before = ""
    if "student" in parameters:
        before = f"""Stage 1 before it took {first.epochs} epochs of batches of {first.batch_clips} clips at
            learning rate {first.learning_rate}."""
    data = f"""{_corpus(first)} (content digest {origin["made_of"]["data"] or "not recorded"}). Trained on its
        development split, judged on its {split} split (fingerprint {origin["data_fingerprint"] or "not recorded"})."""
    settings = f"""{recipe[0].upper()}{recipe[1:]}.{teachers} Backbone `{first.backbone}` ({_source(first.weights)}),
        text encoder `{first.text_encoder}`, embeddings of {first.embedding_size}, {parameters["epochs"]} epochs,
        batches of {parameters["batch_clips"]} clips, learning rate {parameters["learning_rate"]}, temperature
        {parameters["temperature"]}, seed {parameters["seed"]}. {before} All parameters are in `config.json`."""
    limits = f"""{_limits(first)} Of a longer recording the first {parameters["clip_seconds"]:g} s are heard; captions
        are English and cut after {first.max_tokens} tokens. Similarities rank: they are no probabilities, and sounds
        that are not like the training data are ranked, too."""
    judged = f"""Caption to clip, in percent, of {len(queries)} captions and {queries["clip"].nunique()} clips; 95 %
        intervals by bootstrap over clips. They are about other clips, not about other seeds."""
    return f"""# {study}/{run}

A dual encoder that finds sounds by a description: audio and English captions in, embeddings of unit length out, whose
inner product says how well the caption describes the sound. The method is *Estimated Audio-Caption Correspondences
Improve Language-Based Audio Retrieval* ({PAPER}).

## Use

```python
import corrlib

model = corrlib.load_model(".")  # this folder, or its name on the hub
model.similarity(["rain.wav", "dog.mp3"], ["a dog barks"])  # rows sounds, columns captions
```

## Data

{_wrapped(data)}

## Recipe

{_wrapped(settings)}

## Metrics

{_wrapped(judged)}

| relevance | measure | mean | interval |
| --- | --- | ---: | --- |
{chr(10).join(rows)}

{" ".join(f"*{kind[0].upper()}{kind[1:]}*: {KINDS[kind]}." for kind in dict.fromkeys(row[0] for row in measured))}

## Limitations

{_wrapped(limits)}

## Licence

{_licence(licence)}

## Repeat

With corrlib at commit {origin["code"].get("commit") or "not recorded"}{_of_study(study, run)}:

```
{origin["repeat"]}
```
"""


def _of_study(study: str, run: str) -> str:
    """How a run is repeated with all that it needs; nothing where no study file describes it."""
    if not (studies_folder() / f"{study}.yaml").is_file():
        return ", where the runs that it names are finished"
    return f""", data, teachers and all:

```
make reproduce STUDY={study} ONLY={run}
```

or alone, where the runs that it names are finished"""


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), 120, break_long_words=False, break_on_hyphens=False)


def _synthetic(study: str, first: StageOneParameters) -> bool:
    """Whether the built-in corpus was composed of synthesized sounds alone, as far as its study says."""
    try:
        data = runs.read_manifest(study, f"data-seed{first.seed}")["parameters"]
    except (OSError, ValueError):
        return False
    return data.get("sounds") == "synthetic"


def _corpus(first: StageOneParameters) -> str:
    if first.corpus == "soundscapes":
        return "The built-in corpus of corrlib: composed sound scenes with generated captions"
    return f"The corpus {first.corpus}"


def _source(weights: str) -> str:
    return "published weights" if weights else "no published weights"


def _limits(first: StageOneParameters) -> str:
    if first.corpus == "soundscapes":
        return "Trained on composed scenes of 4 s, it knows their 28 kinds of sounds and little of real recordings."
    return f"It knows what {first.corpus} holds, in the words of its annotators."


def _licence(licence: str) -> str:
    if licence == "other":
        return (
            "Not chosen by whoever exported it. The weights follow from the training data and from published weights,\n"
            "whose licences count; corrlib's own code is under MIT."
        )
    return f"`{licence}`. corrlib's own code is under MIT."


def estimates_card(about: dict[str, Any], licence: str) -> str:
    """The text of README.md beside estimated correspondences; about: what `estimates.describe` says."""
    names = ("clips_of_captions", "captions_of_clips", "caption_normalisers", "clip_normalisers")
    data = DatasetCardData(
        language="en",
        license=licence,
        task_categories=["feature-extraction"],
        tags=["audio", "audio-retrieval", "soft-labels"],
        configs=[{"config_name": name, "data_files": f"{name}.parquet"} for name in names],
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{_estimates_body(about)}"))


def _estimates_body(about: dict[str, Any]) -> str:
    members = "\n".join(f"- `{name}` (embeddings {digest})" for name, digest in about["members"].items())
    return f"""# Estimated audio-caption correspondences of {about["corpus"]}, {about["split"]}

How well each of {about["captions"]} captions describes each of {about["clips"]} clips, as an ensemble of trained models
estimates it: the softmax of the members' mean similarity at temperature {about["temperature"]} ({PAPER},
section 2.2). No person judged these pairs; `annotated` says which a person wrote.

## Files

| file | rows |
| --- | --- |
| `clips_of_captions.parquet` | the {about["clips_a_caption"]} most probable clips of every caption |
| `captions_of_clips.parquet` | the {about["captions_a_clip"]} most probable captions of every clip |
| `caption_normalisers.parquet`, `clip_normalisers.parquet` | `log_normaliser`, for the probability of any pair |
| `missing_annotations.csv` | pairs that nobody annotated and the ensemble prefers, to be reviewed |
| `correspondences.json` | members, temperature, counts and the fingerprint of the data |

Columns: `caption_id, caption, clip_id, file, rank` (1 is best), `probability, similarity, annotated`. In the first file
probabilities are of the clip given the caption, in the second of the caption given the clip; the rest to 1 is what the
rows left out have. probability = exp(similarity / temperature - log_normaliser).

## Members

{members}

of study `{about["study"]}`; data fingerprint {about["fingerprint"]}.

## Limitations

An estimate is as good as its members, and a development split is what they were trained on. Captions and clips belong
to whoever published the corpus; this folder holds no audio.

## Repeat

```
make correspondences STUDY={about["study"]} K={max(about["clips_a_caption"], about["captions_a_clip"])} TO=folder
```
"""
