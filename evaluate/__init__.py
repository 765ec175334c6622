"""Run directories -> numbers -> tables and figures."""
