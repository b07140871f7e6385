"""Activations of a run's prompts, kept so that their moments are had without the model."""
