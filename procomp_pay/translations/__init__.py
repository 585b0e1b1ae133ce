"""The one catalogue of texts for people, in Russian, Kazakh and English."""

from procomp_pay.translations.translation import Translation

__all__ = ["Translation"]
