"""Joining atlases: shards of one run, runs of other models, exported runs."""
