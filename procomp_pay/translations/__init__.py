"""The one catalogue of texts for people, in Russian, Kazakh and English."""

from procomp_pay.translations.translation import Translation, preferred_language

__all__ = ["Translation", "preferred_language"]
