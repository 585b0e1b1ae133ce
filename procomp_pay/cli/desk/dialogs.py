"""Questions over the screen: yes or no, and one line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from procomp_pay.cli.desk.app import DeskScreen
from procomp_pay.cli.desk.keys import NO, YES
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from textual.app import ComposeResult


class Dialog(DeskScreen, ModalScreen[Any]):
    """A question over the screen."""


class Confirm(Dialog):
    """A question to answer with yes or no; ``True`` if yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(YES, "answer(True)", N_("Yes"), key_display=N_("y")),
        Binding(f"escape,{NO}", "answer(False)", N_("No"), key_display="Esc"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._question))
            yield Footer()

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class Ask(Dialog):
    """A question to answer with one line; ``None`` after Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "stop", N_("Back"), key_display="Esc")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._question))
            yield Input(self._value, id="answer")
            yield Footer()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(event.value)

    def action_stop(self) -> None:
        self.dismiss(None)
