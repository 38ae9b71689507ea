"""The three backbones against stored results of the published networks, and their loading and front ends.

tests/models/golden holds, for random weights and waveforms that recipe.py makes again bit for bit, the reference
networks' embeddings and log-mels (evaluated in float64) with tolerances, and the published state dicts' keys and
shapes.
"""

import inspect
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from corrlib.corpora.audio import read_clip
from corrlib.figures import style
from corrlib.models import Backbone, build_backbone
from corrlib.models.backbones import PRESETS
from corrlib.models.frontends import AtstLogMel, KaldiLogMel, warp_frequency
from corrlib.soundscapes.recordings import find_recordings
from corrlib.study.backbones import BACKBONES, FAMILIES

from .golden import recipe

GOLDEN = Path(__file__).parent / "golden"
SEGMENT = 320000
MODELS = {"passt_s16": "passt_s16", "passt_s10": "passt_s10", "atst_base": "atst", "mn10": "mn10", "mn40": "mn40"}
MANIFESTS = {
    "passt_s16": "passt_s_p16_s16_128_ap468",
    "passt_s10": "passt_s_p16_s10_128_ap476_ap486",
    "atst_base": "atstframe_base",
    "mn10": "mn10_as",  # mn04 has no manifest here: its own file is read, below
    "mn20": "mn20_as",
    "mn40": "mn40_as_ext",
}
PARAMETERS = {
    "passt_s16": 86_122_270,
    "passt_s10": 86_153_758,
    "atst_base": 85_419_264,
    "mn10": 4_876_831,
    "mn40": 68_427_303,
}
TOKENS = {"passt_s16": (498, 284), "passt_s10": (1190, 842), "atst_base": (250, 250)}
# one plain case, the one that tells the LayerNorm's eps, and the quiet one (floors and offsets of the front ends)
CASES = {
    "passt_s16": ("chirps_10s", "chirps_10s_small", "quiet_10s"),
    "passt_s10": ("padded_10s",),
    "atst_base": ("chirps_10s", "chirps_10s_small", "quiet_10s", "padded_10s"),
    "mn10": ("chirps_10s", "noise_bursts_10s", "quiet_10s", "padded_10s", "mixed_30s"),
    "mn40": ("chirps_10s",),
}


def manifest_of(name):
    return json.loads((GOLDEN / f"{MANIFESTS[name]}.json").read_text())


@cache
def full_size(name):
    """The published size with random weights: only looked at."""
    return build_backbone(name)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_golden_vectors(name):
    stored = np.load(GOLDEN / f"{MODELS[name]}.npz", allow_pickle=False)
    meta = json.loads(str(stored["meta"]))
    cases = [c for c in meta["cases"] if c["name"].removeprefix("s1_") in CASES[name]]
    assert len(cases) == len(CASES[name]) and meta["recipe_version"] == recipe.RECIPE_VERSION
    backbone, found = build_backbone(name).eval(), {}
    for variant in dict.fromkeys(c["variant"] for c in cases):
        state = recipe.golden_state(manifest_of(name), 1, variant)
        backbone.load_published({key: torch.from_numpy(value) for key, value in state.items()})
        for case in (c for c in cases if c["variant"] == variant):
            assert recipe.crc_state(state) == case["state_crc"]
            wave = torch.from_numpy(recipe.golden_waveform(case["kind"], 1, case["seconds"])).view(-1, SEGMENT)
            log_mel = backbone.log_mel(wave).double().numpy()
            assert log_mel.shape == tuple(case["mel_shape"])
            at = tuple(stored[case["name"] + "/mel_pos"].astype(int).T)
            assert np.abs(log_mel[at] - stored[case["name"] + "/mel"]).max() <= case["tol_mel"]
            assert abs(log_mel.mean() - case["mel_mean"]) <= case["tol_mel_stat"]
            embedding = backbone(wave).double().mean(0).numpy()
            assert relative(embedding, stored[case["name"] + "/embed"]) <= case["tol_embed"], case["name"]
            found[case["name"]] = embedding
    for pair in meta["diffs"]:  # clips share a common part: the difference of two is the stricter test
        if pair["a"] in found and pair["b"] in found:
            expected = stored[pair["a"] + "/embed"].astype(float) - stored[pair["b"] + "/embed"]
            assert relative(found[pair["a"]] - found[pair["b"]], expected) <= pair["tol"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_state_dicts_have_the_published_keys_and_shapes(name):
    backbone = full_size(name)
    own = {key: list(value.shape) for key, value in backbone.state_dict().items()}
    published = backbone.published_names(dict.fromkeys(manifest_of(name)))
    shapes = dict(zip(published, manifest_of(name).values(), strict=True))
    assert own == shapes
    if name in PARAMETERS:
        assert sum(p.numel() for p in backbone.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", TOKENS)
def test_token_counts(name):
    backbone = full_size(name)
    assert (backbone.token_count(SEGMENT), backbone.token_count(SEGMENT, training=True)) == TOKENS[name]


@pytest.mark.parametrize("name", ["passt_tiny", "atst_tiny"])
def test_token_count_is_what_the_blocks_see(name):
    backbone, seen = build_backbone(name), []
    backbone.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    for training in (False, True):
        for samples in (2 * backbone.sample_rate_hz, 4 * backbone.sample_rate_hz, 10 * backbone.sample_rate_hz):
            backbone.train(training)(torch.randn(2, samples))
            assert seen.pop() == backbone.token_count(samples, training)


# Loading of published files. The networks are narrow, the layouts those of the files.

NARROW = {
    "passt_s16": {"width": 24, "depth": 2, "heads": 2},
    "atst_base": {"width": 24, "depth": 2, "heads": 2},
    "mn10": {},
}


def published_layouts(name):
    """[(layout, content of the file, state that must arrive)] for each layout in which a backbone is published."""
    state = {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in build_backbone(name, **NARROW[name]).state_dict().items()
    }
    plain = [("plain", dict(state), state), ("nested under model", {"model": state, "epoch": 3}, state)]
    if name != "atst_base":
        return plain
    head = {"head.weight": torch.randn(4, 4), "teacher_loss.bias": torch.randn(4)}
    tuned = {"encoder.encoder." + key: value for key, value in state.items()}
    own = {"model.teacher.encoder." + key.replace("norm_frame.", "norm."): value for key, value in state.items()}
    student = {
        "model.student.encoder.cls_token": torch.zeros(1),
        "model.teacher.encoder.cls_token": torch.zeros(1, 1, 24),
    }
    return [
        *plain,
        ("Lightning, fine-tuned", {"state_dict": {**tuned, **head}, "epoch": 1}, state),
        ("Lightning, self-supervised", {"state_dict": {**own, **student}}, state),
    ]


@pytest.mark.parametrize("name", NARROW)
def test_every_published_layout_loads(name, tmp_path):
    for number, (layout, content, state) in enumerate(published_layouts(name)):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        backbone = build_backbone(name, **NARROW[name])
        backbone.load_published(path)
        assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items()), layout


@pytest.mark.parametrize("name", NARROW)
def test_a_file_that_does_not_fit_is_refused_with_its_keys(name, tmp_path):
    for layout, content, _ in published_layouts(name):
        inner = content.get("state_dict", content.get("model", content))
        key = [
            k for k in inner if k.endswith("patch_embed.bias") or k.endswith("proj.bias") or "features.0.1.bias" in k
        ][0]
        value = inner.pop(key)
        for changed, words in (({key + "_x": value}, ("missing", "unknown")), ({key: value[:-1]}, ("instead of",))):
            path = tmp_path / "changed.pt"
            broken = {**inner, **changed}
            wrapped = {k: broken if v is inner else v for k, v in content.items()} if inner is not content else broken
            torch.save(wrapped, path)
            before = build_backbone(name, **NARROW[name])
            weights = {k: v.clone() for k, v in before.state_dict().items()}
            with pytest.raises(ValueError, match="does not fit") as caught:
                before.load_published(path)
            short = key.split("encoder.")[-1]
            assert str(path) in str(caught.value) and short in str(caught.value), layout
            assert all(word in str(caught.value) for word in words)
            assert all(torch.equal(v, weights[k]) for k, v in before.state_dict().items())  # nothing was loaded
        inner[key] = value


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda value: value.fill_(float("nan")), "not finite"),
        (lambda value: value.index_fill(0, torch.tensor([0]), float("inf")), "not finite"),
        (lambda value: value.to(torch.int8), "holds int8 numbers"),
        (lambda value: value.to(torch.complex64), "holds complex64 numbers"),
        (lambda value: value.bool(), "holds bool numbers"),
        (lambda value: value.to_sparse(), "does not fit"),  # of a file, nothing but plain tensors is read
    ],
)
def test_weights_that_are_no_numbers_are_refused_with_their_key(change, words, tmp_path):
    backbone = build_backbone("passt_s16", **NARROW["passt_s16"])
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    key = next(k for k, v in state.items() if v.ndim > 1 and v.is_floating_point())
    state[key] = change(state[key])
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=words) as caught:
        backbone.load_published(tmp_path / "odd.pt")
    assert key in str(caught.value) and "odd.pt" in str(caught.value) and "\n" not in str(caught.value)
    assert all(bool(torch.isfinite(value).all()) for value in backbone.state_dict().values())


def test_half_precision_weights_and_arrays_are_loaded():
    backbone = build_backbone("mn10")
    state = {k: v.half() if v.is_floating_point() else v.numpy() for k, v in backbone.state_dict().items()}
    build_backbone("mn10").load_published(state)
    counter = next(k for k, v in state.items() if not isinstance(v, torch.Tensor))
    with pytest.raises(ValueError, match=f"{counter} of the state dict must count in whole numbers"):
        backbone.load_published({**state, counter: torch.tensor(0.5)})
    with pytest.raises(ValueError, match=f"{counter} of the state dict is a str, not a tensor"):
        backbone.load_published({**state, counter: "many"})


WEIGHTS = Path(os.environ.get("CORRLIB_WEIGHTS", Path(__file__).parents[2] / "weights"))


@pytest.mark.parametrize("name", [name for name, entry in BACKBONES.items() if entry.published_file])
@torch.no_grad()
def test_a_published_checkpoint_loads(name):
    """Every published file that is at hand: strictly, and what it was trained on is heard as what it is."""
    path = WEIGHTS / BACKBONES[name].published_file
    if not path.is_file():
        pytest.skip(f"{path} is not there; set CORRLIB_WEIGHTS to the folder that holds it")
    backbone = build_backbone(name).eval()
    backbone.load_published(path)
    noise = torch.randn(1, 5 * 32000, generator=torch.Generator().manual_seed(0))
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(5 * 32000) / 32000)[None]
    features = torch.nn.functional.normalize(backbone(torch.cat([0.1 * noise, 0.05 * noise, 0.1 * tone])), dim=-1)
    assert features[0] @ features[1] > 0.9 > features[0] @ features[2]  # the same noise, quieter; a tone


# places in AudioSet's published list of 527 classes, of the labels that ESC-10 gives its recordings
CLASSES = {
    "dog bark": {74, 75},
    "rooster": {99, 101},
    "rain": {289, 290, 291},
    "baby cry": {22, 23},
    "clock tick": {406, 407, 408},
    "sea waves": {294, 295},
    "helicopter": {339},
    "chainsaw": {347},
    "person sneeze": {49},
}


@torch.no_grad()
def test_the_tags_of_a_published_checkpoint_are_right_on_real_recordings():
    """Of nine labels, a recording's own classes are among the ten most probable of 527, by chance for one in 25; and
    recordings of a label have them more than others do.
    """
    path, folder = WEIGHTS / BACKBONES["mn04"].published_file, Path(os.environ.get("SOUNDS", "sounds"))
    if not path.is_file() or not folder.is_dir():
        pytest.skip(f"{path} or labelled recordings are not there; set CORRLIB_WEIGHTS and SOUNDS to their folders")
    recordings = find_recordings(folder, "too few")
    chosen = recordings[recordings["label"].isin(CLASSES)].groupby("label").head(6)
    if chosen["label"].nunique() < 4:
        pytest.skip(f"{folder} has too few of the labels {', '.join(CLASSES)}")
    mobilenet = build_backbone("mn04").eval()
    mobilenet.load_published(path)
    waves = [torch.as_tensor(read_clip(file, 0.0, None, 32000))[: 5 * 32000] for file in chosen["path"]]
    features = torch.cat([mobilenet(wave[None]) for wave in waves])
    tags = mobilenet.classifier[2:](features).sigmoid()  # what comes before is the mean that features are
    likeliest = [set(row) for row in tags.topk(10).indices.tolist()]
    found = [bool(row & CLASSES[label]) for row, label in zip(likeliest, chosen["label"], strict=True)]
    assert np.mean(found) > 0.75
    for label in chosen["label"].unique():
        own = torch.tensor((chosen["label"] == label).tolist())
        heard = tags[:, sorted(CLASSES[label])].amax(1)
        above = (heard[own][:, None] > heard[~own][None, :]).float().mean()  # 0.5 by chance
        assert above > 0.9, label


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm-was-done"),))


def test_a_pickled_object_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": build_backbone("mn10").state_dict(), "extra": Harmful()}, tmp_path / "evil.pt")
    build_backbone("mn10").load_published(tmp_path / "evil.pt")
    torch.save(Harmful(), tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="evil.pt is not a checkpoint that can be read safely"):
        build_backbone("mn10").load_published(tmp_path / "evil.pt")
    assert not (tmp_path / "harm-was-done").exists()


@pytest.mark.parametrize("name", MANIFESTS)
def test_missing_weights_say_which_file_and_where(name):
    backbone = full_size(name)
    with pytest.raises(FileNotFoundError) as caught:
        backbone.load_published("weights/nowhere.pt")
    message = str(caught.value)
    assert "weights/nowhere.pt" in message and "published as" in message and name[:2] in message.lower()


def test_unknown_names_and_long_waveforms():
    with pytest.raises(ValueError, match="did you mean 'passt_tiny'"):
        build_backbone("past_tiny")
    with pytest.raises(ValueError, match="longer than a segment"):
        build_backbone("mn_tiny")(torch.zeros(1, SEGMENT + 1))


# The registry


def test_every_backbone_has_a_preset_and_a_notebook():
    assert set(BACKBONES) == set(PRESETS)
    for name, entry in BACKBONES.items():
        assert name.startswith(entry.family)  # figures colour a backbone by the family that its name begins with
        assert (Path("notebooks") / f"{FAMILIES[entry.family].notebook}.ipynb").is_file()
        assert style.family(name) == entry.family or style.colour(name) == style.OTHER
    for family, facts in FAMILIES.items():
        assert style.NAMES.get(family, facts.title) == facts.title
        assert len({PRESETS[name][0] for name, entry in BACKBONES.items() if entry.family == family}) == 1


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_the_public_names(name):
    backbone = full_size(name)
    assert isinstance(backbone, Backbone) and backbone.published_file == BACKBONES[name].published_file
    assert backbone.sample_rate_hz == (16000 if "tiny" in name else 32000) and backbone.feature_size > 0


# Front ends and augmentation


CHANGED = {"n_fft": 2048, "window": 640, "decibels": (-60.0, 20.0), "mels": 32, "rate_hz": 24000, "inner_hz": 24000}


@pytest.mark.parametrize(
    "kind, argument",
    [(kind, name) for kind in (KaldiLogMel, AtstLogMel) for name in inspect.signature(kind).parameters],
)
def test_settings_tell_every_argument(kind, argument):
    """A cache is found again by them: whatever a front end was built with is in them."""
    default = inspect.signature(kind).parameters[argument].default
    changed = CHANGED[argument] if argument in CHANGED else default + 1
    plain, other = kind().settings(), kind(**{argument: changed}).settings()
    assert {key for key in plain if plain[key] != other[key]} == {argument}
    assert json.loads(json.dumps(plain)) == plain
    assert set(plain) == {"front_end", *inspect.signature(kind).parameters}


@pytest.mark.parametrize("name", ["passt_tiny", "atst_tiny", "mn_tiny"])
def test_log_mel_is_float32_under_autocast_and_the_same(name):
    front_end = build_backbone(name).eval().front_end
    wave = torch.randn(2, 40000)
    expected = front_end(wave)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(front_end(wave), expected) and expected.dtype == torch.float32


@pytest.mark.parametrize("name", ["passt_tiny", "mn_tiny", "atst_tiny"])
def test_evaluation_is_deterministic_and_rows_stand_alone(name):
    backbone = build_backbone(name).eval()
    waves = torch.stack([0.5 * torch.randn(64000), 0.001 * torch.randn(64000), torch.zeros(64000)])
    with torch.no_grad():
        together = backbone(waves)
        assert torch.equal(together, backbone(waves))
        alone = torch.cat([backbone(w[None]) for w in waves])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_mel_edges_are_drawn_in_training_only():
    front_end = build_backbone("passt_s16", width=24, depth=1, heads=2).front_end
    wave = torch.randn(1, 64000)
    assert not torch.equal(front_end.train()(wave), front_end(wave))
    assert torch.equal(front_end.eval()(wave), front_end(wave))


def test_patchout_drops_the_stated_tokens_and_is_random():
    backbone, seen = build_backbone("passt_s16", width=24, depth=1, heads=2).train(), []
    backbone.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    log_mel = torch.randn(2, 128, 1000)
    backbone.encode(log_mel), backbone.encode(log_mel), backbone.eval().encode(log_mel)
    assert [x.shape[1] for x in seen] == [284, 284, 498]
    assert not torch.equal(seen[0], seen[1])
    kept = (seen[2][0, 2:, None, :] == seen[0][0, None, 2:, :]).all(-1).nonzero()  # whole tokens, in order
    assert len(kept) == 282 and (kept[:, 0].diff() > 0).all() and (kept[:, 1].diff() == 1).all()


@pytest.mark.parametrize("frames, columns", [(100, 6 - 1), (300, 18 - 4), (640, 40 - 10), (1000, 62 - 15)])
def test_patchout_leaves_out_of_a_short_clip_as_great_a_share(frames, columns):
    backbone, seen = build_backbone("passt_s16", width=24, depth=1, heads=2).train(), []
    backbone.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    backbone.encode(torch.randn(2, 128, frames))
    assert seen == [2 + (8 - 2) * columns]


def test_frequency_warping_reaches_the_tokens():
    backbone = build_backbone("atst_base", width=24, depth=1, heads=2)
    log_mel, seen = torch.randn(2, 64, 100), []
    backbone.patch_embed.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    backbone.eval().encode(log_mel), backbone.train().encode(log_mel)
    assert torch.equal(seen[0], log_mel) and not torch.equal(seen[1], log_mel) and seen[1].shape == log_mel.shape


def test_a_warped_row_is_a_stretched_band():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 64)[None, :, None].expand(200, 64, 5)
    warped = warp_frequency(ramp)
    span = warped[:, -1, 0] - warped[:, 0, 0]  # of the band that was kept: 60 to 100 %
    assert 0.5 < span.min() < 0.7 and 0.9 < span.max() <= 1.02
    torch.testing.assert_close(warp_frequency(ramp, 1.0), ramp, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name, expected", [("passt_s16", 93.9 * 0.93), ("atst_base", 44.9), ("mn10", 1.08)])
def test_cost_of_a_segment(name, expected):
    """As published, but of PaSST's last block only what its two special tokens need: 7 % less."""
    from corrlib.reports.single_run import gigaflops

    assert gigaflops(full_size(name)) == pytest.approx(expected, rel=0.02)


def test_the_last_block_of_passt_computes_two_tokens_as_if_it_computed_all():
    torch.manual_seed(0)
    model = build_backbone("passt_tiny", patchout=(0, 0)).double()
    log_mel, found = torch.randn(3, 64, 100, dtype=torch.float64), []
    last = model.blocks[-1].forward
    for forward in (last, lambda x, first: last(x)[:, :first]):
        model.blocks[-1].forward = forward
        features = model.encode(log_mel)
        found.append([features, *torch.autograd.grad(features.square().sum(), list(model.parameters()))])
    for ours, usual in zip(*found, strict=True):
        torch.testing.assert_close(ours, usual)
