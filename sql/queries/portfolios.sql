-- name: insert_broker_account
-- Registers an account once; answers its id also when it was there already.
INSERT INTO broker_accounts (broker, account_number, environment)
VALUES (:broker, :account_number, CAST(:environment AS broker_environment))
ON CONFLICT (broker, environment, account_number) DO UPDATE SET broker = excluded.broker
RETURNING id;

-- name: broker_accounts
-- Every account that an active portfolio trades through, or that has a trade which is not final.
SELECT a.id, a.broker, a.account_number, a.environment, a.executions_read_until, a.reconciled_at
FROM broker_accounts a
WHERE EXISTS (SELECT FROM portfolios p WHERE p.broker_account_id = a.id AND p.is_active)
   OR EXISTS (SELECT FROM trades t WHERE t.broker_account_id = a.id
              AND t.status IN ('pending', 'submitting', 'submitted', 'partially_filled'))
ORDER BY a.id;

-- name: set_executions_read_until
-- Executions up to here are booked; later reads start a little before.
UPDATE broker_accounts SET executions_read_until = greatest(executions_read_until, :until)
WHERE id = :broker_account_id;

-- name: set_reconciled_at
-- The account's books were compared with the broker's.
UPDATE broker_accounts SET reconciled_at = :at WHERE id = :broker_account_id;

-- name: insert_portfolio
-- A new portfolio; nothing where the name is taken.
INSERT INTO portfolios (broker_account_id, name, currency, max_position_pct, max_positions, stop_loss_pct,
                        take_profit_pct, max_daily_loss_pct, min_cash_pct, max_drawdown_pct)
VALUES (:broker_account_id, :name, :currency, :max_position_pct, :max_positions, :stop_loss_pct,
        :take_profit_pct, :max_daily_loss_pct, :min_cash_pct, :max_drawdown_pct)
ON CONFLICT (name) DO NOTHING
RETURNING id;

-- name: insert_cash_balance
-- A new portfolio's cash cache.
INSERT INTO cash_balances (portfolio_id, amount) VALUES (:portfolio_id, 0);

-- name: portfolios
-- Every portfolio with its account and cash.
SELECT p.id, p.name, p.currency, p.is_active, p.broker_account_id, a.broker, a.account_number, a.environment,
       p.max_position_pct, p.max_positions, p.stop_loss_pct, p.take_profit_pct, p.max_daily_loss_pct,
       p.min_cash_pct, p.max_drawdown_pct, c.amount AS cash
FROM portfolios p
JOIN broker_accounts a ON a.id = p.broker_account_id
JOIN cash_balances c ON c.portfolio_id = p.id
ORDER BY p.id;

-- name: lock_portfolio
-- One writer per portfolio: everything that changes its books holds this row. Rows that merely refer to it
-- (a notification, a trade) may come meanwhile: to let them wait as well would end in deadlocks.
SELECT id FROM portfolios WHERE id = :portfolio_id FOR NO KEY UPDATE;

-- name: lock_account_portfolios
-- The same for every portfolio of an account.
SELECT id FROM portfolios WHERE broker_account_id = :broker_account_id ORDER BY id FOR NO KEY UPDATE;

-- name: lock_all_portfolios
-- The same for every portfolio at once.
SELECT id FROM portfolios ORDER BY id FOR NO KEY UPDATE;

-- name: insert_strategy
-- A new strategy; nothing where the portfolio has one of that name.
INSERT INTO strategies (portfolio_id, name, definition)
VALUES (:portfolio_id, :name, CAST(:definition AS jsonb))
ON CONFLICT (portfolio_id, name) DO NOTHING
RETURNING id;

-- name: strategies
-- Every strategy with its portfolio's name.
SELECT s.id, s.portfolio_id, p.name AS portfolio, s.name, s.definition, s.is_enabled, s.last_error
FROM strategies s JOIN portfolios p ON p.id = s.portfolio_id
ORDER BY s.id;

-- name: set_strategy_enabled
-- A person's switch.
UPDATE strategies SET is_enabled = :is_enabled WHERE id = :strategy_id;

-- name: set_strategy_error
-- What was wrong at the last evaluation; NULL when nothing was.
UPDATE strategies SET last_error = :last_error
WHERE id = :strategy_id AND last_error IS DISTINCT FROM :last_error;

-- name: active_halts
-- Halts in force, for all (portfolio_id NULL) or one portfolio.
SELECT h.id, h.portfolio_id, p.name AS portfolio, h.level, h.reason, h.actor, h.halted_at
FROM halts h LEFT JOIN portfolios p ON p.id = h.portfolio_id
WHERE h.resumed_at IS NULL
ORDER BY h.id;

-- name: insert_halt
-- A halt; nothing where one is in force already.
INSERT INTO halts (portfolio_id, level, reason, actor, halted_at)
VALUES (:portfolio_id, CAST(:level AS halt_level), :reason, :actor, :at)
ON CONFLICT (portfolio_id) WHERE resumed_at IS NULL DO NOTHING
RETURNING id;

-- name: was_halted
-- Whether somebody, or some rule, halted a portfolio since an instant, resumed or not.
SELECT EXISTS (SELECT FROM halts
               WHERE portfolio_id = :portfolio_id AND actor = :actor AND halted_at >= :since);

-- name: was_resumed
-- Whether a person ended a halt of a portfolio that had this reason.
SELECT EXISTS (SELECT FROM halts
               WHERE portfolio_id = :portfolio_id AND reason = :reason AND resumed_at IS NOT NULL);

-- name: resume
-- Ends a halt in force.
UPDATE halts SET resumed_at = :at, resumed_by = :actor, resumed_reason = :reason
WHERE portfolio_id IS NOT DISTINCT FROM CAST(:portfolio_id AS bigint) AND resumed_at IS NULL
RETURNING id;
