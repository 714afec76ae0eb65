"""Thin rooms for frameworks, each an extra of its own: nothing here is imported by headgate itself,
and each file says which extra it needs where its framework is missing.
"""
