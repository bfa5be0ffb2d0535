"""Texts and symbols in their normal forms; `rust/functions/src/strings.rs` has the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion_ext.calls import Argument, call, up_to_the_last_given

if TYPE_CHECKING:
    from datafusion import Expr


def utf8_normalize(value: Argument, form: Argument | None = None, casefold: Argument | None = None) -> Expr:
    """Give the Unicode normal form of a text: NFC (the default), NFD, NFKC or NFKD, and its case folded if wanted."""
    return call("utf8_normalize", value, *up_to_the_last_given((form, "NFC"), (casefold, False)))


def utf8_null_if_blank(value: Argument) -> Expr:
    """Give NULL for a text of white space only, and every other one as it is."""
    return call("utf8_null_if_blank", value)


def qname_normalize(symbol: Argument, module: Argument | None = None, lang: Argument | None = None) -> Expr:
    """Give the qualified name of a symbol in a module, by the rules of a language."""
    return call("qname_normalize", symbol, *up_to_the_last_given((module, None), (lang, "neutral")))
