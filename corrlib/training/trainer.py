"""One training loop for both stages: build, step, validate, checkpoint, run."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.batches import (
    AudioSource,
    Batch,
    Items,
    LogMels,
    Waveforms,
    epoch_batches,
    steps_an_epoch,
)
from corrlib.corpora.seeds import derive_seed
from corrlib.correspondence.targets import Target
from corrlib.evaluation.evaluate import validation_score
from corrlib.evaluation.watched import WatchedPairs
from corrlib.models import distributed
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.gradient_cache import Parts
from corrlib.models.precision import autocast
from corrlib.study.parameters import TrainingParameters
from corrlib.study.runs import RunFolder, kept_epoch
from corrlib.training import checkpoints
from corrlib.training.left_out import FILE, LeftOut
from corrlib.training.losses import stage_loss
from corrlib.training.outcome import Outcome
from corrlib.training.track import Track

SPEAK_SECONDS = 60  # in an epoch that takes longer
COLLAPSED = 0.01  # standard deviation of cosines that are all alike
LEAST_SCALE = 2.0**-16  # of float16's loss: below it no gradient was ever finite


class DivergenceError(RuntimeError):
    """The loss or a gradient is no longer finite."""


def learning_rate_at(step: int, steps: float, warmup_steps: float, peak: float, final: float) -> float:
    """Linear warm-up to `peak`, half a cosine down to `final` at the last of `steps`, then `final` (published
    recipe).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer:
    """Trains `encoder` on `audio` and `items` towards `target`, choosing the best epoch on validation.

    parameters: TrainingParameters; validation: (audio, items); validation_truth (clips, captions) of its items, where
    it is known; watched: pairs that are followed; left_out: what becomes of clips that cannot be read, which stop the
    training if it is not given; run: corrlib.study.runs.Run or None (nothing is written). The loss is
    w_sup * L_sup + w_dist * L_dist (see `stage_loss`), in which only L_dist knows of `target`: stage 1 has w_sup = 1
    and a target without an estimate, published stage 2 w_dist = 1. As one of several processes (see
    corrlib.models.distributed) it embeds its share of every batch, and the first of them writes.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        audio: AudioSource,
        items: Items,
        target: Target,
        parameters: TrainingParameters,
        validation: tuple[AudioSource, Items] | None,
        run: RunFolder | None = None,
        w_sup: float = 1.0,
        w_dist: float = 0.0,
        validation_truth: np.ndarray | None = None,
        watched: WatchedPairs | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        self.encoder, self.audio, self.items, self.target = encoder, audio, items, target
        self.parameters, self.validation, self.run = parameters, validation, run
        self.weights = {"w_sup": w_sup, "w_dist": w_dist}
        self.validation_truth, self.watched, self.left_out = validation_truth, watched, left_out
        self.device = next(encoder.parameters()).device
        if parameters.checkpoint_activations:
            encoder.save_memory()
        if parameters.compile_backbone:
            encoder.compile_backbone()
        distributed.share_statistics(encoder)
        self.trained = [p for p in encoder.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.trained, lr=parameters.learning_rate, weight_decay=parameters.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=parameters.precision == "float16")
        self.tokens = encoder.text.tokenize(items.texts)
        self.steps_an_epoch = steps_an_epoch(items, parameters.batch_clips, parameters.captions_per_clip)
        self.epoch, self.best = 0, -1.0
        self.log: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] | None = None
        self.last_state: dict[str, Tensor] | None = None  # after all epochs, where it is not the best

    def run_all(self) -> pd.DataFrame:
        """Train every epoch, resuming after the last finished one; leaves the weights of the best epoch loaded, and
        those of the last one, if it is another, in `last_state`.

        Returns the log, one row an epoch. DivergenceError where the loss or a gradient is no longer finite.
        """
        self._resume()
        first = distributed.process_index() == 0
        with Track(self.run if first else None, self.parameters.track, self.log) as track:
            while self.epoch < self.parameters.epochs:
                started = time.time()
                loss = self._train_epoch()
                scores = self._validate()
                self.epoch += 1
                self._record(loss, scores, time.time() - started)
                track.add(self.log[-1])
        self._write_left_out()
        assert self.best_state is not None  # there is at least one epoch
        if kept_epoch(pd.DataFrame(self.log), self.parameters.select_by) < self.epoch:
            self.last_state = self._state()
        self.encoder.load_trained_state(self.best_state)
        return pd.DataFrame(self.log)

    def _validate(self) -> dict[str, float]:
        assert self.validation is not None, "a Trainer that runs needs a validation split"
        p = self.parameters
        machine = {"precision": p.precision, "workers": p.workers}
        scores = validation_score(self.encoder, *self.validation, self.validation_truth, **machine)
        return scores | (self.watched.measure(self.encoder, **machine) if self.watched else {})

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.encoder.trained_state().items()}

    def _train_epoch(self) -> float:
        """One pass over the items; returns the mean loss.

        Seeded by seed, epoch and process alone, so a resumed run is the same.
        """
        p = self.parameters
        torch.manual_seed(derive_seed(p.draw_seed(), "training", self.epoch, distributed.process_index()))
        self.encoder.train()
        total, count, spoken = 0.0, 0, time.time()
        running: deque[Outcome] = deque()
        lenient = self.left_out is not None
        for step, (batch, parts) in enumerate(load_ahead(self.audio, self._requests(), p.workers, lenient)):
            running.append(self._step(batch, parts, step))
            if len(running) == 1:  # a step's outcome is read when the next one is under way
                continue
            total, count = total + self._loss_of(running.popleft()), count + 1
            if time.time() - spoken > SPEAK_SECONDS:
                spoken = time.time()
                self._say(
                    f"epoch {self.epoch + 1}/{p.epochs}  step {count}/{self.steps_an_epoch}  loss {total / count:.3f}"
                )
        return (total + self._loss_of(running.popleft())) / (count + 1)

    def _requests(self) -> Iterator[tuple[Batch, list[list[Any]]]]:
        """The epoch's batches, each with the places of its audio: this process's share, in parts.

        Crops are drawn for the whole batch, so that they do not depend on the number of processes.
        """
        p = self.parameters
        crops = torch.Generator().manual_seed(derive_seed(p.draw_seed(), "crops", self.epoch))
        longest = p.clip_seconds if p.like_lengths else None
        for batch in epoch_batches(self.items, p.batch_clips, p.captions_per_clip, p.draw_seed(), self.epoch, longest):
            own = distributed.share(self.audio.places(batch.clip_rows, crops))
            parts = self._part_count(len(batch.clip_rows))
            edges = [len(own) * part // parts for part in range(parts + 1)]
            yield batch, [own[start:stop] for start, stop in pairwise(edges)]

    def _part_count(self, clips: int) -> int:
        """Parts of at most `part_clips` clips in which every process embeds its share of so many.

        As many in each process, even where shares differ by a clip: networks may wait for one another in every part.
        """
        smallest, more = divmod(clips, distributed.process_count())
        largest = smallest + bool(more)
        return min(smallest, math.ceil(largest / (self.parameters.part_clips or largest)))

    def _step(self, batch: Batch, audio_parts: list[Waveforms | LogMels], count: int) -> Outcome:
        """One batch: its gradient and, at the last of `accumulate_batches`, a step of the optimiser."""
        step = self.epoch * self.steps_an_epoch + count
        place = count % self.parameters.accumulate_batches
        together = min(self.parameters.accumulate_batches, self.steps_an_epoch - count + place)
        if place == 0:
            self.optimiser.zero_grad(set_to_none=True)
        loss = self._add_gradient(batch, audio_parts, together)
        norm = self._update(step) if place + 1 == together else None
        one = torch.ones_like(loss)
        return Outcome(batch, step, loss, one if norm is None else norm, self.scaler.scale(one))

    def _loss_of(self, outcome: Outcome) -> float:
        """A step's loss; DivergenceError where it or the gradient is not finite. float16's scaler leaves out a step of
        such a gradient, but not for ever.
        """
        loss, norm, scale = outcome.read()
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}", outcome)
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient's norm is {norm}", outcome)
        if scale < LEAST_SCALE:
            raise self._diverged("no scale of the loss gives a finite float16 gradient", outcome)
        return loss

    def _add_gradient(self, batch: Batch, audio_parts: list[Waveforms | LogMels], together: int) -> Tensor:
        self._leave_out_unread(batch, audio_parts)
        tokens = distributed.share([self.tokens[i] for i in batch.caption_rows.tolist()])
        size = math.ceil(len(tokens) / len(audio_parts))
        token_parts = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        clip_parts = self._in_parts(self.encoder.embed_batch, audio_parts)
        caption_parts = self._in_parts(self.encoder.embed_tokens, token_parts)
        clip_embeddings = distributed.gather(clip_parts.embed(), len(batch.clip_rows))
        caption_embeddings = distributed.gather(caption_parts.embed(), len(batch.caption_rows))
        similarity = clip_embeddings @ caption_embeddings.T
        if self.left_out is not None:
            batch, similarity = self.left_out.without(batch, self.items, similarity)
        loss = self._loss(similarity, batch)
        # every process has the whole batch's loss, and `gather` adds up what each of them sends back
        self.scaler.scale(loss / together / distributed.process_count()).backward()
        clip_parts.backward()
        caption_parts.backward()
        return loss.detach()

    def _leave_out_unread(self, batch: Batch, audio_parts: list[Waveforms | LogMels]) -> None:
        """From now on, in every process, the clips of a batch that some process could not read."""
        if self.left_out is None or not isinstance(audio_parts[0], Waveforms):
            return
        unread, place = {}, 0
        for part in audio_parts:
            assert isinstance(part, Waveforms)
            unread |= {place + at: sentence for at, sentence in part.unread.items()}
            place += len(part.lengths)
        found = distributed.gather_notes(unread, len(batch.clip_rows))
        for clip_id in self.left_out.add({int(batch.clip_rows[at]): found[at] for at in found}):
            self._say(f"left out from now on: {clip_id} ({self.left_out.reasons[clip_id]})")

    def _loss(self, similarity: Tensor, batch: Batch) -> Tensor:
        """The one place where the stages differ: what the target says of the batch."""
        estimated = self.target(batch)
        if estimated is not None:
            to_clips, to_captions = estimated
            estimated = to_clips.to(self.device, non_blocking=True), to_captions.to(self.device, non_blocking=True)
        return stage_loss(similarity, batch.annotated, self.parameters.temperature, estimated, **self.weights)

    def _in_parts(self, embed: Callable[[Any], Tensor], parts: list[Any]) -> Parts:
        """The embeddings of some parts of a batch, in the run's precision."""
        return Parts([partial(self._embed, embed, part) for part in parts], self.encoder)

    def _embed(self, embed: Callable[[Any], Tensor], part: Any) -> Tensor:
        with autocast(self.device, self.parameters.precision):
            return embed(part)

    def _update(self, step: int) -> Tensor | None:
        """A step of the optimiser, left out where the gradient is not finite; returns the gradient's norm, or None
        where float16's scaler looks after it.
        """
        p = self.parameters
        decay, warmup = (epochs * self.steps_an_epoch for epochs in (p.cosine_epochs or p.epochs, p.warmup_epochs))
        rate = learning_rate_at(step, decay, warmup, p.learning_rate, p.final_learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        distributed.sum_gradients(self.trained)
        norm = None
        if not self.scaler.is_enabled():
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
            # of what the scaler asks of a fused optimiser, too: where it is 1, the weights stay
            self.optimiser.found_inf = 1 - torch.isfinite(norm).float()  # pyrefly: ignore[missing-attribute]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return norm

    def _diverged(self, what: str, outcome: Outcome) -> DivergenceError:
        clips = ", ".join(self.items.clip_ids[row] for row in outcome.batch.clip_rows[:8].tolist())
        last = next(iter(self.run.checkpoints() if self.run else []), "none yet")
        return DivergenceError(
            f"{what} at step {outcome.step} (epoch {self.epoch + 1}), first clips of the batch "
            f"{clips}; last good checkpoint: {last}; lower learning_rate and run again"
        )

    def _record(self, loss: float, scores: dict[str, float], seconds: float) -> None:
        score = float(scores["mAP@10"])
        logged = [name for name in ("mAP@10", "R@1", "R@5", "R@10", "true mAP@10") if name in scores]
        row = {"epoch": self.epoch, "loss": loss, "seconds": seconds}
        row |= {f"validation {metric}": float(scores[metric]) for metric in logged}
        row |= {name: value for name, value in scores.items() if name.endswith((" similarity", " rank"))}
        self.log.append(row)
        if kept_epoch(pd.DataFrame(self.log), self.parameters.select_by) == self.epoch:
            self.best, self.best_state = score, self._state()
        left = (self.parameters.epochs - self.epoch) * sum(r["seconds"] for r in self.log) / len(self.log)
        self._say(
            f"epoch {self.epoch}/{self.parameters.epochs}  loss {loss:.3f}  validation mAP@10 {100 * score:.2f} %"
            f"  (kept {100 * self.best:.2f} %)  {left:.0f} s left"
        )
        if scores["spread"] < COLLAPSED:
            self._say(
                f"warning: all similarities are alike (standard deviation {scores['spread']:.1e}), the embedding "
                "space has collapsed; lower learning_rate, or raise batch_clips or temperature"
            )
        if self.run and distributed.process_index() == 0:
            self.run.write_table("log.csv", pd.DataFrame(self.log))
            self._write_left_out()
            self._checkpoint()
        distributed.wait()

    def _say(self, line: str) -> None:
        """To the notebook, and to progress.log in the run's folder, which can be followed while a headless run goes
        on.
        """
        if distributed.process_index() != 0:
            return
        print(line, flush=True)
        if self.run:
            with open(self.run.path("progress.log"), "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def _write_left_out(self) -> None:
        if self.run and self.left_out and self.left_out.reasons and distributed.process_index() == 0:
            self.run.write_table(FILE, self.left_out.table())

    def _checkpoint(self) -> None:
        assert self.run is not None
        checkpoints.save(
            self.run,
            self.epoch,
            {
                "epoch": self.epoch,
                "best": self.best,
                "best_state": self.best_state,
                "log": self.log,
                "encoder": self.encoder.trained_state(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "left_out": self.left_out.reasons if self.left_out else {},
            },
        )

    def _resume(self) -> None:
        state = checkpoints.load(self.run, self.device) if self.run else None
        if state is None:
            return
        self.encoder.load_trained_state(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best, self.log = state["epoch"], state["best"], state["log"]
        self.best_state = {name: value.cpu() for name, value in state["best_state"].items()}
        if self.left_out:
            self.left_out.load(state["left_out"])
        if distributed.process_index() == 0:
            print(f"resumed after epoch {self.epoch}", flush=True)
