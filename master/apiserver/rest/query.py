"""Query parameters of connect requests, with upstream's idea of a boolean and repeated names kept."""

from urllib.parse import parse_qsl

from starlette.types import Scope

from apimachinery.errors import BadRequest


class Query:
    def __init__(self, scope: Scope) -> None:
        raw: bytes = scope.get("query_string", b"")
        self._pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self._pairs if key == name)

    def text(self, name: str) -> str:
        """The first value, or ""."""
        return next(iter(self.texts(name)), "")

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Present without a value means yes; "0" and "false" mean no, anything else yes."""
        values = self.texts(name)
        return values[0].lower() not in ("0", "false") if values else default

    def number(self, name: str) -> int | None:
        """Raises BadRequest for what is not an integer."""
        value = self.text(name)
        if not value:
            return None
        try:
            return int(value)
        except ValueError:
            raise BadRequest(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None
