"""Rendered blocks of README.md and docs/: each a function from published tables to Markdown.

A block asks a `Published` for its tables, so that what it read is known: `corrlib.reports.pages` says below it who made
them. Numbers are rounded here and nowhere else.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import scipy

from corrlib.figures.measures import MAIN, coverage_words, relevance_of, shown
from corrlib.figures.style import (
    ENOUGH_SEEDS,
    NAMES,
    POOLED,
    family,
    intervals_over,
    looks,
    main_interval,
    seeds_text,
    setting_order,
)
from corrlib.reports.queries import ENSEMBLE
from corrlib.reports.results import stronger_control
from corrlib.study.publish import provenance

MINUS, GLUE, NONE = "−", "\N{NO-BREAK SPACE}", ""  # an interval stays on one line
EXTRAPOLATED, CAPTIONS_AT_ONCE = 400_000, 1024  # clips and captions of the largest corpora; of one block (90_benchmark)


class PageError(ValueError):
    """A block that cannot be rendered as it is asked for; the sentence says what to do."""


class Missing(Exception):
    """A table that has not been published yet."""


class Published:
    """The published tables below a folder, and which of them a block has read."""

    def __init__(self, folder: str | Path = "figures") -> None:
        self.folder = Path(folder)
        self.read: list[Path] = []

    def table(self, study: str, name: str) -> pd.DataFrame:
        """A study's `<name>.csv`; Missing where there is none. Those of IN_FIGURES lie in the folder itself."""
        path = self.path(study, name)
        if not path.is_file():
            raise Missing(study, path)
        if path not in self.read:
            self.read.append(path)
        return pd.read_csv(path)

    def path(self, study: str, name: str) -> Path:
        return (self.folder if study in IN_FIGURES else self.folder / study) / f"{name}.csv"


def entry_of(path: Path) -> dict:
    """The entry of provenance.json on a table; PageError where it has none."""
    for entry in provenance(path.parent).get("made", []):
        if path.stem in entry["files"]:
            return entry
    raise PageError(
        f"{path.parent / 'provenance.json'} does not say who made {path.name}; publish its study with `make publish`"
    )


BLOCKS: dict[str, Callable[..., str]] = {}
IN_FIGURES = ("builtin", "map")  # studies whose tables lie in the folder itself
OF_SEVERAL = {"regimes"}  # blocks whose tables say of every row who made it; a table of any other has one maker


def block(function: Callable[..., str]) -> Callable[..., str]:
    """Make a function a block that pages can ask for by its name; its arguments stand behind the name."""
    BLOCKS[function.__name__] = function
    return function


def rendered(published: Published, words: Iterable[str]) -> str:
    """The Markdown of a block: `words` are its name and arguments, as they stand in its marker."""
    name, *arguments = words
    if name not in BLOCKS:
        near = difflib.get_close_matches(name, list(BLOCKS), n=1)
        raise PageError(f"there is no block '{name}'; " + (f"did you mean '{near[0]}'?" if near else "see BLOCKS"))
    function = BLOCKS[name]
    try:
        inspect.signature(function).bind(published, *arguments)
    except TypeError:
        wanted = [p for p in inspect.signature(function).parameters if p != "published"]
        raise PageError(f"block '{' '.join((name, *arguments))}' takes {', '.join(wanted)}") from None
    return function(published, *arguments)


# how numbers are written


def percent(row: Any) -> str:
    """`13.4 [12.9, 14.0]` of a row with mean, low and high; without an interval where there is none."""
    interval = f"{GLUE}[{100 * row.low:.1f},{GLUE}{100 * row.high:.1f}]" if pd.notna(row.low) else NONE
    return f"{100 * row['mean']:.1f}{interval}"


def signed(value: Any) -> str:
    """A difference in percentage points."""
    return f"{100 * value:+.2f}".replace("-", MINUS)


def difference(row: Any) -> str:
    """`+0.49 [+0.29, +0.71]` of a row of paired differences, in percentage points, with its main interval."""
    low, high = main_interval(row)
    return f"{signed(row.difference)}{GLUE}[{signed(low)},{GLUE}{signed(high)}]"


def over_clips(row: Any) -> str:
    """`+0.25 to +0.73`: the interval over clips."""
    return f"{signed(row.low)}{GLUE}to{GLUE}{signed(row.high)}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def markdown(header: list[str], rows: list[list], right: int = 1) -> str:
    """A Markdown table; columns from number `right` on are aligned right."""
    lines = [header, ["---" if place < right else "---:" for place in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def backbone_name(backbone: Any) -> str:
    return NAMES[family(backbone)] if family(backbone) else backbone


def _metrics(table: pd.DataFrame, wanted: Iterable[str]) -> list[str]:
    return [metric for metric in wanted if (table["metric"] == metric).any()]


def _joined(words: list[str]) -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# the results of a study


def _pooled_results(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of results.csv on the mean of the backbones: as the table has them, else means without an interval.

    Of settings that every backbone has; an ablation's points may be of one only.
    """
    pooled = table[table["backbone"] == POOLED]
    if len(pooled):
        return pooled
    own = table[table["backbone"] != ENSEMBLE[0]]
    own = own[own.groupby("setting")["backbone"].transform("nunique") == own["backbone"].nunique()]
    found = own.groupby(["setting", "metric"], sort=False, as_index=False).agg(
        mean=("mean", "mean"), low=("low", "min"), high=("high", "max"), seeds=("seeds", "min")
    )
    if own["backbone"].nunique() > 1:
        found[["low", "high"]] = float("nan")
    return found


def _against_control(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of differences.csv against `continued`, on the mean of the backbones or of the only one."""
    return on_the_mean(table[table["against"] == "continued"])


@block
def summary(published: Published, study: str) -> str:
    """Settings by annotated and true mAP@10, mean over backbones, and their differences from `continued`."""
    results, differences = published.table(study, "results"), published.table(study, "differences")
    metrics = shown(results["metric"])
    pooled, against = _pooled_results(results), _against_control(differences)
    header = ["setting", *(f"{m} (%)" for m in metrics), *(f"{m.split()[0]}, {MINUS} `continued`" for m in metrics)]
    rows = []
    for setting in setting_order(s for s in pooled["setting"] if s != ENSEMBLE[1]):
        rows.append([f"`{setting}`", *_cells(pooled, setting, metrics, percent)])
        rows[-1] += _cells(against, setting, metrics, difference)
    together = results[results["setting"] == ENSEMBLE[1]]
    if len(together):
        rows.append(
            ["the stage-1 ensemble itself", *_cells(together, ENSEMBLE[1], metrics, percent), *(NONE for _ in metrics)]
        )
    backbones = looks(b for b in results["backbone"] if b not in (POOLED, ENSEMBLE[0]))
    names = _joined([label for _, _, label in backbones.values()])
    return markdown(header, rows) + (
        f"\n\nMean over {names}; {seeds_text(results['seeds'])}; differences are paired, in percentage points; in "
        f"brackets 95 % intervals, of the differences {intervals_over(against)}, else over clips."
        + coverage_words(results)
    )


def _cells(table: pd.DataFrame, setting: str, metrics: list[str], written: Callable[[Any], str]) -> list[str]:
    own = table[table["setting"] == setting].set_index("metric")
    return [written(own.loc[metric]) if metric in own.index else NONE for metric in metrics]


@block
def verdict(published: Published, study: str) -> str:
    """Which settings are told apart from both controls, on the mean of the backbones: by the smaller difference."""
    table = published.table(study, "differences")
    smaller = stronger_control(on_the_mean(table))
    lines = []
    for setting in setting_order(smaller["setting"]):
        own = smaller[(smaller["setting"] == setting) & smaller["metric"].isin(shown(smaller["metric"]))]
        said = [
            f"{stands(row)} `{row.against}` in {row.metric}, {difference(row)}{_also(row)}" for row in own.itertuples()
        ]
        lines.append(f"- `{setting}` is {'; '.join(said)}.")
    return (
        "Against the stronger of the two controls, `continued` and stage 1, on the mean of the backbones (points, 95 % "
        f"intervals {intervals_over(smaller)}):\n\n" + "\n".join(lines)
    )


def on_the_mean(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of differences.csv on the mean of the backbones, or of the only one."""
    pooled = table[table["backbone"] == POOLED]
    return pooled if len(pooled) or table["backbone"].nunique() > 1 else table


def stands(row: Any) -> str:
    low, high = main_interval(row)
    return "above" if low > 0 else "below" if high < 0 else "not told apart from"


def _also(row: Any) -> str:
    seeds = row.seeds >= ENOUGH_SEEDS
    return f" (over clips {over_clips(row)}; p {p_value(row.p_holm)})" if seeds else f" (p {p_value(row.p_holm)})"


@block
def results(published: Published, study: str) -> str:
    """Every setting of every backbone by every metric, in percent; a table of its own for what is neither annotated nor
    true: clip-to-caption, and each relevance of the study.
    """
    table = published.table(study, "results")
    groups: dict[str, list[str]] = {}
    for metric in dict.fromkeys(table["metric"]):
        relevance = relevance_of(metric)
        groups.setdefault("" if relevance in ("annotated", "true") else relevance, []).append(metric)
    parts = [f"**{name}**\n\n" * bool(name) + _all_results(table, metrics) for name, metrics in groups.items()]
    return "\n\n".join(parts) + f"\n\nPercent; {seeds_text(table['seeds'])}; 95 % over clips.{coverage_words(table)}"


def _all_results(table: pd.DataFrame, metrics: list[str]) -> str:
    order = looks(b for b in table["backbone"] if b not in (POOLED, ENSEMBLE[0]))
    rows = []
    for backbone in (*order, *(b for b in (POOLED, ENSEMBLE[0]) if b in set(table["backbone"]))):
        part = table[table["backbone"] == backbone]
        name = order[backbone][2] if backbone in order else backbone
        rows += [[name, f"`{s}`", *_cells(part, s, metrics, percent)] for s in setting_order(part["setting"])]
    return markdown(["backbone", "setting", *metrics], rows, right=2)


@block
def literature(published: Published, study: str) -> str:
    """A study's own results beside what was published on the same test split (see corrlib.reports.literature)."""
    table = published.table(study, "literature")
    measures = [name for name in table.columns.tolist() if "@" in name]
    header = ["backbone", "setting", "trained on", *measures, "seeds", "source"]
    rows = [
        [row["backbone"], f"`{row['setting']}`", row["what"], *(_number(row[m], 1) for m in measures)]
        + [row["seeds"], row["source"]]
        for row in table.to_dict("records")
    ]
    return markdown(header, rows, right=3) + "\n\nCaption to clip, by the annotated pairs; percent."


@block
def differences(published: Published, study: str) -> str:
    """Paired differences of every setting from `continued` and from stage 1, by backbone."""
    table = published.table(study, "differences")
    return _paired(table, "setting", shown(table["metric"]))


@block
def points(published: Published, study: str, name: str, *metrics: str) -> str:
    """Paired differences of an ablation's points from their control. name: the table; metrics: others than MAIN, with
    `_` for a blank.
    """
    table = published.table(study, name)
    label = next(column for column in ("point", "setting") if column in table)
    return _paired(table, label, [m.replace("_", " ") for m in metrics] or MAIN)


def _paired(table: pd.DataFrame, label: str, wanted: Iterable[str] = MAIN) -> str:
    """Tables of paired differences, one a metric: a comparison a row, the mean of the backbones first."""
    seeds, several = intervals_over(table) == "over seeds", table["backbone"].nunique() > 1
    order = {key: place for place, key in enumerate(dict.fromkeys(_comparisons(table, label)))}
    table = table.assign(comparison=_comparisons(table, label), later=table["backbone"] != POOLED)
    table = table.assign(place=table["comparison"].map(order)).sort_values(["place", "later"], kind="stable")
    header = ["comparison", *(["backbone"] if several else []), "difference", *(["over clips"] if seeds else []), "p"]
    parts = []
    for metric in _metrics(table, wanted):
        rows = []
        for row in _of(table, metric).itertuples():
            rows.append([row.comparison, *([backbone_name(row.backbone)] if several else []), difference(row)])
            rows[-1] += [*([over_clips(row)] if seeds else []), p_value(row.p_holm)]  # pyrefly: ignore
        parts.append(f"**{metric}**\n\n{markdown(header, rows, right=1 + several)}")
    alone = NONE if several else f" of {backbone_name(table['backbone'].iloc[0])}"
    return "\n\n".join(parts) + (
        f"\n\nPercentage points{alone}, paired by caption, {seeds_text(table['seeds'])}; in brackets 95 % intervals "
        f"{intervals_over(table)}; p after Holm's correction."
    )


def _comparisons(table: pd.DataFrame, label: str) -> list[str]:
    """What each row compares: a point or setting, or a variant of the study, with its control."""
    names = table["variant"] if "variant" in table else table[label]
    under = [f", {regime}" for regime in table["regime"]] if "regime" in table else [NONE] * len(table)
    return [f"`{n}` {MINUS} `{a}`{u}" for n, a, u in zip(names, table["against"], under, strict=True)]


@block
def ceiling(published: Published, study: str) -> str:
    """What an oracle that ranks by the truth reaches, and which share of it each setting does."""
    table = published.table(study, "ceiling")
    metrics = _metrics(table, MAIN)
    own = table[(table["backbone"] != POOLED) & (table["setting"] != ENSEMBLE[1])]
    header = ["", *metrics]
    rows = [["oracle (%)", *(f"{100 * _of(table, m)['ceiling'].iloc[0]:.1f}" for m in metrics)]]
    rows += [
        [f"`{setting}`, share of it", *(_range(_of(own[own["setting"] == setting], m)) for m in metrics)]
        for setting in setting_order(own["setting"])
    ]
    return markdown(header, rows) + "\n\nShares in percent, from the weakest to the strongest backbone."


def _of(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[table["metric"] == metric]


def _range(rows: pd.DataFrame) -> str:
    shares = 100 * rows["share mean"]
    return f"{shares.min():.0f} to {shares.max():.0f}" if len(rows) else NONE


# ablations


@block
def target_quality(published: Published, study: str) -> str:
    """How near each target is to the truth, where its probability lies, and whether nearer targets teach better."""
    table = published.table(study, "ablation_targets")
    metrics = [m for m in (*MAIN, "true nDCG@10") if (table["metric"] == m).any()]
    quality = ["rank_correlation", "average_precision"]
    mass = ["annotated", "wholly", "partly", "not"]
    header = ["target", "rank correlation", "average precision", *(f"mass: {m}" for m in mass), *metrics]
    rows = []
    for point, part in table.groupby("point", sort=False):
        own = part.set_index("metric")
        first = part.iloc[0]
        rows.append(
            [f"`{point}`", *(_number(first[q], 2) for q in quality), *(f"{100 * first[m]:.0f} %" for m in mass)]
        )
        rows[-1] += [signed(own.loc[m, "difference"]) if m in own.index else NONE for m in metrics]
    linked = [f"{m} {_spearman(table[table['metric'] == m]):+.2f}".replace("-", MINUS) for m in metrics]
    return markdown(header, rows) + (
        "\n\nRank correlation with the truth and average precision of whole matches, both of pairs that are not "
        "annotated; where the target's probability lies; its student's difference from `continued` in points. Rank "
        f"correlation over these {table['point'].nunique()} targets between nearness to the truth and difference: "
        f"{_joined(linked)}."
    )


def _spearman(rows: pd.DataFrame) -> float:
    return scipy.stats.spearmanr(rows["rank_correlation"], rows["difference"]).statistic


@block
def knowledge(published: Published, study: str) -> str:
    """What ensembles know: their estimate against the truth and their own retrieval, mean over seeds."""
    table = published.table(study, "ablation_ensembles_knowledge")
    measured = ["average_precision", "rank_correlation", "annotated mAP@10"]
    mean = (
        table.groupby(["members", "group"], sort=False)[measured]
        .mean()
        .reset_index()
        .sort_values("members", kind="stable")
    )
    rows = [
        [row["group"], row["members"], *(f"{row[m]:.3f}" for m in measured[:2]), f"{100 * row[measured[2]]:.1f}"]
        for row in mean.to_dict("records")
    ]
    return markdown(["ensemble", "members", "average precision", "rank correlation", "annotated mAP@10 (%)"], rows)


@block
def cost(published: Published, study: str) -> str:
    """What each further member costs, mean over seeds."""
    table = published.table(study, "ablation_ensembles_cost")
    mean = table.groupby(["members", "added"], sort=False).mean(numeric_only=True).reset_index()
    rows = [
        [
            row["members"],
            row["added"],
            f"{row['training seconds']:.0f}",
            f"{row['bytes'] / 2**20:.0f}",
            f"{row['estimating seconds']:.1f}",
        ]
        for row in mean.to_dict("records")
    ]
    return markdown(["members", "added", "training (s)", "embeddings (MiB)", "estimating (s)"], rows, right=2)


@block
def when_it_helps(published: Published, study: str) -> str:
    """The gain of the ensemble's estimate by variant of the study, beside how good student and teacher were."""
    table = published.table(study, "when_it_helps")
    metrics = _metrics(table, MAIN)
    header = ["variant", "backbone", "student", "teacher", "pairs that match wholly", *metrics]
    rows = []
    for (variant, backbone), part in table.groupby(["variant", "backbone"], sort=False):
        own, first = part.set_index("metric"), part.iloc[0]
        rows.append([f"`{variant}`", backbone_name(backbone), f"{first['student']:.2f}", f"{first['teacher']:.2f}"])
        rows[-1] += [f"{100 * first['wholly']:.1f} %", *(difference(own.loc[m]) for m in metrics)]
    return markdown(header, rows, right=2) + (
        "\n\nStudent and teacher: average precision of whole matches that are not annotated, after stage 1 and of the "
        f"ensemble. `ensemble` against `continued`, percentage points, 95 % intervals {intervals_over(table)}."
    )


# what people said, and what 13_explore found


@block
def graded(published: Published) -> str:
    """Rank correlation of a sentence encoder's ratings with people's."""
    table = published.table("builtin", "graded_relevance")
    rows = [
        [
            row["clips"],
            row["split"],
            row["queries"],
            f"{row['rank correlation']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
        ]
        for row in table.to_dict("records")
    ]
    return markdown(["clips", "split", "captions", "rank correlation"], rows, right=2)


@block
def partial_matches(published: Published, study: str = "builtin") -> str:
    """What the greatest disagreements of annotation and estimate are like, by the truth."""
    table = published.table(study, "explore_partial_matches").head(100)
    whole, part = (table["true"] >= 1).mean(), ((table["true"] > 0) & (table["true"] < 1)).mean()
    return (
        f"Of the {len(table)} captions on which annotation and estimate disagree most, the clip that the ensemble "
        f"prefers matches wholly in {100 * whole:.0f} % and in part in {100 * part:.0f} %, by the truth."
    )


# speed


@block
def benchmark(published: Published) -> str:
    """Every part beside what one would pick instead."""
    table = published.table("benchmark", "benchmark")
    rows = [
        [
            row["part"],
            row["work"],
            _number(row["seconds"], 3),
            row["usual"] if isinstance(row["usual"], str) else NONE,
            _number(row["usual_seconds"], 3),
            _number(row["times_faster"], 2),
            _number(100 * row["of_peak"], 0),
            _number(row["ours_gib"], 2),
            _number(row["usual_gib"], 2),
        ]
        for row in table.to_dict("records")
    ]
    header = ["part", "work", "s", "instead of", "its s", "times as fast", "% of peak", "GiB", "its GiB"]
    return markdown(header, rows, right=2)


def _number(value: Any, digits: int) -> str:
    return NONE if pd.isna(value) else f"{value:.{digits}f}".replace("-", MINUS)


@block
def growth(published: Published) -> str:
    """Estimation and search at the largest number of clips that was measured, and what follows for larger corpora."""
    table = published.table("benchmark", "benchmark_growth")
    last = table.loc[table.groupby(["work", "way"], sort=False)["n"].idxmax()]
    rows = [
        [row.work, row.way, f"{row.n:,}", _number(row.seconds, 3), _number(row.gib, 2), _number(row.recall, 3)]
        for row in last.itertuples()
    ]
    disk = last[last["work"] == "estimation from disk"].iloc[0]
    hours = disk["seconds"] * EXTRAPOLATED / disk["n"] * EXTRAPOLATED / CAPTIONS_AT_ONCE / 3600
    return markdown(["work", "way", "clips", "s", "GiB", "recall"], rows, right=2) + (
        f"\n\nFrom disk, the best 50 clips of each of {EXTRAPOLATED:,} captions among as many clips, by three models "
        f"of the published size, would take {hours:.1f} hours (extrapolated: time is linear in clips times captions)."
    )


@block
def merged_epoch(published: Published) -> str:
    """GFLOP of the audio in a training epoch of the three corpora, as shares of padding every clip to the crop."""
    table = published.table("benchmark", "merged_epoch")
    shares = ["expected", "at_least", "at_most", "whole_seconds"]
    rows = [[row["corpus"], *(f"{100 * row[s]:.0f} %" for s in shares)] for row in table.to_dict("records")]
    return markdown(["corpus", *(s.replace("_", " ") for s in shares)], rows)
