"""Two predictions of the same ground: what changed, and which is nearer to the truth."""
