"""`python -m corrlib`: take a trained model with you.

export            a finished run's model as a folder that needs nothing else, for you or for the hub
correspondences   an ensemble's estimate of which captions describe which clips, as parquet
submission        what a retrieval challenge is sent: for a list of captions the best of a folder of clips
search            a folder of your own sounds, by a description, by a recording, or by both
site              a finished study as web pages: its executed notebooks, its tables, and its partial matches to hear
accept            what a person accepted of likely missing annotations, as `relevance` of a run
"""

import argparse
import os
import sys

from corrlib.processes import end_with

SHOWN = 10  # skipped files that are named on the screen


def main(words: list[str] | None = None) -> int:
    """The command of that name; 0, or 2 with one sentence on what was wrong."""
    arguments = _parser().parse_args(words)
    try:
        return arguments.command(arguments)
    except BrokenPipeError:
        raise
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _export(arguments: argparse.Namespace) -> int:
    from corrlib.sharing import exported
    from corrlib.sharing.load import find_run
    from corrlib.study import runs

    run = find_run(arguments.run)
    if run is None:
        raise FileNotFoundError(f"{arguments.run} is no finished run below {runs.root()}; name it as study/run")
    folder = exported.export(*run, arguments.to, arguments.licence)
    print(f'exported to {folder}; use it by corrlib.load_model("{folder}")')
    if arguments.push:
        print(exported.push(folder, arguments.push, os.environ.get("HF_TOKEN", ""), arguments.public))
    return 0


def _correspondences(arguments: argparse.Namespace) -> int:
    from corrlib.sharing.ensembles import open_ensemble
    from corrlib.sharing.estimates import export_correspondences

    ensemble = open_ensemble(arguments.study, arguments.split, arguments.seed, arguments.members, arguments.temperature)
    folder = export_correspondences(ensemble, arguments.to, arguments.k, arguments.licence)
    print(
        f"{len(ensemble.corpus.captions)} captions and {len(ensemble.corpus.clips)} clips, estimated by "
        f"{', '.join(ensemble.members)} at temperature {ensemble.temperature}, are in {folder}"
    )
    return 0


def _submission(arguments: argparse.Namespace) -> int:
    from corrlib import load_model
    from corrlib.sharing.submission import Submission, read_queries, write_submission

    queries = read_queries(arguments.queries)
    models = [load_model(name, arguments.device) for name in (arguments.model, *arguments.together)]
    submission = Submission(models, queries, arguments.clips, progress=sys.stderr.isatty())
    table = submission.similarities() if arguments.similarities else submission.best(arguments.top)
    write_submission(table, arguments.to)
    print(
        f"{len(queries)} captions, answered from {len(submission.files)} sounds by "
        f"{', '.join(model.name for model in models)}, are in {arguments.to}"
    )
    for file in submission.skipped.to_dict("records"):
        print(f"  skipped {file['file']}: {file['reason']}", file=sys.stderr)
    return 0


def _search(arguments: argparse.Namespace) -> int:
    import json

    from corrlib import load_model
    from corrlib.files import csv_of, write_atomically
    from corrlib.sharing.library import SoundFolder

    model = load_model(arguments.model, arguments.device)
    folder = SoundFolder(model, arguments.folder, progress=sys.stderr.isatty())
    table = folder.search(arguments.caption, arguments.like, arguments.weight, arguments.top)
    print(table.to_string(index=False, formatters={"similarity": "{:.3f}".format, "seconds": "{:.1f}".format}))
    if arguments.csv:
        write_atomically(arguments.csv, csv_of(table))
    if arguments.page:
        from corrlib.sharing.search_page import write_page
        from corrlib.sharing.sound_views import Asked, in_words

        asked = Asked(arguments.caption, arguments.like or "", arguments.weight)
        write_page(arguments.page, folder, table, in_words(asked))
    skipped = folder.skipped.to_dict("records")
    if arguments.json:
        found = {"found": table.to_dict("records"), "sounds": len(folder.sounds), "skipped": skipped}
        write_atomically(arguments.json, json.dumps(found, indent=1))
    heard = f", {folder.longer} of them by their first {model.clip_seconds:g} s" if folder.longer else ""
    print(
        f"{len(folder.sounds)} sounds{heard}; {folder.embedded} embedded now, {len(skipped)} skipped", file=sys.stderr
    )
    if folder.approximate:
        print(folder.approximate.said, file=sys.stderr)
    for file in skipped[:SHOWN]:
        print(f"  skipped {file['file']}: {file['reason']}", file=sys.stderr)
    if len(skipped) > SHOWN:
        print(f"  and {len(skipped) - SHOWN} more; --json FILE names all", file=sys.stderr)
    return 0


def _accept(arguments: argparse.Namespace) -> int:
    from corrlib.sharing.missing import accepted_relevance

    queries = accepted_relevance(arguments.reviewed, arguments.to)
    print(f"{queries} reviewed queries are in {arguments.to}; give it to a run as `relevance`")
    return 0


def _site(arguments: argparse.Namespace) -> int:
    from corrlib.sharing.site import build_site

    start = build_site(arguments.study, arguments.to, arguments.seed, arguments.audio)
    print(f"the site is {start}; open it in a browser")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m corrlib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    export = commands.add_parser("export", help="a finished run's model as a folder")
    export.add_argument("run", help="study/run")
    export.add_argument("to", help="the folder to write")
    export.add_argument("--licence", default="", help="short name on the model card, such as mit")
    export.add_argument("--push", metavar="OWNER/NAME", help="upload it to the hub, private, with HF_TOKEN")
    export.add_argument("--public", action="store_true", help="with --push: for everybody")
    export.set_defaults(command=_export)

    estimates = commands.add_parser("correspondences", help="an ensemble's estimate as parquet")
    estimates.add_argument("study")
    estimates.add_argument("to", help="the folder to write")
    estimates.add_argument("-k", type=int, default=50, help="clips a caption, and captions a clip (50)")
    estimates.add_argument("--split", default="development", choices=("development", "validation", "evaluation"))
    estimates.add_argument("--seed", type=int, help="the study's first, if not given")
    estimates.add_argument("--members", nargs="+", default=(), help="stage-1 runs, instead of the students' teachers")
    estimates.add_argument("--temperature", type=float, help="instead of the students'")
    estimates.add_argument("--licence", default="other", help="short name on the data card")
    estimates.set_defaults(command=_correspondences)

    submission = commands.add_parser("submission", help="what a retrieval challenge is sent")
    submission.add_argument("model", help="study/run, an exported folder, or a name on the hub")
    submission.add_argument("to", help="the CSV to write: caption, file_name_1, ..., file_name_10")
    submission.add_argument("--queries", required=True, help="a CSV with a column caption, or a text, one a line")
    submission.add_argument("--clips", required=True, metavar="FOLDER", help="of sounds; embedded once, as by search")
    submission.add_argument(
        "--with", dest="together", action="append", default=[], metavar="MODEL", help="one more, averaged; repeatable"
    )
    submission.add_argument("--top", type=int, default=10, help="how many clips a caption (10)")
    submission.add_argument("--similarities", action="store_true", help="with every clip instead, as DCASE 2025 asks")
    submission.add_argument("--device", help="cpu, cuda, ... (a GPU where there is one)")
    submission.set_defaults(command=_submission)

    search = commands.add_parser("search", help="search a folder of sounds")
    search.add_argument("model", help="study/run, an exported folder, or a name on the hub")
    search.add_argument("folder", help="of sounds, with all below; embedded once, then only what is new")
    search.add_argument("caption", nargs="?", default="", help="what is to be heard")
    search.add_argument("--like", metavar="FILE", help="a sound that others should be like")
    search.add_argument("--weight", type=float, default=0.5, help="of the caption, where --like is given, too (0.5)")
    search.add_argument("--top", type=int, default=20, help="how many sounds (20)")
    search.add_argument("--csv", metavar="FILE", help="write the table there, too")
    search.add_argument("--json", metavar="FILE", help="write the table and all that was skipped there, too")
    search.add_argument("--page", metavar="FILE", help="write a page to hear and see what was found, in one file")
    search.add_argument("--device", help="cpu, cuda, ... (a GPU where there is one)")
    search.set_defaults(command=_search)

    site = commands.add_parser("site", help="a finished study as web pages")
    site.add_argument("study")
    site.add_argument("to", help="the folder to write; one that holds a site is replaced")
    site.add_argument("--seed", type=int, help="whose notebooks are shown; the study's first, if not given")
    site.add_argument("--audio", default="mp3", metavar="mp3|none", help="none: no sound leaves this machine")
    site.set_defaults(command=_site)

    accept = commands.add_parser("accept", help="reviewed annotations as relevance")
    accept.add_argument("reviewed", help="missing_annotations.csv with yes or no in its column accept")
    accept.add_argument("to", help="the CSV to write")
    accept.set_defaults(command=_accept)
    return parser


if __name__ == "__main__":
    end_with(main)
