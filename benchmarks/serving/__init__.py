"""Pliant beside LitServe, Ray Serve and a bare FastAPI + uvicorn process, in one run. ``make bench-serving``."""
