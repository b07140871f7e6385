"""Figures: one file each, with the SQL that it shows; `atlas.export.plots` has their table."""
