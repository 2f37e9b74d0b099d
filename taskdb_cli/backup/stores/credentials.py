"""Who we are to a service that speaks S3, as the tools of AWS find it out."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskdb_cli.errors import InvalidConfiguration, StorageFailed, TaskdbError
from taskdb_cli.text.escaping import brief

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from obstore.store import S3Credential

_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_NAMES = {
    "access_key": "access key (AWS_ACCESS_KEY_ID)",
    "secret_key": "secret key (AWS_SECRET_ACCESS_KEY)",
    "token": "session token (AWS_SESSION_TOKEN)",
}


class Credentials:
    """The credentials for the place at a location. botocore knows when they end, and renews them.

    Raises InvalidConfiguration if there are none, or none that can be used.
    """

    def __init__(self, session: Any, location: str) -> None:
        self._location = location
        self.failure: TaskdbError | None = None
        """Why obstore got none when it last asked for them."""
        self._found = _asked(location, session.get_credentials)
        if self._found is None:
            message = f"{location}: no credentials were found"
            if "AWS_SECRET_ACCESS_KEY" in os.environ and "AWS_ACCESS_KEY_ID" not in os.environ:
                message += ": AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"
            raise InvalidConfiguration(message, _HINT)
        self._checked()

    def frozen(self) -> ReadOnlyCredentials:
        """Return those that are valid now; raise StorageFailed if they cannot be renewed."""
        try:
            return self._checked()
        except InvalidConfiguration as exc:
            message = f"{exc.message}; so the credentials cannot be renewed"
            raise StorageFailed(message, exc.hint) from exc

    def for_obstore(self) -> S3Credential:
        """Return those that are valid now, as obstore wants them."""
        self.failure = None
        try:
            found = self.frozen()
        except TaskdbError as exc:
            # obstore shows what is raised here, with a traceback.
            self.failure = exc
            raise
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            # So it asks again before each request.
            "expires_at": datetime.now(UTC),
        }

    def _checked(self) -> ReadOnlyCredentials:
        found: ReadOnlyCredentials = _asked(self._location, self._found.get_frozen_credentials)
        for name, words in _NAMES.items():
            # obstore panics at a header with a newline.
            if not re.fullmatch(r"[!-~]*", getattr(found, name) or ""):
                what = "contains a character that is not allowed, such as a space or the end of a line"
                raise InvalidConfiguration(f"{self._location}: the {words} {what}", "set it once more")
        return found


def unusable_settings(location: str, error: Exception) -> InvalidConfiguration:
    """Return the error for what botocore says of variables and files."""
    return InvalidConfiguration(f"{location}: the settings of AWS cannot be used: {brief(error)}", _HINT)


def _asked(location: str, ask: Any) -> Any:
    from botocore.exceptions import BotoCoreError, CredentialRetrievalError

    try:
        return ask()
    except CredentialRetrievalError as exc:
        # What a program said that was asked for credentials may hold one.
        source = brief(exc.kwargs.get("provider", "their source"))
        raise InvalidConfiguration(f"{location}: {source} gives no credentials", _HINT) from None
    except BotoCoreError as exc:
        raise unusable_settings(location, exc) from None
    except OSError as exc:
        message = f"{location}: the credential process of the profile cannot be run: {exc.strerror}"
        raise InvalidConfiguration(message, "check credential_process in the profile") from None
    except (ValueError, TypeError, AttributeError, LookupError):
        message = f"{location}: the credential process of the profile does not print credentials as JSON"
        raise InvalidConfiguration(message, _HINT) from None
    except RuntimeError:
        # They were renewed, and have expired nevertheless.
        message = f"{location}: the credentials have expired, and could not be renewed"
        raise InvalidConfiguration(message, "renew them, for example with 'aws sso login'") from None
