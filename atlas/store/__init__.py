"""The atlas file: opening and locking it, writing to it, asking it."""
