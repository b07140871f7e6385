"""Model and prompts in, numbers out: attribution, probing, suppression. Knows no database."""
