"""What a study lacks, needs and takes, told before days are spent on it.

    python -m corrlib.benchmarks.check STUDY          (or `make check`)

Files, disk and memory; three timed steps of each backbone and text encoder, with random weights of the sizes that the
study names; and from these and the corpora's sizes the hours of every run.
"""
