"""`python -m corrlib`: take a trained model with you.

export            a finished run's model as a folder that needs nothing else, for you or for the hub
"""

import argparse
import os
import sys


def main(words: list[str] | None = None) -> int:
    """The command of that name; 0, or 2 with one sentence on what was wrong."""
    arguments = _parser().parse_args(words)
    try:
        return arguments.command(arguments)
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
