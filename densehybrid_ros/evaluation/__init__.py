# SPDX-License-Identifier: Apache-2.0
"""Curves, components, open-set metrics and reports."""
