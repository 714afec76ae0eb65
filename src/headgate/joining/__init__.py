"""Identical calls under way at the same time: one flight, its readers, and who waits for whom."""
