# A study as a graph: one job a run, each a notebook executed by papermill (see corrlib/study/plan.py).
import json
import sys
from corrlib.study import runs
from corrlib.study.plan import plan_runs, urgency

STUDY = config.get("study", "builtin")
PLANS = plan_runs(STUDY)
URGENCY = urgency(PLANS)
ONLY = str(config.get("only", "") or "").split()
DONE = str(runs.root() / STUDY / "{run}" / "manifest.json")

rule all:
    input: expand(DONE, run=ONLY or PLANS)

rule run:
    input: lambda wildcards: expand(DONE, run=PLANS[wildcards.run].needs)
    output: DONE
    params: parameters=lambda wildcards: json.dumps(PLANS[wildcards.run].parameters, sort_keys=True)
    wildcard_constraints: run="[^/]+"
    priority: lambda wildcards: URGENCY[wildcards.run]
    threads: 1
    resources: gpu=lambda wildcards: int(PLANS[wildcards.run].kind in ("stage1", "stage2"))
    shell: "{sys.executable:q} -m corrlib.study.warm {STUDY:q} {wildcards.run:q}"
