"""Teachers from outside: files of embeddings, matched by id, and CLAP models, embedded once."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from corrlib.corpora.splits import open_corpora
from corrlib.correspondence.outside import SPLITS, outside_embeddings
from corrlib.correspondence.quality import agreement
from corrlib.correspondence.targets import member_weights
from corrlib.evaluation.evaluate import annotated_relevance
from corrlib.evaluation.metrics import retrieval_metrics
from corrlib.models.build import build_encoder, rebuild_encoder
from corrlib.models.text import train_tokenizer
from corrlib.reports import beyond, estimates, queries, results
from corrlib.study import inputs, outside, runs
from corrlib.study.parameters import EstimateParameters, ParameterError, StageOneParameters, StageTwoParameters, check
from corrlib.study.plan import plan_runs, require_finished
from corrlib.training import stages


@pytest.fixture(scope="module")
def corpora(data):
    return open_corpora(check(StageTwoParameters, {"data": data}))


def written(path, corpora, splits=SPLITS, change=lambda tensors, ids: None, metadata=True):
    """A file as another framework would leave it: all splits, in an order of its own."""
    generator = torch.Generator().manual_seed(1)
    ids = {
        "clips": [one for split in splits for one in corpora.items(split).clip_ids][::-1],
        "captions": [one for split in splits for one in corpora.items(split).caption_ids][::-1],
    }
    tensors = {name: torch.randn(len(ids[name]), 5, generator=generator) for name in ids}
    change(tensors, ids)
    named = {"clip_ids": json.dumps(ids["clips"]), "caption_ids": json.dumps(ids["captions"])}
    save_file(tensors, path, metadata=named if metadata else {})
    return tensors, ids


def test_a_file_is_matched_by_id(corpora, tmp_path):
    tensors, ids = written(tmp_path / "a.safetensors", corpora)
    for split in SPLITS:
        clips, captions = outside_embeddings(f"embeddings:{tmp_path}/a.safetensors", corpora, split)
        items = corpora.items(split)
        for found, name, wanted in ((clips, "clips", items.clip_ids), (captions, "captions", items.caption_ids)):
            rows = torch.stack([tensors[name][ids[name].index(one)] for one in wanted])
            torch.testing.assert_close(found, rows / rows.norm(dim=1, keepdim=True))


def drop(tensors, ids):
    ids["clips"].pop()
    tensors["clips"] = tensors["clips"][:-1]


def double(tensors, ids):
    ids["captions"][1] = ids["captions"][0]


def rename(tensors, ids):
    ids["clips"][0] = "elsewhere/1"


def break_one(tensors, ids):
    tensors["clips"][3, 2] = float("nan")


def other_space(tensors, ids):
    tensors["captions"] = tensors["captions"][:, :3].contiguous()


def too_few(tensors, ids):
    ids["clips"].pop()


@pytest.mark.parametrize(
    "change, sentence",
    [
        (drop, "clips: 1 ids are missing, such as soundscapes/development/"),
        (double, "captions: 1 ids are there twice, such as soundscapes/"),
        (rename, "clips: 1 ids are not of this corpus, such as elsewhere/1"),
        (break_one, "clips: some embeddings are not finite"),
        (other_space, "clips have 5 dimensions and captions 3"),
        (too_few, "there must be one row for each id"),
    ],
)
def test_what_does_not_fit_is_named(corpora, tmp_path, change, sentence):
    written(tmp_path / "a.safetensors", corpora, change=change)
    with pytest.raises(ValueError, match=sentence) as caught:
        outside_embeddings(f"embeddings:{tmp_path}/a.safetensors", corpora, "development")
        outside_embeddings(f"embeddings:{tmp_path}/a.safetensors", corpora, "evaluation")
    assert "\n" not in str(caught.value)


def test_files_without_ids_or_content_are_refused(corpora, tmp_path):
    written(tmp_path / "a.safetensors", corpora, metadata=False)
    (tmp_path / "b.safetensors").write_bytes(b"none")
    for name, error, sentence in (
        ("a", ValueError, "has no 'clip_ids' in its metadata"),
        ("b", ValueError, "is no safetensors file"),
        ("c", FileNotFoundError, "does not exist"),
    ):
        with pytest.raises(error, match=sentence):
            outside_embeddings(f"embeddings:{tmp_path}/{name}.safetensors", corpora, "validation")


@pytest.fixture(scope="module")
def clap(tmp_path_factory, corpora):
    """A tiny random CLAP model of transformers with its processor, of another sampling rate than the corpus."""
    folder = tmp_path_factory.mktemp("clap") / "tiny-clap"
    torch.manual_seed(0)
    tokenizer = train_tokenizer(corpora.items("development").texts)
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 66,
    }
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "hidden_size": 16,
        "window_size": 4,
        "enable_fusion": False,
        "num_hidden_layers": 2,
    }
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12)).save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=22050,
        hop_length=400,
        fft_window_size=512,
        max_length_s=2,
        truncation="rand_trunc",
    )
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def test_a_clap_model_embeds_once_and_the_same_whatever_the_neighbours(corpora, clap, monkeypatch):
    clips, captions = outside_embeddings(f"clap:{clap}", corpora, "validation")
    items = corpora.items("validation")
    assert clips.shape == (items.clips, 12) and captions.shape == (items.captions, 12)
    torch.testing.assert_close(clips.norm(dim=1), torch.ones(items.clips))
    model = ClapModel.from_pretrained(clap).eval()
    processor = ClapProcessor.from_pretrained(clap)
    with torch.no_grad():
        tokens = processor.tokenizer(items.texts[3], return_tensors="pt")
        one = model.get_text_features(**tokens)
        one = one if isinstance(one, torch.Tensor) else one.pooler_output
    torch.testing.assert_close(captions[3], one[0] / one[0].norm(), atol=1e-5, rtol=0)
    assert clips.std(0).max() > 1e-4  # clips differ

    def refuse(*_, **__):
        raise AssertionError("it is embedded again")

    monkeypatch.setattr(ClapModel, "from_pretrained", refuse)
    again = outside_embeddings(f"clap:{clap}", corpora, "validation")
    assert torch.equal(again[0], clips) and torch.equal(again[1], captions)


def test_a_model_that_is_not_there_is_named(corpora, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or hub name of a CLAP model"):
        outside_embeddings(f"clap:{tmp_path}/nothing", corpora, "validation")


def test_names_files_and_weights(corpora, tmp_path, clap):
    teacher = f"embeddings:{tmp_path}/a.safetensors"
    written(tmp_path / "a.safetensors", corpora)
    assert outside.is_outside(teacher) and not outside.is_outside("stage1-mn_tiny-seed1")
    assert outside.label("clap:laion/clap-htsat-unfused") == "clap-clap-htsat-unfused"
    assert outside.label(teacher) == "embeddings-a"
    parameters = check(StageTwoParameters, {"data": corpora.folder, "teachers": [teacher, f"clap:{clap}"]})
    before = inputs.of_parameters(parameters.model_dump())["files"]
    assert set(before) == {teacher, f"clap:{clap}"} and all(before.values())
    written(tmp_path / "a.safetensors", corpora, change=lambda tensors, ids: tensors["clips"].mul_(2))
    after = inputs.of_parameters(parameters.model_dump())["files"]
    assert after[teacher] != before[teacher] and after[f"clap:{clap}"] == before[f"clap:{clap}"]
    validation = corpora.items("validation")

    def embeddings_of(name):
        return outside_embeddings(name, corpora, "validation")

    combine, scores = member_weights("s", [teacher, f"clap:{clap}"], "best", validation, embeddings_of)
    assert combine == "best" and all(0 <= score <= 1 for score in scores)


STUDY = "title: t\nseeds: [1]\nbackbones: [mn_tiny, atst_tiny]\nteachers: ['embeddings:{data}/e-{seed}.safetensors']\n"


def test_a_study_has_them_beside_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_DATA", "here")
    (tmp_path / "s.yaml").write_text(STUDY + "points: {p: {target: ensemble, teachers: [mn_tiny, 'clap:a/b']}}\n")
    plans = plan_runs("s", tmp_path)
    own = ["stage1-mn_tiny-seed1", "stage1-atst_tiny-seed1"]
    wanted = [*own, "embeddings:here/e-1.safetensors"]
    assert plans["ensemble-mn_tiny-seed1"].parameters["teachers"] == wanted
    assert plans["correspondences-seed1"].parameters["teachers"] == wanted
    assert set(plans["ensemble-mn_tiny-seed1"].needs) == set(own)
    assert plans["p-mn_tiny-seed1"].parameters["teachers"] == ["stage1-mn_tiny-seed1", "clap:a/b"]
    (tmp_path / "s.yaml").write_text(STUDY.replace("embeddings:", "embedings:"))
    with pytest.raises(ParameterError, match="say `clap:<folder or hub name>` or `embeddings:<file>`"):
        plan_runs("s", tmp_path)


def listed(path, corpora):
    """Captions of the first three clips, each with a clip that nobody annotated, and a query in other words."""
    corpus = corpora.corpus("evaluation")
    names = [clip.split("/", 2)[-1] for clip in corpus.clips["clip_id"]]
    texts = [corpus.captions["text"].iloc[row] for row in (0, 5, 10)]
    rows = [f'"{text}",{names[clip]};{names[clip + 3]}' for clip, text in enumerate(texts)]
    path.write_text("\n".join(["query,audio_filenames", *rows, f"what nobody has written,{names[0]}"]))
    return str(path)


SHORT = {"study": "t", "seed": 1, "epochs": 2, "batch_clips": 8}


def test_outside_teachers_teach_a_student_and_have_a_row_of_their_own(data, clap, corpora, tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    written(tmp_path / "e.safetensors", corpora)
    teachers = ["stage1-mn_tiny-seed1", f"clap:{clap}", f"embeddings:{tmp_path}/e.safetensors"]
    heads = {"train_audio": "heads", "train_text": "heads", "pretraining_epochs": 1, "backbone": "mn_tiny"}
    heads["relevance"] = relevance = {"some": listed(tmp_path / "some.csv", corpora)}
    first = runs.Run(check(StageOneParameters, {**SHORT, **heads, "data": data}), "04_stage1_mn")
    encoder = build_encoder(first.parameters, corpora := open_corpora(first.parameters))
    stages.pretrain_backbone(first, corpora, encoder.backbone)
    stages.train_stage_one(first, corpora, encoder)
    stages.report(first, corpora, encoder, "stage1")
    for combine in ("mean_similarity", "chosen_weights"):
        given = {"student": teachers[0], "teachers": teachers, "combine": combine, "run": combine}
        second = runs.Run(check(StageTwoParameters, {**SHORT, **given, "data": data}), "06_stage2")
        require_finished("t", [teachers[0], *teachers])
        log = stages.train_stage_two(second, open_corpora(second.parameters), rebuild_encoder("t", teachers[0]))
        assert len(log) == 2 and log["loss"].notna().all()
        assert set(second.made_of()["files"]) == set(teachers[1:])
    third = runs.Run(
        check(
            EstimateParameters, {"study": "t", "seed": 1, "data": data, "teachers": teachers, "relevance": relevance}
        ),
        "05_correspondences",
    )
    ensemble = estimates.Ensemble(third.parameters, corpora)
    assert ensemble.labels == ["mn_tiny", "clap-tiny-clap", "embeddings-e"]
    items, truth = corpora.items("evaluation"), corpora.truth("evaluation")
    by = beyond.open_relevances(third.parameters, corpora)
    for name, pair in {"queries": ensemble.as_one_model(), **ensemble.zero_shot()}.items():
        file = name if name == "queries" else f"zero-shot-{name}"
        beyond.write_queries(third, file, pair, items, truth, by)
    third.finish(members=ensemble.names)
    judged = queries.load("t", runs.gather("t"))
    table = results.summarise(judged, 100)
    rows = table[table["setting"] == queries.ZERO_SHOT]
    assert set(rows["backbone"]) == {"clap-tiny-clap", "embeddings-e"} and rows["mean"].notna().all()
    assert queries.backbones_of(judged.queries) == ["mn_tiny"]

    counts = table.set_index(["metric", "setting", "backbone"])["queries"].sort_index()
    assert counts["some mAP@10", "stage1"].tolist() == [4]  # of which one is no caption: 05 knows no words for it
    assert counts["some mAP@10", "zero-shot"].tolist() == [3, 3]
    assert counts["some mAP@10", "stage1 ensemble"].tolist() == [3]
    assert set(counts["annotated mAP@10"]) == {items.captions}
    assert set(counts["annotated clip-to-caption mAP@10"]) == {items.clips}
    rows = by["some"].rows()
    similarity = ensemble.similarities()["ensemble"]
    wanted = torch.zeros(items.clips, 3)
    wanted[torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.arange(3)] = 1
    found = table.set_index(["metric", "setting"])["mean"]["some mAP@10", "stage1 ensemble"].item()
    assert found == pytest.approx(retrieval_metrics(similarity[:, rows], wanted)["mAP@10"], abs=1e-5)
    off = by["some"].agreement({"ensemble": similarity}, similarity.softmax(0), annotated_relevance(items), 1.0)
    known = agreement(similarity.softmax(0)[:, rows], wanted, annotated_relevance(items)[:, rows])
    assert off.iloc[0].drop("estimate of").to_dict() == pytest.approx(known)
    assert "By *some*, over 3 of 4 queries" in beyond.answer(by, {"some": off})
