"""Payment intents, charges, refunds, disputes and the ledger, through the official SDK."""

from __future__ import annotations

import pytest
import stripe

from tests.support.patience import wait_until

RETURN = "https://example.test/back"
CONFIRM = {"return_url": RETURN}


async def types_of(client: stripe.StripeClient) -> list[str]:
    """Return the types of all events, oldest first."""
    listed = await client.v1.events.list_async({"limit": 100})
    return [event.type for event in reversed(listed.data)]


@pytest.mark.parametrize(
    ("method", "wallet"), [("pm_apple_pay", "apple_pay"), ("pm_google_pay", "google_pay")]
)
async def test_a_wallet_pays_and_the_ledger_shows_it(client, make_intent, method, wallet):
    made = await make_intent(metadata={"paymentId": "p1"}, receipt_email="a@example.test")
    assert (made.status, made.latest_charge) == ("requires_payment_method", None)
    params = {"payment_method": method, "expand": ["latest_charge.balance_transaction"], **CONFIRM}
    done = await client.v1.payment_intents.confirm_async(made.id, params)
    charge = done.latest_charge
    assert (done.status, done.amount_received, done.metadata["paymentId"]) == ("succeeded", 5000, "p1")
    assert charge.payment_method_details.card.wallet.type == wallet
    entry = charge.balance_transaction
    assert (entry.amount, entry.fee, entry.net, entry.source) == (5000, 175, 4825, charge.id)
    assert await types_of(client) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
async def test_a_decline_leaves_the_intent_open_for_another_card(
    client, make_intent, method, code, decline_code
):
    made = await make_intent()
    with pytest.raises(stripe.CardError) as caught:
        await client.v1.payment_intents.confirm_async(made.id, {"payment_method": method, **CONFIRM})
    error = caught.value
    assert (error.http_status, error.code, error.error.decline_code) == (402, code, decline_code)
    assert error.error.payment_intent.id == made.id
    failed = await client.v1.payment_intents.retrieve_async(made.id, {"expand": ["latest_charge"]})
    assert (failed.status, failed.last_payment_error.code) == ("requires_payment_method", code)
    assert (failed.latest_charge.status, failed.latest_charge.balance_transaction) == ("failed", None)
    again = await client.v1.payment_intents.confirm_async(
        made.id, {"payment_method": "pm_card_visa", **CONFIRM}
    )
    assert (again.status, again.last_payment_error) == ("succeeded", None)
    assert "payment_intent.payment_failed" in await types_of(client)


@pytest.mark.parametrize("result", ["pass", "fail"])
async def test_three_d_secure_waits_for_the_customer(client, http, make_intent, result):
    waiting = await make_intent("pm_card_threeDSecure2Required")
    assert (waiting.status, waiting.next_action.type) == ("requires_action", "redirect_to_url")
    page = waiting.next_action.redirect_to_url.url
    assert "SANDBOX" in (await http.get(page)).text
    answer = await http.post(page, data={"result": result})
    after = await client.v1.payment_intents.retrieve_async(waiting.id)
    if result == "pass":
        assert (answer.status_code, after.status, after.next_action) == (200, "succeeded", None)
    else:
        assert (answer.status_code, after.status) == (402, "requires_payment_method")
        assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert (await http.post(page, data={"result": "pass"})).status_code == 400


async def test_processing_ends_by_itself(client, make_intent):
    made = await make_intent("pm_sandbox_processing")
    assert made.status == "processing"
    with pytest.raises(stripe.InvalidRequestError, match="processing"):
        await client.v1.payment_intents.cancel_async(made.id)

    async def succeeded():
        return "payment_intent.succeeded" in await types_of(client)

    await wait_until(succeeded)
    assert (await client.v1.payment_intents.retrieve_async(made.id)).status == "succeeded"


async def test_cancel_follows_the_state(client, make_intent):
    made = await make_intent()
    gone = await client.v1.payment_intents.cancel_async(made.id, {"cancellation_reason": "abandoned"})
    assert (gone.status, gone.cancellation_reason) == ("canceled", "abandoned")
    assert gone.canceled_at is not None
    paid = await make_intent("pm_card_visa")
    for intent_id in (made.id, paid.id):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await client.v1.payment_intents.cancel_async(intent_id)
        assert caught.value.code == "payment_intent_unexpected_state"
        assert caught.value.error.payment_intent.id == intent_id
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.confirm_async(made.id, {"payment_method": "pm_card_visa", **CONFIRM})


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"amount": "12.5"}, "parameter_invalid_integer", "amount"),
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"currency": "xyz"}, None, "currency"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"automatic_payment_methods": {"on": True}}, "parameter_unknown", "automatic_payment_methods[on]"),
        (
            {"automatic_payment_methods": {}, "payment_method_types": ["cash"]},
            None,
            "payment_method_types[0]",
        ),
        ({"payment_method": "pm_nobody"}, "resource_missing", "payment_method"),
        ({"metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
        ({"receipt_email": "nobody"}, "email_invalid", "receipt_email"),
    ],
)
async def test_bad_parameters_are_named(make_intent, client, params, code, param):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await make_intent(**params)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)
    assert (await client.v1.payment_intents.list_async()).data == []


async def test_missing_parameters_and_card_numbers_are_refused(client, http):
    answer = await http.post("/v1/payment_intents", data={"currency": "usd"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "parameter_missing"
    card = {"amount": "5000", "currency": "usd", "payment_method_data[type]": "card"}
    assert (await http.post("/v1/payment_intents", data=card)).json()["status"] == "requires_confirmation"
    card["payment_method_data[card][number]"] = "1"
    assert (await http.post("/v1/payment_intents", data=card)).status_code == 400


async def test_currencies_without_decimals_are_whole_units(make_intent):
    assert (await make_intent("pm_card_visa", amount=700, currency="jpy")).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="50 JPY"):
        await make_intent(amount=49, currency="jpy")


async def test_keys_are_checked(sandbox, http, make_intent):
    made = await make_intent()
    path = f"/v1/payment_intents/{made.id}"
    wrong = await http.get(path, headers={"Authorization": "Bearer sk_test_wrong"})
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "invalid_request_error")
    assert (await http.get(path, headers={"Authorization": ""})).status_code == 401
    info = sandbox.info()
    async with type(http)(base_url=sandbox.url, auth=(info["stripe_secret_key"], "")) as basic:
        assert (await basic.get(path)).status_code == 200


async def test_headers_and_unknown_paths_are_stripes(http):
    answer = await http.get("/v1/balance", headers={"Stripe-Version": "2026-01-01.test"})
    assert answer.headers["Stripe-Version"] == "2026-01-01.test"
    assert answer.headers["Request-Id"].startswith("req_")
    for method, path in (("GET", "/v1/invoices"), ("DELETE", "/v1/payment_intents/pi_1")):
        unknown = await http.request(method, path)
        assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "invalid_request_error")
    missing = await http.get("/v1/payment_intents/pi_none")
    assert missing.json()["error"]["code"] == "resource_missing"
    form = await http.post("/v1/payment_intents", json={"amount": 5000})
    assert "content type" in form.json()["error"]["message"]
    broken = await http.get("/v1/payment_intents?a[b=1")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_lists_page_both_ways_and_filter_by_time(client, sandbox, make_intent):
    ids = [(await make_intent()).id for _ in range(3)]
    sandbox.advance(100)
    ids += [(await make_intent("pm_card_visa")).id for _ in range(2)]
    newest_first = ids[::-1]
    listed = await client.v1.payment_intents.list_async({"limit": 2})
    assert [item.id for item in listed.data] == newest_first[:2]
    assert listed.has_more is True
    assert [item.id async for item in listed.auto_paging_iter()] == newest_first
    back = await client.v1.payment_intents.list_async({"limit": 2, "ending_before": newest_first[4]})
    assert [item.id for item in back.data] == newest_first[2:4]
    since = listed.data[0].created - 50
    params = {"created": {"gte": since}, "expand": ["data.latest_charge"]}
    late = await client.v1.payment_intents.list_async(params)
    assert [item.latest_charge.amount for item in late.data] == [5000, 5000]
    early = await client.v1.payment_intents.list_async({"created": {"lt": since}})
    assert [item.id for item in early.data] == newest_first[2:]
    for bad in ({"limit": 101}, {"starting_after": "pi_none"}, {"expand": ["data.colour"]}):
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.payment_intents.list_async(bad)


async def test_refunds_never_exceed_the_charge(client, make_intent):
    paid = await make_intent("pm_card_visa")
    params = {"payment_intent": paid.id, "amount": 2000, "reason": "requested_by_customer"}
    part = await client.v1.refunds.create_async(params)
    assert (part.status, part.amount, part.charge) == ("succeeded", 2000, paid.latest_charge)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async({**params, "amount": 3001})
    assert (caught.value.code, caught.value.param) == ("amount_too_large", "amount")
    rest = await client.v1.refunds.create_async({"charge": paid.latest_charge, "metadata": {"why": "x"}})
    assert (rest.amount, rest.metadata["why"]) == (3000, "x")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async({"payment_intent": paid.id})
    assert caught.value.code == "charge_already_refunded"
    charge = await client.v1.charges.retrieve_async(paid.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 5000)
    assert [item.id for item in charge.refunds.data] == [rest.id, part.id]
    listed = await client.v1.refunds.list_async({"payment_intent": paid.id})
    assert [item.id for item in listed.data] == [rest.id, part.id]
    entries = await client.v1.balance_transactions.list_async({"type": "refund"})
    assert [item.net for item in entries.data] == [-3000, -2000]
    of_one = await client.v1.balance_transactions.list_async({"source": part.id, "expand": ["data.source"]})
    assert of_one.data[0].source.amount == 2000
    assert (await types_of(client))[-4:] == ["refund.created", "charge.refunded"] * 2


async def test_invalid_refunds_are_refused(client, make_intent):
    paid, unpaid = await make_intent("pm_card_visa"), await make_intent()
    for bad in (
        {},
        {"payment_intent": unpaid.id},
        {"payment_intent": "pi_none"},
        {"payment_intent": paid.id, "reason": "because"},
        {"payment_intent": paid.id, "amount": 0},
    ):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await client.v1.refunds.create_async(bad)
        assert caught.value.http_status == 400
    assert (await client.v1.refunds.list_async()).data == []


async def test_a_refund_can_fail_later_and_the_charge_counts_as_paid_again(client, http, make_intent):
    paid = await make_intent("pm_card_visa")
    refund = await client.v1.refunds.create_async({"payment_intent": paid.id})
    assert (await http.post(f"/_sandbox/stripe/refunds/{refund.id}/fail")).status_code == 200
    failed = await client.v1.refunds.retrieve_async(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    charge = await client.v1.charges.retrieve_async(paid.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (False, 0)
    assert "refund.failed" in await types_of(client)
    balance = await client.v1.balance.retrieve_async()
    assert balance.pending[0].amount == 4825
    assert (await http.post(f"/_sandbox/stripe/refunds/{refund.id}/fail")).status_code == 400


@pytest.mark.parametrize(
    ("method", "first", "last"),
    [("pm_card_refundFail", "succeeded", "failed"), ("pm_card_pendingRefund", "pending", "succeeded")],
)
async def test_pending_refunds_are_decided_later(client, sandbox, make_intent, method, first, last):
    paid = await make_intent(method)
    refund = await client.v1.refunds.create_async({"payment_intent": paid.id})
    assert refund.status == first
    sandbox.advance(5)
    assert (await client.v1.refunds.retrieve_async(refund.id)).status == last
    assert "refund.updated" in await types_of(client)


@pytest.mark.parametrize("won", [True, False])
async def test_a_dispute_takes_the_money_until_it_is_won(client, http, make_intent, won):
    paid = await make_intent("pm_card_visa")
    opened = (await http.post(f"/_sandbox/stripe/payment_intents/{paid.id}/dispute")).json()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async({"payment_intent": paid.id})
    assert caught.value.code == "charge_disputed"
    assert (await client.v1.balance.retrieve_async()).pending[0].amount == 4825 - 5000 - 1500
    closed = await http.post(f"/_sandbox/stripe/disputes/{opened['id']}/close", json={"won": won})
    assert closed.json()["status"] == ("won" if won else "lost")
    expected = 4825 if won else -1675
    assert (await client.v1.balance.retrieve_async()).pending[0].amount == expected
    types = await types_of(client)
    assert types.count("charge.dispute.created") == types.count("charge.dispute.closed") == 1


async def test_the_dispute_card_opens_one_that_is_closed_once(client, http, make_intent):
    paid = await make_intent("pm_card_createDispute")
    [dispute] = (await client.v1.disputes.list_async({"payment_intent": paid.id})).data
    assert (dispute.status, dispute.charge) == ("needs_response", paid.latest_charge)
    close = f"/_sandbox/stripe/disputes/{dispute.id}/close"
    assert (await http.post(close, json={"won": False})).json()["status"] == "lost"
    assert (await http.post(close, json={"won": True})).status_code == 400


async def test_the_control_route_pays_as_the_app_would(client, http, make_intent):
    made = await make_intent()
    path = f"/_sandbox/stripe/payment_intents/{made.id}/pay"
    assert (await http.post(path, json={"method": "pm_card_chargeDeclined"})).status_code == 402
    assert (await http.post(path, json={"method": "pm_google_pay"})).json()["status"] == "succeeded"
    assert (await http.post(path)).status_code == 400


async def test_the_balance_settles_after_two_days(client, sandbox, make_intent):
    await make_intent("pm_card_visa")
    assert (await client.v1.balance.retrieve_async()).available[0].amount == 0
    sandbox.advance(2 * 86400 + 1)
    assert (await client.v1.balance.retrieve_async()).available[0].amount == 4825
