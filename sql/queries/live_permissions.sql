-- name: live_permissions
-- Which accounts may trade real money, and which might once; the newest first.
SELECT broker, account_number, reason, allowed_by, allowed_at, revoked_by, revoked_reason, revoked_at
FROM live_permissions ORDER BY id DESC;

-- name: is_live_permitted
-- Whether an account may trade real money now.
SELECT EXISTS (SELECT FROM live_permissions
               WHERE broker = :broker AND account_number = :account_number AND revoked_at IS NULL);

-- name: insert_live_permission
-- Lets an account trade real money; nothing where it may already.
INSERT INTO live_permissions (broker, account_number, reason, allowed_by, allowed_at)
VALUES (:broker, :account_number, :reason, :actor, :at)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: revoke_live_permission
-- Ends it; nothing where there is none in force.
UPDATE live_permissions SET revoked_by = :actor, revoked_reason = :reason, revoked_at = :at
WHERE broker = :broker AND account_number = :account_number AND revoked_at IS NULL
RETURNING id;

-- name: live_accounts
-- The accounts whose portfolios trade real money.
SELECT DISTINCT a.broker, a.account_number FROM broker_accounts a
WHERE a.environment = 'live' ORDER BY a.broker, a.account_number;
