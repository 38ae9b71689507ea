"""One run in its own notebook: what a backbone sees, how training went, what came of it beside other runs."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from corrlib.corpora.audio import read_clip
from corrlib.corpora.batches import Batch, epoch_batches
from corrlib.corpora.splits import Corpora
from corrlib.figures import use_style
from corrlib.figures.captions import shorten
from corrlib.models.backbone import Backbone
from corrlib.models.frontends import warp_frequency
from corrlib.models.mobilenet import MobileNet
from corrlib.models.passt import PaSST
from corrlib.reports.compare import compare
from corrlib.study import runs
from corrlib.study.parameters import MACHINE, StageTwoParameters, TrainingParameters

# of a batch: (clip_given_caption, caption_given_clip), each (clips, captions), or None: the annotated pairs alone
Target = Callable[[Batch], tuple[torch.Tensor, torch.Tensor] | None]
# in these a run may differ from its control: what it is trained towards, and what changes no number
TOWARDS = ("study", "run", "target", "teachers", "w_sup", "w_dist", "target_temperature", "combine")


def first_segment(backbone: Backbone, clip: pd.Series) -> torch.Tensor:
    """The first segment of a clip as a waveform (1, samples). clip: a row of Corpus.clips."""
    seconds = min(backbone.segment_seconds, clip.duration_seconds or backbone.segment_seconds)
    waveform = read_clip(clip.path, clip.start_seconds, seconds, backbone.sample_rate_hz)
    return torch.as_tensor(waveform)[None]


def facts(backbone: Any, clip: pd.Series) -> pd.DataFrame:
    """A table `value` of what the backbone makes of one clip, and what a whole segment (10 s) costs.

    backbone: a Backbone that counts its tokens; clip: a row of Corpus.clips.
    """
    waveform = first_segment(backbone, clip)
    with torch.no_grad():
        log_mel = backbone.eval().log_mel(waveform)
        features = backbone.encode(log_mel)
    segment = backbone.segment_seconds * backbone.sample_rate_hz
    rows = {
        f"samples at {backbone.sample_rate_hz / 1000:g} kHz": waveform.shape[1],
        "log-mel (mels x frames)": f"{log_mel.shape[1]} x {log_mel.shape[2]}",
        "tokens in evaluation": backbone.token_count(waveform.shape[1]),
        "tokens in training": backbone.token_count(waveform.shape[1], training=True),
        "features": features.shape[1],
        "parameters": f"{sum(p.numel() for p in backbone.parameters()):,}",
        "tokens of a 10 s segment": backbone.token_count(segment),
        "cost of a 10 s segment": f"{gigaflops(backbone):.2f} GFLOP forward",
    }
    return pd.DataFrame({"value": {k: str(v) for k, v in rows.items()}})


def gigaflops(backbone: Backbone) -> float:
    """GFLOP (two a multiply-add) of one forward pass of a 10 s segment after its log-mel, in evaluation."""
    with torch.no_grad():
        log_mel = backbone.eval().log_mel(torch.zeros(1, backbone.segment_seconds * backbone.sample_rate_hz))
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention is not counted
            backbone.encode(log_mel)
    return counter.get_total_flops() / 1e9


def _log_mel_of(backbone: Backbone, clip: pd.Series) -> torch.Tensor:
    """(1, mels, frames) of a clip's first segment, as it enters the backbone in evaluation."""
    with torch.no_grad():
        return backbone.eval().log_mel(first_segment(backbone, clip))


def _draw_log_mel(axis: Axes, shown: torch.Tensor, **labels: str) -> None:
    axis.imshow(shown.numpy(), origin="lower", aspect="auto", cmap="magma")
    axis.set(**labels)


def log_mel(backbone: Backbone, clip: pd.Series) -> Figure:
    """The log-mel of a clip's first segment, as it enters the backbone."""
    use_style()
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    name = shorten(str(clip.clip_id).rsplit("/", 1)[-1], 6)
    _draw_log_mel(axis, _log_mel_of(backbone, clip)[0], xlabel="frame", ylabel="mel band", title=name)
    return figure


def patchout(backbone: PaSST, clip: pd.Series) -> Figure:
    """A PaSST's patches of a clip, and a draw of those that one training step leaves out (dark)."""
    use_style()
    shown = _log_mel_of(backbone, clip)
    (rows, columns), (high, wide), (down, right) = backbone.grid(*shown.shape[1:]), backbone.patch, backbone.stride
    columns = min(columns, backbone.time_new_pos_embed.shape[3])
    places = torch.arange(rows * columns).view(1, 1, rows, columns)
    kept = set(backbone.patchout_draw(places).flatten().tolist())
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    _draw_log_mel(axis, shown[0], xlabel="frame", ylabel="mel band")
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        dark = place not in kept
        axis.add_patch(
            plt.Rectangle(
                (column * right - 0.5, row * down - 0.5),
                wide,
                high,
                lw=0.4,
                edgecolor="white",
                facecolor=(0, 0, 0, 0.75) if dark else "none",
            )
        )
    axis.set_title(f"{len(kept)} of {rows * columns} patches stay in this draw")
    return figure


def warping(backbone: Backbone, clip: pd.Series, low: float = 0.6, draws: int = 3) -> Figure:
    """The log-mel of a clip, and draws of ATST-Frame's frequency warping (published: bands of 60 to 100 %).

    low: the least share of the mel axis that a draw stretches to the whole.
    """
    use_style()
    shown = _log_mel_of(backbone, clip)
    figure, axes = plt.subplots(1, 1 + draws, figsize=(2.3 * (1 + draws), 2.4), sharey=True, layout="constrained")
    for number, axis in enumerate(axes):
        picture = warp_frequency(shown, low)[0] if number else shown[0]
        _draw_log_mel(axis, picture, xlabel="frame", title=f"draw {number}" if number else "unchanged")
    axes[0].set_ylabel("mel band")
    return figure


def last_map(backbone: MobileNet, clip: pd.Series, channels: int = 4) -> Figure:
    """The log-mel of a clip, and the most active channels of MN's last map, whose mean over the map is the features."""
    use_style()
    shown = _log_mel_of(backbone, clip)
    with torch.no_grad():
        maps = backbone.features(shown[:, None])[0]
    figure, axes = plt.subplots(1, 1 + channels, figsize=(2 * (1 + channels), 2.4), layout="constrained")
    _draw_log_mel(axes[0], shown[0], title="log-mel", xlabel="frame", ylabel="mel band")
    for axis, channel in zip(axes[1:], maps.mean((1, 2)).topk(channels).indices.tolist(), strict=True):
        axis.imshow(maps[channel].numpy(), origin="lower", aspect="auto", cmap="viridis")
        axis.set(title=f"channel {channel}", xlabel="position")
    return figure


def learning_curve(log: pd.DataFrame) -> Figure:
    """Training loss and validation mAP@10 by epoch. log: as log.csv of a run, one row an epoch."""
    use_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    left.plot(log["epoch"], log["loss"], marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(log["epoch"], 100 * log["validation mAP@10"], marker=".")
    right.set(xlabel="epoch", ylabel="validation mAP@10 (%)")
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def target_row(parameters: StageTwoParameters, corpora: Corpora, target: Target) -> tuple[str, pd.DataFrame]:
    """A caption of the first training batch, and its row of the target, as the student is told it.

    Returns (caption, table `clip_id, text, annotated, estimated, true`): one row a clip of the batch, the most probable
    first; text is the first of the clip's own captions. `estimated` is p(clip | caption), of which the batch's clips
    share 1, nan where the target is the annotated pairs; `true` is nan where nobody knows it.
    """
    items, p = corpora.items("development"), parameters
    longest = p.clip_seconds if p.like_lengths else None
    first_batch = next(iter(epoch_batches(items, p.batch_clips, p.captions_per_clip, p.draw_seed(), 0, longest)))
    clip_rows, caption_rows = first_batch.clip_rows, first_batch.caption_rows[:1]
    annotated = items.annotated(clip_rows, caption_rows)
    estimated = target(Batch(clip_rows, caption_rows, annotated))
    first_caption = corpora.corpus("development").captions.groupby("clip_id", sort=False)["text"].first()
    clip_ids = [items.clip_ids[row] for row in clip_rows.tolist()]
    known = corpora.name == "soundscapes"
    true = corpora.truth_of("development", clip_rows.numpy(), caption_rows.numpy())[:, 0] if known else float("nan")
    table = pd.DataFrame(
        {
            "clip_id": clip_ids,
            "text": first_caption.loc[clip_ids].to_numpy(),
            "annotated": annotated[:, 0].int().numpy(),
            "estimated": float("nan") if estimated is None else estimated[0][:, 0].numpy(),
            "true": true,
        }
    )
    order = ["annotated"] if estimated is None else ["estimated", "annotated"]
    return items.texts[int(caption_rows[0])], table.sort_values(order, ascending=False, kind="stable").reset_index(
        drop=True
    )


def control_of(parameters: StageTwoParameters) -> str | None:
    """The finished run of the same student and training whose target is the annotated pairs; None if there is none."""
    wanted = {k: v for k, v in parameters.model_dump().items() if k not in (*TOWARDS, *MACHINE)}
    finished = runs.gather(parameters.study)
    for run in finished.loc[finished["setting"] == "continued", "run"]:
        other = runs.read_manifest(parameters.study, run)["parameters"]
        if run != parameters.run_name() and all(other.get(key) == value for key, value in wanted.items()):
            return run
    return None


def differences(parameters: StageTwoParameters, resamples: int = 2000) -> pd.DataFrame:
    """The finished run less its control and less its student: paired over captions, metric by metric.

    Columns against (`continued` or `student`), run, and those of `corrlib.reports.compare.compare`; no rows for a
    control that is not finished, nor for a run that was judged on other captions (a student of another corpus).
    """
    study, tables = parameters.study, []
    for against, run in (("continued", control_of(parameters)), ("student", parameters.student)):
        if run is None or _captions_of(study, run) != _captions_of(study, parameters.run_name()):
            continue
        table = compare(f"{study}/{parameters.run_name()}", f"{study}/{run}", resamples)
        tables.append(table.assign(against=against, run=run))
    columns = ["against", "run", "metric", "a", "b", "difference", "low", "high", "p", "p_holm"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def in_points(differences: pd.DataFrame) -> pd.DataFrame:
    """The table of `differences` to be read: values in per cent, differences in points, one row a run and metric."""
    shares = ["a", "b", "difference", "low", "high"]
    shown = differences.assign(**{column: 100 * differences[column] for column in shares})
    shown = shown.rename(columns={"a": "this run", "b": "the other"}).set_index(["against", "metric"])
    return shown.drop(columns="p").round(
        {"this run": 1, "the other": 1, "difference": 2, "low": 2, "high": 2, "p_holm": 4}
    )


def _captions_of(study: str, run: str) -> list[str]:
    return runs.read_table(study, run, "queries.csv")["caption_id"].tolist()


def answer(parameters: TrainingParameters, metrics: Mapping[str, Mapping[str, float]], log: pd.DataFrame) -> Markdown:
    """The run's result as a paragraph, rendered from its numbers.

    metrics: {relevance: {metric: value in [0, 1]}}, as metrics.json; log: as log.csv, one row an epoch.
    """
    kept = log[log["epoch"] == runs.kept_epoch(log, parameters.select_by)].iloc[0]
    last = parameters.select_by == "last epoch"
    choice = (
        f"last of {len(log)} epochs ("
        if last
        else f"best of {len(log)} epochs by validation (epoch {kept['epoch']:.0f}, "
    )
    lines = [
        f"**{parameters.run_name()}**, {choice}mAP@10 {100 * kept['validation mAP@10']:.1f} %), on the "
        f"{parameters.evaluate_on} split:",
        "",
    ]
    for relevance, values in metrics.items():
        told = [f"{k} {100 * values[k]:.1f} %" for k in ("mAP@10", "R@1", "R@5", "R@10", "nDCG@10") if k in values]
        told += [f"{k} {values[k]:.2f}" for k in ("rank correlation",) if k in values]
        over = f" ({values['queries']:,} queries)" if "queries" in values else ""
        lines.append(f"- {relevance}{over}: " + ", ".join(told))
    return Markdown("\n".join(lines))


def answer_of_differences(parameters: StageTwoParameters, table: pd.DataFrame, metric: str = "mAP@10") -> Markdown:
    """What stage 2 has added, as sentences with their numbers. table: as `differences`."""
    words = {"continued": "trained as long on the annotated pairs", "student": "from which it started"}
    lines = []
    for against, means in words.items():
        rows = table[(table["against"] == against) & table["metric"].str.endswith(f" {metric}")]
        shown = [
            f"{row['metric']} {100 * row['difference']:+.2f} points [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
            for row in rows.to_dict("records")
        ]
        if shown:
            lines.append(f"- less **{rows['run'].iloc[0]}**, {means}: {', '.join(shown)}")
        elif against == "student":
            lines.append(f"- {parameters.student} was judged on other captions: there is no paired difference from it.")
        elif parameters.target != "annotated":
            lines.append(
                "- **The control `continued` is not finished yet** (same student and training, towards the annotated "
                'pairs): run this notebook with `target = "annotated"`, then these cells again.'
            )
    return Markdown("\n".join([*lines, "", "In brackets 95 % intervals over clips; one course of training."]))
