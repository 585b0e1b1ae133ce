-- The rights of the role in procomp-pay's DATABASE_URL, if it owns nothing: run it as the owner, in the schema of the
-- tables, after every `procomp-pay db upgrade` (which itself needs the owner): psql -v role=procomp -f grants.sql
-- No row of the platform is ever deleted, and none of "User" is changed.
-- (only `person erase --with-platform-rows`, for an install without a platform, does; for it, and for nothing else:
-- GRANT UPDATE (name, email) ON "User" TO :"role";)
GRANT SELECT, INSERT ON "User" TO :"role";
GRANT SELECT, INSERT, UPDATE ON "Tournament", "Participant", "Payment" TO :"role";
GRANT SELECT, INSERT, UPDATE ON
    pay_payment_detail, pay_refund, pay_kaspi_operation, pay_feed, pay_reconciliation_run, pay_discrepancy,
    pay_settlement, pay_audit_seal, pay_closing, pay_payout, pay_balance_entry, pay_bank_line,
    pay_operator, pay_approval
TO :"role";
-- what is deleted: fees and details that are taken back, and finished rows after their time
GRANT SELECT, INSERT, UPDATE, DELETE ON
    pay_tournament_fee, pay_idempotency_key, pay_webhook_event, pay_outbox, pay_delivery, pay_participant_detail,
    pay_archived_tournament, pay_fee_period, pay_refund_step, pay_operator_session, pay_participant_search
TO :"role";
-- `person erase` alone updates an audit entry; PostgreSQL allows the lock of `audit seal` by UPDATE too
-- (DELETE is for `audit archive` alone: give it to the role that runs it)
GRANT SELECT, INSERT, UPDATE ON pay_audit_entry TO :"role";
GRANT SELECT ON pay_alembic_version TO :"role";
-- reconcile compares in temporary tables; everybody may make them unless that was revoked:
-- GRANT TEMPORARY ON DATABASE … TO :"role";
