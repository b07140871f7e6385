"""Auditing: what other weights of a run's architecture did to its facts, neuron by neuron."""
