"""Answers as HTML: templates, charts, and where the links lead. Asks no atlas."""
