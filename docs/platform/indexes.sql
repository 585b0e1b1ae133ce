-- Indexes on the platform's tables that procomp-pay's queries use: add those that `procomp-pay doctor` names to the
-- Prisma schema (@@index), or run them here. CONCURRENTLY blocks nobody; run each statement on its own, outside a
-- transaction (psql does), and drop an INVALID one before you try again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS "User_email_idx" ON "User" ("email");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Participant_paymentId_idx" ON "Participant" ("paymentId");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Participant_tournamentId_idx" ON "Participant" ("tournamentId");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Participant_userId_idx" ON "Participant" ("userId");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_createdAt_id_idx" ON "Payment" ("createdAt", "id");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_userId_createdAt_idx" ON "Payment" ("userId", "createdAt");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_tournamentId_createdAt_idx" ON "Payment" ("tournamentId", "createdAt");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_status_createdAt_idx" ON "Payment" ("status", "createdAt");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_stripePaymentId_idx" ON "Payment" ("stripePaymentId");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_stripeSessionId_idx" ON "Payment" ("stripeSessionId");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_kaspiQrCode_idx" ON "Payment" ("kaspiQrCode");
-- useful with many payments, and not needed: doctor does not ask for them. Without the first one, verify-kaspi reads the
-- whole table twice to see that the platform took no payment under the number: 10 to 15 ms each for 50,000 payments
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_kaspiTransactionId_idx" ON "Payment" ("kaspiTransactionId");
CREATE INDEX CONCURRENTLY IF NOT EXISTS "Payment_tournamentId_status_idx" ON "Payment" ("tournamentId", "status");
