"""The hypernetwork: a small network that tells an edit's shift, learnt from the atlas's facts."""
