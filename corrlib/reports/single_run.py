"""Small pictures of one run for its own notebook: what a backbone sees, and how training went."""

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from corrlib.corpora.audio import read_clip
from corrlib.models.frontends import warp_frequency


def first_segment(backbone, clip):
    """The first segment of a clip (a row of Corpus.clips) as a waveform (1, samples)."""
    seconds = min(backbone.segment_seconds, clip.duration_seconds or backbone.segment_seconds)
    waveform = read_clip(clip.path, clip.start_seconds, seconds, backbone.sample_rate_hz)
    return torch.as_tensor(waveform)[None]


def facts(backbone, clip):
    """A table of what the backbone makes of one clip, and what a whole segment (10 s) costs."""
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


def gigaflops(backbone):
    """GFLOP (two a multiply-add) of one forward pass of a 10 s segment after its log-mel, in evaluation."""
    with torch.no_grad():
        log_mel = backbone.eval().log_mel(torch.zeros(1, backbone.segment_seconds * backbone.sample_rate_hz))
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention is not counted
            backbone.encode(log_mel)
    return counter.get_total_flops() / 1e9


def log_mel(backbone, clip):
    """The log-mel of a clip, as it enters the backbone."""
    with torch.no_grad():
        shown = backbone.eval().log_mel(first_segment(backbone, clip))[0]
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    axis.imshow(shown.numpy(), origin="lower", aspect="auto", cmap="magma")
    axis.set(xlabel="frame", ylabel="mel band", title=str(clip.clip_id).rsplit("/", 1)[-1])
    return figure


def patchout(backbone, clip):
    """A PaSST's patches of a clip, and a draw of those that one training step leaves out (dark)."""
    with torch.no_grad():
        shown = backbone.eval().log_mel(first_segment(backbone, clip))
    (rows, columns), (high, wide), (down, right) = backbone.grid(*shown.shape[1:]), backbone.patch, backbone.stride
    columns = min(columns, backbone.time_new_pos_embed.shape[3])
    places = torch.arange(rows * columns).view(1, 1, rows, columns)
    kept = set(backbone.patchout_draw(places).flatten().tolist())
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    axis.imshow(shown[0].numpy(), origin="lower", aspect="auto", cmap="magma")
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
    axis.set(xlabel="frame", ylabel="mel band", title=f"{len(kept)} of {rows * columns} patches stay in this draw")
    return figure


def warping(backbone, clip, low=0.6, draws=3):
    """The log-mel of a clip, and draws of ATST-Frame's frequency warping (published: bands of 60 to 100 %)."""
    with torch.no_grad():
        shown = backbone.eval().log_mel(first_segment(backbone, clip))
    figure, axes = plt.subplots(1, 1 + draws, figsize=(2.3 * (1 + draws), 2.4), sharey=True, layout="constrained")
    for number, axis in enumerate(axes):
        picture = warp_frequency(shown, low)[0] if number else shown[0]
        axis.imshow(picture.numpy(), origin="lower", aspect="auto", cmap="magma")
        axis.set(xlabel="frame", title=f"draw {number}" if number else "unchanged")
    axes[0].set_ylabel("mel band")
    return figure


def last_map(backbone, clip, channels=4):
    """The log-mel of a clip, and the most active channels of MN's last map, whose mean over the map is the features."""
    with torch.no_grad():
        shown = backbone.eval().log_mel(first_segment(backbone, clip))
        maps = backbone.features(shown[:, None])[0]
    figure, axes = plt.subplots(1, 1 + channels, figsize=(2 * (1 + channels), 2.4), layout="constrained")
    axes[0].imshow(shown[0].numpy(), origin="lower", aspect="auto", cmap="magma")
    axes[0].set(title="log-mel", xlabel="frame", ylabel="mel band")
    for axis, channel in zip(axes[1:], maps.mean((1, 2)).topk(channels).indices.tolist(), strict=True):
        axis.imshow(maps[channel].numpy(), origin="lower", aspect="auto", cmap="viridis")
        axis.set(title=f"channel {channel}", xlabel="position")
    return figure


def learning_curve(log):
    """Training loss and validation mAP@10 by epoch, from a run's log."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    left.plot(log["epoch"], log["loss"], marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(log["epoch"], 100 * log["validation mAP@10"], marker=".")
    right.set(xlabel="epoch", ylabel="validation mAP@10 (%)")
    return figure


def answer(run, metrics, log):
    """The run's result as a paragraph, rendered from its numbers."""
    best = log.loc[log["validation mAP@10"].idxmax()]
    lines = [
        f"**{run.parameters.run_name()}**, best of {len(log)} epochs by validation (epoch {best['epoch']:.0f}, "
        f"mAP@10 {100 * best['validation mAP@10']:.1f} %), on the {run.parameters.evaluate_on} split:",
        "",
    ]
    for relevance, found in metrics.items():
        names = [k for k in ("mAP@10", "R@1", "R@5", "R@10", "nDCG@10") if k in found] or list(found)
        shown = ", ".join(f"{k} {100 * found[k]:.1f} %" for k in names)
        lines.append(f"- {relevance}: {shown}")
    return Markdown("\n".join(lines))
