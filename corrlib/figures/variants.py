"""When stage 2 helps: gains beside the strength of student and teacher and the ambiguity of the corpus, on one page."""

import matplotlib.pyplot as plt
import numpy as np

from corrlib.figures.style import PALETTE, legend, looks, say, seeds_text, use_style

CAUSES = {
    "student": "student after stage 1,\nshare of the oracle",
    "lead": "teacher − student,\nshare of the oracle",
    "wholly": "share of clips that a\ncaption describes wholly",
}
KINDS = {
    "all": "the study itself",
    "ambiguity": "other ambiguity",
    "share": "less data, equal epochs",
    "steps": "less data, equal steps",
    "swapped": "wrong captions",
}


def when_it_helps(table, explained, metrics=("annotated mAP@10", "true mAP@10")):
    """Gain of `ensemble` over `continued` in every variant, against what might explain it; a row of panels a metric.

    table: variants.when_it_helps; explained: variants.explained, whose rank correlations stand in the titles.
    """
    use_style()
    metrics, look = [m for m in metrics if m in set(table["metric"])], looks(table["backbone"])
    shades = dict(zip(KINDS, ("0.2", *PALETTE), strict=True))
    kind_of = {
        v: "steps" if v.endswith("-steps") else next((k for k in KINDS if v.startswith(k)), "all")
        for v in table["variant"].unique()
    }
    marks = dict(zip(look, "os^Dv", strict=False))
    figure, axes = plt.subplots(
        len(metrics),
        len(CAUSES),
        figsize=(3.1 * len(CAUSES) + 1.6, 2.9 * len(metrics) + 0.5),
        layout="constrained",
        squeeze=False,
        sharey="row",
        sharex="col",
    )
    for line, metric in zip(axes, metrics, strict=True):
        own = table[table["metric"] == metric]
        for axis, (cause, name) in zip(line, CAUSES.items(), strict=True):
            axis.axhline(0, color="0.4", lw=1, zorder=0)
            for row in own.itertuples():
                bars = 100 * np.array([[row.difference - row.low], [row.high - row.difference]])
                axis.errorbar(
                    100 * getattr(row, cause),
                    100 * row.difference,
                    bars,
                    fmt=marks[row.backbone],
                    ms=4.5,
                    color=shades[kind_of[row.variant]],
                    lw=1,
                    capsize=1.5,
                    alpha=0.85,
                )
            rho = explained.loc[explained["metric"] == metric, cause].iloc[0]
            axis.set(title=f"{metric}, ρ " + (f"{rho:+.2f}" if np.isfinite(rho) else "unknown"))
            if metric == metrics[-1]:
                axis.set(xlabel=f"{name} (%)")
        line[0].set_ylabel("ensemble − continued\n(percentage points)")
    used = [k for k in KINDS if k in kind_of.values()]
    handles = [plt.Line2D([], [], ls="", marker="o", ms=4.5, color=shades[k], label=KINDS[k]) for k in used]
    if len(look) > 1:
        handles += [plt.Line2D([], [], ls="", marker=marks[b], ms=4.5, color="0.6", label=look[b][2]) for b in look]
    legend(figure, handles)
    first = table[table["metric"] == metrics[0]]
    say(
        figure,
        f"Stage 2 raises {metrics[0]} clearly in {int((first['low'] > 0).sum())} of {len(first)} cases",
        f"A dot a variant of the study and backbone; {seeds_text(table['seeds'])}; bars: 95 % bootstrap interval over "
        "clips; ρ: Spearman's rank correlation. The variants were not drawn at random: correlations describe them, "
        "they do not prove a cause.",
    )
    return figure
