"""Losses against loops written out from their definitions, closed forms and limits."""

import math

import pytest
import torch

from corrlib.corpora.batches import Batch
from corrlib.correspondence import targets
from corrlib.training.losses import contrastive_loss, distillation_loss, stage_loss, symmetric_cross_entropy

TAU = 0.05


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(7)
    return lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1


def loop(similarity, matches, tau):
    """The definition in contrastive_loss's docstring, number by number."""

    def half(rows, match):
        rows, match, total = list(rows), list(match), 0.0
        for row, m in zip(rows, match, strict=True):
            normaliser = math.log(sum(math.exp(s / tau) for s in row))
            total += sum(normaliser - s / tau for s, hit in zip(row, m, strict=True) if hit) / sum(m)
        return total / len(rows)

    s, m = similarity.tolist(), matches.tolist()
    return (half(s, m) + half(zip(*s, strict=True), zip(*m, strict=True))) / 2


@pytest.mark.parametrize("clips, owner", [(5, [0, 1, 2, 3, 4]), (3, [0, 0, 1, 2, 2]), (2, [0, 1, 0, 1, 1, 1, 0])])
def test_contrastive_loss_equals_its_definition(draw, clips, owner):
    similarity = draw(clips, len(owner))
    annotated = torch.arange(clips)[:, None] == torch.tensor(owner)
    assert contrastive_loss(similarity, annotated, TAU).item() == pytest.approx(loop(similarity, annotated, TAU), 1e-12)


def test_one_match_each_is_nt_xent(draw):
    similarity, labels = draw(6, 6), torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(similarity / TAU, labels) + cross_entropy(similarity.T / TAU, labels)) / 2
    assert contrastive_loss(similarity, torch.eye(6, dtype=torch.bool), TAU) == pytest.approx(expected.item(), 1e-12)


def test_closed_form_of_a_constant_similarity():
    """A model without opinion: log(clips) in one direction, log(captions) in the other, whatever the matches."""
    annotated = torch.arange(4)[:, None] == torch.arange(12) // 3
    loss = contrastive_loss(torch.full((4, 12), 0.3, dtype=torch.float64), annotated, TAU)
    assert loss.item() == pytest.approx((math.log(4) + math.log(12)) / 2, 1e-12)


def test_closed_form_of_two_pairs():
    similarity = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    leads = [0.9 - 0.2, 0.8 - 0.1, 0.9 - 0.1, 0.8 - 0.2]  # of the right one, by caption and by clip
    expected = sum(math.log1p(math.exp(-lead / TAU)) for lead in leads) / 4
    assert contrastive_loss(similarity, torch.eye(2, dtype=torch.bool), TAU).item() == pytest.approx(expected, 1e-12)


def test_order_of_clips_and_captions_does_not_matter(draw):
    similarity, annotated = draw(4, 8), torch.arange(4)[:, None] == torch.arange(8) // 2
    rows, columns = torch.randperm(4), torch.randperm(8)
    for loss in (lambda s, a: contrastive_loss(s, a, TAU), lambda s, a: distillation_loss(s, s.cos(), TAU)):
        assert loss(similarity, annotated).item() == pytest.approx(
            loss(similarity[rows][:, columns], annotated[rows][:, columns]).item(), 1e-12
        )


def test_certain_teacher_is_the_contrastive_loss(draw):
    similarity, eye = draw(5, 5), torch.eye(5, dtype=torch.bool)
    certain = distillation_loss(similarity, eye.double(), TAU, teacher_temperature=1e-3)
    assert certain.item() == pytest.approx(contrastive_loss(similarity, eye, TAU).item(), 1e-12)
    groups = torch.arange(3)[:, None] == torch.tensor([0, 1, 2, 0, 1, 2])
    similarity = draw(3, 6)
    certain = distillation_loss(similarity, groups.double(), TAU, teacher_temperature=1e-3)
    assert certain.item() == pytest.approx(contrastive_loss(similarity, groups, TAU).item(), 1e-12)


def test_teacher_without_opinion_asks_for_uniform_distributions(draw):
    similarity = draw(3, 4)
    loss = distillation_loss(similarity, torch.zeros(3, 4, dtype=torch.float64), TAU)
    logits = similarity / TAU
    expected = -(logits.log_softmax(0).mean() + logits.log_softmax(1).mean()) / 2
    assert loss.item() == pytest.approx(expected.item(), 1e-12)


def test_distillation_is_least_where_student_equals_teacher(draw):
    teacher = draw(4, 6)
    student = (teacher + 0.3).requires_grad_()  # softmax does not see a constant
    loss = distillation_loss(student, teacher, TAU)
    loss.backward()
    entropy = sum(torch.special.entr((teacher / TAU).softmax(axis)).sum(axis).mean() for axis in (0, 1)) / 2
    assert loss.item() == pytest.approx(entropy.item(), 1e-10)
    assert student.grad.abs().max() < 1e-12
    assert distillation_loss(teacher + 0.1 * draw(4, 6), teacher, TAU) > entropy + 1e-3


def test_teacher_temperature_and_no_gradient_to_the_teacher(draw):
    similarity, teacher = draw(4, 4), draw(4, 4).requires_grad_()
    same = distillation_loss(similarity, teacher, TAU)
    assert same == distillation_loss(similarity, teacher, TAU, teacher_temperature=TAU)
    softer = distillation_loss(similarity, teacher, TAU, teacher_temperature=0.2)
    assert softer.item() == pytest.approx(distillation_loss(similarity, teacher * TAU / 0.2, TAU).item(), 1e-12)
    assert not same.requires_grad


def test_gradients(draw):
    similarity, teacher = draw(3, 6).requires_grad_(), draw(3, 6)
    annotated = torch.arange(3)[:, None] == torch.arange(6) // 2
    assert torch.autograd.gradcheck(lambda s: contrastive_loss(s, annotated, 0.5), similarity)
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, teacher, 0.5, 0.3), similarity)
    loss = contrastive_loss(similarity, annotated, 0.5)
    (gradient,) = torch.autograd.grad(loss, similarity)
    targets = annotated / annotated.sum(0), annotated / annotated.sum(1, keepdim=True)
    predicted = (similarity / 0.5).softmax(0), (similarity / 0.5).softmax(1)
    expected = sum((p - t) / p.shape[1 - axis] for axis, (p, t) in enumerate(zip(predicted, targets, strict=True)))
    torch.testing.assert_close(gradient, expected / 2 / 0.5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(draw, kind):
    similarity, teacher = draw(8, 8).to(kind), draw(8, 8).to(kind)
    eye = torch.eye(8, dtype=torch.bool)
    for half, full in (
        (contrastive_loss(similarity, eye, TAU), contrastive_loss(similarity.double(), eye, TAU)),
        (distillation_loss(similarity, teacher, TAU), distillation_loss(similarity.double(), teacher.double(), TAU)),
    ):
        assert half.dtype == torch.float32 and full.dtype == torch.float64
        assert half.item() == pytest.approx(full.item(), 1e-6)


def test_confident_and_wrong_stays_finite():
    similarity = (1 - 2 * torch.eye(3)).requires_grad_()  # exp(1 / 0.001) would overflow
    loss = contrastive_loss(similarity, torch.eye(3, dtype=torch.bool), 1e-3)
    loss.backward()
    assert loss.item() == pytest.approx(2000 + math.log(2), 1e-6) and torch.isfinite(similarity.grad).all()


def test_stage_loss_weighs_both_losses(draw):
    similarity, teacher, annotated = draw(4, 4), draw(4, 4), torch.eye(4, dtype=torch.bool)
    estimated = teacher.softmax(0), teacher.softmax(1)
    supervised, distilled = contrastive_loss(similarity, annotated, TAU), distillation_loss(similarity, teacher, TAU, 1)
    assert stage_loss(similarity, annotated, TAU) == supervised
    for w_sup, w_dist in ((0, 1), (1, 1), (0.3, 0.7)):
        both = stage_loss(similarity, annotated, TAU, estimated, w_sup, w_dist)
        assert both.item() == pytest.approx((w_sup * supervised + w_dist * distilled).item(), 1e-12)
    assert symmetric_cross_entropy(similarity, *estimated, TAU) == distilled


@pytest.mark.parametrize("members, teacher_temperature", [(1, TAU), (3, TAU), (3, 0.2)])
def test_a_run_trains_by_the_papers_distillation_loss(draw, members, teacher_temperature):
    """The path of a run, from stored embeddings to the loss, beside the named loss of the teachers' mean similarity."""
    teachers = [(normalised(draw(10, 6)), normalised(draw(20, 6))) for _ in range(members)]
    clips, captions = torch.tensor([7, 2, 5]), torch.tensor([14, 15, 4, 10])
    batch = Batch(clips, captions, clips[:, None] == captions[None, :] // 2)
    similarity = draw(3, 4).requires_grad_()
    mean = sum(c[clips] @ t[captions].T for c, t in teachers) / members
    named = distillation_loss(similarity, mean, TAU, teacher_temperature)
    target = targets.estimated(teachers, teacher_temperature)(batch)
    found = stage_loss(similarity, batch.annotated, TAU, target, w_sup=0, w_dist=1)
    assert found.item() == pytest.approx(named.item(), 1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(loss, similarity)[0] for loss in (found, named)))


def normalised(rows):
    return torch.nn.functional.normalize(rows, dim=-1)


def test_bad_input_names_the_culprit(draw):
    similarity, eye = draw(3, 3), torch.eye(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="without a match"):
        contrastive_loss(similarity, eye & (torch.arange(3) > 0), TAU)
    with pytest.raises(ValueError, match="annotated is"):
        contrastive_loss(similarity, eye[:1], TAU)  # would broadcast
    with pytest.raises(ValueError, match="teacher_similarity is"):
        distillation_loss(similarity, similarity[:, :1], TAU)
    with pytest.raises(ValueError, match="greater than 0"):
        distillation_loss(similarity, similarity, TAU, teacher_temperature=0)
    with pytest.raises(ValueError, match="the target has no estimate"):
        stage_loss(similarity, eye, TAU, w_dist=1.0)


def test_label_smoothing_is_its_closed_form(draw):
    """0.7 of the annotated pairs and 0.3 of nothing is the cross-entropy of smoothed labels (Szegedy et al. 2016)."""
    similarity, labels = draw(6, 6), torch.arange(6)
    everything = Batch(labels, labels, torch.eye(6, dtype=torch.bool))
    nothing = targets.uniform()(everything)
    found = stage_loss(similarity, everything.annotated, TAU, tuple(part.double() for part in nothing), 0.7, 0.3)
    smoothed = torch.nn.CrossEntropyLoss(label_smoothing=0.3)
    expected = (smoothed(similarity / TAU, labels) + smoothed(similarity.T / TAU, labels)) / 2
    assert found.item() == pytest.approx(expected.item(), 1e-7)
