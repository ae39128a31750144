# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a drive through the real node, and a page that shows what it saw."""
