"""The networks: front ends, backbones, text encoders, and the dual encoder made of them.

    from corrlib.models import DualEncoder, build_backbone

Each is loaded when it is first asked for: what needs one small part of this room does not wait for all libraries.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corrlib.models.backbone import Backbone
    from corrlib.models.backbones import build_backbone
    from corrlib.models.build import build_encoder, rebuild_encoder
    from corrlib.models.dual_encoder import DualEncoder

__all__ = ["Backbone", "DualEncoder", "build_backbone", "build_encoder", "rebuild_encoder"]
HOMES = {
    "Backbone": "backbone",
    "DualEncoder": "dual_encoder",
    "build_backbone": "backbones",
    "build_encoder": "build",
    "rebuild_encoder": "build",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"corrlib.models hands out no '{name}'; it hands out {', '.join(__all__)}")
    return getattr(import_module(f"corrlib.models.{HOMES[name]}"), name)
