"""Readers of public data sets, cut-outs for pasting, and the rendered road."""
