"""A study: one small YAML, checked, that `corrlib.study.plan` turns into a graph of runs."""

import os
import re
import string
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from corrlib.study import relevances
from corrlib.study.backbones import BACKBONES, HUB, published_weights
from corrlib.study.outside import is_outside
from corrlib.study.parameters import SETTINGS, ParameterError, Relevance, check, nearest
from corrlib.study.sections import check_sections, unknown

LARGEST = 1_000_000  # bytes of a study file
COMPOSED = "soundscapes"  # the corpus that a study makes itself
PUBLISHED = "published"  # of `weights`: those that are published for a backbone
VARIABLE = re.compile(r"\$(?:([A-Z][A-Z0-9_]*)|\{([A-Z][A-Z0-9_]*)\})")

Keys = tuple[str, ...]  # of a value in a study file, from the top level on


class Variant(BaseModel):
    """The study once more with something changed from stage 1 on: other data, other parameters of training.

    training: parameters of both stages. settings: of its students (`variant_settings`, if not given). backbones: those
    that are trained and make up the ensemble (all, if not given); students: those of stage 2 (`point_backbones`).
    """

    model_config = ConfigDict(extra="forbid")
    data: dict = {}
    training: dict = {}
    stage1: dict = {}
    stage2: dict = {}
    settings: list[str] = []
    backbones: list[str] = []
    students: list[str] = []


class StudyFile(BaseModel):
    """What a study's YAML may hold. The sections are parameters of the notebooks of that kind.

    training: parameters of both stages; what `stage1` or `stage2` says itself wins. `weights: published` of stage 1
    names, for each backbone, the file of its published weights in `weights/`; a tiny preset has none.
    extends: another study, whose keys hold where this one does not say otherwise; sections are merged key by key, lists
    replaced. base: another study, of which finished runs with the very same parameters are taken over.
    members: further stage-1 models, {name: {backbone, and parameters such as initialisation}}; one that `backbones`
    names is a teacher and a student of every setting, as a backbone of its own.
    teachers: models from outside that teach in every ensemble beside the study's own: `clap:<folder or hub name>`,
    `embeddings:<file>` (`{seed}` in it as in `data_folder`). points: stage-2 runs beside the settings, {name:
    parameters}; `teachers` names backbones, members or models from outside; `student` and `teachers_of` name the
    setting whose runs the student starts from and the teachers are (`stage1`). They and the variants' students are run
    for `point_backbones` (all, if not given). variants: {name: Variant}, whose ensembles are their own models alone.
    ablations: {notebook: the points, settings and variants that it compares}.
    relevance: by which all models and the ensemble are judged beside annotation: a CSV or a folder, or several by name
    (see corrlib.evaluation.relevance; `{seed}` in it as in `data_folder`). Variants with other data are judged without.
    figures: where `make publish` copies the study's tables and figures; its runs write into `runs/<study>/figures`.
    in_parts: whether it takes those of an unfinished study, too, and leaves all else in that folder as it is.
    other_tasks, explore: whether 11_other_tasks judges the runs, too, and 13_explore draws what it shows.
    """

    model_config = ConfigDict(extra="forbid")
    title: str
    seeds: Annotated[list[int], Field(min_length=1)]
    backbones: Annotated[list[str], Field(min_length=1)]
    settings: list[str] = ["continued", "self", "ensemble"]
    data_folder: str = "{data}/{study}/seed-{seed}"
    figures: str = "figures/{study}"
    data: dict = {}
    relevance: Relevance = ""
    training: dict = {}
    stage1: dict = {}
    stage2: dict = {}
    estimate: dict = {}
    results: dict = {}
    backbone_stage1: dict[str, dict] = {}
    backbone_stage2: dict[str, dict] = {}
    extends: str = ""
    base: str = ""
    members: dict[str, dict] = {}
    teachers: list[str] = []
    points: dict[str, dict] = {}
    variants: dict[str, Variant] = {}
    variant_settings: list[str] = ["continued", "ensemble"]
    point_backbones: list[str] = []
    ablations: dict[str, list[str]] = {}
    in_parts: bool = False
    other_tasks: bool = False
    explore: bool = False


def studies_folder() -> Path:
    """The folder of study files: `studies/` of the repository, or what CORRLIB_STUDIES names."""
    return Path(os.environ.get("CORRLIB_STUDIES", "studies"))


def load_study(name: str, folder: str | Path | None = None) -> StudyFile:
    """The study `<folder>/<name>.yaml` as a checked StudyFile; ParameterError names what is wrong and where.

    folder: `studies_folder()`, if not given.
    """
    folder = studies_folder() if folder is None else Path(folder)
    path, content = folder / f"{name}.yaml", _extended(name, folder)
    try:
        for key in content:
            if key not in StudyFile.model_fields:
                raise ParameterError(unknown(key, StudyFile, "the top level"), str(key))
        study = check(StudyFile, content)
        check_sections(study)
        of_variants = (s for v in study.variants.values() for s in v.settings)
        for setting in (*study.settings, *study.variant_settings, *of_variants):
            if setting not in SETTINGS:
                raise ParameterError(f"unknown setting '{setting}'{nearest(setting, SETTINGS)}", "settings")
        for backbone in study.backbones:
            if backbone.startswith(HUB):
                raise ParameterError(
                    f"backbones names '{backbone}'; give it a name of its own under `members`", "backbones"
                )
            _check_known("backbones", backbone, [*BACKBONES, *study.members])
        for backbone in {**study.backbone_stage1, **study.backbone_stage2}:
            if backbone not in study.backbones:
                raise ParameterError(f"'{backbone}' has its own parameters but is not one of `backbones`", backbone)
        if "data_folder" not in content and str(study.data.get("corpus", COMPOSED)) != COMPOSED:
            raise ParameterError(
                f"corpus '{study.data['corpus']}' is not composed, so the study must say where it lies; add "
                "`data_folder: $DATA` at the top level, and give DATA=folder",
                "corpus",
            )
        _check_template("data_folder", study.data_folder, ("data", "study", "seed"))
        _check_template("figures", study.figures, ("study",))
        for key, place in relevances.files(study.relevance).items():
            _check_template(key, place, ("data", "study", "seed"))
        _check_points(study)
    except ParameterError as error:
        raise ParameterError(f"{_where_in_words(name, folder, error) or path}: {error}", error.culprit) from None
    study.data_folder = os.path.expanduser(study.data_folder)
    _name_published(study)
    return study


def where_is(name: str, folder: Path, wanted: Callable[[Keys], bool]) -> tuple[str, str]:
    """Where a key of a study stands, in its file or those that it extends.

    Such as ("studies/mine.yaml, line 4", "stage1.epochs").
    wanted: of the keys that lead to it, whether it is meant. Two empty texts where none is.
    """
    for path in _chain(name, folder):
        for keys, line in _lines(path):
            if wanted(keys):
                return f"{path}, line {line}", ".".join(keys)
    return "", ""


def _where_in_words(name: str, folder: Path, error: ParameterError) -> str:
    """Where the culprit of an error stands, or the first key that the error's sentence names; "" where none is found.

    The culprit is a dotted name, or the last part of one.
    """
    if error.culprit:
        for wanted in (lambda keys: ".".join(keys) == error.culprit, lambda keys: keys[-1] == error.culprit):
            where, _ = where_is(name, folder, wanted)
            if where:
                return where
    named = [word for word in re.findall(r"\w+", str(error)) if word in StudyFile.model_fields]
    return next(filter(None, (where_is(name, folder, lambda keys, k=key: keys == (k,))[0] for key in named)), "")


def variables(name: str, folder: str | Path | None = None) -> set[str]:
    """The environment variables that a study and those that it extends take values from: {"DATA"} of `$DATA`."""
    files = _chain(name, studies_folder() if folder is None else Path(folder))
    texts = ("".join(f" {token.value}" for token in _scalars(path)) for path in files)
    return {a or b for text in texts for a, b in VARIABLE.findall(text)}


def _chain(name: str, folder: Path) -> Iterator[Path]:
    """The file of a study that can be read, then those that it extends."""
    while name:
        path = folder / f"{name}.yaml"
        yield path
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a safe loader
        name = content.get("extends", "")


def _lines(path: Path) -> Iterator[tuple[Keys, int]]:
    """The keys of a study file that can be read, each with those above it and its line."""

    def below(node: yaml.Node, above: Keys) -> Iterator[tuple[Keys, int]]:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            keys = (*above, str(key.value))
            yield keys, key.start_mark.line + 1
            yield from below(value, keys)

    root = yaml.compose(path.read_text(encoding="utf-8"), _Loader)
    if root is not None:
        yield from below(root, ())


def _scalars(path: Path) -> list[yaml.ScalarToken]:
    return [token for token in yaml.scan(path.read_text(encoding="utf-8")) if isinstance(token, yaml.ScalarToken)]


def _name_published(study: StudyFile) -> None:
    """Put the path of each backbone's published weights where stage 1 says `weights: published`."""
    everywhere = study.stage1.get("weights") == PUBLISHED
    if everywhere:
        del study.stage1["weights"]
        for backbone in study.backbones:
            if backbone not in study.members:
                study.backbone_stage1[backbone] = {"weights": PUBLISHED, **study.backbone_stage1.get(backbone, {})}
        for given in study.members.values():
            given.setdefault("weights", PUBLISHED)
    named = [(backbone, given) for backbone, given in study.backbone_stage1.items() if backbone in BACKBONES]
    named += [(given.get("backbone"), given) for given in study.members.values()]
    for backbone, given in named:
        if given.get("weights") == PUBLISHED:
            given["weights"] = published_weights(str(backbone))


def _extended(name: str, folder: Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The content of a study file, with that of the study it extends below it. above: those that extend it."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml"))
        raise ParameterError(f"there is no study file {path}{nearest(name, known)}")
    content = _read(path)
    if not isinstance(content, dict):
        raise ParameterError(f"{path} must hold `key: value` lines, as studies/smoke.yaml does")
    content = _spread(content)
    below = content.get("extends")
    if not below:
        return content
    if not isinstance(below, str) or below in (*above, name):
        raise ParameterError(f"{path}: extends must name another study that does not extend this one, not {below!r}")
    return _merged(_extended(below, folder, (*above, name)), content)


def _spread(content: dict[str, Any]) -> dict[str, Any]:
    """The content of one file, in which each stage has what `training` gives both, below what it gives itself."""
    shared = content.get("training", {})
    stages = {stage: content.get(stage, {}) for stage in ("stage1", "stage2")}
    if not shared or not _are_sections(shared, *stages.values()):
        return content
    return content | {stage: {**shared, **own} for stage, own in stages.items()}


def _merged(below: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(below[key], own[key]) for key in own if _are_sections(below.get(key), own[key])}
    return {**below, **own, **both}


def _are_sections(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _check_template(name: str, text: str, known: Iterable[str]) -> None:
    """Braces in a path of a study hold one of the `known` names, and nothing else."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        parts = [("", "", "", None)]
    for _, field, spec, conversion in parts:
        if field is not None and (field not in known or spec or conversion):
            raise ParameterError(
                f"{name} '{text}' is no path; of what stands in braces, only "
                f"{', '.join(f'{{{k}}}' for k in known)} is known"
            )


def _check_points(study: StudyFile) -> None:
    for name, given in (("seeds", study.seeds), ("backbones", study.backbones)):
        if len(set(given)) < len(given):
            raise ParameterError(f"{name} names one twice; name each once")
    for point, given in study.points.items():
        if not isinstance(given.get("teachers", []), list):
            raise ParameterError(f"point '{point}': teachers must be a list of names")
    for backbone in (
        *study.point_backbones,
        *(b for v in study.variants.values() for b in (*v.backbones, *v.students)),
    ):
        _check_known("point_backbones or a variant", backbone, study.backbones)
    for name in (*study.points, *study.variants, *study.members):
        taken = [
            "stage1",
            *study.settings,
            *(backbone for backbone in study.backbones if backbone not in study.members),
        ]
        if name in taken or not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise ParameterError(
                f"'{name}' cannot name a point, variant or member; choose lower-case letters, digits, "
                f"dots, hyphens and underscores, and none of {', '.join(taken)}"
            )
    presets = [backbone for backbone in study.backbones if backbone in BACKBONES]
    for member, given in study.members.items():
        if not str(given.get("backbone")).startswith(HUB):
            known = BACKBONES if member in study.backbones else presets
            _check_known(f"member '{member}'", given.get("backbone"), known)
    for point, given in study.points.items():
        for teacher in given.get("teachers", []):
            if is_outside(str(teacher)):
                _check_template(f"point '{point}', teachers", teacher, ("data", "study", "seed"))
            else:
                _check_known(f"point '{point}', teachers,", teacher, [*study.backbones, *study.members])
        for key in ("student", "teachers_of"):
            _check_known(
                f"point '{point}', {key},", given.get(key, "stage1"), ["stage1", *study.settings, *study.points]
            )
    for teacher in study.teachers:
        if not is_outside(teacher):
            raise ParameterError(f"teachers names '{teacher}'; say `clap:<folder or hub name>` or `embeddings:<file>`")
        _check_template("teachers", teacher, ("data", "study", "seed"))
    for notebook, names in study.ablations.items():
        if not Path(f"notebooks/{notebook}.ipynb").is_file():
            raise ParameterError(f"there is no notebook notebooks/{notebook}.ipynb")
        for name in names:
            _check_known(f"ablation '{notebook}'", name, [*study.points, *study.settings, *study.variants])


def _check_known(where: str, name: Any, known: Iterable[str]) -> None:
    if name not in known:
        raise ParameterError(f"{where} names '{name}'{nearest(name, known)}")


NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Loader(yaml.SafeLoader):
    """YAML as a study needs it: no key twice, no aliases (a few lines can stand for billions), 1e-3 a number."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not understood; write the value", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a name", problem_mark=key.start_mark)
            if key.tag in NUMBERS:
                problem = f"a key must be a name, not {key.value} (decimals are written with a point: 0.001)"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' stands there twice", problem_mark=key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _read(path: Path) -> Any:
    """The content of a study file, `$NAME` in its values replaced; ParameterError names file and line."""
    if path.stat().st_size > LARGEST:
        raise ParameterError(
            f"{path} has {path.stat().st_size:,} bytes, too many for a study file; write it as smoke.yaml is"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ParameterError(f"{path} is not valid YAML{line}: {error.problem}; mend that line") from None
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path} is no UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # such as a date that there is not, or a number of 5,000 digits
        raise ParameterError(f"{path} is not valid YAML: {str(error).splitlines()[0]}; mend that line") from None
    except RecursionError:
        raise ParameterError(f"{path} is nested without end; write it as studies/smoke.yaml is") from None
    return _expand(content, path)


def _expand(content: Any, path: Path) -> Any:
    """`$NAME`, or `${NAME}`, in a study file's values is an environment variable (DATA, SOUNDS ...).

    So no machine's path is written. What it holds is data: it is never read as YAML.
    """
    if isinstance(content, dict):
        return {key: _expand(value, path) for key, value in content.items()}
    if isinstance(content, list):
        return [_expand(value, path) for value in content]
    if not isinstance(content, str):
        return content

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ParameterError(f"{path} needs ${name}: run `make reproduce STUDY={path.stem} {name}=...`")
        return os.environ[name]

    return VARIABLE.sub(value, content)
