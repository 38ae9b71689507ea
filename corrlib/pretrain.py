"""Pretraining of a tiny backbone on tagging: the built-in stand-in for AudioSet pretraining."""
import torch
import torch.nn.functional as F
from torch import nn

from corrlib.train import learning_rate_at


def pretrain(backbone, audio, tags, epochs, learning_rate, seed, batch_clips=16):
    """Train `backbone` (in place) and a linear head to tag clips; returns the mean loss of each epoch.

    audio: LogMelAudio of the pretraining split; tags (clips, classes) in {0, 1}. Binary cross-entropy, AdamW,
    one epoch of warm-up and a cosine, as AudioSet taggers are trained. The head is thrown away.
    """
    torch.manual_seed(seed)
    tags = torch.as_tensor(tags)
    head = nn.Linear(backbone.feature_size, tags.shape[1])
    optimiser = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=learning_rate, weight_decay=1e-4,
                                  fused=True)
    batch_clips = min(batch_clips, len(tags))
    steps, step, losses = len(tags) // batch_clips, 0, []
    backbone.train()
    for epoch in range(epochs):
        total = 0.0
        for clips in torch.randperm(len(tags))[:steps * batch_clips].split(batch_clips):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, epochs * steps, steps, learning_rate, 1e-6)
            loss = F.binary_cross_entropy_with_logits(head(backbone.encode(audio.log_mel(clips))), tags[clips])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total, step = total + float(loss.detach()), step + 1
        losses.append(total / steps)
        print(f"pretraining epoch {epoch + 1}/{epochs}  loss {losses[-1]:.4f}", flush=True)
    return losses
