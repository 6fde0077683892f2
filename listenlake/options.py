"""Options that several commands share: one spelling, one default, one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from local_cloud.state import PROJECT

STATE_VARIABLE: Final = "LISTENLAKE_STATE"
State = Annotated[
    Path, typer.Option(envvar=STATE_VARIABLE, help="Folder of the local cloud.", show_default=".listenlake")
]
DEFAULT_STATE: Final = PROJECT / ".listenlake"
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
