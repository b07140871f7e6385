"""How a fact's knowledge neurons work together."""
