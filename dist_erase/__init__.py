"""dist-erase: distributed CLIPErase unlearning for open_clip models."""

__version__ = "0.1.0"
