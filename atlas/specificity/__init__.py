"""What a fact's knowledge neurons are neurons of: of the fact, or of its answer or relation."""
