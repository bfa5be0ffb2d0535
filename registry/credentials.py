"""Secrets by reference: `credential:NAME` stands for the file NAME in the folder of the service's credentials; an edge.

systemd puts what `LoadCredential=` names into a folder that only the service can read and that `CREDENTIALS_DIRECTORY`
names; a container may mount its secrets anywhere and set the variable itself.
Invariant: no message carries what a credential says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
PREFIX: Final = "credential:"
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class CredentialMissing(LookupError):
    """A credential cannot be read; says what was expected, and what to do about it."""

    def __init__(self, expected: str, hint: str) -> None:
        super().__init__(f"{expected}; {hint}")
        self.expected = expected
        self.hint = hint


def read_credential(name: str, environment: Mapping[str, str]) -> str:
    """Give the content of a credential, without the end of its last line.

    Raises `CredentialMissing` for a name that is none, without a folder of credentials, and for a file that is missing
    or no text.
    """
    if not _NAME.fullmatch(name):
        raise CredentialMissing(
            f'a credential\'s name after "{PREFIX}", not "{name}"', "use letters, digits, dots, dashes"
        )
    folder = environment.get(FOLDER_VARIABLE, "")
    if not folder:
        raise CredentialMissing(
            f'the credential "{name}", but {FOLDER_VARIABLE} is not set',
            f"name it in the unit by LoadCredential={name}:FILE; a command asks the running daemon instead",
        )
    try:
        return (Path(folder) / name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CredentialMissing(
            f'the credential "{name}", but its file cannot be read: {why}',
            f"name it in the unit by LoadCredential={name}:FILE",
        ) from error
