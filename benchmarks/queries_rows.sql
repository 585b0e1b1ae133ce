-- The rows of benchmarks/queries.py: $count payments, two for each participant, 500 for each tournament.
-- One statement for each kind of row; the comment before it is shown with its time.

-- keys
CREATE FUNCTION pg_temp.key(kind text, g bigint) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$$$ SELECT kind || substr(md5(kind || g::text), 1, 24) $$$$;

-- users
INSERT INTO "User" (id, email, name)
SELECT pg_temp.key('u', g), g || '@example.com', 'Name ' || g
FROM generate_series(0, $users - 1) g;

-- tournaments
INSERT INTO "Tournament" (id, name, "entryFee", currency, "startsAt", "updatedAt")
SELECT pg_temp.key('t', g), 'Cup ' || g, 24000, 'KZT', now(), now()
FROM generate_series(0, $tournaments - 1) g;

-- what happens
CREATE UNLOGGED TABLE made AS
SELECT g,
       pg_temp.key('c', g) AS id,
       g % 10 < 7 AS paid,
       (ARRAY['COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED', 'COMPLETED',
              'EXPIRED', 'FAILED', 'CANCELLED'])[1 + g % 10] AS status,
       (ARRAY['KASPI_QR', 'KASPI_QR', 'APPLE_PAY', 'GOOGLE_PAY'])[1 + (g / 10) % 4] AS method,
       CASE WHEN (g / 10) % 4 < 2 THEN 'KZT' ELSE 'USD' END AS currency,
       CASE WHEN (g / 10) % 4 < 2 THEN 24000 ELSE 50 END AS amount,
       timestamptz '2024-01-01 00:00Z' + g * interval '6.2 seconds' AS at
FROM generate_series(1, $count) g;

-- payments
INSERT INTO "Payment" (id, amount, currency, status, method, "failureReason", "userId", "tournamentId",
                       "createdAt", "updatedAt", "stripePaymentId")
SELECT id, amount, currency::"Currency", status::"PaymentStatus", method::"PaymentMethod",
       CASE WHEN NOT paid THEN 'Reason ' || g % 7 END,
       pg_temp.key('u', g % $users), pg_temp.key('t', g % $tournaments),
       at AT TIME ZONE 'UTC', at AT TIME ZONE 'UTC', CASE WHEN currency = 'USD' THEN 'pi_' || g END
FROM made;

-- participants
INSERT INTO "Participant" (id, "userId", "tournamentId", "fullName", category, "updatedAt")
SELECT pg_temp.key('p', g), pg_temp.key('u', g % $users), pg_temp.key('t', g % $tournaments),
       'Қайрат ' || g, 'Дзюдо -66 кг', now()
FROM generate_series(0, $people - 1) g;

-- details
INSERT INTO pay_payment_detail (payment_id, participant_id, channel, create_state, provider_open, provider_ref,
                                requested_amount, requested_currency, charged_amount, charged_currency,
                                completed_at, started_by, created_at, updated_at,
                                dispute_id, dispute_state, dispute_amount)
SELECT id, pg_temp.key('p', g % $people), 'stripe_checkout', 'open', false, 'ref_' || g,
       amount, currency, amount, currency,
       CASE WHEN paid THEN at + (20 + g % 160) * interval '1 second' END, 'aigerim', at, at,
       CASE WHEN g % 5000 = 0 THEN 'dp_' || g END, CASE WHEN g % 5000 = 0 THEN 'lost' END,
       CASE WHEN g % 5000 = 0 THEN amount END
FROM made;

-- audit
INSERT INTO pay_audit_entry (payment_id, seq, at, actor, source, action, after, prev_hash, hash)
SELECT id, seq, at, 'aigerim', 'person', 'started', '{"status": "PENDING"}',
       md5(g::text) || md5(seq::text), md5(seq::text) || md5(g::text)
FROM made, generate_series(1, 2) seq;

-- refunds
INSERT INTO pay_refund (id, payment_id, amount, currency, reason, state, requested_by, created_at, updated_at)
SELECT pg_temp.key('r', g), id, 1, currency, 'ill', 'SUCCEEDED', 'aigerim', at, at
FROM made WHERE g % 20 = 10;

-- discrepancies
INSERT INTO pay_discrepancy (id, fingerprint, kind, provider, payment_id, detail, state, opened_at, last_seen_at)
SELECT pg_temp.key('y', g), 'LATE_PAYMENT:' || id, 'LATE_PAYMENT', 'stripe', id, '{}', 'resolved', at, at
FROM made WHERE g % 100 = 10;

-- tidied up
DROP TABLE made;
