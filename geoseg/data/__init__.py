"""Chips for training, cut from scenes as they are asked for; no tile is ever written to disk."""
