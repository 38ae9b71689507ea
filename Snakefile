# A study as a graph: one job a run, each a notebook executed by papermill (corrlib/study/plan.py makes the plan).
# `corrlib.study.reproduce` starts it, after it has asked which runs are what the plan wants (corrlib/study/identity.py)
# and left a stamp for each; a job asks again when its parents are done. Files' times decide nothing.
import sys
from corrlib.study.plan import plan_runs, urgency
from corrlib.study.reproduce import stamps

STUDY = config.get("study", "builtin")
PLANS = plan_runs(STUDY)
URGENCY = urgency(PLANS)
ONLY = str(config.get("only", "") or "").split()
DONE = str(stamps(STUDY) / "{run}")

rule all:
    input: expand(DONE, run=ONLY or PLANS)

rule run:
    input: lambda wildcards: [ancient(DONE.format(run=run)) for run in PLANS[wildcards.run].needs]
    output: touch(DONE)
    wildcard_constraints: run="[^/]+"
    priority: lambda wildcards: URGENCY[wildcards.run]
    threads: 1
    resources: gpu=lambda wildcards: int(PLANS[wildcards.run].kind in ("stage1", "stage2"))
    shell: "{sys.executable:q} -m corrlib.study.warm {STUDY:q} {wildcards.run:q}"
