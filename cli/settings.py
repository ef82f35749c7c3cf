"""The options in front of the verb."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Settings:
    """Which cluster is meant."""

    kubeconfig: Path | None = None
    context: str = ""


SETTINGS = Settings()
