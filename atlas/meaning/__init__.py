"""What a neuron writes, and what its facts have in common."""
