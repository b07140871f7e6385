"""Edits as data: making them, applying them to a live model, writing them to files."""
