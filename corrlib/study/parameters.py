"""Parameters of a run, one model a kind of notebook, checked before anything is computed.

A notebook hands over its own globals: papermill injects values without checking their names, so a misspelt
parameter would otherwise be ignored. Every field's default is what the notebook's `parameters` cell shows.
"""

import difflib
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from corrlib.corpora.exclusions import KNOW_IDS
from corrlib.corpora.load import check_name
from corrlib.files import NUMBER
from corrlib.study import relevances
from corrlib.study.backbones import BACKBONES, HUB, published_weights, slug

ALIKE = 0.85  # of two names: from here on, one is held for a misspelling of the other

P = TypeVar("P", bound=BaseModel)

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.+-]*)?$")]  # of a study or a run: one folder
Teacher = Annotated[
    str, Field(pattern=r"^((clap|embeddings):\S.*|[A-Za-z0-9_][A-Za-z0-9_.+-]*)$")
]  # a run, or one from outside
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Relevance = Annotated[str | dict[str, str], BeforeValidator(relevances.checked)]  # a place, or several by name
Trained = Annotated[str, Field(pattern=r"^(all|heads|last:[1-9]\d{0,3})$")]  # see corrlib.models.trained

Target = Literal["annotated", "self", "ensemble", "captions", "true", "shuffled", "random", "uniform"]
Combine = Literal["mean_similarity", "mean_probability", "geometric_mean", "rank_mean", "best", "chosen_weights"]
ENSEMBLE_TARGETS = ("ensemble", "shuffled")  # what several teachers estimate
# stage-2 settings that a study can name, and what is trained in each; 0.3 of a target without knowledge was chosen on
# validation, with seeds of its own (docs/results.md)
SETTINGS: dict[str, dict[str, Any]] = {
    "continued": {"target": "annotated"},
    "self": {"target": "self"},
    "ensemble": {"target": "ensemble"},
    "mixture": {"target": "ensemble", "w_sup": 0.5, "w_dist": 0.5},
    "true": {"target": "true"},
    "label_smoothing": {"target": "uniform", "w_sup": 0.7, "w_dist": 0.3},
    "random_teacher": {"target": "random", "w_sup": 0.7, "w_dist": 0.3},
}
FIRST_BACKBONES = ("passt_tiny", "atst_tiny", "mn_tiny")  # of 02, 03 and 04, unless they are told another
# what changes time, memory and what is written beside, not what is computed; all else is the recipe
MACHINE = (
    "cache_log_mel",
    "cache_audio",
    "threads",
    "workers",
    "processes",
    "part_clips",
    "checkpoint_activations",
    "compile_backbone",
    "track",
)


class ParameterError(ValueError):
    """A parameter has an unknown name, a wrong type or an impossible value. culprit: its name, where it is one's."""

    def __init__(self, sentence: str, culprit: str = "") -> None:
        super().__init__(sentence)
        self.culprit = culprit


class Parameters(BaseModel):
    """What every run has. `study` and `run` name its folder `runs/<study>/<run>`; an empty `run` is derived."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    study: Name = "scratch"
    run: Name = ""
    seed: Seed = 101
    data: Annotated[str, Field(min_length=1)] = "data/builtin/seed-101"

    def run_name(self) -> str:
        return self.run or f"{self.default_name()}-seed{self.seed}"

    def default_name(self) -> str:
        raise NotImplementedError


class CorpusParameters(Parameters):
    """Which corpus: a name, or several joined by `+`; tolerance: the share of its clips that may be unusable.

    exclude: a CSV of FreeSound ids, of which no clip is trained on.
    """

    corpus: str = "soundscapes"
    tolerance: Share = 0.0
    exclude: str = ""

    @field_validator("corpus")
    @classmethod
    def _corpus_is_known(cls, name: str) -> str:
        check_name(name)
        return name

    @model_validator(mode="after")
    def _what_is_excluded_can_be_found(self) -> Self:
        if self.exclude and not set(self.corpus.split("+")) & set(KNOW_IDS):
            raise ValueError(
                f"exclude is a list of FreeSound ids, which corpus '{self.corpus}' does not know; leave it out"
            )
        return self


class DataParameters(CorpusParameters):
    """01_data: which corpus, and for the built-in one how it is composed; text_only: look at its tables alone."""

    sounds: str = "synthetic"
    leave_out: list[str] | Literal["too few"] = []
    pretraining_clips: Count = 2048
    development_clips: Count = 1024
    validation_clips: Count = 512
    evaluation_clips: Count = 1000
    ambiguity: Share = 0.8
    graded: str = ""
    text_only: bool = False

    def default_name(self) -> str:
        return "data"

    def sizes(self) -> dict[str, int]:
        return {
            "pretraining": self.pretraining_clips,
            "development": self.development_clips,
            "validation": self.validation_clips,
            "evaluation": self.evaluation_clips,
        }


class TrainingParameters(CorpusParameters):
    """What both stages share: what of the training split is used, the optimiser's path, the batch, the machine.

    development_share: of the training clips; swapped_captions: the share of training captions that are given to other
    clips (label noise). Both are drawn by `seed`. part_clips: a batch is embedded in parts of so many clips, in the
    memory of one part, with the gradient of the whole batch (0: all at once); accumulate_batches: so many batches a
    step of the optimiser, each with its own loss; workers: threads that read audio ahead; processes: that share a
    batch. select_by: which epoch is kept, the best on validation by this measure, or the last. watched_clips: so many
    clips of the training split are embedded after each epoch, to see what becomes of their pairs that truly match
    (built-in corpus; 0: none). relevance: by which the run is judged beside annotation (see
    corrlib.evaluation.relevance): a CSV or a folder, or several, {name: CSV or folder}. cache_log_mel: whether log-mels
    are computed once and kept; `auto`: where clips are of one length and heard whole. track: whether the epochs go into
    files of TensorBoard, too, in the run's folder.
    """

    development_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    swapped_captions: Share = 0.0
    epochs: Count = 20
    warmup_epochs: Weight = 1.0
    cosine_epochs: Positive | None = None
    batch_clips: Count = 64
    captions_per_clip: Count = 5
    learning_rate: Positive = 4e-3
    final_learning_rate: Weight = 1e-6
    weight_decay: Weight = 0.0
    temperature: Positive = 0.05
    clip_seconds: Annotated[float, Field(ge=0.1)] = 30.0  # less is no sound to learn from, or no sample at all
    like_lengths: bool = True
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    cache_log_mel: Literal[True, False, "auto"] = "auto"
    cache_audio: bool = False
    threads: Count = 1
    workers: Natural = 0
    processes: Count = 1
    part_clips: Natural = 0
    accumulate_batches: Count = 1
    checkpoint_activations: bool = False
    compile_backbone: bool = False
    track: Literal["", "tensorboard"] = ""
    select_by: Literal["annotated mAP@10", "true mAP@10", "last epoch"] = "annotated mAP@10"
    watched_clips: Natural = 0
    evaluate_on: Literal["evaluation", "validation"] = "evaluation"
    relevance: Relevance = ""

    @model_validator(mode="after")
    def _schedule_is_possible(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be smaller than epochs ({self.epochs})")
        if self.cosine_epochs is not None and not self.warmup_epochs < self.cosine_epochs <= self.epochs:
            raise ValueError(
                f"cosine_epochs ({self.cosine_epochs}) must lie between warmup_epochs "
                f"({self.warmup_epochs}) and epochs ({self.epochs})"
            )
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate must not be above learning_rate")
        return self

    @model_validator(mode="after")
    def _truth_is_known_where_asked_for(self) -> Self:
        for name, asked in (("select_by", self.select_by.startswith("true")), ("watched_clips", self.watched_clips)):
            if asked and self.corpus != "soundscapes":
                raise ValueError(f"{name} needs a corpus whose truth is known; choose corpus 'soundscapes'")
        return self

    def draw_seed(self) -> int:
        """What decides the order of training, patchout, dropout and crops."""
        return self.seed


class StageOneParameters(TrainingParameters):
    """02-04: one backbone and text encoder, trained on annotated pairs.

    backbone: a preset, or `hf:<folder or hub name>`, an audio encoder of transformers with its published weights.
    member: the name under which a study compares it, its backbone's where none is given. initialisation: which of the
    models of a seed this is: projections, text encoder and order are drawn anew, data and pretrained backbone stay.
    train_audio, train_text: what of backbone and text encoder is trained, `all`, `heads` (nothing: features are
    computed once, and the heads behind them trained) or `last:<n>` layers. audio_layers: numbers of the backbone's
    layers whose pooled outputs the head sees, `all` of them, or none for its features as published. head_layers: 1 of
    linear projections, 2 of perceptrons. whole_segments: the last part of a long clip is padded to a segment, or to
    whole seconds.
    """

    member: Name = ""
    initialisation: Natural = 0
    backbone: str = "passt_tiny"
    weights: str = ""
    text_encoder: str = "tiny"
    text_weights: str = ""
    text_dropout: Share = 0.0
    max_tokens: Count = 32
    clean_captions: bool = True
    train_audio: Trained = "all"
    train_text: Trained = "all"
    audio_layers: list[Count] | Literal["all"] = []
    head_layers: Literal[1, 2] = 1
    embedding_size: Count = 128
    whole_segments: bool = True
    pretraining_epochs: Natural = 12
    pretraining_learning_rate: Positive = 4e-3
    pretraining_batch_clips: Count = 16

    def default_name(self) -> str:
        return f"stage1-{self.member or slug(self.backbone)}"

    def draw_seed(self) -> int:
        return self.seed + 100_000 * self.initialisation

    @model_validator(mode="after")
    def _published_weights_are_used(self) -> Self:
        bare = published_weights(self.backbone) and not self.weights
        if bare and self.pretraining_epochs and self.corpus != "soundscapes":
            raise ValueError(
                f"backbone '{self.backbone}' has no weights; name its published ones by weights ('published' in a "
                "study's stage1), or set pretraining_epochs to 0 to train it from nothing"
            )
        return self

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        if name in BACKBONES or len(name) > len(HUB) and name.startswith(HUB):
            return name
        raise ValueError(f"no such backbone{nearest(name, BACKBONES)}")


class StageTwoParameters(TrainingParameters):
    """06: a student that starts from stage-1 weights; `target` says what it is trained towards.

    teachers: of the targets that an ensemble estimates, the runs that it is made of; where none are named, the stage-1
    runs that 02-04 leave with this seed. Other targets are learnt without. What is kept here is what the run has.
    """

    epochs: Count = 10
    learning_rate: Positive = 2e-3
    student: Name = "stage1-passt_tiny-seed101"
    target: Target = "ensemble"
    teachers: list[Teacher] = Field(default=None)  # pyrefly: ignore[bad-assignment]
    w_sup: Weight = 0.0
    w_dist: Weight = 1.0
    target_temperature: Positive | None = None
    combine: Combine = "mean_similarity"

    def default_name(self) -> str:
        return f"{self.setting()}-{self.student.removeprefix('stage1-').rsplit('-seed', 1)[0]}"

    def setting(self) -> str:
        """The name under which the run is compared: of SETTINGS the one that it is, or else its target."""
        if self.target == "annotated":
            return "continued"
        for setting, given in SETTINGS.items():
            towards = given["target"], given.get("w_sup", 0.0), given.get("w_dist", 1.0)
            if (self.target, self.w_sup, self.w_dist) == towards:
                return setting
        return self.target

    @model_validator(mode="before")
    @classmethod
    def _teachers_by_default(cls, values: dict) -> dict:
        if values.get("teachers") is not None:
            return values
        taught = values.get("target", cls.model_fields["target"].default) in ENSEMBLE_TARGETS
        seed = values.get("seed", cls.model_fields["seed"].default)
        return {**values, "teachers": [f"stage1-{b}-seed{seed}" for b in FIRST_BACKBONES] if taught else []}

    @model_validator(mode="after")
    def _target_and_teachers_agree(self) -> Self:
        if self.target not in ENSEMBLE_TARGETS and self.teachers:
            raise ValueError(f"target '{self.target}' is learnt without teachers; leave them out")
        if self.target in ENSEMBLE_TARGETS and len(set(self.teachers)) < 2:
            raise ValueError(
                f"target '{self.target}' needs at least two different teachers, not {self.teachers}; "
                "name more runs, or choose target 'self' for the student's own estimate"
            )
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError(f"teachers names a run twice: {self.teachers}; name each once")
        return self

    @model_validator(mode="after")
    def _target_and_weights_agree(self) -> Self:
        if self.target != "annotated" and self.w_sup + self.w_dist == 0:
            raise ValueError("w_sup and w_dist are both 0, so there is nothing to train on; raise one of them")
        return self


class EstimateParameters(CorpusParameters):
    """05: the ensemble of stage-1 runs and the split on which its estimate is looked at."""

    teachers: list[Teacher] = []
    temperature: Positive = 0.05
    combine: Combine = "mean_similarity"
    split: Literal["development", "validation", "evaluation"] = "evaluation"
    relevance: Relevance = ""

    def default_name(self) -> str:
        return "correspondences"


class ResultsParameters(Parameters):
    """12: which study's runs become tables and figures, and where they are written (`runs/<study>/figures`, if empty).

    mix_code: whether runs that were made by different code may stand in one table.
    """

    figures: str = ""
    resamples: Count = 2000
    mix_code: bool = False

    def default_name(self) -> str:
        return "results"

    def run_name(self) -> str:
        return self.run or "results"


class AblationParameters(ResultsParameters):
    """07-10: which points of a study are compared with its control `continued`, and which variants with theirs."""

    points: list[str] = []
    variants: list[str] = []

    def run_name(self) -> str:
        return self.run or "ablation"


class MapParameters(AblationParameters):
    """14: which variants are cells of the map (all finished ones, if none is named), and which studies are shown
    `beside` them, each a point by its own overfit index and gain.
    """

    beside: list[Name] = []

    def run_name(self) -> str:
        return self.run or "cells"


class TaskParameters(ResultsParameters):
    """11: which study's runs are judged by other tasks."""

    def run_name(self) -> str:
        return self.run or "other_tasks"


class ExploreParameters(ResultsParameters):
    """13: the study and model to look at first (the first finished one, if empty) and the caption that is searched.

    sounds_folder: a folder of sounds that takes the place of the study's clips; `model` may then be a run of any study
    (`study/run`), an exported folder, or a name on the hub. like: a sound there, or any file, that others should be
    like; weight: of the caption, where `like` is given, from 0 (the sound alone) to 1.
    interactive: widgets (true), figures (false), or what fits where the notebook runs (none).
    """

    model: str = ""
    caption: Annotated[str, Field(min_length=1)] = "a dog barks while rain falls"
    sounds_folder: str = ""
    like: str = ""
    weight: Share = 0.5
    interactive: bool | None = None

    @model_validator(mode="after")
    def _sounds_are_like_those_of_a_folder(self) -> Self:
        if self.like and not self.sounds_folder:
            raise ValueError("'like' names a sound that others of 'sounds_folder' should be like; give that, too")
        return self

    def run_name(self) -> str:
        return self.run or "explore"


class BenchmarkParameters(Parameters):
    """90: which backbones are timed, on batches of `clips` segments; the largest N of estimation and search."""

    study: Name = "benchmark"
    figures: str = ""
    backbones: list[str] = ["passt_s16", "atst_base", "mn10"]
    clips: Count = 2
    repeats: Count = 3
    largest: Annotated[int, Field(ge=1000)] = 32000
    dense_up_to: Natural = 16000
    compiled: bool = True
    threads: Count = 2

    def run_name(self) -> str:
        return self.run or "benchmark"


KINDS = {
    "data": DataParameters,
    "stage1": StageOneParameters,
    "estimate": EstimateParameters,
    "stage2": StageTwoParameters,
    "results": ResultsParameters,
    "ablation": AblationParameters,
    "map": MapParameters,
    "tasks": TaskParameters,
    "explore": ExploreParameters,
    "benchmark": BenchmarkParameters,
}


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name`, as ` (did you mean 'x'?)`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


def check(model: type[P], values: dict[str, Any]) -> P:
    """`model(**values)`, or a ParameterError of one sentence that names the culprit and the mend."""
    for name in values:
        if name not in model.model_fields:
            raise ParameterError(f"unknown parameter '{name}'{nearest(name, model.model_fields)}", str(name))
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
    where, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        raise ParameterError(f"'{where}' is missing; add it", where)
    sentence = f"parameter '{where}' = {first['input']!r}: {message}{_mend(first)}" if where else message
    raise ParameterError(sentence, str(first["loc"][0]) if where else "")


def _mend(error: Any) -> str:
    """What to write instead of a value of the wrong type, where it can be told, as `; write [1]`."""
    kind, value = error["type"], error["input"]
    if value is None:
        return "; give it a value, or remove the line"
    if kind == "list_type" and isinstance(value, str | int | float):
        return f"; write [{value}]"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'; write "{str(value).lower()}", in quotes'
    if kind in ("int_type", "float_type") and isinstance(value, str) and NUMBER.fullmatch(value):
        return f"; write {value} without quotes"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    return ""


def from_notebook(model: type[P], names: dict[str, Any]) -> P:
    """Parameters from a notebook's `globals()`: every public plain value defined so far must be one of them.

    When the cell is run again, values that later cells have defined meanwhile are no parameters, unless their names are
    so like one's that they must be meant.
    """
    plain = (str, int, float, bool, list, dict, type(None))
    ours = {
        name: value
        for name, value in names.items()
        if isinstance(value, plain) and not name.startswith("_") and name not in ("In", "Out")
    }
    first = names.setdefault("_names_at_start", frozenset(ours))
    fields = list(model.model_fields)
    meant = {name for name in ours if name in first or difflib.get_close_matches(name, fields, 1, ALIKE)}
    checked = check(model, {name: value for name, value in ours.items() if name in meant})
    need_packages(checked)
    return checked


def need_packages(parameters: BaseModel) -> None:
    """ParameterError where a run that is to be made asks for a package that is not installed."""
    if getattr(parameters, "track", "") and find_spec("tensorboard") is None:
        raise ParameterError(
            "parameter 'track' = 'tensorboard': it is not installed; `pip install tensorboard`, or leave `track` empty"
        )
