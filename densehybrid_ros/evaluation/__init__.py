"""Curves, components, open-set metrics and reports."""
