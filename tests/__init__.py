"""Tests: a package, since an installed one calls a package of its own `tests`."""
