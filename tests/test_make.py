"""`make`: what the command line gives is data, and the environment is made with a Python that fits."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORD = """#!{python}
import json, os, sys
with open("asked.jsonl", "a") as file:
    print(json.dumps([sys.argv[1:], dict(os.environ)]), file=file)
"""
PLAIN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "")}


@pytest.fixture
def checkout(tmp_path):
    """A checkout below a path with a blank, whose environment is made already: its Python writes down what it is
    asked.
    """
    folder = tmp_path / "a b" / "it's"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(RECORD.format(python=sys.executable))
    python.chmod(0o755)
    for stamp in ("", "-test", "-cluster", "-benchmark"):
        (folder / ".venv" / f".corrlib{stamp}-installed").touch()
    return folder


def make(folder, *words, **environment):
    return subprocess.run(["make", *words], cwd=folder, env=PLAIN | environment, capture_output=True, text=True)


def asked(folder):
    """[(arguments, environment)] of every call of the environment's Python."""
    return [json.loads(line) for line in (folder / "asked.jsonl").read_text().splitlines()]


def test_make_alone_prints_every_target_in_a_line(checkout):
    result = make(checkout)
    targets = re.findall(r"^([a-z-]+):", (checkout / "Makefile").read_text(), re.M)
    lines = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    assert result.returncode == 0 and lines == targets and {"reproduce", "test", "lab", "publish", "pages"} <= {*lines}
    assert not (checkout / "asked.jsonl").exists() and all(len(line) <= 120 for line in result.stdout.splitlines())


HOSTILE = [
    "x; touch hacked",
    "$(shell touch hacked)",
    "`touch hacked`",
    "$(touch hacked)",
    "'; touch hacked; '",
    '"; touch hacked; "',
    "| touch hacked",
    "$$(touch hacked) ${HOME}",
    "x\ntouch hacked",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("given", ["command line", "environment"])
def test_what_is_given_reaches_python_as_it_stands(checkout, text, given):
    names = ("STUDY", "ONLY", "CORES", "DATA", "SOUNDS", "PROFILE")
    values = dict.fromkeys(names, text)
    words = [f"{name}={value}" for name, value in values.items()] if given == "command line" else []
    result = make(checkout, "reproduce", *words, **({} if words else values))
    assert result.returncode == 0, result.stderr
    [(arguments, environment)] = asked(checkout)
    expected = ["--cores", text, "--profile", text, "--only", *text.split(), "--", text]
    assert arguments == ["-m", "corrlib.study.reproduce", *expected]
    assert {name: environment[name] for name in ("DATA", "SOUNDS")} == {"DATA": text, "SOUNDS": text}
    assert not list(checkout.rglob("hacked"))


@pytest.mark.parametrize("folder", ["/my #data", "/100% $HOME", '/it\'s "mine"', "/a\\b", "~/x:y", "/größe"])
def test_any_folder_can_be_named(checkout, folder):
    make(checkout, "reproduce", f"DATA={folder}", "STUDY=clotho")
    assert asked(checkout)[0][1]["DATA"] == folder


def test_what_is_not_given_is_not_there(checkout):
    assert make(checkout, "reproduce", "ONLY=", "DATA=").returncode == 0
    [(arguments, environment)] = asked(checkout)
    cores = arguments[3]
    assert arguments == ["-m", "corrlib.study.reproduce", "--cores", cores, "--", "builtin"] and int(cores) >= 1
    assert not {"DATA", "SOUNDS", "ONLY", "PROFILE"} & set(environment)


def test_several_runs_can_be_named_and_none_is_a_pattern(checkout):
    make(checkout, "reproduce", "ONLY=stage1-mn_tiny-seed1 *")
    assert asked(checkout)[0][0][4:7] == ["--only", "stage1-mn_tiny-seed1", "*"]


def test_publishing_renders_the_pages(checkout):
    assert make(checkout, "publish", "STUDY=headline").returncode == 0
    assert make(checkout, "publish", "REPLACE=1").returncode == 0
    assert [call[0][1:] for call in asked(checkout)] == [
        ["corrlib.study.publish", "--", "headline"],
        ["corrlib.reports.pages"],
        ["corrlib.study.publish", "--replace", "--", "builtin"],
        ["corrlib.reports.pages"],
    ]


def test_the_check_of_a_gpu_and_what_it_carries(checkout):
    assert make(checkout, "gpu").returncode == 0
    assert make(checkout, "gpu", "TO=a b", "DEVICE=cpu", "PROCESSES=3").returncode == 0
    assert [call[0][2:] for call in asked(checkout)] == [
        [],
        ["--out", "a b", "--device", "cpu", "--processes", "3"],
    ]
    nowhere = make(checkout, "gpu-carry")
    assert nowhere.returncode != 0 and "name a folder: make gpu-carry TO=carried" in nowhere.stderr
    (checkout / "a b").mkdir()
    assert make(checkout, "gpu-carry", "TO=a b").returncode == 0
    arguments = asked(checkout)[-1][0]
    assert arguments[arguments.index("--target") + 1] == "a b" and "pydantic-core" in arguments


def test_the_active_conda_environment_is_used_but_not_its_base(checkout, tmp_path):
    conda = tmp_path / "conda env"
    shutil.copytree(checkout / ".venv", conda)
    assert make(checkout, "pages", CONDA_PREFIX=str(conda), CONDA_DEFAULT_ENV="corrlib").returncode == 0
    assert make(checkout, "pages", CONDA_PREFIX=str(tmp_path / "no"), CONDA_DEFAULT_ENV="base").returncode == 0
    assert [call[1]["ENVIRONMENT"] for call in asked(checkout)] == [str(conda), ".venv"]


def python_that_is(folder, name, version):
    """A stand-in for a Python of some version on PATH, or one that is there and does not run; it can make a venv whose
    Python is another stand-in, and writes down what pip is asked.
    """
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        f"""#!{sys.executable}
import os, sys, pathlib, runpy, collections
minor = {version!r}
if minor is None:
    sys.exit("{name}: command not found")
Version = collections.namedtuple("Version", "major minor micro releaselevel serial")
sys.version_info = Version(3, minor, 1, "final", 0)
import platform
platform.python_version = lambda: "3.{version}.1"
words = sys.argv[1:]
if words[:1] == ["-c"]:
    exec(words[1])
elif words[:1] == ["--version"]:
    print("Python 3.{version}.1")
elif words[:2] == ["-m", "venv"]:
    target = pathlib.Path(words[-1]) / "bin"
    target.mkdir(parents=True, exist_ok=True)
    (target / "python").write_text(pathlib.Path({str(path)!r}).read_text())
    (target / "python").chmod(0o755)
elif words[:2] == ["-m", "pip"]:
    print("pip:", *words[2:])
elif words[:1] == ["-m"]:
    pass
else:
    runpy.run_path(words[0], run_name="__main__")
"""
    )
    path.chmod(0o755)


def set_up(checkout, pythons, **environment):
    """`sh .ci/setup.sh` from nothing, with these Pythons {name: minor version or None} alone on PATH."""
    shutil.rmtree(checkout / ".venv")
    programs = checkout.parent / "programs"
    for name, version in pythons.items():
        python_that_is(programs, name, version)
    for tool in ("sh", "dirname", "sed", "touch"):
        (programs / tool).symlink_to(shutil.which(tool))
    values = {"PATH": str(programs), **environment}
    return subprocess.run(["sh", ".ci/setup.sh"], cwd=checkout, env=values, capture_output=True, text=True)


def test_the_python_of_the_constraints_comes_first(checkout):
    result = set_up(checkout, {"python3": 13, "python3.11": 11, "python3.13": 13})
    assert "making .venv with Python 3.11.1" in result.stdout and "--constraint constraints.txt" in result.stdout
    assert result.returncode == 0 and (checkout / ".venv" / ".corrlib-installed").is_file()


def test_another_python_takes_what_the_resolver_finds(checkout):
    """python3.11 is a name that leads nowhere, python3.12 is not there."""
    result = set_up(checkout, {"python3": 14, "python3.11": None, "python3.13": 13})
    assert "making .venv with Python 3.13.1" in result.stdout and "pip: install" in result.stdout
    assert result.returncode == 0 and "--constraint" not in result.stdout


def test_what_must_be_compiled_is_said_before_pip_starts(checkout):
    result = set_up(checkout, {"python3": 14})
    assert result.returncode == 0 and "Python 3.14 has no wheel of immutables" in result.stdout.split("pip:")[0]


@pytest.mark.parametrize("version, word", [(10, "old"), (15, "new")])
def test_no_python_that_fits(checkout, version, word):
    result = set_up(checkout, {"python3": version})
    assert result.returncode == 1 and "pip:" not in result.stdout and len(result.stderr.splitlines()) == 1
    assert f"Python 3.{version}.1 is too {word}: corrlib's dependencies have wheels for Python 3.11" in result.stderr
    assert "make PYTHON_FOR_VENV=" in result.stderr


def test_no_python_that_makes_environments(checkout):
    result = set_up(checkout, {"python3": None})
    assert result.returncode == 1 and "python3 is not there, or has no venv" in result.stderr


def test_a_python_can_be_chosen(checkout):
    other = checkout.parent / "programs" / "other"  # below a path with a blank
    result = set_up(checkout, {"python3.11": 11, "other": 12}, PYTHON_FOR_VENV=str(other))
    assert "making .venv with Python 3.12.1" in result.stdout


def test_a_chosen_python_that_does_not_fit_is_named(checkout):
    result = set_up(checkout, {"python3.11": 11, "other": 10}, PYTHON_FOR_VENV="other")
    assert result.returncode == 1 and "3.10.1 is too old" in result.stderr and "make PYTHON_FOR_VENV=" in result.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_of_another_python_is_named_and_left_alone(checkout):
    python_that_is(checkout.parent, "python", 10)
    shutil.move(checkout.parent / "python", checkout / ".venv" / "bin" / "python")
    os.utime(checkout / ".venv" / ".corrlib-installed", (0, 0))
    result = make(checkout, "pages")
    assert result.returncode and ".venv cannot be used: Python 3.10.1 is too old" in result.stderr
    assert (checkout / ".venv" / ".corrlib-test-installed").exists()


def test_a_conda_environment_without_pip_is_left_alone(checkout, tmp_path):
    """An environment that `make` did not make is never made anew."""
    (tmp_path / "conda").mkdir()
    (tmp_path / "conda" / "precious").touch()
    result = make(checkout, "pages", CONDA_PREFIX=str(tmp_path / "conda"), CONDA_DEFAULT_ENV="mine")
    assert result.returncode and "conda install python=3.11 pip" in result.stderr
    assert [path.name for path in (tmp_path / "conda").iterdir()] == ["precious"]


def test_constraints_name_no_machine_and_fit_what_is_declared():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines[1:])
    versions = {line.split("==")[0].lower(): line.split("==")[1] for line in lines[1:]}
    assert versions["torch"].startswith("2.11") and versions["torchaudio"].startswith("2.11")
