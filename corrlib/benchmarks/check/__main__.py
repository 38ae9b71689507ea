"""`python -m corrlib.benchmarks.check STUDY`: what it lacks, needs and takes; see the package."""

import argparse
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched here, and nothing asked whether it could be

from transformers.utils import logging  # noqa: E402

from corrlib.benchmarks.check.report import Report  # noqa: E402
from corrlib.processes import end_with  # noqa: E402
from corrlib.study.parameters import ParameterError  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns 0 where nothing would stop the study, 1 where something would, 2 where it is none."""
    parser = argparse.ArgumentParser(prog="python -m corrlib.benchmarks.check", description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="runs that are made at a time")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the timed steps; one of each is always timed")
    given = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return Report(given.study, given.cores, given.seconds).tell()
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    end_with(main)
