"""What may be said, and how a text must be spelled for the engine to say it well.

Promises: a text without a fault has no control characters (espeak reads some as commands, C ends a string at
one) and a bounded length. Markup is not a fault: it is read out as any other text, because the engine runs
with markup switched off. This module does not know who says the text.
"""

import re
import unicodedata

TEXT_LIMIT = 2000
"""Characters: about three minutes of speech; a longer announcement is recorded or split."""

_VOWEL_THEN_SHADDA = re.compile("([\u064b-\u0650])\u0651")
_ARTICLE_THEN_SHADDA = re.compile("(ال[تثدذرزسشصضطظلن])\u0651")
_FEMININE_ENDING_AT_PAUSE = re.compile(r"ة(?=\s*(?:[.!?:,،؛؟]|$))")


def text_fault(text: str) -> str | None:
    """Why the text can't be said, as the end of a sentence that begins "its text"; None if it can."""
    if not text.strip():
        return "is empty: write the sentence, or record it"
    if len(text) > TEXT_LIMIT:
        return f"has {len(text)} characters, the limit is {TEXT_LIMIT}: split it, or record it"
    for position, character in enumerate(text):
        if _is_forbidden(character):
            return f"has the control character U+{ord(character):04X} at {position}: take it out, or record it"
    return None


def _is_forbidden(character: str) -> bool:
    return character not in "\t\n\r" and unicodedata.category(character) in {"Cc", "Cs"}


def spoken(text: str, language: str) -> str:
    """The spelling that the engine reads best; it sounds as written, only right.

    Arabic: the engine wants the doubling mark before the vowel (Unicode's canonical order is the other way
    round), doubles sun letters after the article by itself (with a mark it doubles them twice), and says the
    feminine ending as "at" even before a pause, where people say "ah".
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if language == "ar":
        plain = _VOWEL_THEN_SHADDA.sub("\u0651\\1", plain)
        plain = _ARTICLE_THEN_SHADDA.sub(r"\1", plain)
        plain = _FEMININE_ENDING_AT_PAUSE.sub("ه", plain)
    return plain
