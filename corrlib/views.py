"""Small pictures of one run for its own notebook: what a backbone sees, and how training went."""
import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown

from corrlib.audio import read_clip


def first_segment(backbone, clip):
    """The first segment of a clip (a row of Corpus.clips) as a waveform (1, samples)."""
    seconds = min(backbone.segment_seconds, clip.duration_seconds or backbone.segment_seconds)
    waveform = read_clip(clip.path, clip.start_seconds, seconds, backbone.sample_rate_hz)
    return torch.as_tensor(waveform)[None]


def facts(backbone, clip):
    """A table of what the backbone makes of one clip: log-mel, tokens, parameters."""
    waveform = first_segment(backbone, clip)
    with torch.no_grad():
        log_mel = backbone.eval().log_mel(waveform)
        features = backbone.encode(log_mel)
    rows = {"samples at 32 kHz": waveform.shape[1], "log-mel (mels x frames)": f"{log_mel.shape[1]} x {log_mel.shape[2]}",
            "tokens in evaluation": backbone.token_count(waveform.shape[1]), "features": features.shape[1],
            "parameters": f"{sum(p.numel() for p in backbone.parameters()):,}"}
    return pd.DataFrame({"value": {k: str(v) for k, v in rows.items()}})


def log_mel(backbone, clip):
    """The log-mel of a clip, as it enters the backbone."""
    with torch.no_grad():
        shown = backbone.eval().log_mel(first_segment(backbone, clip))[0]
    figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
    axis.imshow(shown.numpy(), origin="lower", aspect="auto", cmap="magma")
    axis.set(xlabel="frame", ylabel="mel band", title=str(clip.clip_id).rsplit("/", 1)[-1])
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
    lines = [f"**{run.parameters.run_name()}**, best of {len(log)} epochs by validation (epoch {best['epoch']:.0f}, "
             f"mAP@10 {100 * best['validation mAP@10']:.1f} %), on the {run.parameters.evaluate_on} split:", ""]
    for relevance, found in metrics.items():
        shown = ", ".join(f"{k} {100 * found[k]:.1f} %" for k in ("mAP@10", "R@1", "R@5", "R@10", "nDCG@10"))
        lines.append(f"- {relevance}: {shown}")
    return Markdown("\n".join(lines))
