"""The templates of pages: what they are given is escaped, and what is missing is an error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.files import readable_bytes
from edgekit.reports.words import digits, duration, interval, moment, plain, rate, told

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> Template:
    """The one in the file of that name beside this one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": readable_bytes,
        "moment": moment,
        "plain": plain,
        "duration": duration,
        "interval": interval,
        "told": told,
        "rate": rate,
        "digits": digits,
    }
    return environment.get_template(name)
