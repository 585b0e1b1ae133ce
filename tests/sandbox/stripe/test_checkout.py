"""Checkout sessions: the API, the hosted page and the clock."""

from __future__ import annotations

import pytest
import stripe

JSON = {"Accept": "application/json"}


async def events_of(client: stripe.StripeClient) -> list[str]:
    """Return the types of all events, oldest first."""
    listed = await client.v1.events.list_async({"limit": 100})
    return [event.type for event in reversed(listed.data)]


async def pay(http, session, wallet):
    return await http.post(f"/c/pay/{session.id}", data={"wallet": wallet}, headers=JSON)


@pytest.mark.parametrize(
    ("button", "wallet"), [("apple_pay", "apple_pay"), ("google_pay", "google_pay"), ("card", None)]
)
async def test_a_session_is_paid_on_its_page(client, http, make_session, button, wallet):
    data = {"metadata": {"paymentId": "p1"}, "description": "Entry"}
    session = await make_session(payment_intent_data=data, client_reference_id="p1", metadata={"m": "n"})
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert (session.amount_total, session.client_reference_id) == (5000, "p1")
    answer = (await pay(http, session, button)).json()
    assert answer["redirect_url"] == f"https://example.test/done?s={session.id}"
    params = {"expand": ["payment_intent", "payment_intent.latest_charge"]}
    done = await client.v1.checkout.sessions.retrieve_async(session.id, params)
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    intent = done.payment_intent
    assert (intent.metadata["paymentId"], intent.description) == ("p1", "Entry")
    found = intent.latest_charge.payment_method_details.card.wallet
    assert (found and found.type) == wallet
    assert await events_of(client) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    listed = await client.v1.checkout.sessions.list_async({"payment_intent": intent.id})
    assert [item.id for item in listed.data] == [session.id]
    assert (await pay(http, session, button)).status_code == 400


async def test_a_decline_keeps_the_session_open(client, http, make_session):
    session = await make_session()
    answer = await pay(http, session, "declined")
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "card_declined")
    still = await client.v1.checkout.sessions.retrieve_async(session.id)
    assert (still.status, still.payment_status) == ("open", "unpaid")
    with pytest.raises(stripe.InvalidRequestError, match="Expire the Checkout Session"):
        await client.v1.payment_intents.cancel_async(still.payment_intent)
    assert (await pay(http, session, "apple_pay")).status_code == 200
    done = await client.v1.checkout.sessions.retrieve_async(session.id)
    assert (done.status, done.payment_intent) == ("complete", still.payment_intent)
    types = await events_of(client)
    assert types.index("payment_intent.payment_failed") < types.index("checkout.session.completed")


async def test_the_page_is_html(http, make_session):
    session = await make_session()
    page = await http.get(session.url)
    assert page.headers["Content-Type"].startswith("text/html")
    for text in ("SANDBOX", "50.00 USD", "Apple Pay", "Google Pay", "Entry &lt;fee&gt;"):
        assert text in page.text
    assert "<fee>" not in page.text
    assert "Your card was declined." in (await http.post(session.url, data={"wallet": "declined"})).text
    paid = await http.post(session.url, data={"wallet": "card"})
    assert f"https://example.test/done?s={session.id}" in paid.text
    assert (await http.get("/c/pay/cs_test_none")).status_code == 404
    assert (await pay(http, await make_session(), "cash")).status_code == 400


async def test_three_d_secure_on_the_page_completes_the_session(client, http, make_session):
    session = await make_session()
    sent = await http.post(session.url, data={"wallet": "authenticate"})
    assert sent.status_code == 303
    assert (await http.post(sent.headers["Location"], data={"result": "pass"})).status_code == 200
    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"


async def test_expire_by_request(client, http, make_session):
    session = await make_session()
    await pay(http, session, "declined")
    gone = await client.v1.checkout.sessions.expire_async(session.id, {"expand": ["payment_intent"]})
    assert (gone.status, gone.url, gone.payment_intent.status) == ("expired", None, "canceled")
    assert (await events_of(client))[-1] == "checkout.session.expired"
    assert (await pay(http, session, "card")).status_code == 400
    assert (await http.get(f"/c/pay/{session.id}")).status_code == 410
    paid = await make_session()
    await pay(http, paid, "card")
    for session_id in (session.id, paid.id):
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.checkout.sessions.expire_async(session_id)


async def test_expire_by_the_clock(client, http, make_session):
    first, paid = await make_session(), await make_session()
    at = first.created + 1800
    early = await make_session(expires_at=at)
    await pay(http, paid, "card")
    await http.post("/_sandbox/clock", json={"advance": 1801})
    assert (await client.v1.checkout.sessions.retrieve_async(early.id)).status == "expired"
    assert (await client.v1.checkout.sessions.retrieve_async(first.id)).status == "open"
    await http.post("/_sandbox/clock", json={"advance": 86400})
    assert (await client.v1.checkout.sessions.retrieve_async(first.id)).status == "expired"
    assert (await client.v1.checkout.sessions.retrieve_async(paid.id)).status == "complete"
    assert (await events_of(client)).count("checkout.session.expired") == 2


@pytest.mark.parametrize(
    "params",
    [
        {"expires_at": 1},
        {"mode": "subscription"},
        {"line_items": []},
        {"success_url": "javascript:alert(1)"},
        {"success_url": "example.test"},
        {"payment_intent_data": {"colour": "red"}},
        {
            "line_items": [
                {
                    "price_data": {"currency": "usd", "unit_amount": 10, "product_data": {"name": "x"}},
                    "quantity": 1,
                }
            ]
        },
        {"line_items": [{"price_data": {"currency": "usd", "unit_amount": 1000}, "quantity": 1}]},
    ],
)
async def test_invalid_sessions_are_refused(client, make_session, params):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await make_session(**params)
    assert caught.value.http_status == 400
    assert (await client.v1.checkout.sessions.list_async()).data == []


async def test_expiry_bounds_are_half_an_hour_and_a_day(client, make_session):
    now = (await make_session()).created
    for bad in (now + 1700, now + 86400 + 60):
        with pytest.raises(stripe.InvalidRequestError, match="30 minutes and 24 hours"):
            await make_session(expires_at=bad)
    assert (await make_session(expires_at=now + 86400)).expires_at == now + 86400
