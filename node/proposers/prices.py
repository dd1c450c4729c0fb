"""What a model's tokens cost: the table in configs/prices.toml, and the home's own on top of it.

A model that is in neither has no known price, and nothing is guessed.
"""

import re
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from node import shipped
from swarm.words import Frozen, SwarmError

_DATE = re.compile(r"[-@:](?:20\d{2}-?\d{2}-?\d{2}|latest)$")
_VARIANT = re.compile(r":(?:free|beta|extended|thinking|online|nitro|floor)$")
MAX_FILE_BYTES = 1 << 20


class Price(Frozen):
    """US dollars for a million tokens."""

    input: float = Field(ge=0, lt=1e6)
    output: float = Field(ge=0, lt=1e6)

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


class _Table(Frozen):
    models: dict[str, Price]


Prices = dict[str, Price]


def load_prices(own: Path | None = None) -> Prices:
    """The shipped table and, if there is one, the file at `own`. Raises SwarmError for a file that is none."""
    prices = _read(shipped.configs() / "prices.toml")
    if own is not None and own.exists():
        prices |= _read(own)
    return prices


def price_of(model: str, prices: Prices) -> Price | None:
    """By name; without a provider in front or a date behind. A free variant costs nothing."""
    name = model.strip().lower()
    if name.endswith(":free"):
        return prices.get(name, Price(input=0.0, output=0.0))
    for candidate in (name, name.rpartition("/")[2]):
        for plain in (candidate, _DATE.sub("", candidate), _DATE.sub("", _VARIANT.sub("", candidate))):
            if plain in prices:
                return prices[plain]
    return None


def _read(path: Path) -> Prices:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SwarmError(f"the price table {path} is larger than {MAX_FILE_BYTES} bytes")
        table = _Table.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SwarmError(f"the price table {path} cannot be read: {error.strerror}") from None
    except (ValidationError, ValueError):  # TOML and encoding errors are ValueErrors
        raise SwarmError(
            f'the price table {path} does not hold lines like "some-model" = {{ input = 0.15, output = 0.60 }} '
            "under [models]"
        ) from None
    return {name.lower(): price for name, price in table.models.items()}
