"""Where prompts are measured: by threads of this process, or by workers of a Ray cluster."""
