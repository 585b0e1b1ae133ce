"""The parser's messages about a wrong command line, in the clerk's language.

The parser gives finished English sentences, so they are told apart by their form; another sentence stays.
"""

from __future__ import annotations

import re
from typing import Any

from procomp_pay.cli.framework.language import _, translated
from procomp_pay.domain.text import N_

_FORMS = (
    (r"No such command '(?P<name>.*?)'\.(?P<more>.*)", N_("There is no command %(name)s.")),
    (r"No such option: (?P<name>\S+)(?P<more>.*)", N_("There is no option %(name)s.")),
    (r"Missing argument '(?P<name>.*?)'\.?(?P<more>.*)", N_("Give %(name)s.")),
    (r"Missing option '(?P<name>.*)'\.?(?P<more>.*?)", N_("Give the option %(name)s.")),
    (r"Option '(?P<name>.*)' requires an argument\.?(?P<more>)", N_("The option %(name)s needs a value.")),
    (r"Option '(?P<name>.*)' does not take a value\.?(?P<more>)", N_("The option %(name)s takes no value.")),
    (
        r"Invalid value for .*: [Ff]ile '(?P<name>.*)' does not exist\.(?P<more>)",
        N_("There is no file %(name)s"),
    ),
    (r"Got unexpected extra argument(?:\(s\)|s)? \((?P<name>.*)\)(?P<more>)", N_("Too much: %(name)s.")),
)
_CHOICES = re.compile(r"(?:Did you mean|Possible options:|Choose from:) (?P<names>[^?)]*)")


def usage_message(error: Any, english: str) -> str:
    """Return the message of a wrong command line.

    :param english: the same in one English sentence.
    """
    own = getattr(error, "message", None)
    if isinstance(own, str) and (text := translated(own)) != own:
        option = re.match(r"Invalid value for (.*?): ", english)
        if option is None:
            return _("Invalid value: %(why)s", why=text)
        return _("Invalid value for %(option)s: %(why)s", option=option[1], why=text)
    for form, template in _FORMS:
        if match := re.fullmatch(form, english):
            names = _CHOICES.search(match["more"])
            known = " " + _("Possible: %(names)s", names=names["names"].strip()) if names else ""
            return _(template, name=match["name"].replace("'", "")) + known
    return english
