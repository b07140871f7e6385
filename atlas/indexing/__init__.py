"""Filling an atlas: the indexer, imports of published neurons, and the models that runs name."""
