"""All systems, and which of them can run here."""

from __future__ import annotations

from benchmarks import installed
from benchmarks.serving import system_bare, system_litserve, system_pliant, system_ray
from benchmarks.serving.base import System

SYSTEMS: tuple[System, ...] = (
    *system_bare.SYSTEMS,
    *system_litserve.SYSTEMS,
    *system_ray.SYSTEMS,
    *system_pliant.SYSTEMS,
)
IMPORTS = {"bare": "fastapi, uvicorn, httptools", "litserve": "litserve", "ray": "ray.serve", "pliant": "pliant"}


def why_not(system: System) -> str:
    """Why this system cannot run here; "" if it can be imported."""
    return installed.why_not(system.packages, IMPORTS[system.name.partition("-")[0]])
