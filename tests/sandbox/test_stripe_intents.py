import pytest
import stripe


async def test_an_intent_is_paid(client):
    made = await client.v1.payment_intents.create_async(
        {
            "amount": 5000,
            "currency": "usd",
            "metadata": {"a": "b"},
            "automatic_payment_methods": {"enabled": True},
        }
    )
    assert made.status == "requires_payment_method"
    done = await client.v1.payment_intents.confirm_async(
        made.id,
        {
            "payment_method": "pm_apple_pay",
            "return_url": "https://example.test/",
            "expand": ["latest_charge.balance_transaction"],
        },
    )
    assert done.status == "succeeded"
    assert done.latest_charge.payment_method_details.card.wallet.type == "apple_pay"
    assert done.latest_charge.balance_transaction.net == 5000 - 175
