"""Figures of a study, one kind a function, listed in its file under `figures`."""
