"""Define the SQL of :mod:`procomp_pay.storage.reconciliation.staging`, for PostgreSQL and SQLite alike.

Parameters are written ``:name``. Only our own constants are put into the text.
"""

# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable

from procomp_pay.domain.discrepancies import ABOUT_MONEY

_LINE = """kind, ref, match, stand, at, amount, currency, fee, net, hint, coalesce(number, seq), dispute,
    settlement_currency"""
_COLUMN = {"stripe": '"stripePaymentId"', "kaspi": '"kaspiTransactionId"'}
_PAID_HERE = "p.status IN ('COMPLETED', 'REFUNDED')"

#: The condition under which both sides agree: ``domain.reconciliation.compare`` finds no mismatch in such a
#: pair.
_CLEAN = """
    l.kind = 'payment' AND l.amount = p.amount AND l.currency = CAST(p.currency AS TEXT) AND (
        (l.stand = 'paid' AND p.status = 'COMPLETED')
        OR (l.stand = 'open' AND p.status IN ('PENDING', 'PROCESSING', 'FAILED'))
        OR (l.stand = 'ended' AND p.status IN ('CANCELLED', 'EXPIRED', 'FAILED')))
"""


def tables(*, amount: str, time: str, key: str) -> list[str]:
    """Return the SQL for the temporary tables. ``key`` is a text type with Python's order."""
    return [
        f"""CREATE TEMP TABLE line (seq INTEGER, kind TEXT, ref TEXT, match {key}, stand TEXT DEFAULT 'paid',
            at {time}, amount {amount}, currency TEXT, fee {amount}, net {amount}, hint TEXT,
            number INTEGER, dispute TEXT, settlement_currency TEXT)""",
        # in the database's own order, which its indexes have too
        "CREATE TEMP TABLE candidate (payment_id TEXT, match TEXT)",
        f"CREATE TEMP TABLE candidate_match (match {key} PRIMARY KEY, names TEXT)",
        f"CREATE TEMP TABLE candidate_key (key {key} PRIMARY KEY, payment_id TEXT)",
        "CREATE TEMP TABLE candidate_id (payment_id TEXT)",
        f"CREATE TEMP TABLE order_word (match {key}, word TEXT)",
        f"CREATE TEMP TABLE decided_number (match {key} PRIMARY KEY)",
        f"CREATE TEMP TABLE other_money (match {key} PRIMARY KEY, payment_id TEXT)",
        f"CREATE TEMP TABLE possible_duplicate (match {key})",
        f"""CREATE TEMP TABLE unmatched_line (match {key}, at {time}, amount {amount}, currency TEXT,
            has_qr BOOLEAN)""",
        f"""CREATE TEMP TABLE unidentified_payment (payment_id TEXT, amount {amount}, currency TEXT,
            created_at {time}, is_long BOOLEAN, has_qr BOOLEAN, can_be_paid BOOLEAN, channel TEXT,
            sent_at {time}, expires_at {time}, scanned_at {time}, scan_timeout_s INTEGER,
            confirm_timeout_s INTEGER)""",
        f"""CREATE TEMP TABLE candidate_line (key {key}, names TEXT, seq INTEGER, kind TEXT, ref TEXT,
            match {key}, stand TEXT, at {time}, amount {amount}, currency TEXT, fee {amount}, net {amount},
            hint TEXT, number INTEGER, dispute TEXT, settlement_currency TEXT)""",
        f"""CREATE TEMP TABLE fee_line (payment_id TEXT, match {key}, kind TEXT, ref TEXT,
            balance_transaction_id TEXT, amount {amount}, fee {amount}, net {amount}, currency TEXT,
            at {time}, seq INTEGER)""",
    ]


def _ours(provider: str) -> str:
    # values are compared in their stored form: converting a million of them would take a fifth of the join's
    # time
    method = "method = 'KASPI_QR'" if provider == "kaspi" else "(method <> 'KASPI_QR' OR method IS NULL)"
    return f"""(SELECT id, {_COLUMN[provider]} AS m, status, amount, currency FROM "Payment" o
        WHERE "createdAt" >= :since AND "createdAt" < :until AND {method})"""


def candidates(provider: str, *, full_join: bool) -> list[str]:
    """Return the SQL for pairs that the join does not clear, by payment or by the provider's reference."""
    ours = _ours(provider)
    if full_join:
        compared = [
            f"""INSERT INTO candidate SELECT p.id, l.match FROM {ours} p FULL JOIN line l ON l.match = p.m
            WHERE CASE WHEN l.match IS NULL THEN {_PAID_HERE} WHEN p.id IS NULL THEN TRUE
            ELSE NOT coalesce({_CLEAN}, FALSE) END"""
        ]
    else:
        compared = [
            "CREATE INDEX temp.line_match ON line (match)",
            f"""INSERT INTO candidate SELECT p.id, l.match FROM line l LEFT JOIN {ours} p ON p.m = l.match
            WHERE p.id IS NULL OR NOT coalesce({_CLEAN}, FALSE)""",
            f"""INSERT INTO candidate SELECT p.id, NULL FROM {ours} p WHERE {_PAID_HERE}
            AND NOT EXISTS (SELECT 1 FROM line l WHERE l.match = p.m)""",
        ]
    return [
        *compared,
        f"""INSERT INTO candidate SELECT DISTINCT p.id, NULL FROM pay_refund r
            JOIN {ours} p ON p.id = r.payment_id""",
    ]


def own_mismatches(provider: str) -> list[str]:
    """Return the SQL for payments that do not agree within our own books."""
    ours = _ours(provider)
    return [
        f"""INSERT INTO candidate SELECT p.id, NULL FROM {ours} p
            JOIN pay_payment_detail d ON d.payment_id = p.id WHERE d.is_late OR d.is_duplicate""",
        f"""INSERT INTO candidate SELECT p.id, NULL FROM {ours} p
            LEFT JOIN "Participant" w ON w."paymentId" = p.id AND w.status = 'PAID'
            WHERE (p.status = 'COMPLETED') <> (w.id IS NOT NULL)""",
    ]


def resolve(provider: str) -> list[str]:
    """Return the SQL that finds the payment of a line outside the window, or by another reference."""
    by_id = f"""UPDATE candidate SET payment_id = p.id FROM "Payment" p
        WHERE candidate.payment_id IS NULL AND p.{_COLUMN[provider]} = candidate.match"""
    by_qr = """UPDATE candidate SET payment_id = p.id FROM "Payment" p
        WHERE candidate.payment_id IS NULL AND p."kaspiQrCode" = candidate.match"""
    by_number = """UPDATE candidate SET payment_id = o.payment_id FROM pay_kaspi_operation o
        WHERE candidate.payment_id IS NULL AND o.operation_number = candidate.match"""
    return [by_id] if provider == "stripe" else [by_id, by_number, by_qr]


#: Our discrepancies about money that did not settle its payment, and where a Kaspi line is of such money.
OTHER_MONEY_ROWS = f"""SELECT payment_id, CAST(detail AS TEXT) FROM pay_discrepancy
    WHERE payment_id IS NOT NULL AND kind IN ({", ".join(f"'{kind}'" for kind in ABOUT_MONEY)})
    AND EXISTS (SELECT 1 FROM candidate WHERE payment_id IS NULL) ORDER BY opened_at, id"""
BY_OTHER_MONEY = """UPDATE candidate SET payment_id = o.payment_id FROM other_money o
    WHERE candidate.payment_id IS NULL AND o.match = candidate.match"""
BY_HINT = """UPDATE candidate SET payment_id = d.payment_id FROM line l
    JOIN pay_payment_detail d ON d.payment_id = l.hint
    WHERE candidate.payment_id IS NULL AND l.match = candidate.match AND l.kind = 'payment'"""
#: Kaspi's lines without a payment whose details have words that may be an order number, or an account.
WITH_ORDERS = """SELECT DISTINCT l.match, l.hint FROM candidate s JOIN line l ON l.match = s.match
    WHERE s.payment_id IS NULL AND l.hint IS NOT NULL"""
ORDER_WORD = "INSERT INTO order_word VALUES (:match, :word)"
BY_ORDER = """UPDATE candidate SET payment_id = d.payment_id FROM order_word o
    JOIN pay_payment_detail d ON d.payment_id = o.word
    WHERE candidate.payment_id IS NULL AND o.match = candidate.match AND d.channel LIKE 'kaspi%'"""


def bills(later: Callable[[str, int], str]) -> str:
    """Pair each line that names an account, or a code of the account's participant, with the bill payments of
    its amount that were paid at its time and have no line by number.

    :param later: as for :func:`unidentified_payments`.
    """
    paid_at, slack = "coalesce(d.news_at, d.completed_at)", 10
    return f"""SELECT DISTINCT l.match, d.payment_id FROM order_word o
        JOIN candidate s ON s.match = o.match AND s.payment_id IS NULL
        JOIN line l ON l.match = o.match AND l.kind = 'payment'
        JOIN pay_payment_detail d ON d.channel = 'kaspi_bill' AND d.charged_amount = l.amount
            AND CAST(d.charged_currency AS TEXT) = l.currency
            AND {paid_at} >= {later("l.at", -slack)} AND {paid_at} <= {later("l.at", slack)}
            AND d.participant_id IN (
                SELECT o.word UNION ALL
                SELECT c.participant_id FROM pay_payment_detail c WHERE c.short_code = o.word
            )
        JOIN "Payment" p ON p.id = d.payment_id
        WHERE NOT EXISTS (SELECT 1 FROM line x WHERE x.match = p."kaspiTransactionId")"""


UNKNOWN_CHARGES = """SELECT count(*) FROM candidate
    WHERE payment_id IS NULL AND substr(match, 1, 3) IN ('ch_', 'py_')"""
BY_CHARGE = """UPDATE candidate SET payment_id = d.payment_id FROM pay_payment_detail d
    WHERE candidate.payment_id IS NULL AND d.charge_id = candidate.match"""
#: The repeated names among the possible duplicates; and among all names.
REPEATED = """INSERT INTO candidate SELECT NULL, match FROM line
    WHERE match IN (SELECT match FROM possible_duplicate) GROUP BY match HAVING count(*) > 1"""
ALL_REPEATED = "INSERT INTO candidate SELECT NULL, match FROM line GROUP BY match HAVING count(*) > 1"


NAMED = "INSERT INTO candidate_id SELECT DISTINCT payment_id FROM candidate WHERE payment_id IS NOT NULL"


def other_names(provider: str) -> list[str]:
    """Return the SQL for every name under which lines of a candidate payment may be listed."""
    payment, detail = '"Payment" n ON n.id', "pay_payment_detail n ON n.payment_id"
    names = {
        "stripe": [('n."stripePaymentId"', payment), ("n.charge_id", detail)],
        "kaspi": [
            ('n."kaspiTransactionId"', payment),
            ('n."kaspiQrCode"', payment),
            ("n.operation_number", "pay_kaspi_operation n ON n.payment_id"),
        ],
    }
    return [
        f"""INSERT INTO candidate SELECT s.payment_id, {name} FROM candidate_id s
            JOIN {table} = s.payment_id WHERE {name} IS NOT NULL"""
        for name, table in names[provider]
    ]


#: What was nobody's money, and somebody may have decided about.
DECIDED_ROWS = """SELECT resolution, CAST(detail AS TEXT) FROM pay_discrepancy
    WHERE payment_id IS NULL AND kind = 'MISSING_LOCALLY'
    AND EXISTS (SELECT 1 FROM candidate WHERE payment_id IS NULL)
    AND (resolution IS NOT NULL OR CAST(detail AS TEXT) LIKE '%"before"%')"""
#: Its lines: they are known, and fit no payment.
DECIDED = """INSERT INTO candidate_match SELECT DISTINCT l.match, '' FROM candidate s
    JOIN line l ON l.match = s.match WHERE s.payment_id IS NULL AND l.kind = 'payment' AND (
        l.match IN (SELECT match FROM decided_number) OR l.ref IN (SELECT match FROM decided_number)
    ) ON CONFLICT DO NOTHING"""
#: Lines without a payment that is known by number.
UNMATCHED_LINES = """INSERT INTO unmatched_line
    SELECT DISTINCT l.match, l.at, l.amount, l.currency, l.match <> l.ref
    FROM candidate s JOIN line l ON l.match = s.match WHERE s.payment_id IS NULL AND l.kind = 'payment'
    AND NOT EXISTS (SELECT 1 FROM candidate_match f WHERE f.match = l.match)"""
#: Minutes from a payment's creation to the last moment at which money can arrive: for a QR or a link, and for
#: an invoice, which the customer has a day to pay. They bound the range scan of the index by time.
_LONGEST_QR, _LONGEST_LIFE, _BEFORE = 33, 25 * 60, 3


def unidentified_payments(later: Callable[[str, int], str]) -> list[str]:
    """Return the SQL for payments without a known number or line, with the times at which they could be paid.

    :param later: returns SQL for a time so many minutes after another.
    """
    is_long = f"coalesce(d.expires_at > {later('d.created_at', _LONGEST_QR)}, FALSE)"
    return [
        f"""INSERT INTO unidentified_payment
            SELECT d.payment_id, d.charged_amount, d.charged_currency, d.created_at,
            {is_long}, d.provider_ref IS NOT NULL, {_PAID_HERE} OR d.provider_open, d.channel,
            d.sent_at, d.expires_at, d.scanned_at, d.scan_timeout_s, d.confirm_timeout_s
            FROM pay_payment_detail d JOIN "Payment" p ON p.id = d.payment_id
            WHERE d.channel LIKE 'kaspi%' AND p."kaspiTransactionId" IS NULL
            AND d.created_at >= (SELECT {later("min(at)", -_LONGEST_LIFE)} FROM unmatched_line)
            AND d.created_at <= (SELECT {later("max(at)", _BEFORE)} FROM unmatched_line)
            AND NOT EXISTS (SELECT 1 FROM candidate t WHERE t.payment_id = p.id AND t.match IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM pay_kaspi_operation o WHERE o.payment_id = p.id)""",
        "CREATE INDEX unidentified_time ON unidentified_payment (is_long, amount, currency, created_at)",
    ]


def pairs(later: Callable[[str, int], str]) -> str:
    """Pair each unmatched line with every unidentified payment of its amount whose validity window
    contains it, unless both name their QR and these differ."""
    select = """SELECT a.match, a.at, n.payment_id, n.can_be_paid, n.channel, n.created_at, n.sent_at,
        n.expires_at, n.scanned_at, n.scan_timeout_s, n.confirm_timeout_s
        FROM unmatched_line a JOIN unidentified_payment n ON n.amount = a.amount AND n.currency = a.currency
        AND NOT (a.has_qr AND n.has_qr)"""
    return f"""{select} AND n.is_long = FALSE AND n.created_at >= {later("a.at", -_LONGEST_QR)}
            AND n.created_at <= {later("a.at", _BEFORE)}
        UNION ALL {select} AND n.is_long = TRUE AND n.created_at >= {later("a.at", -_LONGEST_LIFE)}
            AND n.created_at <= {later("a.at", _BEFORE)}
        LIMIT :most"""


RESOLVED = "UPDATE candidate SET payment_id = :id WHERE match = :match AND payment_id IS NULL"
CANDIDATES = "INSERT INTO candidate_match VALUES (:match, :names)"

KNOWS_ANY = """SELECT EXISTS (SELECT 1 FROM candidate_match) OR EXISTS (SELECT 1 FROM line l
    WHERE l.kind IN ('payment', 'refund')
    AND NOT EXISTS (SELECT 1 FROM candidate s WHERE s.match = l.match AND s.payment_id IS NULL))"""

SUMS = """SELECT kind, currency, count(*), sum(amount) FROM line WHERE at >= :since AND at < :until
    GROUP BY kind, currency"""

#: One key for each payment, and its lines by that key.
KEYS = [
    """INSERT INTO candidate_key SELECT coalesce(payment_id, match), max(payment_id) FROM candidate
        GROUP BY coalesce(payment_id, match)""",
    """INSERT INTO candidate_line SELECT m.key, f.names, l.* FROM line l JOIN (
            SELECT match, max(coalesce(payment_id, match)) AS key FROM candidate WHERE match IS NOT NULL
            GROUP BY match
        ) m ON m.match = l.match LEFT JOIN candidate_match f ON f.match = l.match""",
    "CREATE INDEX candidate_line_key ON candidate_line (key)",
]
PAGE = "SELECT key, payment_id FROM candidate_key WHERE key > :last ORDER BY key LIMIT :size"
LINES = f"""SELECT key, names, {_LINE} FROM candidate_line
    WHERE key BETWEEN :first AND :last ORDER BY key, seq"""
#: The columns of a movement that a line determines, in the order of its page.
MOVEMENT = (
    "payment_id", "kind", "ref", "balance_transaction_id", "amount", "fee", "net", "currency", "at",
)  # fmt: skip
#: The payments that have a detail are ours; the others are the platform's alone.
_IS_OURS = "EXISTS (SELECT 1 FROM pay_payment_detail d WHERE d.payment_id = {})"
_OF_PROVIDER = {
    "stripe": [('"stripePaymentId"', '"Payment"', "id"), ("charge_id", "pay_payment_detail", "payment_id")],
    "kaspi": [
        ('"kaspiTransactionId"', '"Payment"', "id"),
        ("operation_number", "pay_kaspi_operation", "payment_id"),
        ("provider_ref", "pay_payment_detail", "payment_id"),
    ],
}


def fee_lines(provider: str) -> str:
    """Return the SQL that turns the lines with a fee into movements, each with the payment that was found
    for it, else with the one that has its number. A number of two payments gives two rows of one movement,
    which is stored once."""
    column, table, key = _OF_PROVIDER[provider][0]
    amount = """CASE WHEN settlement_currency <> currency AND net IS NOT NULL THEN net + fee
        WHEN kind IN ('refund', 'dispute') THEN -coalesce(amount, 0) ELSE coalesce(amount, 0) END"""
    return f"""INSERT INTO fee_line
        SELECT coalesce(c.payment_id, p.{key}), l.match, kind, ref,
            CASE WHEN substr(ref, 1, 4) = 'txn_' THEN ref END, amount, fee,
            coalesce(net, amount - fee), currency, at, seq
        FROM (
            SELECT match, kind, ref, {amount} AS amount, fee, net,
                coalesce(settlement_currency, currency) AS currency, at, seq
            FROM line WHERE fee IS NOT NULL AND kind <> 'other'
        ) l
        LEFT JOIN (
            SELECT match, max(payment_id) AS payment_id FROM candidate
            WHERE match IS NOT NULL AND {_IS_OURS.format("candidate.payment_id")} GROUP BY match
        ) c ON c.match = l.match
        LEFT JOIN (
            SELECT o.{key}, o.{column} FROM {table} o JOIN pay_payment_detail d ON d.payment_id = o.{key}
        ) p ON p.{column} = l.match"""


def other_fee_lines(provider: str) -> list[str]:
    """Return the SQL that finds the payments of the remaining movements by every other reference."""
    return [
        f"""UPDATE fee_line SET payment_id = o.{key} FROM {table} o
            WHERE fee_line.payment_id IS NULL AND o.{column} = fee_line.{reference}
            AND {_IS_OURS.format(f"o.{key}")}"""
        for reference in ("match", "ref")
        for column, table, key in _OF_PROVIDER[provider]
    ]


def refund_parts(provider: str) -> str:
    """Return the SQL for the refunds that have the number of their payment, and share it with another one of
    the file or with one that is stored: with that one's time and amount."""
    named = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} o WHERE o.{key} = f.payment_id AND o.{column} = f.ref)"
        for column, table, key in _OF_PROVIDER[provider]
    )
    return f"""SELECT DISTINCT f.seq, f.ref, f.at, f.amount, s.at, s.amount FROM fee_line f
        LEFT JOIN pay_settlement s ON s.provider = '{provider}' AND s.kind = 'refund' AND s.ref = f.ref
        WHERE f.kind = 'refund' AND f.payment_id IS NOT NULL AND (
            s.at <> f.at OR s.amount <> f.amount OR f.ref IN (
                SELECT ref FROM fee_line WHERE kind = 'refund' GROUP BY ref HAVING count(DISTINCT seq) > 1
            )
        ) AND ({named}) ORDER BY f.seq"""


REFUND_PART = "UPDATE fee_line SET ref = :ref WHERE seq = :seq"
PAYMENT_UNKNOWN = "SELECT EXISTS (SELECT 1 FROM fee_line WHERE payment_id IS NULL)"
