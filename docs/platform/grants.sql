-- The rights of the role in procomp-pay's DATABASE_URL, if it owns nothing: run it as the owner, in the schema of the
-- tables, after every `procomp-pay db upgrade` (which itself needs the owner): psql -v role=procomp -f grants.sql
-- No row of the platform is ever deleted, and none of "User" is changed.
GRANT SELECT, INSERT ON "User" TO :"role";
GRANT SELECT, INSERT, UPDATE ON "Tournament", "Participant", "Payment" TO :"role";
GRANT SELECT, INSERT, UPDATE ON
    pay_payment_detail, pay_refund, pay_kaspi_operation, pay_feed, pay_reconciliation_run, pay_discrepancy,
    pay_settlement, pay_audit_seal, pay_operator, pay_approval, pay_closing
TO :"role";
-- what is deleted: fees and details that are taken back, and finished rows after their time
GRANT SELECT, INSERT, UPDATE, DELETE ON
    pay_tournament_fee, pay_idempotency_key, pay_webhook_event, pay_outbox, pay_delivery, pay_participant_detail,
    pay_archived_tournament, pay_operator_session
TO :"role";
-- `person erase` alone updates an audit entry; PostgreSQL allows the lock of `audit seal` by UPDATE too
-- (DELETE is for `audit archive` alone: give it to the role that runs it)
GRANT SELECT, INSERT, UPDATE ON pay_audit_entry TO :"role";
GRANT SELECT ON pay_alembic_version TO :"role";
-- reconcile compares in temporary tables; everybody may make them unless that was revoked:
-- GRANT TEMPORARY ON DATABASE … TO :"role";
