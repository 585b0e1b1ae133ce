"""StatusCodes of the Public QR API and the two ways a call can fail.

Source of the codes: Kaspi "Public QR API, integration documentation v3.9", appendix 3. The texts are ours.
"""

from __future__ import annotations

from typing import Final

OK: Final = 0
UNAVAILABLE: Final = -999
NO_CERTIFICATE: Final = -10000
CLIENT_NOT_FOUND: Final = -1401
PHONE_NOT_FOUND: Final = -1404
DEVICE_UNKNOWN: Final = -1501
DEVICE_OFF: Final = -1502
DEVICE_ELSEWHERE: Final = -1503
PURCHASE_UNKNOWN: Final = -1601
NO_TRADE_POINTS: Final = -14000002
REFUND_PURCHASE_UNKNOWN: Final = -99000001
TRADE_POINT_UNKNOWN: Final = -99000002
OTHER_TRADE_POINT: Final = -99000003
REFUND_TOO_LARGE: Final = -99000005
REFUND_FAILED: Final = -99000006
WRONG_STATE: Final = -99000011
NO_PART_REFUND: Final = -99000020
TRADE_POINT_OFF: Final = 990000018
NO_QR_HERE: Final = 990000026
WRONG_AMOUNT: Final = 990000028
NO_METHODS: Final = 990000033

MESSAGES: Final[dict[int, str]] = {
    OK: "OK",
    UNAVAILABLE: "Сервис временно недоступен",
    NO_CERTIFICATE: "Отсутствует клиентский сертификат",
    CLIENT_NOT_FOUND: "Клиент не найден",
    PHONE_NOT_FOUND: "Номер телефона не найден",
    DEVICE_UNKNOWN: "Устройство с заданным идентификатором не найдено",
    DEVICE_OFF: "Устройство не активно (отключено или удалено)",
    DEVICE_ELSEWHERE: "Устройство уже добавлено в другую торговую точку",
    PURCHASE_UNKNOWN: "Покупка не найдена",
    NO_TRADE_POINTS: "Отсутствуют торговые точки, создайте точку в приложении Kaspi Pay",
    REFUND_PURCHASE_UNKNOWN: "Покупка с заданным идентификатором не найдена",
    TRADE_POINT_UNKNOWN: "Торговая точка не найдена",
    OTHER_TRADE_POINT: "Торговая точка покупки не соответствует текущему устройству",
    REFUND_TOO_LARGE: "Сумма возврата превышает доступную сумму покупки",
    REFUND_FAILED: "Не удалось вернуть покупку, повторите попытку или обратитесь в банк",
    WRONG_STATE: "Статус покупки не позволяет выполнить операцию",
    NO_PART_REFUND: "Частичный возврат невозможен",
    TRADE_POINT_OFF: "Торговая точка отключена",
    NO_QR_HERE: "Торговая точка не принимает оплату с QR",
    WRONG_AMOUNT: "Указана неверная сумма операции",
    NO_METHODS: "Нет доступных методов оплаты",
}


def message_for(code: int) -> str:
    """Return the text for a StatusCode; a neutral sentence if the document has none."""
    return MESSAGES.get(code, f"Операция отклонена (код {code})")


class KaspiError(Exception):
    """A refusal that Kaspi answers in its envelope.

    `http_status` is 200 for all the document describes; 401 and 429 are the two places where it leaves
    the transport open (see `access` and `calls_remote`).
    """

    def __init__(
        self, code: int, message: str | None = None, *, http_status: int = 200, retry_after: int | None = None
    ) -> None:
        self.code = code
        self.message = message or message_for(code)
        self.http_status = http_status
        self.retry_after = retry_after
        super().__init__(f"{code}: {self.message}")


class MalformedRequestError(Exception):
    """A request that no StatusCode is documented for: missing header or field, bad JSON, wrong type.

    Answered with an HTTP error and a Message, without a StatusCode, so that no code is invented.
    """

    def __init__(self, message: str, *, http_status: int = 400) -> None:
        self.message = message
        self.http_status = http_status
        super().__init__(message)


class StepRefusedError(Exception):
    """A step that the payment's present state does not allow, such as the scan of an expired QR."""
