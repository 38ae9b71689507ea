"""Prints, in a sentence, why corrlib cannot be installed for the Python that runs this, with exit status 1, or what
that will need. Prints nothing where all is well. It is run by Pythons that are too old, too.
"""

import platform
import re
import sys
import sysconfig

# of the packages that corrlib needs, directly or not, those that have no wheel for a version of Python
COMPILED = {(3, 14): "immutables, which Snakemake needs,"}


def range_of_versions():
    """((3, 11), (3, 15)) of `requires-python = ">=3.11,<3.15"` in pyproject.toml."""
    with open("pyproject.toml", encoding="utf-8") as file:
        found = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', file.read())
    return (3, int(found.group(1))), (3, int(found.group(2)))


def refusal():
    """Why it cannot be installed, or None."""
    first, beyond = range_of_versions()
    here, name = sys.version_info[:2], f"Python {platform.python_version()}"
    if not first <= here < beyond:
        side = "old" if here < first else "new"
        return f"{name} is too {side}: corrlib's dependencies have wheels for Python 3.{first[1]} to 3.{beyond[1] - 1}."
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return f"{name} is a free-threaded build, for which corrlib's dependencies have no wheels."
    if sys.maxsize < 2**32:
        return f"{name} is a 32-bit build, for which torch has no wheel."
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return f"{name} is for a Mac with an Intel processor, for which torch 2.11 has no wheel."
    return None


if __name__ == "__main__":
    reason = refusal()
    if reason:
        print(reason)
        sys.exit(1)
    missing = COMPILED.get(sys.version_info[:2])
    if missing:
        print(
            f"Python 3.{sys.version_info[1]} has no wheel of {missing} so that pip will compile it, which needs a C "
            "compiler and Python's headers; Python 3.11 to 3.13 need neither."
        )
