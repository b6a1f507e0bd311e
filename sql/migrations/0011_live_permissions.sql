-- That an account may trade real money: its number, typed by hand, beside the environment's. A row with
-- revoked_at is history.
CREATE TABLE live_permissions (
    id             bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    broker         text        NOT NULL,
    account_number text        NOT NULL,
    reason         text        NOT NULL,
    allowed_by     text        NOT NULL,
    allowed_at     timestamptz NOT NULL,
    revoked_by     text,
    revoked_reason text,
    revoked_at     timestamptz,
    CONSTRAINT permission_has_number_actor_and_reason CHECK (
        account_number <> '' AND reason <> '' AND allowed_by <> ''),
    CONSTRAINT revoked_with_actor_and_reason_or_not_at_all CHECK (
        (revoked_at IS NULL AND revoked_by IS NULL AND revoked_reason IS NULL)
        OR (revoked_at IS NOT NULL AND coalesce(revoked_by, '') <> '' AND coalesce(revoked_reason, '') <> ''))
);
CREATE UNIQUE INDEX one_live_permission_in_force_per_account ON live_permissions (broker, account_number)
    WHERE revoked_at IS NULL;
