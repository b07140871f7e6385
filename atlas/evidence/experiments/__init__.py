"""Experiments of the paper and of its critics: one file each, behind one table."""
