"""Making edits: which neurons, which prompts, which deltas."""
