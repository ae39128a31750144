# SPDX-License-Identifier: Apache-2.0
"""Readers of public data sets, cut-outs for pasting, and the rendered road."""
