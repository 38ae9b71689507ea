"""Audio files of any format: a part of one decoded, and how much of each decodes at all."""
