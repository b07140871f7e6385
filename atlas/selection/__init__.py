"""From scores to knowledge neurons, and all that is derived from them."""
