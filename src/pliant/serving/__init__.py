"""Elastic serving: how many replicas there should be, and which requests go into which batch."""
