"""A model as a folder: it needs nothing else, gives the same numbers, and says what is wrong with it."""

import base64
import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

import corrlib
from corrlib.files import digest, digest_file
from corrlib.sharing import exported
from corrlib.study import manifest
from tests.sharing.conftest import STUDENT, STUDY, TEACHERS

CAPTIONS = ["a dog barks", "rain falls on a tent while a bell rings"]


@pytest.fixture
def folder(finished, tmp_path):
    return exported.export(STUDY, STUDENT, tmp_path / "model")


def seal(folder, content):
    """Write config.json as if it had been exported so, with the digests of the files that are there."""
    files = {name: digest_file(folder / name) for name in content["files"]}
    content = {name: value for name, value in {**content, "files": files}.items() if name != "digest"}
    (folder / "config.json").write_text(json.dumps({**content, "digest": digest(content)}))


@pytest.mark.parametrize("run", [STUDENT, TEACHERS[1]])
def test_without_runs_it_gives_the_same_similarities_bit_for_bit(finished, sounds, tmp_path, run):
    exported.export(STUDY, run, tmp_path / "model")
    own = corrlib.load_model(f"runs/{STUDY}/{run}", "cpu")
    paths = [str(path) for path in sorted(sounds.rglob("*.*"))]
    code = (
        "import sys, json, torch, corrlib; torch.set_num_threads(1); m = corrlib.load_model(sys.argv[1], 'cpu');"
        "torch.save([m.similarity(json.loads(sys.argv[2]), json.loads(sys.argv[3])), m.fingerprint], sys.argv[4])"
    )
    words = [str(tmp_path / "model"), json.dumps(paths), json.dumps(CAPTIONS), str(tmp_path / "found.pt")]
    environment = {**os.environ, "CORRLIB_RUNS": str(tmp_path / "none"), "CORRLIB_DATA": str(tmp_path / "none")}
    subprocess.run([sys.executable, "-c", code, *words], env=environment, check=True)
    similarity, fingerprint = torch.load(tmp_path / "found.pt")
    assert torch.equal(similarity, own.similarity(paths, CAPTIONS)) and similarity.shape == (len(paths), 2)
    assert fingerprint == own.fingerprint


def test_a_run_from_before_a_parameter_was_thought_of_is_exported(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "runs" / STUDY / STUDENT / "manifest.json"
    content = json.loads(path.read_text())
    del content["parameters"]["track"]
    path.write_text(json.dumps(manifest.sealed(content)))
    exported.export(STUDY, STUDENT, tmp_path / "model")
    assert corrlib.load_model(tmp_path / "model").provenance["parameters"]["track"] == ""


def test_what_it_holds(folder):
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.json", "model.safetensors", "text"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model"]["backbone"] == "atst_tiny" and config["model"]["backbone_arguments"]["width"] == 80
    assert config["provenance"]["run"] == STUDENT and config["provenance"]["parameters"]["teachers"] == TEACHERS
    # where things lie on this machine is nobody's business
    assert config["provenance"]["parameters"]["data"] == "DATA" and "data: DATA" in config["provenance"]["repeat"]
    for path in folder.rglob("*.*"):
        if path.suffix in (".json", ".md"):
            assert (
                str(folder.parent.parent) not in path.read_text() and os.environ["CORRLIB_RUNS"] not in path.read_text()
            )


def test_the_card_is_of_the_hubs_kind_and_has_the_runs_numbers(folder, finished):
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    metrics = json.loads((finished / STUDY / STUDENT / "metrics.json").read_text())
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    for kind in ("annotated", "true"):
        for measure in ("mAP@10", "R@1", "nDCG@10"):
            assert found[f"{kind} {measure}"] == pytest.approx(metrics[kind][measure], abs=1e-4)
            assert f"| {kind} | {measure} | {100 * metrics[kind][measure]:.1f} | [" in card.text
    assert card.data.library_name == "corrlib" and card.data.license == "other"  # no data run says how it was composed
    for section in ("Use", "Data", "Recipe", "Metrics", "Limitations", "Licence", "Repeat"):
        assert f"\n## {section}\n" in card.text
    assert "papermill notebooks/06_stage2.ipynb" in card.text and "None" not in card.text
    assert "Stage 1 before it took 2 epochs of batches of 8 clips" in " ".join(card.text.split())
    assert "make reproduce" not in card.text  # no study file describes these runs


def test_a_licence_is_taken_as_it_is_given_and_a_study_file_repeats_the_whole(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_STUDIES", str(tmp_path))
    (tmp_path / f"{STUDY}.yaml").write_text("title: tiny\n")
    exported.export(STUDY, STUDENT, tmp_path / "model", licence="cc-by-4.0")
    card = huggingface_hub.ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.license == "cc-by-4.0" and f"make reproduce STUDY={STUDY} ONLY={STUDENT}" in card.text


def test_the_card_may_be_edited_and_the_rest_may_not(folder):
    (folder / "README.md").write_text("mine")
    corrlib.load_model(folder)
    for name in ("model.safetensors", "text/tokenizer.json", "text/config.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-3] + b"\0\0\0")
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            corrlib.load_model(folder)
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"{name} is missing"):
            corrlib.load_model(folder)
        (folder / name).write_bytes(content)
    corrlib.load_model(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: "{", "config.json is damaged"),
        (lambda c: json.dumps([c]), "is not of a model that corrlib exported"),
        (lambda c: json.dumps({**c, "format": 99}), "has format 99"),
        (lambda c: json.dumps({**c, "extra": 1}), "extra"),
        (lambda c: json.dumps({k: v for k, v in c.items() if k != "files"}), "files"),
        (lambda c: json.dumps({**c, "model": {**c["model"], "clip_seconds": 5.0}}), "was changed"),
    ],
)
def test_a_config_that_is_none_is_named(folder, change, message):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(change(content))
    with pytest.raises(ValueError, match=message):
        corrlib.load_model(folder)


def test_keys_are_neither_missing_nor_unknown(folder):
    content, state = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    first = next(iter(state))
    for wrong, message in (
        ({k: v for k, v in state.items() if k != first}, rf"{first} \(missing\)"),
        ({**state, "more": torch.zeros(1)}, r"more \(unknown\)"),
        ({**state, first: torch.zeros(3, 3, 3)}, rf"{first} \(3, 3, 3\) instead of"),
    ):
        save_file(wrong, folder / "model.safetensors")
        seal(folder, content)
        with pytest.raises(ValueError, match=message):
            corrlib.load_model(folder)


def test_another_code_is_noticed(folder):
    content = json.loads((folder / "config.json").read_text())
    other = {**content["model"], "front_end": {**content["model"]["front_end"], "hop": 321}}
    seal(folder, {**content, "model": other})
    with pytest.raises(ValueError, match="another front end .hop was 321, is 320 here"):
        corrlib.load_model(folder)
    arguments = {**content["model"]["backbone_arguments"], "wings": 2}
    seal(folder, {**content, "model": {**content["model"], "backbone_arguments": arguments}})
    with pytest.raises(ValueError, match="wings"):
        corrlib.load_model(folder)


def test_it_replaces_a_model_and_nothing_else(folder, tmp_path):
    exported.export(STUDY, TEACHERS[1], folder)
    assert corrlib.load_model(folder).provenance["run"] == TEACHERS[1]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="something else"):
        exported.export(STUDY, STUDENT, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        exported.export(STUDY, "no-such-run", tmp_path / "new")


def test_a_name_on_the_hub_is_fetched(folder, tmp_path, monkeypatch):
    asked = {}

    def fetch(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(shutil.copytree(folder, tmp_path / "cache"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    model = corrlib.load_model("somebody/a-model")
    assert model.name == asked["name"] == "somebody/a-model" and "model.safetensors" in asked["patterns"]


class Hub(BaseHTTPRequestHandler):
    """A stand-in for the hub on this machine, for its own client: it keeps what it is sent in `server.asked`."""

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        length = self.headers.get("Content-Length")
        sent = self.rfile.read(int(length)) if length else b"".join(self.chunks())
        self.server.asked.append((self.path, self.headers.get("Authorization"), sent))
        home = f"http://127.0.0.1:{self.server.server_port}/me/model"
        said = {"url": home, "commitUrl": f"{home}/commit/1", "commitOid": "1", "errors": [], "warnings": []}
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(sent)["files"]]
            said["files"] = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
        self.answer(said)

    def chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()

    def answer(self, said):
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


def test_it_is_pushed_whole_privately_and_with_a_token_only(folder, monkeypatch):
    from huggingface_hub import constants

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked = []
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(ValueError, match="HF_TOKEN"):
            exported.push(folder, "me/model", "")
        assert not server.asked
        assert exported.push(folder, "me/model", "secret").endswith("/me/model/commit/1")
        assert all(token == "Bearer secret" for _, token, _ in server.asked)
        (path, _, created), *_, (_, _, committed) = server.asked
        assert path == "/api/repos/create" and json.loads(created)["visibility"] == "private"
        parts = [json.loads(line)["value"] for line in committed.splitlines()]
        sent = {part["path"]: base64.b64decode(part["content"]) for part in parts if "path" in part}
        there = [path for path in folder.rglob("*") if path.is_file()]
        assert sent == {path.relative_to(folder).as_posix(): path.read_bytes() for path in there}
        (folder / "model.safetensors").write_bytes(b"half")
        server.asked.clear()
        with pytest.raises(ValueError, match="damaged"):
            exported.push(folder, "me/model", "secret")
        assert not server.asked
        server.shutdown()
