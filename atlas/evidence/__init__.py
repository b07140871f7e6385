"""Evidence: whether what an atlas holds deserves to be believed."""
