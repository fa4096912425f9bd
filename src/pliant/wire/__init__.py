"""Typed messages, how they become bytes, and who carries them. Never imports torch."""
